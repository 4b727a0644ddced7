//! Where lines go, without anybody waiting: into a buffer, and from there, on a thread of its own, to a file or the
//! standard error stream.
//!
//! **Why.** A disk that hangs or is full, or a reader of a pipe that does not read, must not stop a server.
//!
//! **Invariants.** The buffer is bounded in bytes: a line beyond that is dropped and counted, and so is one that can't
//! be written. When lines can be written again, the first of them says how many were lost, and why. What has left
//! the buffer is whole lines: a line that was cut short by a full disk is ended before the next one.
//!
//! **Not here.** Durability: nobody syncs a log.

use crate::file::LogFile;
use crate::line::{Format, Record};
use metrics::Counter;
use parking_lot::{Condvar, Mutex};
use std::io::{self, Stderr, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tracing::Level;

/// The most bytes that wait to be written.
const WAITING_BYTES_MAX: usize = 8 << 20;
/// What is written at a time, unless one line is longer: so much is lost at the most when a disk becomes full.
const PIECE_BYTES: usize = 64 << 10;

/// What takes lines.
pub trait Target: Write + Send + 'static {
    /// So many bytes are about to be written.
    fn prepare(&mut self, _bytes: u64) {}
}

impl Target for LogFile {
    fn prepare(&mut self, bytes: u64) {
        LogFile::prepare(self, bytes);
    }
}

impl Target for Stderr {}

/// Where lines go. Clones are the same.
#[derive(Clone)]
pub struct Sink {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Something waits.
    wake: Condvar,
    /// Nothing waits any more.
    idle: Condvar,
    lost: Counter,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<u8>,
    /// Whether the thread is writing what was taken out.
    is_writing: bool,
    /// By a panic.
    has_ended: bool,
}

/// Held by the writing thread: without it a flush would wait for nothing.
struct Ends(Arc<Shared>);

impl Drop for Ends {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        (queue.has_ended, queue.is_writing) = (true, false);
        self.0.idle.notify_all();
    }
}

impl Sink {
    /// Begins to write to `target`, on a thread with this name, which lives as long as the process. What the sink has
    /// to say itself it says in this format.
    ///
    /// # Errors
    /// The operating system refuses the thread.
    pub fn start(name: &str, format: Format, target: impl Target) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut writer = Writer {
            target,
            format,
            is_torn: false,
            told: 0,
            reason: None,
        };
        let ends = Ends(Arc::clone(&shared));
        let thread = thread::Builder::new().name(name.to_owned());
        thread.spawn(move || {
            let ends = ends;
            let shared = &ends.0;
            let mut lines = Vec::new();
            loop {
                shared.next(&mut lines);
                writer.write(&lines, &shared.lost);
            }
        })?;
        Ok(Self { shared })
    }

    /// Takes a line, with its end, or drops it. Waits for nothing but the moment in which another line is taken.
    pub fn push(&self, line: &[u8]) {
        let mut queue = self.shared.queue.lock();
        if queue.has_ended || queue.waiting.len() + line.len() > WAITING_BYTES_MAX {
            self.shared.lost.add(1);
            return;
        }
        let was_empty = queue.waiting.is_empty();
        queue.waiting.extend_from_slice(line);
        drop(queue);
        if was_empty {
            self.shared.wake.notify_one();
        }
    }

    /// Waits until all lines that were taken are written or lost, but no longer than this.
    pub fn flush(&self, within: Duration) {
        let deadline = Instant::now() + within;
        let mut queue = self.shared.queue.lock();
        while !queue.has_ended && (queue.is_writing || !queue.waiting.is_empty()) {
            if self
                .shared
                .idle
                .wait_until(&mut queue, deadline)
                .timed_out()
            {
                return;
            }
        }
    }

    /// How many lines were dropped.
    pub fn lost(&self) -> u64 {
        self.shared.lost.get()
    }
}

