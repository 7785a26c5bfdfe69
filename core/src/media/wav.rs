//! WAV: plain samples with a header, read and written with hound.

use hound::{Sample, SampleFormat, WavReader, WavSpec};

use super::MediaError;
use super::feed::{Feed, Read};

/// The header that we write: RIFF, a `fmt ` chunk of 16 bytes, and the head of the `data` chunk (`protocols.md` 000.5).
pub const HEADER_BYTES: usize = 44;

/// A data chunk of this length, or nearly, goes on to the end of the file: a live recording.
const ENDLESS: u32 = u32::MAX - 255;

/// The longest `fmt ` chunk that is taken; the longest one in use has 40 bytes.
const LONGEST_FORMAT: usize = 1_024;

/// Reads a WAV file piece by piece: 8, 16, 24 or 32 bits, or 32-bit floats; one or two channels; any rate.
#[derive(Debug, Default)]
pub struct Reader {
    feed: Feed,
    /// Whether the file was seen to be WAV.
    known: bool,
    /// Its `fmt ` chunk.
    format: Vec<u8>,
    sound: Option<Sound>,
    cut: bool,
}

/// What the header told, and how far the sound was read.
#[derive(Debug)]
struct Sound {
    spec: WavSpec,
    /// Bytes of one sample of one channel.
    width: u16,
    /// Bytes that are still to come. `None`: up to the end of the file.
    left: Option<u64>,
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

    /// Samples a second and channel, once the header is read.
    pub fn rate(&self) -> Option<u32> {
        self.sound.as_ref().map(|sound| sound.spec.sample_rate)
    }

    /// Where in the file the sound ends, as its header says, once that is read. `None`: where the file ends.
    pub fn promised(&self) -> Option<u64> {
        self.sound.as_ref()?.left.map(|left| self.feed.position() + left)
    }

    /// The file is shorter than [`Self::promised`]: there is nothing to play.
    pub fn cut(&mut self) {
        self.cut = true;
    }

    /// Reads the header, if that has not been done. `false`: it needs more of the file.
    ///
    /// # Errors
    /// It is no WAV file, or none that can be played; a sentence says why.
    pub fn open(&mut self) -> Result<bool, MediaError> {
        if self.sound.is_some() {
            return Ok(true);
        }
        if !self.known {
            let Some(mut header) = self.feed.peek(12) else { return self.hungry() };
            hound::read_wave_header(&mut header).map_err(|error| wrong(&error.to_string()))?;
            self.feed.skip(12);
            self.known = true;
        }
        loop {
            let Some(head) = self.feed.peek(8) else { return self.hungry() };
            let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
            match &head[..4] {
                b"fmt " => {
                    let length = usize::try_from(length).ok().filter(|length| *length <= LONGEST_FORMAT);
                    let Some(length) = length else { return Err(wrong("its fmt chunk is too long")) };
                    let Some(chunk) = self.feed.peek(8 + length) else { return self.hungry() };
                    self.format = chunk.to_vec();
                }
                b"data" => {
                    self.feed.skip(8);
                    let (spec, width) = read_format(&self.format)?;
                    let left = (1..ENDLESS).contains(&length).then_some(u64::from(length));
                    self.sound = Some(Sound { spec, width, left });
                    return Ok(true);
                }
                _ => {}
            }
            // Chunks begin at even places.
            self.feed.skip(8 + u64::from(length).next_multiple_of(2));
        }
    }

    fn hungry(&self) -> Result<bool, MediaError> {
        if self.feed.ended() { Err(wrong("it ends in its header")) } else { Ok(false) }
    }

    /// The next samples, left and right in turn, each from -1 to 1.
    ///
    /// # Errors
    /// As for [`Self::open`]; or the file ends before its sound does.
    pub fn read(&mut self) -> Result<Read<Vec<f32>>, MediaError> {
        if !self.open()? {
            return Ok(Read::Hungry);
        }
        let Some(Sound { spec, width, left }) = &mut self.sound else { return Ok(Read::Ended) };
        if self.cut {
            let promised = left.unwrap_or_default();
            return Err(wrong(&format!("it is cut off, its header promises {promised} bytes of sound")));
        }
        let step = usize::from(*width) * usize::from(spec.channels);
        let held = self.feed.held().len();
        let here = left.map_or(held, |left| usize::try_from(left).unwrap_or(usize::MAX).min(held)) / step * step;
        if here == 0 {
            return match left {
                Some(left) if *left < step as u64 => Ok(Read::Ended),
                Some(left) if self.feed.ended() => {
                    Err(wrong(&format!("it is cut off, {} bytes are missing", *left - held as u64)))
                }
                None if self.feed.ended() => Ok(Read::Ended),
                _ => Ok(Read::Hungry),
            };
        }
        let Some(bytes) = self.feed.take(here) else { return Ok(Read::Hungry) };
        if let Some(left) = left {
            *left -= here as u64;
        }
        samples(*spec, *width, &bytes).map(Read::Frame)
    }
}

