//! Names of kinds, as they stand on a command line and in reports: `one-way-cut` for `OneWayCut`.
//!
//! **Why from the variant.** A name that is written twice is written differently once.

use std::fmt::Debug;

/// A closed enum whose values can be named.
pub trait Named: Copy + Debug + PartialEq + 'static {
    /// All values.
    const ALL: &'static [Self];

    /// Lower case, words joined by hyphens.
    fn name(self) -> String {
        let variant = format!("{self:?}");
        let mut name = String::new();
        for letter in variant.chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.extend(letter.to_lowercase());
        }
        name
    }

    /// The value of this name.
    ///
    /// # Errors
    /// None has it; the message lists those that there are.
    fn of_name(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|value| value.name() == name);
        found.copied().ok_or_else(|| {
            let names: Vec<String> = Self::ALL.iter().map(|value| value.name()).collect();
            format!("`{name}` is none of {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ActionKind, FaultKind, PlantedBug};
    use std::collections::BTreeSet;

    fn check<T: Named>() {
        let names: BTreeSet<String> = T::ALL.iter().map(|value| value.name()).collect();
        assert_eq!(names.len(), T::ALL.len());
        for value in T::ALL {
            assert_eq!(T::of_name(&value.name()), Ok(*value));
        }
    }

    #[test]
    fn every_value_is_found_by_its_name() {
        check::<FaultKind>();
        check::<ActionKind>();
        check::<PlantedBug>();
        assert_eq!(FaultKind::OneWayCut.name(), "one-way-cut");
        let error = FaultKind::of_name("flood").unwrap_err();
        assert!(error.contains("`flood`") && error.contains("power-cut"));
    }
}
