//! What is sent: signals of a real one's size, each with a mark that tells who sent it and as which one.
//!
//! The mark is plain letters and digits, which no JSON has to escape. So a frame is encoded once, and for each message
//! only the digits in it are written anew. Where a dialect wraps signals in base64, each is encoded and decoded by itself.

use std::fmt::Write as _;

use enishi_core::machine::Frame;
use enishi_core::signal::{Candidate, Signal};
use tungstenite::protocol::frame::Frame as Wire;
use tungstenite::protocol::frame::coding::{Data, OpCode};

/// The mark: this word, who, which.
const WORD: &str = "nr";
const SENDER_DIGITS: usize = 6;
const NUMBER_DIGITS: usize = 10;
const MARK_BYTES: usize = WORD.len() + SENDER_DIGITS + NUMBER_DIGITS;

/// Of all frames. The kernel does not read it, and servers undo it whatever it is.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A data channel's description, as a browser writes it.
const HEAD: &str = "\r\nt=0 0\r\na=group:BUNDLE 0\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n\
    m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:EsAw\r\n\
    a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\na=ice-options:trickle\r\na=fingerprint:sha-256 \
    D2:FA:0E:C3:22:59:5E:14:95:69:92:3D:13:B4:84:24:2C:C2:A2:C0:3E:FD:34:8E:5E:EA:6F:AF:52:CE:E6:0F\r\n\
    a=setup:actpass\r\na=mid:0\r\na=sctp-port:5000\r\na=max-message-size:262144\r\n";

/// What kind of signals a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Payload {
    /// Session descriptions
    Sdp,
    /// ICE candidates of some 200 bytes
    Candidate,
}

/// Who sent a message, and as which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub sender: usize,
    pub number: u64,
}

impl Mark {
    fn text(self) -> String {
        format!("{WORD}{:0SENDER_DIGITS$}{:0NUMBER_DIGITS$}", self.sender, self.number)
    }

    /// Finds a mark. `hint` is where the last one was, and is moved to where this one is.
    pub fn find(bytes: &[u8], hint: &mut usize) -> Option<Mark> {
        if let Some(mark) = Mark::at(bytes, *hint) {
            return Some(mark);
        }
        let word = WORD.as_bytes();
        for (at, window) in bytes.windows(word.len()).enumerate() {
            if window == word
                && let Some(mark) = Mark::at(bytes, at)
            {
                *hint = at;
                return Some(mark);
            }
        }
        None
    }

    fn at(bytes: &[u8], at: usize) -> Option<Mark> {
        let rest = bytes.get(at..at + MARK_BYTES)?.strip_prefix(WORD.as_bytes())?;
        let (sender, number) = rest.split_at(SENDER_DIGITS);
        Some(Mark { sender: decimal(sender)? as usize, number: decimal(number)? })
    }