/// Writes a WAV file of 16 bits and two channels.
#[derive(Debug)]
pub struct Writer {
    rate: u32,
    /// Bytes of sound so far.
    length: u64,
}

impl Writer {
    /// For so many samples a second and channel.
    pub fn new(rate: u32) -> Self {
        Writer { rate, length: 0 }
    }

    /// The first 44 bytes of the file as they should be now.
    pub fn header(&self) -> Vec<u8> {
        let spec =
            WavSpec { channels: 2, sample_rate: self.rate, bits_per_sample: 16, sample_format: SampleFormat::Int };
        let mut header = spec.into_header_for_infinite_file();
        // Four gigabytes are the format's own end; players read on behind it.
        let length = u32::try_from(self.length).unwrap_or(u32::MAX);
        for (at, value) in [(4, length.saturating_add(HEADER_BYTES as u32 - 8)), (40, length)] {
            header.iter_mut().skip(at).zip(value.to_le_bytes()).for_each(|(byte, value)| *byte = value);
        }
        header
    }

    /// The bytes of more samples, left and right in turn.
    pub fn samples(&mut self, samples: &[i16]) -> Vec<u8> {
        self.length += samples.len() as u64 * 2;
        samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
    }
}

/// What a `fmt ` chunk says: hound reads it, in a file without sound. Also bytes of one sample of one channel.
fn read_format(chunk: &[u8]) -> Result<(WavSpec, u16), MediaError> {
    if chunk.is_empty() {
        return Err(wrong("it has no fmt chunk before its sound"));
    }
    let file = [b"RIFF\0\0\0\0WAVE", chunk, b"data\0\0\0\0"].concat();
    let spec = match WavReader::new(file.as_slice()) {
        Ok(reader) => reader.spec(),
        Err(hound::Error::IoError(_)) => return Err(wrong("its fmt chunk is too short")),
        Err(hound::Error::Unsupported) => {
            return Err(wrong("its samples are compressed, only plain PCM can be played"));
        }
        Err(error) => return Err(wrong(&error.to_string())),
    };
    let WavSpec { channels, sample_rate, bits_per_sample: bits, sample_format: format } = spec;
    if sample_rate == 0 {
        return Err(wrong("its sample rate is 0 Hz"));
    }
    if !(1..=2).contains(&channels) {
        return Err(wrong(&format!("it has {channels} channels, one or two can be played")));
    }
    let block = chunk.get(20..22).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_le_bytes);
    let width = block / channels;
    let fine = match format {
        SampleFormat::Int => matches!((width, bits), (1, 8) | (2, 16) | (3 | 4, 24) | (4, 32)),
        SampleFormat::Float => (width, bits) == (4, 32),
    };
    if !fine {
        let what = format!("{bits} bits in {width} bytes a sample");
        return Err(wrong(&format!("it has {what}; 8, 16, 24 and 32 bits can be played, and 32-bit floats")));
    }
    Ok((spec, width))
}

/// Both channels of each sample, from -1 to 1.
fn samples(spec: WavSpec, width: u16, mut bytes: &[u8]) -> Result<Vec<f32>, MediaError> {
    let WavSpec { channels, bits_per_sample: bits, sample_format: format, .. } = spec;
    let scale = 1.0 / (1_u64 << (bits - 1)) as f32;
    let mut samples = Vec::with_capacity(bytes.len() / usize::from(width) * 2);
    while !bytes.is_empty() {
        let sample = match format {
            SampleFormat::Int => i32::read(&mut bytes, format, width, bits).map(|sample| sample as f32 * scale),
            SampleFormat::Float => f32::read(&mut bytes, format, width, bits),
        };
        let sample = sample.map_err(|error| wrong(&error.to_string()))?;
        samples.extend(std::iter::repeat_n(sample, if channels == 1 { 2 } else { 1 }));
    }
    Ok(samples)
}

fn wrong(what: &str) -> MediaError {
    MediaError::File(format!("the WAV file cannot be played: {what}"))
}
