//! Lines on their way to a terminal, a pipe or a file, written by a thread of their own.
//!
//! A pipe that nobody reads blocks whoever writes to it; that must never be the loop that serves everybody else. So
//! lines are put into a bounded queue. What does not fit is counted, and the number is said once there is room.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustyline::ExternalPrinter;

/// Lines that wait for a slow reader.
const QUEUE_LINES: usize = 4096;

/// The near end of such a queue.
#[derive(Debug, Clone)]
pub struct Lines {
    queue: SyncSender<Item>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Item {
    Line(String),
    Flush(SyncSender<()>),
}

impl Lines {
    /// Starts the thread that gives lines to `write`. `closed` is called on it once if nobody will ever read again.
    ///
    /// # Errors
    /// There can be no further thread.
    pub fn start(
        write: impl FnMut(&str) -> io::Result<()> + Send + 'static,
        closed: impl FnOnce() + Send + 'static,
    ) -> io::Result<Lines> {
        Lines::start_with(QUEUE_LINES, write, closed)
    }

    fn start_with(
        queue_lines: usize,
        mut write: impl FnMut(&str) -> io::Result<()> + Send + 'static,
        closed: impl FnOnce() + Send + 'static,
    ) -> io::Result<Lines> {
        let (queue, items) = sync_channel(queue_lines);
        let dropped = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&dropped);
        thread::Builder::new().name("output".into()).spawn(move || {
            if carry(&items, &count, &mut write).is_err() {
                closed();
                // Whoever still has lines should not notice.
                for item in items {
                    drop(item);
                }
            }
        })?;
        Ok(Lines { queue, dropped })
    }

    /// Writes a line, or counts it as dropped if the reader is too slow.
    pub fn line(&self, line: String) {
        if let Err(TrySendError::Full(_)) = self.queue.try_send(Item::Line(line)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything so far is written, but no longer than `limit`.
    pub fn flush(&self, limit: Duration) {
        let end = Instant::now() + limit;
        let (done, wait) = sync_channel(1);
        while let Err(TrySendError::Full(_)) = self.queue.try_send(Item::Flush(done.clone())) {
            if Instant::now() >= end {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        drop(done);
        let _ = wait.recv_timeout(end.saturating_duration_since(Instant::now()));
    }
}

/// For log lines: one `write` is one event.
impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line(String::from_utf8_lossy(bytes).trim_end_matches('\n').to_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes what comes until nobody gives or nobody takes any more.
fn carry(
    items: &Receiver<Item>,
    dropped: &AtomicU64,
    write: &mut impl FnMut(&str) -> io::Result<()>,
) -> io::Result<()> {
    for item in items {
        match item {
            Item::Line(mut line) => {
                line.push('\n');
                write(&line)?;
            }
            Item::Flush(done) => drop(done.try_send(())),
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            write(&format!("({lost} lines were dropped here: the reader was too slow)\n"))?;
        }
    }
    Ok(())
}

/// Writes data.
pub fn stdout(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(line.as_bytes())?;
    stdout.flush()
}

/// Writes messages.
pub fn stderr(line: &str) -> io::Result<()> {
    io::stderr().write_all(line.as_bytes())
}

/// Writes above the line that is being typed.
pub fn above_prompt(mut printer: impl ExternalPrinter + Send + 'static) -> impl FnMut(&str) -> io::Result<()> + Send {
    move |line| printer.print(line.to_owned()).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn a_reader_that_does_not_read_blocks_nobody_and_the_loss_is_said() {
        let (go, gate) = channel::<()>();
        let (out, read) = channel::<String>();
        let (entered, first) = channel::<()>();
        let write = move |line: &str| {
            let _ = entered.send(());
            let _ = gate.recv();
            out.send(line.to_owned()).map_err(io::Error::other)
        };
        let lines = Lines::start_with(2, write, || ()).unwrap();
        lines.line("0".into());
        first.recv_timeout(LIMIT).unwrap();
        for i in 1..=10 {
            lines.line(i.to_string());
        }
        drop(go);
        let written: Vec<String> = (0..4).map(|_| read.recv_timeout(LIMIT).unwrap()).collect();
        assert_eq!(written, ["0\n", "(8 lines were dropped here: the reader was too slow)\n", "1\n", "2\n"]);
    }

    #[test]
    fn a_reader_that_went_away_is_noticed_once_and_nobody_waits_for_it() {
        let (told, closed) = channel();
        let lines =
            Lines::start_with(2, |_: &str| Err(io::ErrorKind::BrokenPipe.into()), move || told.send(()).unwrap())
                .unwrap();
        lines.line("x".into());
        closed.recv_timeout(LIMIT).unwrap();
        for _ in 0..100 {
            lines.line("y".into());
        }
        let start = Instant::now();
        lines.flush(LIMIT);
        assert!(start.elapsed() < LIMIT);
    }
}
