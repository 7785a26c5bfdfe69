//! What a published track sends: a generator, or a file.
//!
//! A source touches no file: it says which bytes it wants ([`Next::Bytes`]) and is given them ([`Source::bytes`]). It
//! knows no clock either: each frame has the time when it is due.

mod file;
mod generated;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::pattern::Pattern;
use super::{EncodedFrame, Kind, MediaError, Quality, tone};

use file::FileSource;
use generated::{PatternSource, ToneSource};

/// The highest tone that Opus carries, in Hz (RFC 6716, 2).
const HIGHEST_HZ: u32 = 20_000;

/// What to send, as it is written on a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceSpec {
    /// A sine: `tone`, `tone:440`.
    Tone {
        /// Its pitch.
        hz: u32,
    },
    /// A tone that sounds for 200 ms whenever `pattern:flash` turns white: `beep`.
    Beep,
    /// A moving picture: `pattern`, `pattern:bounce`.
    Pattern(Pattern),
    /// A file, by its extension: `.wav`, `.ogg`, `.opus`, `.ivf`, `.webm`.
    File {
        /// As the driver opens it.
        path: String,
    },
}

impl SourceSpec {
    /// What it holds. `None`: a WebM file, which can have both.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            SourceSpec::Tone { .. } | SourceSpec::Beep => Some(Kind::Audio),
            SourceSpec::Pattern(_) => Some(Kind::Video),
            SourceSpec::File { path } => match FileKind::of(path) {
                Some(FileKind::Wav | FileKind::Ogg) => Some(Kind::Audio),
                Some(FileKind::Ivf) => Some(Kind::Video),
                Some(FileKind::Webm) | None => None,
            },
        }
    }
}

impl FromStr for SourceSpec {
    type Err = MediaError;

    fn from_str(text: &str) -> Result<Self, MediaError> {
        let (name, argument) = match text.split_once(':') {
            Some((name, argument)) => (name, Some(argument)),
            None => (text, None),
        };
        match (name, argument) {
            ("tone", None) => Ok(SourceSpec::Tone { hz: tone::HZ }),
            ("tone", Some(hz)) => match hz.parse() {
                Ok(hz) if (1..=HIGHEST_HZ).contains(&hz) => Ok(SourceSpec::Tone { hz }),
                _ => Err(MediaError::Spec(format!(
                    "'{}' is no tone: it has 1 to {HIGHEST_HZ} Hz, such as tone:440",
                    text.escape_debug()
                ))),
            },
            ("beep", None) => Ok(SourceSpec::Beep),
            ("pattern", None) => Ok(SourceSpec::Pattern(Pattern::Gradient)),
            ("pattern", Some(name)) => name.parse().map(SourceSpec::Pattern),
            _ if FileKind::of(text).is_some() => Ok(SourceSpec::File { path: text.to_owned() }),
            _ => Err(MediaError::Spec(format!(
                "'{}' is no source: there are tone[:HZ], beep, pattern[:NAME], \
                 and files that end in .wav, .ogg, .opus, .ivf or .webm",
                text.escape_debug()
            ))),
        }
    }
}

impl fmt::Display for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceSpec::Tone { hz } => write!(f, "tone:{hz}"),
            SourceSpec::Beep => f.write_str("beep"),
            SourceSpec::Pattern(pattern) => write!(f, "pattern:{pattern}"),
            SourceSpec::File { path } => f.write_str(path),
        }
    }
}

/// What a source answers when it is asked for its next frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// To be sent when it is due.
    Frame(EncodedFrame),
    /// It needs these bytes of its file first, or as many of them as there are: [`Source::bytes`], then ask again. Until
    /// then it gives the same answer.
    Bytes {
        /// Where they begin.
        offset: u64,
        /// How many.
        len: usize,
    },
    /// There is no more. A source that loops, and a generator, never say this.
    Ended,
}

/// What a published track sends.
pub struct Source {
    inner: Inner,
}

enum Inner {
    Tone(Box<ToneSource>),
    Pattern(Box<PatternSource>),
    File(Box<FileSource>),
}

