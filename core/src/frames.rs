//! WebSocket messages that arrive in one frame, read where they stand (RFC 6455, 5.2).
//!
//! That is nearly every message there is. The drivers' WebSocket library would copy such a frame into a buffer of its
//! own first, which costs time for every message and memory for every connection. Everything else is left to the library
//! and its judgement: control frames, fragments, and whatever is against the rules. It gets whole frames only, so it
//! keeps nothing between two of them but the fragments of a message.

use bytes::Bytes;
use tungstenite::Utf8Bytes;

use crate::machine::{Frame, FrameFault};

const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
/// From here on an opcode is a control frame's.
const CONTROL: u8 = 8;
const MASKED: u8 = 0x80;

/// The frames of one remote.
#[derive(Debug)]
pub struct Frames {
    /// Whether the remote is a client, which masks.
    masked: bool,
    max_message_bytes: usize,
    /// A message in several frames has begun.
    fragmented: bool,
}

/// What some bytes begin with.
#[derive(Debug, PartialEq, Eq)]
pub enum Begin {
    /// A part of a frame. At least so many bytes are missing.
    Part(usize),
    /// A message, or one whose text is not UTF-8, and how many bytes it takes up.
    Message(Result<Frame, FrameFault>, usize),
    /// So many bytes are for the library: a whole frame, or all that there is, if it will refuse its head.
    Other(usize),
}

impl Frames {
    /// Of clients (`masked`) or of servers. A message longer than the bound is left to the library to refuse.
    pub fn new(masked: bool, max_message_bytes: usize) -> Self {
        Frames { masked, max_message_bytes, fragmented: false }
    }

    /// Whether a message in several frames has begun and not ended: the library keeps its beginning.
    pub fn is_amid_message(&self) -> bool {
        self.fragmented
    }

    /// The bound for a message.
    pub fn max_message_bytes(&self) -> usize {
        self.max_message_bytes
    }

    /// What `bytes` begin with, which has to be the beginning of a frame. The next call is for what follows.
    pub fn begin(&mut self, bytes: &[u8]) -> Begin {
        let [first, second, rest @ ..] = bytes else { return Begin::Part(2 - bytes.len()) };
        let extra = match second & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask_bytes = if second & MASKED == 0 { 0 } else { 4 };
        let head = 2 + extra + mask_bytes;
        if bytes.len() < head {
            return Begin::Part(head - bytes.len());
        }
        let (length, rest) = rest.split_at(extra);
        let payload_bytes = match length {
            [] => usize::from(second & !MASKED),
            bytes => bytes.iter().fold(0, |length: usize, byte| length.saturating_mul(256) | usize::from(*byte)),
        };
        let opcode = first & OPCODE;
        let is_known = opcode <= BINARY || (CONTROL..=CONTROL + 2).contains(&opcode);
        if payload_bytes > self.max_message_bytes || !is_known {
            return Begin::Other(bytes.len());
        }
        let (mask, payload) = rest.split_at(mask_bytes);
        let Some(payload) = payload.get(..payload_bytes) else { return Begin::Part(payload_bytes - payload.len()) };
        let whole = head + payload_bytes;
        let is_alone = first & (FINAL | RESERVED) == FINAL && !self.fragmented && self.masked != mask.is_empty();
        match opcode {
            TEXT | BINARY if is_alone => {
                let payload = unmasked(payload, mask);
                let message = if opcode == BINARY { Ok(Frame::Binary(payload)) } else { text(payload) };
                return Begin::Message(message, whole);
            }
            CONTINUATION | TEXT | BINARY => self.fragmented = first & FINAL == 0,
            _ => {}
        }
        Begin::Other(whole)
    }
}

fn text(payload: Bytes) -> Result<Frame, FrameFault> {
    Utf8Bytes::try_from(payload).map(Frame::Text).map_err(|_| FrameFault::NotUtf8)
}