impl Shared {
    /// Waits for lines, and takes them all.
    fn next(&self, lines: &mut Vec<u8>) {
        // After a burst.
        const KEPT_BYTES_MAX: usize = 1 << 20;
        lines.clear();
        lines.shrink_to(KEPT_BYTES_MAX);
        let mut queue = self.queue.lock();
        queue.is_writing = false;
        while queue.waiting.is_empty() {
            self.idle.notify_all();
            self.wake.wait(&mut queue);
        }
        std::mem::swap(&mut queue.waiting, lines);
        queue.is_writing = true;
    }
}

/// What the thread has.
struct Writer<T> {
    target: T,
    format: Format,
    /// Whether the last line was cut short.
    is_torn: bool,
    /// So many lost lines were told of.
    told: u64,
    /// Why the last line could not be written.
    reason: Option<io::Error>,
}

impl<T: Target> Writer<T> {
    fn write(&mut self, lines: &[u8], lost: &Counter) {
        for piece in pieces(lines) {
            let lost_before = lost.get();
            if lost_before > self.told {
                let notice = self.notice(lost_before - self.told);
                if let Err((_, error)) = self.write_piece(notice.as_bytes()) {
                    lost.add(count_lines(piece));
                    self.reason = Some(error);
                    continue;
                }
                (self.told, self.reason) = (lost_before, None);
            }
            if let Err((rest, error)) = self.write_piece(piece) {
                lost.add(count_lines(rest));
                self.reason = Some(error);
            }
        }
    }

    /// What the log says of lines that are not in it.
    fn notice(&self, lines: u64) -> String {
        let reason = match &self.reason {
            Some(error) => error.to_string(),
            None => "they came faster than they could be written".to_owned(),
        };
        let fields = vec![
            ("lines".to_owned(), lines.into()),
            ("reason".to_owned(), reason.into()),
        ];
        let mut line = String::new();
        let record = Record::of_log(Level::WARN, "lines of the log were lost", fields);
        record.write(self.format, &mut line);
        line
    }

    /// On an error: what was not written, the line that is torn included.
    fn write_piece<'a>(&mut self, piece: &'a [u8]) -> Result<(), (&'a [u8], io::Error)> {
        self.target.prepare(piece.len() as u64);
        if self.is_torn {
            self.target
                .write_all(b"\n")
                .map_err(|error| (piece, error))?;
            self.is_torn = false;
        }
        let mut written = 0;
        while written < piece.len() {
            match self.target.write(&piece[written..]) {
                Ok(0) => return Err(self.torn(piece, written, io::ErrorKind::WriteZero.into())),
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.torn(piece, written, error)),
            }
        }
        Ok(())
    }

    fn torn<'a>(
        &mut self,
        piece: &'a [u8],
        written: usize,
        error: io::Error,
    ) -> (&'a [u8], io::Error) {
        let whole = piece[..written].iter().rposition(|byte| *byte == b'\n');
        let whole = whole.map_or(0, |end| end + 1);
        self.is_torn = whole < written;
        (&piece[whole..], error)
    }
}

