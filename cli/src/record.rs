//! The file of a journal, written by a thread of its own.
//!
//! A disk may block whoever writes to it, and that must never be the loop that serves everybody. So what is recorded
//! goes through a bounded queue. If the disk fails or is too slow, the recording stops with one line in the log; the
//! server goes on.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use enishi_core::journal::Sink;

/// What waits for the disk at most, in bytes and in pieces.
const QUEUE_BYTES: usize = 64 << 20;
const QUEUE_PIECES: usize = 1 << 16;

/// What was recorded longer ago has left the program, so that even `kill -9` loses no more.
const FLUSH: Duration = Duration::from_secs(1);

/// The near end of the queue.
#[derive(Debug)]
pub struct Tape {
    /// `None`: the recording has stopped.
    queue: Option<SyncSender<Vec<u8>>>,
    waiting: Arc<AtomicUsize>,
    path: PathBuf,
}

/// The far end: closes once all is written and the tape is dropped.
#[derive(Debug)]
pub struct Recording(Receiver<()>);

/// Begins a new file that only its owner can read.
///
/// # Errors
/// The file exists, or cannot be made; or there can be no further thread.
pub fn start(path: &Path) -> anyhow::Result<(Tape, Recording)> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
        let shown = path.display();
        match error.kind() {
            io::ErrorKind::AlreadyExists => anyhow!("{shown} exists, and a recording replaces no file; choose another"),
            _ => anyhow!("cannot record to {shown}: {error}; try a folder that you can write to"),
        }
    })?;
    start_with(path, BufWriter::new(file))
}

fn start_with<W: Write + Send + 'static>(path: &Path, mut file: W) -> anyhow::Result<(Tape, Recording)> {
    let (queue, pieces) = sync_channel::<Vec<u8>>(QUEUE_PIECES);
    let (done, recording) = sync_channel(1);
    let waiting = Arc::new(AtomicUsize::new(0));
    let (path, count) = (path.to_owned(), Arc::clone(&waiting));
    let shown = path.display().to_string();
    let write = move || {
        if let Err(error) = carry(&pieces, &count, &mut file) {
            tracing::warn!("recording to {shown} stopped: {error}; the server goes on");
        }
        // In this order: who has waited for the end finds nobody who takes more.
        drop(pieces);
        drop(done);
    };
    thread::Builder::new().name("recording".into()).spawn(write).context("cannot start a thread")?;
    Ok((Tape { queue: Some(queue), waiting, path }, Recording(recording)))
}

impl Sink for Tape {
    fn put(&mut self, bytes: Vec<u8>) {
        let Some(queue) = &self.queue else { return };
        let length = bytes.len();
        let waiting = self.waiting.fetch_add(length, Ordering::Relaxed).saturating_add(length);
        let sent = if waiting > QUEUE_BYTES { Err(TrySendError::Full(bytes)) } else { queue.try_send(bytes) };
        match sent {
            Ok(()) => return,
            Err(TrySendError::Full(_)) => {
                let shown = self.path.display();
                tracing::warn!("recording to {shown} stopped: the disk is too slow; the server goes on");
            }
            // The writer has said why.
            Err(TrySendError::Disconnected(_)) => {}
        }
        self.queue = None;
    }
}

impl Recording {
    /// Waits until everything is written, but no longer than `limit`. The tape has to be dropped before.
    pub fn finish(self, limit: Duration) {
        let _ = self.0.recv_timeout(limit);
    }
}

/// Writes what comes, and lets it out of the program when nothing more waits, or after a while.
fn carry(pieces: &Receiver<Vec<u8>>, waiting: &AtomicUsize, file: &mut impl Write) -> io::Result<()> {
    let mut flushed = Instant::now();
    while let Ok(mut piece) = pieces.recv() {
        loop {
            file.write_all(&piece)?;
            waiting.fetch_sub(piece.len(), Ordering::Relaxed);
            if flushed.elapsed() >= FLUSH {
                file.flush()?;
                flushed = Instant::now();
            }
            match pieces.try_recv() {
                Ok(next) => piece = next,
                Err(_) => break,
            }
        }
        file.flush()?;
        flushed = Instant::now();
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};

    const LIMIT: Duration = Duration::from_secs(10);

    /// A disk that takes what it gets once the gate is open, and tells.
    struct Disk {
        gate: Receiver<()>,
        taken: Sender<Vec<u8>>,
        broken: bool,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.gate.recv();
            let _ = self.taken.send(bytes.to_vec());
            if self.broken { Err(io::ErrorKind::StorageFull.into()) } else { Ok(bytes.len()) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn disk(broken: bool) -> (Sender<()>, Receiver<Vec<u8>>, Disk) {
        let (open, gate) = channel();
        let (taken, written) = channel();
        (open, written, Disk { gate, taken, broken })
    }

    #[test]
    fn a_slow_disk_stops_the_recording_and_nobody_waits() {
        let (open, written, disk) = disk(false);
        let (mut tape, recording) = start_with(Path::new("x"), disk).unwrap();
        let started = Instant::now();
        for number in 0..=64u8 {
            tape.put(vec![number; 1 << 20]);
        }
        assert!(tape.queue.is_none() && started.elapsed() < LIMIT);
        // What was taken on is written in order, and nothing after the gap.
        tape.put(vec![99]);
        drop(open);
        drop(tape);
        recording.finish(LIMIT);
        let pieces: Vec<u8> = written.try_iter().map(|piece| piece[0]).collect();
        assert_eq!(pieces, (0..64).collect::<Vec<u8>>());
    }

    #[test]
    fn a_full_disk_stops_the_recording() {
        let (open, written, disk) = disk(true);
        let (mut tape, recording) = start_with(Path::new("x"), disk).unwrap();
        drop(open);
        tape.put(vec![1]);
        recording.finish(LIMIT);
        tape.put(vec![2]);
        assert!(tape.queue.is_none());
        assert_eq!(written.try_iter().collect::<Vec<_>>(), [[1]]);
    }
}
