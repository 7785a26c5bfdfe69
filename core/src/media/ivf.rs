//! IVF: VP8 frames with their times and nothing else.

use std::time::Duration;

use crate::limits::{MEDIA_FRAME_BYTES, MEDIA_PAUSE};

use super::feed::{Feed, Read};
use super::{Codec, EncodedFrame, MediaError, vp8};

/// The header of the file, and that of each frame.
const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 12;

/// Reads an IVF file piece by piece.
#[derive(Debug, Default)]
pub struct Reader {
    feed: Feed,
    clock: Option<Clock>,
    frames: u64,
    /// The time of the last frame.
    last: Duration,
}

/// Ticks of the file's clock: `rate` in `scale` seconds.
#[derive(Debug, Clone, Copy)]
struct Clock {
    rate: u32,
    scale: u32,
    /// The first frame's time.
    first: Option<u64>,
}

impl Reader {
    /// The next bytes of the file.
    pub fn push(&mut self, bytes: &[u8]) {
        self.feed.push(bytes);
    }

    /// The file ends here.
    pub fn end(&mut self) {
        self.feed.end();
    }

    /// The next frame; times count from the first one. A last frame that is cut off is left out: a recording that was
    /// interrupted.
    ///
    /// # Errors
    /// It is no IVF file, or its headers lie; a sentence says how.
    pub fn read(&mut self) -> Result<Read<EncodedFrame>, MediaError> {
        let mut clock = match self.clock {
            Some(clock) => clock,
            None => match self.open()? {
                Some(clock) => clock,
                None => return Ok(Read::Hungry),
            },
        };
        let Some(header) = self.feed.peek(FRAME_HEADER_BYTES) else { return Ok(self.hungry()) };
        let length = u32_at(header, 0) as usize;
        let ticks = u64::from(u32_at(header, 4)) | u64::from(u32_at(header, 8)) << 32;
        if length > MEDIA_FRAME_BYTES {
            let number = self.frames + 1;
            return Err(wrong(&format!("frame {number} claims {length} bytes, at most {MEDIA_FRAME_BYTES} are taken")));
        }
        if self.feed.peek(FRAME_HEADER_BYTES + length).is_none() {
            return Ok(self.hungry());
        }
        self.feed.skip(FRAME_HEADER_BYTES as u64);
        let Some(data) = self.feed.take(length) else { return Ok(self.hungry()) };
        self.frames += 1;
        let Some(header) = vp8::header(&data) else {
            return Err(wrong(&format!("frame {} is no VP8", self.frames)));
        };
        let since = ticks.saturating_sub(*clock.first.get_or_insert(ticks));
        self.clock = Some(clock);
        let time = clock.time(since).max(self.last);
        if time - self.last > MEDIA_PAUSE {
            let (number, pause) = (self.frames, (time - self.last).as_secs());
            return Err(wrong(&format!("frame {number} claims to be {pause} s after the one before")));
        }
        self.last = time;
        Ok(Read::Frame(EncodedFrame { codec: Codec::Vp8, time, key: header.key, data }))
    }

    fn open(&mut self) -> Result<Option<Clock>, MediaError> {
        let Some(header) = self.feed.peek(HEADER_BYTES) else {
            return if self.feed.ended() { Err(wrong("it ends in its header")) } else { Ok(None) };
        };
        let (magic, codec) = (&header[..4], &header[8..12]);
        if magic != b"DKIF" {
            return Err(wrong("it does not begin with DKIF"));
        }
        if codec != b"VP80" {
            let codec = codec.escape_ascii();
            return Err(wrong(&format!("it holds '{codec}', only VP80 can be sent")));
        }
        let length = u16::from_le_bytes([header[6], header[7]]);
        if usize::from(length) != HEADER_BYTES {
            return Err(wrong(&format!("its header claims {length} bytes, it should have 32")));
        }
        let (rate, scale) = (u32_at(header, 16), u32_at(header, 20));
        if rate == 0 || scale == 0 {
            return Err(wrong(&format!("its clock runs {rate} times in {scale} s")));
        }
        let clock = Clock { rate, scale, first: None };
        self.clock = Some(clock);
        self.feed.skip(HEADER_BYTES as u64);
        Ok(Some(clock))
    }

    fn hungry<T>(&self) -> Read<T> {
        if self.feed.ended() { Read::Ended } else { Read::Hungry }
    }
}

impl Clock {
    fn time(self, ticks: u64) -> Duration {
        let nanos = u128::from(ticks) * u128::from(self.scale) * 1_000_000_000 / u128::from(self.rate);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn ticks(self, time: Duration) -> u64 {
        let (rate, scale) = (u128::from(self.rate), u128::from(self.scale) * 1_000_000_000);
        u64::try_from((time.as_nanos() * rate + scale / 2) / scale).unwrap_or(u64::MAX)
    }
}

/// Writes an IVF file.
#[derive(Debug)]
pub struct Writer {
    clock: Clock,
    size: Option<(u16, u16)>,
    /// Ticks of the last frame and of the one before.
    last: Option<(u64, u64)>,
}

impl Writer {
    /// With a clock of `rate` ticks in `scale` seconds, such as 30 in 1.
    pub fn new(rate: u32, scale: u32) -> Self {
        Writer { clock: Clock { rate: rate.max(1), scale: scale.max(1), first: None }, size: None, last: None }
    }

    /// The first 32 bytes of the file as they should be now: they have the first picture's size and the length in
    /// ticks (libvpx says "number of frames", ffmpeg takes it for this; with a tick a frame both are right).
    pub fn header(&self) -> Vec<u8> {
        let (width, height) = self.size.unwrap_or_default();
        let mut header = b"DKIF\0\0\x20\0VP80".to_vec();
        header.extend(width.to_le_bytes());
        header.extend(height.to_le_bytes());
        let ticks = self.last.map_or(0, |(last, before)| last + (last - before).max(1));
        for value in [self.clock.rate, self.clock.scale, u32::try_from(ticks).unwrap_or(u32::MAX), 0] {
            header.extend(value.to_le_bytes());
        }
        header
    }

    /// The bytes of one more frame.
    pub fn frame(&mut self, frame: &EncodedFrame) -> Vec<u8> {
        self.size = self.size.or_else(|| vp8::header(&frame.data)?.size);
        let before = self.last.map_or(0, |(last, _)| last);
        let ticks = self.clock.ticks(frame.time).max(before);
        self.last = Some((ticks, before));
        let mut bytes = (frame.data.len() as u32).to_le_bytes().to_vec();
        bytes.extend(ticks.to_le_bytes());
        bytes.extend_from_slice(&frame.data);
        bytes
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    u32::from_le_bytes(four.unwrap_or_default())
}

fn wrong(what: &str) -> MediaError {
    MediaError::File(format!("the IVF file cannot be played: {what}"))
}