fn count_lines(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// The same in parts that end with a line's end.
fn pieces(mut lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        if lines.is_empty() {
            return None;
        }
        let end = lines.len().min(PIECE_BYTES);
        let is_end = |byte: &u8| *byte == b'\n';
        let last = lines[..end].iter().rposition(is_end);
        // A line that is longer than a piece.
        let last = last.or_else(|| lines.iter().position(is_end));
        let (piece, rest) = lines.split_at(last.map_or(lines.len(), |last| last + 1));
        lines = rest;
        Some(piece)
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(30);

    /// Keeps what is written, up to its room; more is an error, as on a full disk.
    #[derive(Clone)]
    pub(crate) struct Kept(Arc<Mutex<Disk>>);

    struct Disk {
        bytes: Vec<u8>,
        room: usize,
    }

    impl Default for Kept {
        fn default() -> Self {
            Self(Arc::new(Mutex::new(Disk {
                bytes: Vec::new(),
                room: usize::MAX,
            })))
        }
    }

    impl Kept {
        fn set_room(&self, room: usize) {
            self.0.lock().room = room;
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().bytes.clone()).unwrap()
        }

        pub(crate) fn wait_for(&self, lines: usize) -> String {
            let deadline = Instant::now() + WITHIN;
            loop {
                let text = self.text();
                if text.lines().count() >= lines {
                    return text;
                }
                assert!(Instant::now() < deadline, "{text}");
                thread::yield_now();
            }
        }
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock();
            let taken = bytes.len().min(disk.room.saturating_sub(disk.bytes.len()));
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            disk.bytes.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Target for Kept {}

    #[test]
    fn lines_are_written_in_their_order() {
        let kept = Kept::default();
        let sink = Sink::start("test", Format::Text, kept.clone()).unwrap();
        for number in 0..1_000 {
            sink.push(format!("{number}\n").as_bytes());
        }
        sink.flush(WITHIN);
        let expected: String = (0..1_000).map(|number| format!("{number}\n")).collect();
        assert_eq!((kept.text(), sink.lost()), (expected, 0));
    }

    #[test]
    fn on_a_full_disk_lines_are_dropped_and_counted_and_the_log_says_so_when_there_is_room() {
        let kept = Kept::default();
        let sink = Sink::start("test", Format::Text, kept.clone()).unwrap();
        sink.push(b"before\n");
        sink.flush(WITHIN);
        kept.set_room(12);
        for line in ["1234567\n", "second\n", "third\n"] {
            sink.push(line.as_bytes());
            sink.flush(WITHIN);
        }
        assert_eq!((kept.text().as_str(), sink.lost()), ("before\n12345", 3));
        kept.set_room(usize::MAX);
        sink.push(b"after\n");
        sink.flush(WITHIN);
        let text = kept.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            (lines.len(), lines[1], lines[3]),
            (4, "12345", "after"),
            "{text}"
        );
        assert!(
            lines[2].contains("[\"lines of the log were lost\"] [lines=3] [reason="),
            "{text}"
        );
        assert!(lines[2].contains(&io::Error::from(io::ErrorKind::StorageFull).to_string()));
        sink.push(b"more\n");
        sink.flush(WITHIN);
        assert_eq!(kept.text().lines().count(), 5);
    }

    #[test]
    fn on_a_disk_that_hangs_nobody_waits_and_what_is_too_much_is_dropped() {
        let kept = Kept::default();
        let sink = Sink::start("test", Format::Text, kept.clone()).unwrap();
        let hangs = kept.0.lock();
        sink.push(b"first\n");
        sink.flush(Duration::from_millis(1));
        let line = vec![b'x'; 1 << 20];
        for _ in 0..20 {
            sink.push(&[&line[..], b"\n"].concat());
        }
        // Seven fit; and seven more if the thread took those while they came.
        assert!(sink.lost() >= 6, "{}", sink.lost());
        drop(hangs);
        sink.flush(WITHIN);
        sink.push(b"last\n");
        sink.flush(WITHIN);
        let text = kept.text();
        assert!(text.starts_with("first\n") && text.ends_with("\nlast\n"));
        assert!(text.contains("came faster"), "{}", text.len());
    }

    #[test]
    fn pieces_end_with_lines() {
        let long = format!("{}\n", "x".repeat(2 * PIECE_BYTES));
        let text = format!("a\nb\n{long}{}c\n", "1234567\n".repeat(PIECE_BYTES / 8));
        let parts: Vec<&[u8]> = pieces(text.as_bytes()).collect();
        assert_eq!(parts.concat(), text.as_bytes());
        assert!(parts.iter().all(|part| part.ends_with(b"\n")));
        assert_eq!(parts.len(), 4);
        assert_eq!(pieces(b"torn").collect::<Vec<_>>(), [b"torn"]);
    }
}
