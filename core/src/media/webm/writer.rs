//! Writing WebM, so that it can be played up to the last cluster at any time.

use std::time::Duration;

use bytes::Bytes;

use crate::media::opus::{PRE_SKIP, RATE};
use crate::media::{EncodedFrame, Kind, Write, ogg, vp8};

use super::ebml::{element, id, id_bytes, unsigned};

/// A cluster is ended after this time, and before a key frame.
const CLUSTER: Duration = Duration::from_secs(1);

/// And if it has become this long.
const CLUSTER_BYTES: usize = 1024 * 1024;

/// How much an Opus decoder wants to hear before it is right (RFC 7845, 4.2), in nanoseconds.
const SEEK_PRE_ROLL: u64 = 80_000_000;

/// Entries of the index; of more, every second one goes.
const CUES: usize = 32_768;

/// The bytes that are kept free for the table of contents, and for the length of the whole.
const SEEK_HEAD_BYTES: usize = 68;
const DURATION_BYTES: usize = 11;

/// The picture's size until a key frame tells it.
const SIZE: (u16, u16) = (640, 480);

/// Writes a WebM file: a header, then a cluster each second, each whole; at the end an index and the length.
#[derive(Debug)]
pub struct Writer {
    tracks: Vec<Track>,
    /// Bytes appended so far.
    length: u64,
    places: Places,
    blocks: Vec<Block>,
    block_bytes: usize,
    cues: Vec<Cue>,
    writes: Vec<Write>,
}

#[derive(Debug)]
struct Track {
    kind: Kind,
    /// Where in the file its width and height are, until they are known.
    size: Option<(u64, u64)>,
    /// The time of its last frame, in milliseconds, and where it ends, more or less.
    last: u64,
    end: u64,
}

/// Where things are in the file.
#[derive(Debug, Default)]
struct Places {
    /// What the segment's positions count from.
    segment: u64,
    seek_head: u64,
    info: u64,
    duration: u64,
    tracks: u64,
}

#[derive(Debug)]
struct Block {
    /// In milliseconds.
    time: u64,
    track: usize,
    key: bool,
    data: Bytes,
}

#[derive(Debug)]
struct Cue {
    time: u64,
    track: usize,
    /// Where its cluster begins, in the segment.
    cluster: u64,
}

impl Writer {
    /// A file with these tracks, which are numbered from 0.
    pub fn new(tracks: &[Kind]) -> Self {
        let tracks = tracks.iter().map(|kind| Track { kind: *kind, size: None, last: 0, end: 0 }).collect();
        let mut writer = Writer {
            tracks,
            length: 0,
            places: Places::default(),
            blocks: Vec::new(),
            block_bytes: 0,
            cues: Vec::new(),
            writes: Vec::new(),
        };
        writer.header();
        writer
    }

    /// One more frame of a track.
    pub fn frame(&mut self, frame: &EncodedFrame, track: usize) {
        let video = self.tracks.iter().any(|track| track.kind == Kind::Video);
        let Some(to) = self.tracks.get_mut(track) else { return };
        if let Some((width, height)) = to.size
            && let Some(size) = vp8::header(&frame.data).and_then(|header| header.size)
        {
            to.size = None;
            self.writes.push(Write { at: Some(width), bytes: size.0.to_be_bytes().into() });
            self.writes.push(Write { at: Some(height), bytes: size.1.to_be_bytes().into() });
        }
        let time = u64::try_from(frame.time.as_millis()).unwrap_or(u64::MAX).max(to.last);
        let step = if to.last > 0 { (time - to.last).min(1_000) } else { 20 };
        (to.last, to.end) = (time, time + step);
        let opens = to.kind == Kind::Video && frame.key;
        let begun = self.blocks.first().map_or(time, |first| first.time);
        let long = time.abs_diff(begun) >= CLUSTER.as_millis() as u64 || self.block_bytes >= CLUSTER_BYTES;
        if long || opens {
            self.flush();
        }
        self.block_bytes += frame.data.len();
        let key = frame.key && (opens || !video);
        self.blocks.push(Block { time, track, key, data: frame.data.clone() });
    }

