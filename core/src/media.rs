//! Sound and picture as data: encoded frames, their containers, codecs and generators.
//!
//! Everything here is computation on bytes. Files are read and written by the driver, tracks are carried by
//! [`crate::peer`], and when a frame is due is decided by [`crate::agent`].

pub mod detect;
mod feed;
pub mod ivf;
pub mod jitter;
pub mod muxer;
pub mod ogg;
pub mod opus;
pub mod pattern;
pub mod resample;
pub mod source;
pub mod tone;
pub mod vp8;
pub mod wav;
pub mod webm;

#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::Bytes;

pub use self::feed::Read;
pub use self::muxer::{Container, Muxer, Write};
pub use self::pattern::Pattern;
pub use self::source::{Next, Source, SourceSpec};

/// What a track carries to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Sound.
    Audio,
    /// Picture.
    Video,
}

impl Kind {
    /// Its name in SDP (RFC 8866, 5.14) and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Audio => "audio",
            Kind::Video => "video",
        }
    }

    /// The only codec of that kind here.
    pub fn codec(self) -> Codec {
        match self {
            Kind::Audio => Codec::Opus,
            Kind::Video => Codec::Vp8,
        }
    }
}

/// How frames are encoded: the two that every WebRTC endpoint has (RFC 7874, 3; RFC 7742, 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Codec {
    /// RFC 6716; 48 kHz, one or two channels.
    Opus,
    /// RFC 6386.
    Vp8,
}

impl Codec {
    /// Its encoding name in SDP (RFC 7587, RFC 7741).
    pub fn name(self) -> &'static str {
        match self {
            Codec::Opus => "opus",
            Codec::Vp8 => "VP8",
        }
    }

    /// The clock rate of its RTP timestamps, in Hz (RFC 7587, 4.1; RFC 7741, 4.1).
    pub fn clock_rate(self) -> u32 {
        match self {
            Codec::Opus => 48_000,
            Codec::Vp8 => 90_000,
        }
    }
}

/// One encoded frame: an Opus packet or a VP8 frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedFrame {
    /// Its encoding.
    pub codec: Codec,
    /// When it is heard or shown, counted from the start of its track. Never goes back within a track.
    pub time: Duration,
    /// Whether decoding can begin here. Always so for Opus.
    pub key: bool,
    /// The payload as the codec defines it, without any packetisation.
    pub data: Bytes,
}

/// How much a source is asked to send. What each means for a source is told at [`Source::set_quality`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quality {
    /// Little: what still gives an impression.
    Low,
    /// Less than everything.
    Medium,
    /// All that the source has.
    High,
}

impl Quality {
    /// All of them, from little to much.
    pub const ALL: [Quality; 3] = [Quality::Low, Quality::Medium, Quality::High];

    /// Its name in statistics and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Quality::Low => "low",
            Quality::Medium => "medium",
            Quality::High => "high",
        }
    }
}

/// Why there is no sound or picture. Each reads after a colon.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// A source that nobody can make: an unknown name, or a file of an unknown kind.
    #[error("{0}")]
    Spec(String),
    /// A source of the other kind than what it was asked for.
    #[error("{source_name} has no {}", .kind.name())]
    Kind {
        /// The source, as it is written.
        source_name: String,
        /// What it was asked for.
        kind: Kind,
    },
    /// A file that is not what its name says, or damaged; a clause says what is wrong where.
    #[error("{0}")]
    File(String),
    /// A codec could not take what it was given; a clause.
    #[error("{0}")]
    Codec(String),
}

/// Calls a codec's or a container's crate. Remote bytes reach these; a panic in there ends the track and nothing else.
fn contained<T>(what: &str, call: impl FnOnce() -> T) -> Result<T, MediaError> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|_| MediaError::Codec(format!("{what} failed on damaged data")))
}
