//! The input journal: a whole run of a server as data, written while it runs and replayed without sockets.
//!
//! A run is its start (time, seed, configuration) and a list of `(Duration, Input)`. [`Recorded`] is a server that
//! writes that list, [`Replay`] a server that is fed from one and compares what it does.
//!
//! # Format, version 1
//!
//! [`MAGIC`], the version (u16), then frames: a length (u32), a check (u32), and so many bytes. Numbers in frames are
//! LEB128, texts have their length in front, fixed numbers are little-endian. The first frame is the [`Header`]. Each
//! other one begins with a tag: an input with the time since the one before it, what the server did about it
//! ([`Kind`]s and a digest of all outputs so far), or the end. An input is written before it is handled: if handling it
//! ends the program, the journal ends with the culprit.
//!
//! The check covers the frames before it too, so that none can be missing or moved. It and the digest are FNV-1a with
//! 64 bits: against torn writes and bad disks, not against forgers, and small enough to have here. Whatever the bytes
//! are, reading them costs no more memory than they have, and ends at the first one that is wrong: [`End`].
//!
//! # Secrets
//!
//! Without secrets, the journal is that of a double: see [`redact`].

mod config;
mod digest;
mod input;
mod record;
pub mod redact;
mod replay;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;
use std::time::Duration;

use crate::machine::Input;
use crate::server::{ServerCommand, ServerConfig};

pub use digest::Kind;
pub use record::{Recorded, Secrecy, Sink};
pub use replay::{Replay, Step, Verdict};
use wire::{Broken, Reader, Writer, fnv};

/// How every journal begins, whatever its version.
pub const MAGIC: &[u8; 15] = b"enishi journal\n";

/// What this program writes and reads.
pub const VERSION: u16 = 1;

/// No run and no time in a configuration is longer: a bound for hostile journals, so that sums stay in range.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Tags of frames; inputs have theirs in `input.rs`.
const TAG_END: u64 = 0;
const TAG_OUTPUTS: u64 = 1;

/// Where the chain of checks begins.
const FIRST_CHECK: u64 = wire::FNV_START;

/// How a recorded run began.
#[derive(Debug, Clone)]
pub struct Header {
    /// The version of the program that recorded it. Another version may rightly do something else.
    pub program: String,
    /// Whether it is the run of a double ([`redact`]).
    pub redacted: bool,
    /// Unix time at the start.
    pub unix: Duration,
    /// The seed of all that the server invents. In a redacted journal the double's.
    pub seed: [u8; 32],
    /// The configuration.
    pub config: ServerConfig,
}

/// Why bytes are no journal that can be replayed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Something else.
    #[error("this is no journal: it does not begin as `enishi signal --record` writes them")]
    NotAJournal,
    /// Another version's.
    #[error(
        "the journal has version {0} and this program reads version {VERSION}; replay it with the program that wrote it"
    )]
    Version(u16),
    /// Cut or damaged before the first input.
    #[error("the journal's header cannot be read: {0}")]
    Header(Cut),
}

/// Where a journal can be read no further, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Where the frame begins that cannot be read, in bytes from the start of the journal.
    pub offset: usize,
    /// A clause for a person.
    pub why: &'static str,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.why, self.offset)
    }
}

/// How a journal ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// As the server did, in order.
    Whole,
    /// Between two frames: the server was killed, is still running, or could not write any more.
    Open,
    /// Within a frame, or the rest is damaged.
    Cut(Cut),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Whole => f.write_str("the journal is whole"),
            End::Open => f.write_str("the journal stops without an end: the server was killed or still runs"),
            End::Cut(cut) => write!(f, "the journal is cut: {cut}"),
        }
    }
}

/// What a frame after the header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Something happened.
    Input {
        /// When, since the start.
        at: Duration,
        /// What.
        input: Input<'static, ServerCommand>,
    },
    /// What the server did about the input before.
    Outputs {
        /// One a output, in order.
        kinds: Vec<Kind>,
        /// Of all outputs so far and of the next deadline.
        digest: u64,
    },
}

/// A journal of these frames, the header's first, with the right checks: for tests and fuzzing, which would not get past
/// those by chance.
pub fn framed<'a>(bodies: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut frames = Frames { check: FIRST_CHECK, at: Duration::ZERO };
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(bodies.into_iter().flat_map(|body| frames.frame(body.to_vec())));
    bytes
}

/// Writes frames.
#[derive(Debug)]
struct Frames {
    check: u64,
    at: Duration,
}

impl Frames {
    /// Also gives the first bytes of the journal.
    fn start(header: &Header) -> (Self, Vec<u8>) {
        let mut frames = Frames { check: FIRST_CHECK, at: Duration::ZERO };
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        let mut body = Writer::default();
        header.write(&mut body);
        bytes.extend(frames.frame(body.bytes()));
        (frames, bytes)
    }

    fn input(&mut self, at: Duration, input: &Input<'_, ServerCommand>) -> Option<Vec<u8>> {
        let mut body = Writer::default();
        input::write(&mut body, at.saturating_sub(self.at), input)?;
        self.at = at;
        Some(self.frame(body.bytes()))
    }

