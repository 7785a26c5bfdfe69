//! Containers as they are written: pure producers of bytes.

use std::fmt;
use std::time::Duration;

use super::opus::{self, RATE};
use super::{Codec, EncodedFrame, Kind, MediaError, ivf, ogg, vp8, wav, webm};

/// Ticks a second of the IVF files that recordings are.
const IVF_RATE: u32 = 1_000;

/// A kind of file that recordings are written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Container {
    /// VP8 and Opus, as many tracks as wanted.
    WebM,
    /// Opus.
    Ogg,
    /// Sound, decoded: 16 bits, two channels, 48 kHz.
    Wav,
    /// VP8.
    Ivf,
}

impl Container {
    /// By the end of a file's name.
    pub fn of(path: &str) -> Option<Container> {
        match path.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
            "webm" => Some(Container::WebM),
            "ogg" | "opus" | "oga" => Some(Container::Ogg),
            "wav" => Some(Container::Wav),
            "ivf" => Some(Container::Ivf),
            _ => None,
        }
    }

    /// What its files' names end with, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Container::WebM => "webm",
            Container::Ogg => "ogg",
            Container::Wav => "wav",
            Container::Ivf => "ivf",
        }
    }

    /// Whether it can hold tracks of that kind.
    pub fn holds(self, kind: Kind) -> bool {
        match self {
            Container::WebM => true,
            Container::Ogg | Container::Wav => kind == Kind::Audio,
            Container::Ivf => kind == Kind::Video,
        }
    }
}

/// Bytes for a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Where they go, over what is there. `None`: at the end.
    pub at: Option<u64>,
    /// Never empty.
    pub bytes: Vec<u8>,
}

/// Frames in, bytes of a file out. What was taken up to any moment is a file that can be played.
pub struct Muxer {
    inner: Inner,
    /// Per track: whether it has begun, for which a picture needs a key frame.
    begun: Vec<(Kind, bool)>,
    writes: Vec<Write>,
}

enum Inner {
    WebM(Box<webm::Writer>),
    Ogg(Box<ogg::Writer>),
    Wav(Box<Wav>),
    Ivf(ivf::Writer),
}

/// Packets to samples.
struct Wav {
    decoder: opus::Decoder,
    writer: wav::Writer,
    /// When the next packet should be.
    next: Option<Duration>,
}

impl Muxer {
    /// A file with these tracks, which are numbered from 0.
    ///
    /// # Errors
    /// The container does not hold them.
    pub fn new(container: Container, tracks: &[Kind]) -> Result<Muxer, MediaError> {
        let extension = container.extension();
        if let Some(kind) = tracks.iter().find(|kind| !container.holds(**kind)) {
            return Err(MediaError::Spec(format!("a .{extension} file does not hold {}, try .webm", kind.name())));
        }
        if tracks.is_empty() || (container != Container::WebM && tracks.len() > 1) {
            return Err(MediaError::Spec(format!("a .{extension} file does not hold {} tracks", tracks.len())));
        }
        let mut writes = Vec::new();
        let inner = match container {
            Container::WebM => Inner::WebM(Box::new(webm::Writer::new(tracks))),
            Container::Ogg => Inner::Ogg(Box::default()),
            Container::Wav => {
                let (decoder, writer) = (opus::Decoder::new()?, wav::Writer::new(RATE));
                writes.push(Write { at: None, bytes: writer.header() });
                Inner::Wav(Box::new(Wav { decoder, writer, next: None }))
            }
            Container::Ivf => {
                let writer = ivf::Writer::new(IVF_RATE, 1);
                writes.push(Write { at: None, bytes: writer.header() });
                Inner::Ivf(writer)
            }
        };
        Ok(Muxer { inner, begun: tracks.iter().map(|kind| (*kind, false)).collect(), writes })
    }

