//! The reference of all points, as `docs/failpoints.md` has it.

use crate::points::{Kind, POINTS};
use std::fmt::Write;

const HEAD: &str = "\
# Failpoints

Places in the code at which a test has the process crash, wait or fail. They are for tests only: `cargo build` and
`cargo run` leave them out, and not an instruction stays of them; `cargo test` of the workspace builds them into all
that it builds, the program as well, because `e2e` asks for cargo's feature `failpoints`. By hand:

    cargo build --release -p kontiki --features failpoints

This page is made from the code, by `kontiki failpoints docs`; tests hold it to that, and each name here to a place.

**Setting one.** From the start on by the environment, and while the node runs on its status port or by
`debugpb.Debug` (`InjectFailPoint`, `RecoverFailPoint`, `ListFailPoints`) on its own:

    KONTIKI_FAILPOINTS='node::log::before_write=20*off->crash' kontiki server
    curl -X PUT http://127.0.0.1:20180/fail/node::log::written -d 'sleep(500)'
    curl http://127.0.0.1:20180/fail
    curl -X DELETE http://127.0.0.1:20180/fail/node::log::written

A program without them refuses all of this, and does not start with the variable set.

**Actions** are `[P%][N*]TASK[(ARGUMENT)]`, chained by `->`: of a chain the first is done that applies, with a chance of
P percent and N times at the most. Tasks: `off` (nothing), `crash` (the process is gone, as by `kill -9`), `panic`,
`sleep(MS)`, `delay(MS)` (busy), `pause` (until it is set to something else), `yield`, `print`, and for the points
that say what it does, `return`. `GET /fail` also counts how often the process has come to each point.

**They are the process's**: in the playground each is a point of all nodes. What waits at a point holds up the
thread that came there, with all that this thread serves.
";

/// The whole page.
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    for kind in Kind::ALL {
        let (title, about) = (kind.title(), kind.about());
        let _ = write!(
            text,
            "\n## {title}\n\n{about}\n\n| name | stands | after a crash there | `return` |\n|---|---|---|---|\n"
        );
        for point in POINTS.iter().filter(|point| point.kind == kind) {
            let returns = point.returns.unwrap_or_default();
            let (name, place, crash) = (point.name, point.place, point.crash);
            let _ = writeln!(text, "| `{name}` | {place} | {crash} | {returns} |");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_reference_is_what_the_code_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/failpoints.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == super::reference(),
            "docs/failpoints.md is out of date: kontiki failpoints docs > docs/failpoints.md"
        );
    }
}
