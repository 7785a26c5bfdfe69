//! What of a connection waits for the kernel, and the memory stream that tungstenite sees.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use tungstenite::Bytes;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::OpCode;

/// With more than this waiting, pings are not answered: RFC 6455, 5.5.3 asks for the most recent one only, and who
/// pings without reading must not fill our memory.
const PONG_BACKLOG_BYTES: usize = 64 * 1024;

/// The most that is given to the kernel at once.
const JOINED_BYTES: usize = 64 * 1024;

/// The longest head of a frame without a mask (RFC 6455, 5.2).
const HEAD_BYTES: usize = 10;

/// Where pieces are put together for the kernel. One for all connections: it stays in the processor's caches.
pub(crate) struct Joined(Vec<u8>);

impl Joined {
    pub(crate) fn new() -> Self {
        Joined(Vec::with_capacity(JOINED_BYTES))
    }
}

/// What waits for the kernel. A message is not copied before it leaves, so that one for 1,000 receivers is in memory once.
#[derive(Default)]
pub(super) struct Out {
    /// Mostly there is one, and it needs no list.
    first: Option<Piece>,
    others: VecDeque<Piece>,
    /// How many bytes of the first piece the kernel has.
    taken: usize,
    waiting: usize,
    /// Messages, and payload bytes of them, that left and are not told.
    pub(super) sent: (usize, usize),
}

struct Piece {
    head: [u8; HEAD_BYTES],
    head_bytes: u8,
    body: Bytes,
    /// The length of the payload, if a message ends here.
    message: Option<usize>,
}

impl Out {
    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Bytes as they are.
    pub(super) fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.add(Piece { head: [0; HEAD_BYTES], head_bytes: 0, body: bytes, message: None });
        }
    }

    /// A whole frame without a mask, which a server sends. `counts`: it is a message, to be told of when it has left.
    pub(super) fn push_frame(&mut self, opcode: OpCode, payload: Bytes, counts: bool) {
        let header = FrameHeader { opcode, ..FrameHeader::default() };
        let (len, mut head) = (payload.len(), [0; HEAD_BYTES]);
        let mut rest = &mut head[..];
        // There is room for the longest.
        let _ = header.format(len as u64, &mut rest);
        let head_bytes = (HEAD_BYTES - rest.len()) as u8;
        self.add(Piece { head, head_bytes, body: payload, message: counts.then_some(len) });
    }

    fn add(&mut self, piece: Piece) {
        self.waiting += piece.len();
        match self.first {
            None => self.first = Some(piece),
            Some(_) => self.others.push_back(piece),
        }
    }

    /// A message ends here. Its payload has `len` bytes.
    pub(super) fn mark(&mut self, len: usize) {
        if let Some(last) = self.others.back_mut().or(self.first.as_mut()) {
            last.message = Some(len);
        }
    }

    /// What waits, as much of it as the kernel is given at once.
    pub(super) fn join<'j>(&self, joined: &'j mut Joined) -> &'j [u8] {
        let Joined(bytes) = joined;
        bytes.clear();
        let mut skipped = self.taken;
        for part in self.first.iter().chain(&self.others).flat_map(Piece::parts) {
            let (skip, room) = (skipped.min(part.len()), JOINED_BYTES - bytes.len());
            skipped -= skip;
            let part = &part[skip..];
            bytes.extend_from_slice(&part[..part.len().min(room)]);
            if part.len() >= room {
                break;
            }
        }
        bytes
    }

    /// The kernel took `len` bytes.
    pub(super) fn taken(&mut self, len: usize) {
        self.taken += len;
        self.waiting -= len;
        while let Some(first) = &self.first
            && first.len() <= self.taken
        {
            self.taken -= first.len();
            if let Some(len) = first.message {
                self.sent.0 += 1;
                self.sent.1 += len;
            }
            self.first = self.others.pop_front();
        }
        if self.others.is_empty() && self.others.capacity() > 0 {
            // An idle connection keeps no memory for it.
            self.others = VecDeque::new();
        }
    }
}

impl Piece {
    fn parts(&self) -> [&[u8]; 2] {
        [&self.head[..usize::from(self.head_bytes)], &self.body]
    }

    fn len(&self) -> usize {
        usize::from(self.head_bytes) + self.body.len()
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
            self.out.push(Bytes::copy_from_slice(bytes));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tungstenite::protocol::frame::Frame;
    use tungstenite::protocol::frame::coding::Data;

    use super::*;

    #[test]
    fn a_message_counts_as_sent_with_its_last_byte() {
        let mut out = Out::default();
        for len in [3, 0, 5000] {
            out.push_frame(OpCode::Data(Data::Text), vec![7; len].into(), true);
        }
        assert_eq!(out.len(), 5 + 2 + 5004);
        for (taken, sent) in [(4, (0, 0)), (1, (1, 3)), (2, (2, 3)), (5003, (2, 3)), (1, (3, 5003))] {
            out.taken(taken);
            assert_eq!(out.sent, sent);
        }
        assert!(out.is_empty() && out.others.capacity() == 0);
    }

    #[test]
    fn what_is_joined_is_the_same_however_little_the_kernel_takes() {
        let messages: Vec<Vec<u8>> = [0, 1, 125, 126, 70_000, 3, JOINED_BYTES].map(|len| vec![len as u8; len]).into();
        let mut whole = Vec::new();
        for message in &messages {
            Frame::message(message.clone(), OpCode::Data(Data::Binary), true).format(&mut whole).unwrap();
        }
        for most in [1, 7, 1000, usize::MAX] {
            let (mut out, mut joined, mut got) = (Out::default(), Joined::new(), Vec::new());
            for message in &messages {
                out.push_frame(OpCode::Data(Data::Binary), message.clone().into(), true);
            }
            while !out.is_empty() {
                // Whole blocks, but for the ends, or a byte at a time would take long.
                let bytes = out.join(&mut joined);
                let len = bytes.len().min(most.max(bytes.len().saturating_sub(100)));
                got.extend_from_slice(&bytes[..len]);
                out.taken(len);
            }
            assert!(got == whole && out.sent.0 == messages.len());
        }
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