    fn outputs(&mut self, kinds: &[Kind], digest: u64) -> Vec<u8> {
        let mut body = Writer::default();
        body.number(TAG_OUTPUTS);
        body.fixed(&digest.to_le_bytes());
        kinds.iter().for_each(|kind| kind.write(&mut body));
        self.frame(body.bytes())
    }

    fn end(&mut self) -> Vec<u8> {
        let mut body = Writer::default();
        body.number(TAG_END);
        self.frame(body.bytes())
    }

    fn frame(&mut self, body: Vec<u8>) -> Vec<u8> {
        // What a driver reads of one connection is far shorter.
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
        self.check = fnv(fnv(self.check, &length), &body);
        let mut frame = Vec::with_capacity(body.len().saturating_add(8));
        frame.extend(length);
        frame.extend(fold(self.check).to_le_bytes());
        frame.extend(body);
        frame
    }
}

/// The entries of a journal, one after another, up to its end or the first thing wrong.
#[derive(Debug)]
pub struct Entries<'a> {
    bytes: &'a [u8],
    offset: usize,
    check: u64,
    at: Duration,
    end: Option<End>,
}

impl<'a> Entries<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// It is no journal, of another version, or its header is not whole.
    pub fn open(bytes: &'a [u8]) -> Result<(Header, Self), JournalError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(JournalError::NotAJournal)?;
        let cut = Cut { offset: MAGIC.len(), why: "there is nothing after the first line" };
        let [low, high, ..] = *rest else { return Err(JournalError::Header(cut)) };
        match u16::from_le_bytes([low, high]) {
            VERSION => {}
            other => return Err(JournalError::Version(other)),
        }
        let offset = MAGIC.len().saturating_add(2);
        let mut entries = Entries { bytes, offset, check: FIRST_CHECK, at: Duration::ZERO, end: None };
        let nothing = Cut { offset, why: "there is nothing after the version" };
        let body = entries.frame().map_err(JournalError::Header)?.ok_or(JournalError::Header(nothing))?;
        let mut reader = Reader::new(body);
        let header = Header::read(&mut reader).and_then(|header| reader.finish().map(|()| header));
        let header = header.map_err(|Broken(why)| JournalError::Header(Cut { offset, why }))?;
        Ok((header, entries))
    }

    /// How the journal ended, once [`Entries::next`] has given `None`.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    fn entry(&mut self) -> Result<Entry, End> {
        let offset = self.offset;
        let body = self.frame().map_err(End::Cut)?.ok_or(End::Open)?;
        let mut reader = Reader::new(body);
        let entry = self.understand(&mut reader);
        match entry.and_then(|entry| reader.finish().map(|()| entry)) {
            Ok(Some(entry)) => Ok(entry),
            Ok(None) if self.offset == self.bytes.len() => Err(End::Whole),
            Ok(None) => Err(End::Cut(Cut { offset: self.offset, why: "there is something after the end" })),
            Err(Broken(why)) => Err(End::Cut(Cut { offset, why })),
        }
    }

    /// `None`: the end.
    fn understand(&mut self, reader: &mut Reader<'_>) -> Result<Option<Entry>, Broken> {
        match reader.number()? {
            TAG_END => Ok(None),
            TAG_OUTPUTS => {
                let digest = u64::from_le_bytes(reader.fixed()?);
                let mut kinds = Vec::new();
                while !reader.is_empty() {
                    kinds.push(Kind::read(reader)?);
                }
                Ok(Some(Entry::Outputs { kinds, digest }))
            }
            tag => {
                let (after, input) = input::read(reader, tag)?;
                let at = self.at.checked_add(after).filter(|at| *at <= LONGEST);
                self.at = at.ok_or(Broken("a time out of range"))?;
                Ok(Some(Entry::Input { at: self.at, input }))
            }
        }
    }

    /// The body of the next frame. `None`: there is none.
    fn frame(&mut self) -> Result<Option<&'a [u8]>, Cut> {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let cut = |why| Cut { offset: self.offset, why };
        let torn = cut("a frame that is not whole");
        let (Some((length, after)), true) = (rest.split_first_chunk::<4>(), rest.len() >= 8) else { return Err(torn) };
        let (Some((check, after)), Ok(wanted)) =
            (after.split_first_chunk::<4>(), usize::try_from(u32::from_le_bytes(*length)))
        else {
            return Err(torn);
        };
        let Some(body) = after.get(..wanted) else { return Err(torn) };
        let sum = fnv(fnv(self.check, length), body);
        if fold(sum).to_le_bytes() != *check {
            return Err(cut("a frame whose check is wrong"));
        }
        self.check = sum;
        self.offset = self.offset.saturating_add(8).saturating_add(wanted);
        Ok(Some(body))
    }
}

impl Iterator for Entries<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        if self.end.is_some() {
            return None;
        }
        self.entry().map_err(|end| self.end = Some(end)).ok()
    }
}

/// 64 bits as 32, all of them used.
fn fold(sum: u64) -> u32 {
    (sum ^ (sum >> 32)) as u32
}
