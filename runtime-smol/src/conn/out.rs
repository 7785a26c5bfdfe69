//! What waits to be written.

use std::collections::VecDeque;
use std::mem;

use enishi_core::limits::DRIVER_WAITING_BYTES;
use enishi_core::machine::Frame;

use super::talk::Talk;

/// Bytes after which a batch is written before more is added: the grain of the credit that the machine gets.
const BATCH_BYTES: usize = 16 * 1024;

/// What a message that waits counts beside its payload.
const FRAME_BYTES: usize = 64;

/// The capacity of the buffer that is lent to whoever writes. One that had to grow is not kept.
const SPARE_BYTES: usize = 2 * BATCH_BYTES;

/// Messages that wait, as they are shared with other receivers, and the batch of them that is being written.
#[derive(Debug, Default)]
pub(super) struct Out {
    /// The first that waits. There is seldom another, and a queue would be memory to fetch for every message.
    first: Option<Frame>,
    behind: VecDeque<Frame>,
    /// What these count together.
    weight: usize,
    /// The batch, from `written` on. An idle connection has no buffer for it.
    pub(super) bytes: Vec<u8>,
    written: usize,
    /// Messages and payload bytes in the batch.
    batch: (usize, usize),
    /// Messages and payload bytes that the kernel took, and that are not told.
    sent: (usize, usize),
}

/// More than [`DRIVER_WAITING_BYTES`] would wait.
pub(super) struct Full;

/// The buffer for one batch, lent while it is written. It is there from the start: kept from a busy moment, it would lie
/// above what connections bring, and pin it when they are gone.
#[derive(Debug)]
pub(crate) struct Spare(Vec<u8>);

impl Spare {
    pub(crate) fn new() -> Self {
        Spare(Vec::with_capacity(SPARE_BYTES))
    }

    fn lend(&mut self) -> Vec<u8> {
        match self.0.capacity() {
            0 => Vec::with_capacity(SPARE_BYTES),
            _ => mem::take(&mut self.0),
        }
    }

    fn take_back(&mut self, mut buffer: Vec<u8>) {
        if self.0.capacity() == 0 && buffer.capacity() == SPARE_BYTES {
            buffer.clear();
            self.0 = buffer;
        }
    }
}

impl Out {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.first.is_none()
    }

    /// Queues a message.
    pub(super) fn push(&mut self, frame: Frame) -> Result<(), Full> {
        self.weight += frame.len() + FRAME_BYTES;
        if self.weight > DRIVER_WAITING_BYTES {
            return Err(Full);
        }
        match &self.first {
            None => self.first = Some(frame),
            Some(_) => self.behind.push_back(frame),
        }
        Ok(())
    }

    /// Adds messages to the batch until it is full, in the `spare` buffer if there is none here.
    pub(super) fn fill(&mut self, talk: &mut Talk, spare: &mut Spare) {
        if self.bytes.capacity() == 0 && self.first.is_some() {
            self.bytes = spare.lend();
        }
        while self.bytes.len() < BATCH_BYTES && self.add(talk) {}
    }

    /// Adds all messages to the batch: what comes behind them is not a message.
    pub(super) fn fill_all(&mut self, talk: &mut Talk) {
        while self.add(talk) {}
    }

    fn add(&mut self, talk: &mut Talk) -> bool {
        let Some(frame) = self.first.take() else { return false };
        self.first = self.behind.pop_front();
        if self.first.is_none() {
            self.behind = VecDeque::new();
        }
        self.weight -= frame.len() + FRAME_BYTES;
        if let Frame::Text(_) | Frame::Binary(_) = frame {
            self.batch.0 += 1;
            self.batch.1 += frame.len();
        }
        talk.write(frame, &mut self.bytes);
        true
    }

    /// What of the batch the kernel does not have.
    pub(super) fn pending(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// The kernel took `len` bytes. With the last of a batch its messages are sent, and its buffer is for others.
    pub(super) fn taken(&mut self, len: usize, spare: &mut Spare) {
        self.written += len;
        if self.written < self.bytes.len() {
            return;
        }
        let (messages, len) = mem::take(&mut self.batch);
        self.sent = (self.sent.0 + messages, self.sent.1 + len);
        self.written = 0;
        spare.take_back(mem::take(&mut self.bytes));
    }

    /// Messages and payload bytes that left since the last call, if any.
    pub(super) fn take_sent(&mut self) -> Option<(usize, usize)> {
        let sent = mem::take(&mut self.sent);
        (sent.0 > 0).then_some(sent)
    }
}

#[cfg(test)]
mod tests {
    use tungstenite::protocol::Role;

    use super::*;

    #[test]
    fn a_batch_is_credited_with_its_last_byte_and_gives_the_buffer_back() {
        let (mut out, mut talk, mut spare) = (Out::default(), Talk::new(Role::Server, 1000), Spare::new());
        for _ in 0..3 {
            assert!(out.push(Frame::text("a".repeat(BATCH_BYTES / 2))).is_ok());
        }
        out.fill(&mut talk, &mut spare);
        let first = out.pending().len();
        assert!((BATCH_BYTES..2 * BATCH_BYTES).contains(&first), "two of three: {first}");
        out.taken(first - 1, &mut spare);
        assert_eq!((out.take_sent(), out.pending().len()), (None, 1));
        out.taken(1, &mut spare);
        assert_eq!(out.take_sent(), Some((2, BATCH_BYTES)));
        out.fill(&mut talk, &mut spare);
        out.taken(out.pending().len(), &mut spare);
        assert_eq!(out.take_sent(), Some((1, BATCH_BYTES / 2)));
        assert!(out.is_empty() && out.bytes.capacity() == 0 && spare.0.capacity() == SPARE_BYTES);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut out = Out::default();
        let piece = Frame::text("a".repeat(1024 * 1024));
        let taken = (0..100).take_while(|_| out.push(piece.clone()).is_ok()).count();
        assert_eq!(taken, DRIVER_WAITING_BYTES / (1024 * 1024) - 1);
    }
}
