//! Tones and patterns, encoded as they are asked for.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::media::opus::{self, FRAME};
use crate::media::pattern::Pattern;
use crate::media::{Codec, EncodedFrame, MediaError, Quality, tone, vp8};

use super::at_rate;

/// A tone, or beeps.
pub(super) struct ToneSource {
    /// `None`: beeps.
    hz: Option<u32>,
    encoder: opus::Encoder,
    /// Frames so far.
    frames: u64,
}

impl ToneSource {
    pub fn new(hz: Option<u32>) -> Result<Self, MediaError> {
        let encoder = opus::Encoder::new(opus::Use::Tone, Self::bitrate(Quality::High))?;
        Ok(ToneSource { hz, encoder, frames: 0 })
    }

    pub fn next(&mut self) -> Result<EncodedFrame, MediaError> {
        let first = self.frames * FRAME as u64;
        let samples = (first..first + FRAME as u64).map(|index| match self.hz {
            Some(hz) => tone::sample(hz, opus::RATE, index),
            None => tone::beep(index),
        });
        let data = self.encoder.encode(&samples.collect::<Vec<i16>>())?;
        let time = at_rate(self.frames, 50);
        self.frames += 1;
        Ok(EncodedFrame { codec: Codec::Opus, time, key: true, data })
    }

    pub fn set_quality(&mut self, quality: Quality) {
        self.encoder.set_bitrate(Self::bitrate(quality));
    }

    pub fn set_fec(&mut self, on: bool) {
        self.encoder.set_fec(on);
    }

    pub fn bitrate(quality: Quality) -> u32 {
        match quality {
            Quality::High => 36_000,
            Quality::Medium => 24_000,
            Quality::Low => 12_000,
        }
    }
}

/// A pattern. Encoding takes its time, so that each part of the loop from a key frame to the next is encoded once and
/// kept. A key frame between two of them, and what builds on it, is encoded anew.
pub(super) struct PatternSource {
    pattern: Pattern,
    quality: Quality,
    /// Frames of this quality since the start.
    number: u64,
    encoder: vp8::Encoder,
    key_wanted: bool,
    way: Way,
    /// By the quality and the number of the part in the loop.
    parts: BTreeMap<(Quality, u64), Vec<Bytes>>,
}

/// Where the frames of the current part come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It was encoded before.
    Kept,
    /// It is encoded now, and kept.
    First,
    /// It is encoded now, with a key frame in the middle.
    Once,
}

impl PatternSource {
    pub fn new(pattern: Pattern) -> Self {
        PatternSource {
            pattern,
            quality: Quality::High,
            number: 0,
            encoder: vp8::Encoder::default(),
            key_wanted: false,
            way: Way::First,
            parts: BTreeMap::new(),
        }
    }

    pub fn next(&mut self) -> Result<EncodedFrame, MediaError> {
        let (_, rate) = size_and_rate(self.quality);
        let (part, place, in_part) = self.pattern.place(self.number, rate);
        let kept = self.parts.entry((self.quality, part)).or_default();
        let key = place == 0 || std::mem::take(&mut self.key_wanted);
        if place == 0 {
            self.key_wanted = false;
            self.way = if kept.len() as u64 == in_part { Way::Kept } else { Way::First };
            if self.way == Way::First {
                kept.clear();
            }
        } else if key {
            self.way = Way::Once;
        }
        let time = at_rate(self.number, rate);
        let data = match kept.get(place as usize) {
            Some(data) if self.way == Way::Kept => data.clone(),
            _ => {
                let ((width, height), _) = size_and_rate(self.quality);
                let data = self.encoder.encode(&self.pattern.draw(time, width, height), key)?;
                if self.way == Way::First {
                    kept.push(data.clone());
                }
                data
            }
        };
        self.number += 1;
        Ok(EncodedFrame { codec: Codec::Vp8, time, key, data })
    }

    pub fn request_key(&mut self) {
        self.key_wanted = true;
    }

    pub fn set_quality(&mut self, quality: Quality) {
        if quality == self.quality {
            return;
        }
        let ((_, was), (_, is)) = (size_and_rate(self.quality), size_and_rate(quality));
        self.number = (self.number * is).div_ceil(was);
        self.quality = quality;
        self.key_wanted = true;
    }

    pub fn bitrate(&self, quality: Quality) -> u64 {
        match quality {
            Quality::High => 350_000,
            Quality::Medium => 140_000,
            Quality::Low => 50_000,
        }
    }
}

/// Pixels, and frames a second.
fn size_and_rate(quality: Quality) -> ((u16, u16), u64) {
    match quality {
        Quality::High => ((640, 480), 30),
        Quality::Medium => ((320, 240), 30),
        Quality::Low => ((160, 120), 15),
    }
}
