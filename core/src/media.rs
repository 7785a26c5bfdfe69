//! Sound and picture as data: encoded frames, their containers, codecs and generators.
//!
//! Everything here is computation on bytes. Files are read and written by the driver, tracks are carried by
//! [`crate::peer`], and when a frame is due is decided by [`crate::agent`].

use std::time::Duration;

use bytes::Bytes;

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
