//! What a family of metrics is: name, kind, labels, and what it says.
//!
//! **Invariants.** Names follow Prometheus's conventions: a prefix, base units (`seconds`, `bytes`) at the
//! end, `_total` behind them where the family is a counter. [`Desc::check`] holds that.

/// What kind of numbers a family has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They only grow.
    Counter,
    /// They are what is so now.
    Gauge,
    /// How many were up to which bound.
    Histogram,
}

impl Kind {
    /// As in the text format.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// A family of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Desc {
    /// Its name.
    pub name: &'static str,
    /// What kind.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it says, in a sentence.
    pub help: &'static str,
}

impl Desc {
    /// A counter without labels.
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self::new(Kind::Counter, name, help)
    }

    /// A gauge without labels.
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self::new(Kind::Gauge, name, help)
    }

    /// A histogram without labels.
    pub const fn histogram(name: &'static str, help: &'static str) -> Self {
        Self::new(Kind::Histogram, name, help)
    }

    const fn new(kind: Kind, name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            kind,
            labels: &[],
            help,
        }
    }

    /// The same with these labels.
    pub const fn by(mut self, labels: &'static [&'static str]) -> Self {
        self.labels = labels;
        self
    }

    /// What is wrong with it, if something is.
    pub fn check(&self) -> Result<(), String> {
        let is_word = |name: &str| {
            let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            !name.is_empty() && name.chars().all(fine)
        };
        let wrong = |what: &str| Err(format!("{}: {what}", self.name));
        if !is_word(self.name) || !self.labels.iter().all(|label| is_word(label)) {
            return wrong("names have lower-case letters, digits and _ only");
        }
        if !self.name.starts_with("kontiki_") && !self.name.starts_with("process_") {
            return wrong("names begin with kontiki_");
        }
        if (self.kind == Kind::Counter) != self.name.ends_with("_total") {
            return wrong("counters end in _total, and nothing else does");
        }
        if self.labels.contains(&"le") {
            return wrong("the label le is the histograms' own");
        }
        if !self.help.ends_with('.') {
            return wrong("its help is a sentence");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_held_to_the_conventions() {
        let fine = Desc::counter("kontiki_x_total", "X.").by(&["kind"]);
        assert_eq!(fine.check(), Ok(()));
        for wrong in [
            Desc::counter("kontiki_x", "X."),
            Desc::gauge("kontiki_x_total", "X."),
            Desc::gauge("x", "X."),
            Desc::gauge("kontiki_X", "X."),
            Desc::gauge("kontiki_x", "X"),
            Desc::gauge("kontiki_x", "X.").by(&["a-b"]),
            Desc::histogram("kontiki_x", "X.").by(&["le"]),
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}
