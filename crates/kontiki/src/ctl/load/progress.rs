//! How far a load has come, for the person who waits: a bar on a terminal, a line now and then
//! elsewhere. Always on the standard error stream, so that the report can be piped.
//!
//! **Not here.** The report at the end.

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Shows progress through a source of known or unknown length.
pub struct Progress {
    shape: Shape,
    bytes_total: Option<u64>,
    started: Instant,
}

enum Shape {
    Bar(ProgressBar),
    Lines { next: Instant },
}

impl Progress {
    /// Begins; `bytes_total` is none when the source is a pipe.
    pub fn start(bytes_total: Option<u64>) -> Self {
        let started = Instant::now();
        let shape = if std::io::stderr().is_terminal() {
            Shape::Bar(bar(bytes_total))
        } else {
            Shape::Lines {
                next: started + LINE_INTERVAL,
            }
        };
        Self {
            shape,
            bytes_total,
            started,
        }
    }

    /// So many bytes of the source are read, so many pairs are written.
    pub fn update(&mut self, bytes_read: u64, pairs: u64) {
        match &mut self.shape {
            Shape::Bar(bar) => {
                let seconds = self.started.elapsed().as_secs_f64().max(1e-3);
                bar.set_message(format!("{pairs} pairs, {:.0}/s", pairs as f64 / seconds));
                bar.set_position(bytes_read);
            }
            Shape::Lines { next } if Instant::now() >= *next => {
                *next += LINE_INTERVAL;
                let elapsed = HumanDuration(self.started.elapsed());
                eprintln!(
                    "{pairs} pairs, {} in {elapsed}",
                    share(bytes_read, self.bytes_total)
                );
            }
            Shape::Lines { .. } => {}
        }
    }

    /// Takes the bar away.
    pub fn finish(self) {
        if let Shape::Bar(bar) = self.shape {
            bar.finish_and_clear();
        }
    }
}

fn bar(bytes_total: Option<u64>) -> ProgressBar {
    match bytes_total {
        Some(total) => ProgressBar::new(total).with_style(style(
            "{bar:32} {percent:>3}% {bytes}/{total_bytes}, {msg}, {eta} left",
        )),
        None => ProgressBar::new_spinner().with_style(style("{spinner} {bytes}, {msg}")),
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is well-formed")
}

/// "3.2 MiB (40%)", or without the share when the whole is not known.
fn share(bytes_read: u64, bytes_total: Option<u64>) -> String {
    match bytes_total.filter(|total| *total > 0) {
        Some(total) => {
            let percent = bytes_read.min(total) as f64 * 100.0 / total as f64;
            format!("{} ({percent:.0}%)", HumanBytes(bytes_read))
        }
        None => HumanBytes(bytes_read).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_given_when_the_whole_is_known() {
        assert_eq!(share(512, Some(1024)), "512 B (50%)");
        assert_eq!(share(2048, None), "2.00 KiB");
        assert_eq!(share(0, Some(0)), "0 B");
        assert_eq!(share(2000, Some(1000)), "1.95 KiB (100%)");
    }

    #[test]
    fn the_templates_are_well_formed() {
        bar(Some(1)).finish_and_clear();
        bar(None).finish_and_clear();
    }
}
