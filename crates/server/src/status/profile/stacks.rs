//! Stacks with weights: what every profile is, whatever it is of.
//!
//! **Not here.** Taking them, and showing them.

use std::collections::BTreeMap;
use std::ffi::c_void;

/// What a profile holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stacks {
    /// What is weighed, and in which unit, in the words of `pprof`.
    pub(super) kind: (&'static str, &'static str),
    /// How long it was looked at, in nanoseconds; zero for a moment.
    pub(super) duration_ns: u64,
    /// The weight of one sample; zero if samples weigh different amounts.
    pub(super) period: u64,
    /// Functions from the outermost in, and the weight of what was seen there.
    pub(super) stacks: BTreeMap<Vec<String>, u64>,
}

impl Stacks {
    /// A line for each: functions with semicolons between them, and the weight.
    pub(super) fn folded(&self) -> String {
        let lines = self.stacks.iter().map(|(functions, weight)| {
            let functions: Vec<String> = functions
                .iter()
                .map(|name| name.replace(';', ":"))
                .collect();
            format!("{} {weight}\n", functions.join(";"))
        });
        lines.collect()
    }

    /// All weights together.
    pub(super) fn total(&self) -> u64 {
        self.stacks.values().sum()
    }
}

/// The functions at an address in the code, the innermost first: more than one where some were inlined.
pub(super) fn functions_at(address: usize) -> Vec<String> {
    let mut found = Vec::new();
    // It takes an address for one to return to, and looks at the byte before.
    let behind = address.wrapping_add(1) as *mut c_void;
    backtrace::resolve(behind, |symbol| {
        if let Some(name) = symbol.name() {
            found.push(format!("{name:#}"));
        }
    });
    if found.is_empty() {
        found.push(format!("{address:#x}"));
    }
    found
}

/// Answers `0x1+0x2` with a line for each address, as `pprof` wants it.
///
/// # Errors
/// Something in between is no address.
pub(super) fn symbols(addresses: &str) -> Result<String, String> {
    let line = |text: &str| {
        let digits = text.trim().strip_prefix("0x");
        let address = digits.and_then(|digits| usize::from_str_radix(digits, 16).ok());
        let address = address.ok_or_else(|| format!("{text:?} is no address such as 0x1f40"))?;
        Ok(format!(
            "{address:#x}\t{}\n",
            functions_at(address).join("--")
        ))
    };
    addresses.trim().split('+').map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_named_by_its_address_and_nonsense_is_refused() {
        let address = functions_at as *const () as usize;
        let found = symbols(&format!("{address:#x}+0x1\n")).unwrap();
        let lines: Vec<&str> = found.lines().collect();
        assert!(lines[0].contains("functions_at"), "{found}");
        assert_eq!(lines[1], "0x1\t0x1");
        assert!(symbols("main").unwrap_err().contains("main"));
    }

    #[test]
    fn stacks_are_folded_to_lines() {
        let stacks = BTreeMap::from([(vec!["a".to_owned(), "b;c".to_owned()], 3)]);
        let stacks = Stacks {
            stacks,
            ..Stacks::default()
        };
        assert_eq!(stacks.folded(), "a;b:c 3\n");
        assert_eq!(stacks.total(), 3);
    }
}
