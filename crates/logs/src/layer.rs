//! Where `tracing` hands its events in.
//!
//! **Not here.** Spans: nothing in this project opens one.

use crate::line::{Format, Record};
use crate::sink::Sink;
use crate::slow;
use std::cell::RefCell;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::Context;

/// Makes lines of events, and hands them to their sinks.
pub struct Layer {
    format: Format,
    normal: Sink,
    /// For the slow log; it goes to the other one if there is none.
    slow: Option<Sink>,
}

impl Layer {
    /// Lines of this format, to these sinks.
    pub fn new(format: Format, normal: Sink, slow: Option<Sink>) -> Self {
        Self {
            format,
            normal,
            slow,
        }
    }
}

thread_local! {
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

impl<S: Subscriber> tracing_subscriber::Layer<S> for Layer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let record = Record::of(event);
        let is_slow = event.metadata().target() == slow::TARGET;
        let slow = self.slow.as_ref().filter(|_| is_slow);
        let sink = slow.unwrap_or(&self.normal);
        LINE.with_borrow_mut(|line| {
            line.clear();
            record.write(self.format, line);
            sink.push(line.as_bytes());
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::tests::Kept;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn events_become_lines_and_slow_ones_go_where_they_belong() {
        let (normal, slow) = (Kept::default(), Kept::default());
        let sink = |kept: &Kept| Sink::start("test", Format::Text, kept.clone()).unwrap();
        let layer = Layer::new(Format::Text, sink(&normal), Some(sink(&slow)));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let (r#type, error) = ("x", std::io::Error::other("a b"));
            tracing::info!(region = 7, %error, r#type, "{} of {}", 1, 2);
            crate::slow!(took_ms = 1.5, "a write");
        });
        let line = normal.wait_for(1);
        let (head, rest) = line.split_once("] [layer.rs:").unwrap();
        assert!(head.ends_with(" +00:00] [INFO"), "{line}");
        let (_, rest) = rest.split_once(' ').unwrap();
        assert_eq!(rest, "[\"1 of 2\"] [region=7] [error=\"a b\"] [type=x]\n");
        let line = slow.wait_for(1);
        assert!(
            line.contains("[WARN]") && line.ends_with("[\"a write\"] [took_ms=1.5]\n"),
            "{line}"
        );
    }
}