/// A copy without the mask, which is four bytes or none.
fn unmasked(payload: &[u8], mask: &[u8]) -> Bytes {
    let mut payload = payload.to_vec();
    if let [a, b, c, d] = *mask {
        let twice = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        let (eights, rest) = payload.as_chunks_mut::<8>();
        for eight in eights {
            *eight = (u64::from_ne_bytes(*eight) ^ twice).to_ne_bytes();
        }
        rest.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    }
    payload.into()
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Result, Write};

    use proptest::prelude::*;
    use tungstenite::Error;
    use tungstenite::protocol::frame::Frame as Wire;
    use tungstenite::protocol::frame::coding::{Data, OpCode};
    use tungstenite::protocol::{Message, Role, WebSocketConfig, WebSocketContext};

    use super::*;

    const LIMIT: usize = 300;

    struct Pipe<'a>(&'a [u8]);

    impl Read for Pipe<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
            if self.0.is_empty() { Err(ErrorKind::WouldBlock.into()) } else { self.0.read(buffer) }
        }
    }

    impl Write for Pipe<'_> {
        fn write(&mut self, bytes: &[u8]) -> Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    fn library(role: Role) -> WebSocketContext {
        let config = WebSocketConfig::default().max_message_size(Some(LIMIT)).max_frame_size(Some(LIMIT));
        WebSocketContext::new(role, Some(config))
    }

    /// The messages that the library finds. `false`: then it refuses the stream.
    fn read(context: &mut WebSocketContext, bytes: &[u8], messages: &mut Vec<Message>) -> bool {
        let mut pipe = Pipe(bytes);
        loop {
            match context.read(&mut pipe) {
                Ok(message) => messages.push(message),
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
    }

    /// What we and the library together make of a stream that arrives in pieces.
    fn together(role: Role, stream: &[u8], pieces: &[usize]) -> (Vec<Message>, bool) {
        let (mut context, mut frames) = (library(role), Frames::new(role == Role::Server, LIMIT));
        let (mut messages, mut pieces) = (Vec::new(), pieces.iter().cycle());
        let (mut from, mut to) = (0, 0);
        loop {
            match frames.begin(&stream[from..to]) {
                Begin::Part(missing) => {
                    assert!(missing > 0);
                    if to == stream.len() {
                        return (messages, true);
                    }
                    to = stream.len().min(to + pieces.next().unwrap());
                }
                Begin::Message(Err(_), _) => return (messages, false),
                Begin::Message(Ok(frame), whole) => {
                    from += whole;
                    messages.push(match frame {
                        Frame::Text(text) => Message::Text(text),
                        Frame::Binary(bytes) => Message::Binary(bytes),
                        Frame::Ping | Frame::Pong => panic!("control frames are the library's"),
                    });
                }
                Begin::Other(whole) => {
                    if !read(&mut context, &stream[from..from + whole], &mut messages) {
                        return (messages, false);
                    }
                    from += whole;
                }
            }
        }
    }

    fn agrees(role: Role, stream: &[u8], pieces: &[usize]) {
        let mut messages = Vec::new();
        let taken = read(&mut library(role), stream, &mut messages);
        assert_eq!(together(role, stream, pieces), (messages, taken), "{role:?} {stream:?} in {pieces:?}");
    }

    fn bytes(payload: &[u8], opcode: u8, bits: u8, mask: Option<[u8; 4]>) -> Vec<u8> {
        let mut frame = Wire::message(payload.to_vec(), OpCode::Data(Data::Binary), true);
        frame.header_mut().mask = mask;
        let mut bytes = Vec::new();
        frame.format(&mut bytes).unwrap();
        bytes[0] = opcode | bits;
        bytes
    }

    #[test]
    fn a_message_is_taken_whole_at_every_length() {
        for (length, mask) in (0..LIMIT + 2).flat_map(|length| [(length, None), (length, Some([1, 2, 3, 255]))]) {
            let text: Vec<u8> = (b'a'..=b'z').cycle().take(length).collect();
            let stream = [bytes(&text, TEXT, FINAL, mask), bytes(&text, BINARY, FINAL, mask)].concat();
            let role = if mask.is_some() { Role::Server } else { Role::Client };
            for piece in [1, 3, 1000] {
                agrees(role, &stream, &[piece]);
            }
        }
    }

    #[test]
    fn an_idle_reader_wants_two_bytes_and_a_lie_about_length_is_refused_by_its_head() {
        assert_eq!(Frames::new(true, LIMIT).begin(&[]), Begin::Part(2));
        let head = [FINAL | TEXT, MASKED | 127, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0];
        assert_eq!(Frames::new(true, LIMIT).begin(&head), Begin::Other(14));
        assert_eq!(Frames::new(true, LIMIT).begin(&head[..9]), Begin::Part(5));
    }

    fn frame() -> impl Strategy<Value = Vec<u8>> {
        let payload = prop_oneof![
            3 => "[a-z]{0,200}".prop_map(String::into_bytes),
            1 => ".{0,100}".prop_map(String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 0..LIMIT + 5),
        ];
        let opcode = prop_oneof![4 => 0..3_u8, 2 => 8..11_u8, 1 => 0..16_u8];
        let bits = prop_oneof![4 => Just(FINAL), 2 => Just(0), 1 => (0..16_u8).prop_map(|bits| bits << 4)];
        let mask = prop_oneof![8 => any::<[u8; 4]>().prop_map(Some), 1 => Just(None)];
        (payload, opcode, bits, mask).prop_map(|(payload, opcode, bits, mask)| bytes(&payload, opcode, bits, mask))
    }

    proptest! {
        #[test]
        fn together_we_read_what_the_library_reads_alone(
            frames in prop::collection::vec(frame(), 0..8),
            pieces in prop::collection::vec(1..200_usize, 1..5),
        ) {
            let stream = frames.concat();
            agrees(Role::Server, &stream, &pieces);
            agrees(Role::Client, &stream, &pieces);
        }
    }
}