    /// Ends the cluster.
    pub fn flush(&mut self) {
        self.blocks.sort_by_key(|block| block.time);
        self.block_bytes = 0;
        let blocks = std::mem::take(&mut self.blocks);
        let Some(base) = blocks.first().map(|block| block.time) else { return };
        let position = self.length - self.places.segment;
        if let Some(key) = blocks.iter().find(|block| block.key) {
            self.cue(Cue { time: key.time, track: key.track, cluster: position });
        }
        let mut body = unsigned(id::TIMESTAMP, base);
        for block in blocks {
            // Within a second of the cluster's time, and so within 16 bits.
            let since = i16::try_from(block.time - base).unwrap_or(i16::MAX);
            let audio = self.tracks.get(block.track).is_some_and(|track| track.kind == Kind::Audio);
            let mut bytes = vec![0x80 | (block.track + 1) as u8];
            bytes.extend(since.to_be_bytes());
            bytes.push(if block.key || audio { 0x80 } else { 0 });
            bytes.extend_from_slice(&block.data);
            body.extend(element(id::SIMPLE_BLOCK, &bytes));
        }
        self.append(element(id::CLUSTER, &body));
    }

    /// Ends the file: the index, the table of contents, the lengths.
    pub fn finish(&mut self) {
        self.flush();
        let places = &self.places;
        let mut contents = vec![(id::INFO, places.info), (id::TRACKS, places.tracks)];
        if !self.cues.is_empty() {
            contents.push((id::CUES, self.length - places.segment));
            let cues: Vec<u8> = self.cues.iter().flat_map(Cue::element).collect();
            self.append(element(id::CUES, &cues));
        }
        let entries: Vec<u8> = contents.into_iter().flat_map(|(id, position)| seek(id, position)).collect();
        let mut seek_head = element(id::SEEK_HEAD, &entries);
        seek_head.extend(void(SEEK_HEAD_BYTES - seek_head.len()));
        let end = self.tracks.iter().map(|track| track.end).max().unwrap_or_default();
        let duration = element(id::DURATION, &(end as f64).to_be_bytes());
        let length = self.length - self.places.segment;
        for (at, bytes) in [
            (self.places.seek_head, seek_head),
            (self.places.duration, duration),
            (self.places.segment - 8, (length | 1 << 56).to_be_bytes().into()),
        ] {
            self.writes.push(Write { at: Some(at), bytes });
        }
    }

    /// What is to be written, in this order.
    pub fn take(&mut self) -> Vec<Write> {
        std::mem::take(&mut self.writes)
    }

    fn header(&mut self) {
        let ebml = [
            unsigned(id::EBML_VERSION, 1),
            unsigned(id::EBML_READ_VERSION, 1),
            unsigned(id::EBML_MAX_ID_LENGTH, 4),
            unsigned(id::EBML_MAX_SIZE_LENGTH, 8),
            element(id::DOC_TYPE, b"webm"),
            unsigned(id::DOC_TYPE_VERSION, 4),
            unsigned(id::DOC_TYPE_READ_VERSION, 2),
        ];
        self.append(element(id::EBML, &ebml.concat()));
        let mut segment = id_bytes(id::SEGMENT);
        // Unknown, until the end is.
        segment.extend([1, 255, 255, 255, 255, 255, 255, 255]);
        self.append(segment);
        self.places.segment = self.length;
        self.places.seek_head = self.length;
        self.append(void(SEEK_HEAD_BYTES));
        self.places.info = self.length - self.places.segment;
        let app = concat!("enishi ", env!("CARGO_PKG_VERSION"));
        let info = [
            unsigned(id::TIMESTAMP_SCALE, 1_000_000),
            element(id::MUXING_APP, app.as_bytes()),
            element(id::WRITING_APP, app.as_bytes()),
            void(DURATION_BYTES),
        ];
        self.append(element(id::INFO, &info.concat()));
        self.places.duration = self.length - DURATION_BYTES as u64;
        self.places.tracks = self.length - self.places.segment;
        let entries: Vec<Vec<u8>> =
            self.tracks.iter().zip(1..).map(|(track, number)| entry(track.kind, number)).collect();
        let tracks = element(id::TRACKS, &entries.concat());
        let mut end = self.length + tracks.len() as u64;
        // The size stands last in a picture's entry: two elements of four bytes.
        for (track, entry) in self.tracks.iter_mut().zip(&entries).rev() {
            track.size = (track.kind == Kind::Video).then_some((end - 6, end - 2));
            end -= entry.len() as u64;
        }
        self.append(tracks);
    }