impl Source {
    /// A source at its beginning. Unless it loops, a file ends; a generator never does.
    ///
    /// # Errors
    /// It has no sound or no picture, whatever was asked for.
    pub fn new(spec: &SourceSpec, kind: Kind, looping: bool) -> Result<Source, MediaError> {
        if spec.kind().is_some_and(|of| of != kind) {
            return Err(MediaError::Kind { source_name: spec.to_string(), kind });
        }
        let inner = match spec {
            SourceSpec::Tone { hz } => Inner::Tone(Box::new(ToneSource::new(Some(*hz))?)),
            SourceSpec::Beep => Inner::Tone(Box::new(ToneSource::new(None)?)),
            SourceSpec::Pattern(pattern) => Inner::Pattern(Box::new(PatternSource::new(*pattern))),
            SourceSpec::File { path } => Inner::File(Box::new(FileSource::new(path, kind, looping)?)),
        };
        Ok(Source { inner })
    }

    /// The next frame, or what is needed for it. Takes up to about 30 ms, when a pattern is encoded for the first time.
    ///
    /// # Errors
    /// The file cannot be played; a sentence says why. The source is of no more use.
    #[expect(clippy::should_implement_trait, reason = "it fails, and does not end when it has nothing")]
    pub fn next(&mut self) -> Result<Next, MediaError> {
        match &mut self.inner {
            Inner::Tone(tone) => tone.next().map(Next::Frame),
            Inner::Pattern(pattern) => pattern.next().map(Next::Frame),
            Inner::File(file) => file.next(),
        }
    }

    /// The answer to [`Next::Bytes`]. `end`: the file ends with these, perhaps earlier than what was asked for.
    pub fn bytes(&mut self, bytes: &[u8], end: bool) {
        if let Inner::File(file) = &mut self.inner {
            file.bytes(bytes, end);
        }
    }

    /// The next frame should be a key frame. A pattern makes it one; a file has its own, and nothing changes.
    pub fn request_key(&mut self) {
        if let Inner::Pattern(pattern) = &mut self.inner {
            pattern.request_key();
        }
    }

    /// Sends more or less from now on; [`Quality::High`] at first.
    ///
    /// | | high | medium | low |
    /// |---|---|---|---|
    /// | tone, WAV | all bits | two thirds | one third |
    /// | pattern | 640 x 480, 30 a second | 320 x 240, 30 a second | 160 x 120, 15 a second |
    /// | IVF, WebM | everything | everything | key frames only |
    /// | Ogg | everything | everything | everything |
    pub fn set_quality(&mut self, quality: Quality) {
        match &mut self.inner {
            Inner::Tone(tone) => tone.set_quality(quality),
            Inner::Pattern(pattern) => pattern.set_quality(quality),
            Inner::File(file) => file.set_quality(quality),
        }
    }

    /// About how many bits per second that takes. A file's are those of what was read so far.
    pub fn bitrate(&self, quality: Quality) -> u64 {
        match &self.inner {
            Inner::Tone(_) => ToneSource::bitrate(quality).into(),
            Inner::Pattern(pattern) => pattern.bitrate(quality),
            Inner::File(file) => file.bitrate(quality),
        }
    }

    /// Whether sound that is encoded here helps to restore lost packets (RFC 7587, 6.1: `useinbandfec`); on at first.
    pub fn set_fec(&mut self, on: bool) {
        match &mut self.inner {
            Inner::Tone(tone) => tone.set_fec(on),
            Inner::File(file) => file.set_fec(on),
            Inner::Pattern(_) => {}
        }
    }
}

/// Kinds of files, by their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileKind {
    Wav,
    Ogg,
    Ivf,
    Webm,
}

impl FileKind {
    fn of(path: &str) -> Option<FileKind> {
        let extension = path.rsplit_once('.')?.1.to_ascii_lowercase();
        match extension.as_str() {
            "wav" => Some(FileKind::Wav),
            "ogg" | "opus" | "oga" => Some(FileKind::Ogg),
            "ivf" => Some(FileKind::Ivf),
            "webm" => Some(FileKind::Webm),
            _ => None,
        }
    }
}

/// The time of something that happens `rate` times a second.
fn at_rate(number: u64, rate: u64) -> Duration {
    let nanos = u128::from(number) * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