    /// One more frame of a track. Within a track times rise; between tracks they should not be far apart. Left out are
    /// frames of no track, those that are not of its codec, and pictures before the first key frame.
    pub fn push(&mut self, frame: &EncodedFrame, track: usize) {
        let Some((kind, begun)) = self.begun.get_mut(track) else { return };
        let key = match kind.codec() {
            Codec::Opus => opus::samples(&frame.data).map(|_| true),
            Codec::Vp8 => vp8::header(&frame.data).map(|header| header.key),
        };
        *begun |= key == Some(true);
        if key.is_none() || frame.codec != kind.codec() || !*begun {
            return;
        }
        match &mut self.inner {
            Inner::WebM(writer) => writer.frame(frame, track),
            Inner::Ogg(writer) => writer.packet(frame),
            Inner::Wav(wav) => {
                let bytes = wav.packet(frame);
                self.append(bytes);
            }
            Inner::Ivf(writer) => {
                let bytes = writer.frame(frame);
                self.append(bytes);
            }
        }
    }

    /// Lets nothing wait: what was pushed is in [`Self::take`], but for the last packet of an Ogg file. To be called every
    /// second or so, also when nothing was pushed.
    pub fn flush(&mut self) {
        match &mut self.inner {
            Inner::WebM(writer) => writer.flush(),
            Inner::Ogg(writer) => writer.flush(),
            Inner::Wav(wav) => self.writes.push(Write { at: Some(0), bytes: wav.writer.header() }),
            Inner::Ivf(writer) => self.writes.push(Write { at: Some(0), bytes: writer.header() }),
        }
    }

    /// Ends the file: lengths and an index are written. Nothing is pushed after that.
    pub fn finish(&mut self) {
        match &mut self.inner {
            Inner::WebM(writer) => writer.finish(),
            Inner::Ogg(writer) => writer.finish(),
            Inner::Wav(_) | Inner::Ivf(_) => self.flush(),
        }
    }

    /// What is to be written, in this order.
    pub fn take(&mut self) -> Vec<Write> {
        match &mut self.inner {
            Inner::WebM(writer) => self.writes.append(&mut writer.take()),
            Inner::Ogg(writer) => {
                let bytes = writer.take();
                self.append(bytes);
            }
            Inner::Wav(_) | Inner::Ivf(_) => {}
        }
        std::mem::take(&mut self.writes)
    }

    fn append(&mut self, bytes: Vec<u8>) {
        match self.writes.last_mut() {
            _ if bytes.is_empty() => {}
            Some(Write { at: None, bytes: waiting }) => waiting.extend(bytes),
            _ => self.writes.push(Write { at: None, bytes }),
        }
    }
}

impl fmt::Debug for Muxer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Muxer").field("begun", &self.begun).finish_non_exhaustive()
    }
}

impl Wav {
    /// The samples of a packet, and before them something in place of what was lost.
    fn packet(&mut self, frame: &EncodedFrame) -> Vec<u8> {
        let Some(samples) = opus::samples(&frame.data) else { return Vec::new() };
        let missing = self.next.map_or(0, |next| opus::missing(next, frame.time, samples));
        let mut sound = self.conceal(missing, samples, &frame.data);
        self.next = opus::duration(&frame.data).map(|duration| frame.time + duration);
        // What cannot be decoded is lost as well.
        let decoded = self.decoder.decode(&frame.data).or_else(|_| self.decoder.conceal(samples, None));
        sound.extend(decoded.unwrap_or_else(|_| vec![0; samples * 2]));
        self.writer.samples(&sound)
    }

    /// So many samples per channel, the last packet of them from what its successor says.
    fn conceal(&mut self, missing: usize, packet: usize, next: &[u8]) -> Vec<i16> {
        let mut sound = Vec::with_capacity(missing * 2);
        while sound.len() < missing * 2 {
            let left = missing - sound.len() / 2;
            let hint = Some(next).filter(|_| left <= packet);
            match self.decoder.conceal(left.min(packet), hint) {
                Ok(piece) if !piece.is_empty() => sound.extend(piece),
                _ => break,
            }
        }
        sound.resize(missing * 2, 0);
        sound
    }
}
