//! Labels whose values are the cases of an enum.
//!
//! **Why.** A label whose values come from data (a key, an id, an address) makes as many series as there is
//! data; here the compiler knows how many there are, and a cell is found by an index.

use std::marker::PhantomData;

/// The values of one label.
pub trait Label: Copy + 'static {
    /// The label's name.
    const NAME: &'static str;
    /// All of them, in the order of their positions.
    const ALL: &'static [Self];

    /// As the page shows it.
    fn value(self) -> &'static str;

    /// Where it stands in [`Self::ALL`].
    fn position(self) -> usize;
}

/// Makes an enum of a label's values: `label!("kind": pub enum Kind { A = "a", … })`.
#[macro_export]
macro_rules! label {
    ($label:literal: $(#[$doc:meta])* $visibility:vis enum $name:ident {
        $($(#[$case_doc:meta])* $case:ident = $value:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $visibility enum $name {
            $($(#[$case_doc])* $case,)*
        }

        impl $crate::Label for $name {
            const NAME: &'static str = $label;
            const ALL: &'static [Self] = &[$(Self::$case),*];

            fn value(self) -> &'static str {
                match self {
                    $(Self::$case => $value,)*
                }
            }

            fn position(self) -> usize {
                self as usize
            }
        }
    };
}

/// Something for each value of a label.
#[derive(Debug)]
pub struct ByLabel<L, T> {
    items: Box<[T]>,
    label: PhantomData<fn(L)>,
}

impl<L: Label, T> ByLabel<L, T> {
    /// What `make` makes, for each.
    pub fn new(make: impl Fn() -> T) -> Self {
        Self {
            items: L::ALL.iter().map(|_| make()).collect(),
            label: PhantomData,
        }
    }

    /// That of one value.
    pub fn of(&self, label: L) -> &T {
        &self.items[label.position()]
    }

    /// That of one value, to be changed.
    pub fn of_mut(&mut self, label: L) -> &mut T {
        &mut self.items[label.position()]
    }

    /// All, with their values.
    pub fn iter(&self) -> impl Iterator<Item = (L, &T)> {
        L::ALL.iter().copied().zip(&self.items)
    }

    /// All, with their values, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (L, &mut T)> {
        L::ALL.iter().copied().zip(&mut self.items)
    }
}

impl<L: Label, T: Default> Default for ByLabel<L, T> {
    fn default() -> Self {
        Self::new(T::default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    label! {"fruit":
        /// Some.
        enum Fruit {
            /// Red.
            Apple = "apple",
            /// Yellow.
            Pear = "pear",
        }
    }

    #[test]
    fn each_value_has_its_own() {
        let mut eaten: ByLabel<Fruit, u64> = ByLabel::default();
        *eaten.of_mut(Fruit::Pear) += 2;
        for (_, count) in eaten.iter_mut() {
            *count += 1;
        }
        let all: Vec<_> = eaten.iter().map(|(fruit, n)| (fruit.value(), *n)).collect();
        assert_eq!(all, [("apple", 1), ("pear", 3)]);
        assert_eq!((*eaten.of(Fruit::Apple), Fruit::NAME), (1, "fruit"));
    }
}
