//! The bytes of a connection that wait for the kernel, and the memory stream that tungstenite sees.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::mem;

/// With more than this waiting, pings are not answered: RFC 6455, 5.5.3 asks for the most recent one only, and who
/// pings without reading must not fill our memory.
const PONG_BACKLOG_BYTES: usize = 64 * 1024;

/// A buffer's capacity. One that had to grow is not kept.
const SPARE_BYTES: usize = 4 * 1024;

/// Buffers that are kept: as many connections have something to send at once in a busy turn.
const SPARES: usize = 64;

/// Buffers that no connection needs now. A connection has one only while something waits in it, so that an idle one
/// keeps none, and a message costs no allocation.
pub(crate) struct Spares(Vec<Vec<u8>>);

impl Spares {
    /// All of them, from the start: what is kept and asked for later would lie above what connections bring, and pin it
    /// when they are gone.
    pub(crate) fn new() -> Self {
        Spares((0..SPARES).map(|_| Vec::with_capacity(SPARE_BYTES)).collect())
    }
}

/// Bytes that wait for the kernel, and where the messages in them end.
#[derive(Default)]
pub(super) struct Out {
    pub(super) bytes: Vec<u8>,
    /// How many of them the kernel has.
    start: usize,
    /// How many bytes the kernel has had before `bytes`.
    past: u64,
    /// Per message: the position of its end since the beginning, and the length of its payload.
    marks: VecDeque<(u64, usize)>,
    /// Messages, and payload bytes of them, that left and are not told.
    pub(super) sent: (usize, usize),
}

impl Out {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes room for `len` bytes, in a buffer of `spares` if there is none here.
    pub(super) fn reserve(&mut self, len: usize, spares: &mut Spares) {
        if self.bytes.capacity() == 0 {
            self.bytes = spares.0.pop().unwrap_or_else(|| Vec::with_capacity(SPARE_BYTES));
        }
        self.bytes.reserve(len);
    }

    /// Gives the buffer away if nothing waits in it.
    pub(super) fn release(&mut self, spares: &mut Spares) {
        if self.bytes.is_empty() && self.bytes.capacity() > 0 {
            let buffer = mem::take(&mut self.bytes);
            if buffer.capacity() == SPARE_BYTES && spares.0.len() < SPARES {
                spares.0.push(buffer);
            }
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// A message ends here.
    pub(super) fn mark(&mut self, len: usize) {
        self.marks.push_back((self.past + self.bytes.len() as u64, len));
    }

    pub(super) fn pending(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// The kernel took `len` bytes.
    pub(super) fn taken(&mut self, len: usize) {
        self.start += len;
        let reached = self.past + self.start as u64;
        while let Some(&(end, len)) = self.marks.front() {
            if end > reached {
                break;
            }
            self.marks.pop_front();
            self.sent.0 += 1;
            self.sent.1 += len;
        }
        if self.is_empty() || self.start > self.len() {
            self.past = reached;
            self.bytes.drain(..mem::take(&mut self.start));
        }
    }
}

/// The stream that tungstenite sees: a chunk in memory to read, [`Out`] to write. Never blocks on writing.
pub(super) struct Pipe<'p, 'b> {
    pub(super) input: &'p mut &'b [u8],
    pub(super) out: &'p mut Out,
    /// Whether only replies to control frames are written, which may be dropped when much is waiting.
    pub(super) replying: bool,
}

impl Read for Pipe<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.read(buffer)
    }
}

impl Write for Pipe<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.replying || self.out.len() <= PONG_BACKLOG_BYTES {
            self.out.push(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_counts_as_sent_with_its_last_byte() {
        let mut out = Out::default();
        for len in [3, 0, 5000] {
            out.push(&vec![0; len + 2]);
            out.mark(len);
        }
        for (taken, sent) in [(4, (0, 0)), (1, (1, 3)), (2, (2, 3)), (5001, (2, 3)), (1, (3, 5003))] {
            out.taken(taken);
            assert_eq!(out.sent, sent);
        }
        let mut spares = Spares::new();
        out.release(&mut spares);
        assert!(out.is_empty() && out.bytes.capacity() == 0 && spares.0.len() == SPARES);
        out.reserve(1, &mut spares);
        assert_eq!((out.bytes.capacity(), spares.0.len()), (SPARE_BYTES, SPARES - 1));
        out.release(&mut spares);
        assert_eq!(spares.0.len(), SPARES);
    }

    #[test]
    fn replies_do_not_pile_up() {
        let mut out = Out::default();
        let mut pipe = Pipe { input: &mut &[][..], out: &mut out, replying: true };
        for _ in 0..100_000 {
            pipe.write_all(&[0; 127]).unwrap();
        }
        assert!(out.len() < PONG_BACKLOG_BYTES + 128);
    }
}