    fn cue(&mut self, cue: Cue) {
        if self.cues.len() >= CUES {
            let mut keep = false;
            self.cues.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.cues.push(cue);
    }

    fn append(&mut self, bytes: Vec<u8>) {
        self.length += bytes.len() as u64;
        match self.writes.last_mut() {
            Some(Write { at: None, bytes: waiting }) => waiting.extend(bytes),
            _ => self.writes.push(Write { at: None, bytes }),
        }
    }
}

impl Cue {
    fn element(&self) -> Vec<u8> {
        let position =
            [unsigned(id::CUE_TRACK, self.track as u64 + 1), unsigned(id::CUE_CLUSTER_POSITION, self.cluster)];
        let point = [unsigned(id::CUE_TIME, self.time), element(id::CUE_TRACK_POSITIONS, &position.concat())];
        element(id::CUE_POINT, &point.concat())
    }
}

/// What a track is (RFC 9559, 5.1.4).
fn entry(kind: Kind, number: u64) -> Vec<u8> {
    let mut entry =
        [unsigned(id::TRACK_NUMBER, number), unsigned(id::TRACK_UID, number), unsigned(id::FLAG_LACING, 0)].concat();
    match kind {
        Kind::Video => {
            entry.extend(unsigned(id::TRACK_TYPE, 1));
            entry.extend(element(id::CODEC_ID, b"V_VP8"));
            let (width, height) = SIZE;
            let size =
                [element(id::PIXEL_WIDTH, &width.to_be_bytes()), element(id::PIXEL_HEIGHT, &height.to_be_bytes())];
            entry.extend(element(id::VIDEO, &size.concat()));
        }
        Kind::Audio => {
            entry.extend(unsigned(id::TRACK_TYPE, 2));
            entry.extend(element(id::CODEC_ID, b"A_OPUS"));
            entry.extend(unsigned(id::CODEC_DELAY, u64::from(PRE_SKIP) * 1_000_000_000 / u64::from(RATE)));
            entry.extend(unsigned(id::SEEK_PRE_ROLL, SEEK_PRE_ROLL));
            let rate = f64::from(RATE).to_be_bytes();
            let sound = [element(id::SAMPLING_FREQUENCY, &rate), unsigned(id::CHANNELS, 2)];
            entry.extend(element(id::AUDIO, &sound.concat()));
            entry.extend(element(id::CODEC_PRIVATE, &ogg::head()));
        }
    }
    element(id::TRACK_ENTRY, &entry)
}

/// An entry of the table of contents.
fn seek(id: u32, position: u64) -> Vec<u8> {
    let entry = [element(id::SEEK_ID, &id_bytes(id)), element(id::SEEK_POSITION, &position.to_be_bytes())];
    element(id::SEEK, &entry.concat())
}

/// So many bytes that mean nothing, from 2 to 127, or none at all.
fn void(bytes: usize) -> Vec<u8> {
    if bytes < 2 { Vec::new() } else { element(id::VOID, &vec![0; bytes - 2]) }
}
