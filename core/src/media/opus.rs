//! Opus (RFC 6716) at 48 kHz.

use std::time::Duration;

use bytes::Bytes;
use ropus::{Application, Bitrate, Channels, DecodeMode, InbandFec};

use crate::limits::SOUND_HOLE;

use super::{MediaError, contained};

/// Samples a second, per channel.
pub const RATE: u32 = 48_000;

/// Samples of one packet of ours, per channel: 20 ms.
pub const FRAME: usize = 960;

/// How long that is.
pub const FRAME_TIME: Duration = Duration::from_millis(20);

/// The longest packet: 120 ms (RFC 6716, 3.1).
pub const LONGEST: usize = 5_760;

/// Samples that a decoder's output lags behind, which a player leaves out at the start (RFC 7845, 4.2).
pub const PRE_SKIP: u16 = 312;

/// How much loss the encoder protects against, in percent: from 9 on it always adds what restores the packet before.
const EXPECTED_LOSS: u8 = 10;

/// What an encoder is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Generated tones: one channel.
    Tone,
    /// Anything: two channels.
    Music,
}

/// Encodes 20 ms at a time.
pub struct Encoder {
    inner: ropus::Encoder,
    channels: usize,
}

impl Encoder {
    /// An encoder that protects against loss. `bitrate` is in bits per second.
    ///
    /// # Errors
    /// The codec does not take it.
    pub fn new(purpose: Use, bitrate: u32) -> Result<Self, MediaError> {
        let (application, channels) = match purpose {
            Use::Tone => (Application::Voip, Channels::Mono),
            Use::Music => (Application::Audio, Channels::Stereo),
        };
        let builder = ropus::Encoder::builder(RATE, channels, application)
            .bitrate(Bitrate::Bits(bitrate))
            .inband_fec(InbandFec::Enabled)
            .packet_loss_perc(EXPECTED_LOSS);
        let inner = contained("the Opus encoder", || builder.build())?
            .map_err(|error| MediaError::Codec(format!("there is no Opus encoder: {error}")))?;
        Ok(Encoder { inner, channels: channels.count() })
    }

    /// Channels of the samples that it takes, interleaved.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Changes its bits per second.
    pub fn set_bitrate(&mut self, bitrate: u32) {
        let _ = self.inner.set_bitrate(Bitrate::Bits(bitrate));
    }

    /// Whether packets help to restore the one before (RFC 6716, 2.1.7); costs about a third of the bits.
    pub fn set_fec(&mut self, on: bool) {
        let _ = self.inner.set_inband_fec(if on { InbandFec::Enabled } else { InbandFec::Disabled });
    }

    /// Encodes [`FRAME`] samples of each channel.
    ///
    /// # Errors
    /// Another number of samples.
    pub fn encode(&mut self, samples: &[i16]) -> Result<Bytes, MediaError> {
        let mut packet = [0; 1_500];
        let len = contained("the Opus encoder", || self.inner.encode(samples, &mut packet))?
            .map_err(|error| MediaError::Codec(format!("the sound cannot be encoded: {error}")))?;
        Ok(Bytes::copy_from_slice(packet.get(..len).unwrap_or_default()))
    }
}

/// Decodes to two channels, and conceals what was lost.
pub struct Decoder {
    inner: ropus::Decoder,
}

impl Decoder {
    /// A decoder that has heard nothing.
    ///
    /// # Errors
    /// The codec does not take it.
    pub fn new() -> Result<Self, MediaError> {
        let inner = contained("the Opus decoder", || ropus::Decoder::new(RATE, Channels::Stereo))?
            .map_err(|error| MediaError::Codec(format!("there is no Opus decoder: {error}")))?;
        Ok(Decoder { inner })
    }

    /// The samples of a packet, left and right in turn.
    ///
    /// # Errors
    /// The packet is damaged. What comes next can be decoded.
    pub fn decode(&mut self, packet: &[u8]) -> Result<Vec<i16>, MediaError> {
        if packet.is_empty() {
            return Err(MediaError::Codec("an Opus packet is empty".into()));
        }
        self.run(packet, LONGEST, DecodeMode::Normal)
    }

    /// Sound in place of what was lost: `samples` per channel, up to 120 ms at once, a multiple of 2.5 ms. If the packet
    /// after it is there, what it says of its predecessor is used.
    ///
    /// # Errors
    /// The codec failed.
    pub fn conceal(&mut self, samples: usize, next: Option<&[u8]>) -> Result<Vec<i16>, MediaError> {
        let samples = (samples / 120 * 120).clamp(120, LONGEST);
        if let Some(next) = next.filter(|next| !next.is_empty())
            && let Ok(restored) = self.run(next, samples, DecodeMode::Fec)
        {
            return Ok(restored);
        }
        self.run(&[], samples, DecodeMode::Normal)
    }

    fn run(&mut self, packet: &[u8], samples: usize, mode: DecodeMode) -> Result<Vec<i16>, MediaError> {
        let mut output = vec![0; samples * 2];
        let decoded = contained("the Opus decoder", || self.inner.decode(packet, &mut output, mode));
        let decoded = match decoded {
            Ok(decoded) => decoded,
            Err(panic) => {
                *self = Decoder::new()?;
                return Err(panic);
            }
        };
        let len = decoded.map_err(|error| MediaError::Codec(format!("the packet is no Opus: {error}")))?;
        output.truncate(len * 2);
        Ok(output)
    }
}

/// How long a packet is, from its first bytes (RFC 6716, 3.1 and 3.2). `None`: it is no Opus packet.
pub fn duration(packet: &[u8]) -> Option<Duration> {
    samples(packet).map(|samples| Duration::from_nanos(samples as u64 * 1_000_000_000 / u64::from(RATE)))
}

/// The same in samples of 48 kHz: 120 to 5760.
pub fn samples(packet: &[u8]) -> Option<usize> {
    let toc = *packet.first()?;
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => usize::from(packet.get(1)? & 63),
    };
    Some(frames * frame_samples(toc)).filter(|samples| (1..=LONGEST).contains(samples))
}

/// The samples of one frame of such a packet.
fn frame_samples(toc: u8) -> usize {
    let config = toc >> 3;
    match config {
        0..12 => [480, 960, 1_920, 2_880][usize::from(config & 3)],
        12..16 => [480, 960][usize::from(config & 1)],
        _ => 120 << (config & 3),
    }
}

/// How many samples are missing between when a packet should be and when it is. None are if that is less than half of
/// it, which is but a clock, or more than [`SOUND_HOLE`], which is a break.
pub(super) fn missing(expected: Duration, time: Duration, packet: usize) -> usize {
    let hole = time.saturating_sub(expected);
    let missing = (hole.as_nanos() * u128::from(RATE) / 1_000_000_000) as usize;
    if hole <= SOUND_HOLE && missing >= packet.div_ceil(2) { missing } else { 0 }
}

/// Packets that say "here is nothing" like the one given, `samples` long in all, at least: decoders conceal them
/// (RFC 7845, 4.1).
pub(super) fn holes(like: &[u8], samples: usize) -> Vec<Bytes> {
    let Some(toc) = like.first() else { return Vec::new() };
    let one = Bytes::copy_from_slice(&[toc & !3]);
    vec![one; samples.div_ceil(frame_samples(*toc))]
}