    /// The mark in a decoded signal.
    pub fn of(signal: &Signal) -> Option<Mark> {
        let text = match signal {
            Signal::Offer { sdp } | Signal::Answer { sdp } => sdp,
            Signal::Candidate(candidate) => &candidate.candidate,
            _ => return None,
        };
        Mark::find(text.as_bytes(), &mut 0)
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0')))
}

/// A description of about `bytes` bytes.
fn sdp(mark: Mark, bytes: usize) -> String {
    let mut text = format!("v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns={}{HEAD}", mark.text());
    let mut port = 50_000;
    while text.len() < bytes {
        let _ = write!(
            text,
            "a=candidate:842163049 1 udp 1677729535 203.0.113.7 {port} typ srflx raddr 0.0.0.0 rport 0\r\n"
        );
        port += 1;
    }
    // The last line may be cut short: nobody on the way reads it.
    text.truncate(bytes.max(HEAD.len() + 80));
    text
}

fn candidate(mark: Mark) -> Candidate {
    Candidate {
        candidate: format!(
            "candidate:842163049 1 udp 1677729535 203.0.113.7 50000 typ srflx raddr 192.168.1.7 rport 50000 generation 0 ufrag {}",
            mark.text()
        ),
        sdp_mid: Some("0".into()),
        sdp_m_line_index: Some(0),
        username_fragment: Some("EsAw".into()),
    }
}

/// One message of a client's script.
pub fn signal(payload: Payload, offers: bool, mark: Mark, bytes: usize) -> Signal {
    match payload {
        Payload::Candidate => Signal::Candidate(candidate(mark)),
        Payload::Sdp if offers => Signal::Offer { sdp: sdp(mark, bytes) },
        Payload::Sdp => Signal::Answer { sdp: sdp(mark, bytes) },
    }
}

/// A frame as it goes to the socket, in which only the number changes.
#[derive(Debug, Clone)]
pub struct Template {
    bytes: Vec<u8>,
    digits: usize,
    payload: usize,
}

impl Template {
    /// From a frame with a mark. `None` if it does not stand there in plain.
    pub fn new(frame: &Frame) -> Option<Template> {
        let text = match frame {
            Frame::Text(text) => text.as_bytes(),
            Frame::Binary(bytes) => bytes,
            Frame::Ping | Frame::Pong => return None,
        };
        let mut at = 0;
        Mark::find(text, &mut at)?;
        let bytes = wire(frame);
        let payload = bytes.len() - frame.len();
        Some(Template { digits: payload + at + WORD.len() + SENDER_DIGITS, bytes, payload })
    }

    /// The frame as message `number`.
    pub fn stamp(&mut self, number: u64) -> &[u8] {
        let mut rest = number;
        for place in (self.digits..self.digits + NUMBER_DIGITS).rev() {
            self.bytes[place] = (b'0' + (rest % 10) as u8) ^ MASK[(place - self.payload) % 4];
            rest /= 10;
        }
        &self.bytes
    }
}

/// A client's frame, masked (RFC 6455, 5.3).
pub fn wire(frame: &Frame) -> Vec<u8> {
    let mut wire = match frame {
        Frame::Text(text) => Wire::message(text.clone(), OpCode::Data(Data::Text), true),
        Frame::Binary(bytes) => Wire::message(bytes.clone(), OpCode::Data(Data::Binary), true),
        Frame::Ping => Wire::ping(Vec::new()),
        Frame::Pong => Wire::pong(Vec::new()),
    };
    wire.header_mut().mask = Some(MASK);
    let mut bytes = Vec::new();
    // Writing to a Vec does not fail.
    let _ = wire.format(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_again() {
        for (payload, offers) in [(Payload::Sdp, true), (Payload::Sdp, false), (Payload::Candidate, true)] {
            let mark = Mark { sender: 17, number: 12_345 };
            assert_eq!(Mark::of(&signal(payload, offers, mark, 2048)), Some(mark));
        }
        assert_eq!(Mark::find(b"nr00000n nr0000010000000002", &mut 3), Some(Mark { sender: 1, number: 2 }));
        assert_eq!(Mark::find(b"nr000001", &mut 0), None);
    }

    #[test]
    fn a_description_has_the_size_that_was_asked_for() {
        let Signal::Offer { sdp } = signal(Payload::Sdp, true, Mark { sender: 0, number: 0 }, 2048) else { panic!() };
        assert_eq!(sdp.len(), 2048);
    }

    #[test]
    fn a_stamped_frame_unmasks_to_the_number() {
        let frame = Frame::text(format!("{{\"sdp\":\"{}\"}}", sdp(Mark { sender: 3, number: 0 }, 2048)));
        let mut template = Template::new(&frame).unwrap();
        for number in [0, 7, 9_999_999_999] {
            let bytes = template.stamp(number);
            let payload = &bytes[bytes.len() - frame.len()..];
            let plain: Vec<u8> = payload.iter().enumerate().map(|(at, byte)| byte ^ MASK[at % 4]).collect();
            assert_eq!(Mark::find(&plain, &mut 0), Some(Mark { sender: 3, number }));
        }
    }
}
