//! Servers that are expected not to start.

use crate::{Process, kontiki_binary};
use std::ffi::OsString;
use std::time::Duration;

const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// Runs a server that is expected to give up, and returns what it said.
///
/// # Panics
/// If it goes on, ends well, or panics.
pub fn refused(args: &[OsString]) -> String {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let program = kontiki_binary().expect("the program is built");
    let process = Process::spawn("refused", &program, args, &dir.path().join("log"));
    let mut process = process.expect("it is started");
    let status = process.wait(ENDS_WITHIN).expect("it ends");
    let output = process.output();
    assert!(
        !status.success(),
        "it should have refused to start: {output}"
    );
    assert!(!output.contains("panicked"), "{output}");
    output
}
