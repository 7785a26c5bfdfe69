//! Reading WebM.

use std::time::Duration;

use bytes::Bytes;

use crate::limits::{MEDIA_FRAME_BYTES, MEDIA_HEADER_BYTES, MEDIA_PAUSE};
use crate::media::feed::{Feed, Read};
use crate::media::{Codec, EncodedFrame, Kind, MediaError, opus, vp8};

use super::ebml::{self, Fault, Head, LONGEST_HEAD, id};

/// Nanoseconds of a tick, unless the file says otherwise.
const SCALE: u64 = 1_000_000;

/// Reads one track of a WebM file piece by piece: the first of VP8 or of Opus.
#[derive(Debug)]
pub struct Reader {
    kind: Kind,
    feed: Feed,
    /// Whether the file was seen to be WebM.
    known: bool,
    scale: u64,
    /// The number of the track.
    track: Option<u64>,
    /// The time of the cluster, in ticks, and that of the first one.
    cluster: u64,
    origin: Option<u64>,
    /// The time of the last frame.
    last: Duration,
}

impl Reader {
    /// For the sound or the picture of a file.
    pub fn new(kind: Kind) -> Self {
        Reader {
            kind,
            feed: Feed::default(),
            known: false,
            scale: SCALE,
            track: None,
            cluster: 0,
            origin: None,
            last: Duration::ZERO,
        }
    }

    /// The next bytes of the file.
    pub fn push(&mut self, bytes: &[u8]) {
        self.feed.push(bytes);
    }

    /// The file ends here.
    pub fn end(&mut self) {
        self.feed.end();
    }

    /// The next frame of the track; times count from the file's first cluster, so that those of sound and picture fit. A
    /// last block that is cut off is left out: a recording that was interrupted.
    ///
    /// # Errors
    /// It is no WebM file, has no such track, or is damaged; a sentence says where.
    pub fn read(&mut self) -> Result<Read<EncodedFrame>, MediaError> {
        loop {
            let held = self.feed.held();
            let head = match ebml::head(held.get(..LONGEST_HEAD).unwrap_or(held)) {
                Ok(head) => head,
                Err(Fault::Short) => return self.hungry(),
                Err(Fault::Damaged) => return Err(self.damaged()),
            };
            if !self.known && head.id != id::EBML {
                return Err(wrong("it does not begin as WebM does"));
            }
            let most = match head.id {
                // What is inside follows as if it were beside.
                id::SEGMENT | id::CLUSTER | id::BLOCK_GROUP => {
                    self.feed.skip(head.bytes as u64);
                    continue;
                }
                id::EBML | id::INFO | id::TRACKS => MEDIA_HEADER_BYTES,
                id::TIMESTAMP => 8,
                id::SIMPLE_BLOCK | id::BLOCK => MEDIA_FRAME_BYTES,
                _ => {
                    let Some(body) = head.body else { return Err(self.damaged()) };
                    self.feed.skip((head.bytes as u64).saturating_add(body));
                    continue;
                }
            };
            let Some(body) = self.body(head, most)? else { return self.hungry() };
            match head.id {
                id::EBML => self.open(&body)?,
                id::INFO => self.info(&body),
                id::TRACKS => self.tracks(&body)?,
                id::TIMESTAMP => {
                    self.cluster = ebml::number(&body);
                    self.origin.get_or_insert(self.cluster);
                }
                _ => {
                    if let Some(frame) = self.block(body)? {
                        return Ok(Read::Frame(frame));
                    }
                }
            }
        }
    }

    /// Takes the body of an element. `None`: it is not there yet.
    fn body(&mut self, head: Head, most: usize) -> Result<Option<Bytes>, MediaError> {
        let body = head.body.and_then(|body| usize::try_from(body).ok()).filter(|body| *body <= most);
        let Some(body) = body else { return Err(self.damaged()) };
        if self.feed.peek(head.bytes + body).is_none() {
            return Ok(None);
        }
        self.feed.skip(head.bytes as u64);
        Ok(self.feed.take(body))
    }

    fn open(&mut self, body: &[u8]) -> Result<(), MediaError> {
        let doc_type = ebml::elements(body).find(|(id, _)| *id == id::DOC_TYPE).map(|(_, body)| body);
        self.known = matches!(doc_type, Some(b"webm" | b"matroska"));
        if self.known { Ok(()) } else { Err(wrong("it is EBML, but neither WebM nor Matroska")) }
    }

    fn info(&mut self, body: &[u8]) {
        let scale = ebml::elements(body).find(|(id, _)| *id == id::TIMESTAMP_SCALE);
        self.scale = scale.map_or(SCALE, |(_, body)| ebml::number(body)).max(1);
    }

    fn tracks(&mut self, body: &[u8]) -> Result<(), MediaError> {
        let (wanted, name) = match self.kind {
            Kind::Audio => (2, "A_OPUS"),
            Kind::Video => (1, "V_VP8"),
        };
        let mut others = Vec::new();
        for (_, entry) in ebml::elements(body).filter(|(id, _)| *id == id::TRACK_ENTRY) {
            let find = |wanted| ebml::elements(entry).find(|(id, _)| *id == wanted).map(|(_, body)| body);
            if find(id::TRACK_TYPE).map(ebml::number) != Some(wanted) {
                continue;
            }
            let codec = find(id::CODEC_ID).unwrap_or_default();
            let codec = codec.split(|byte| *byte == 0).next().unwrap_or_default();
            if codec == name.as_bytes() && find(id::CONTENT_ENCODINGS).is_none() {
                self.track = self.track.or(find(id::TRACK_NUMBER).map(ebml::number));
            } else {
                others.push(codec.escape_ascii().to_string());
            }
        }
        let kind = self.kind.name();
        match (self.track, others.first()) {
            (Some(_), _) => Ok(()),
            (None, None) => Err(wrong(&format!("it has no {kind}"))),
            (None, Some(other)) => Err(wrong(&format!("its {kind} is {other}, only plain {name} can be sent"))),
        }
    }

    /// Reads a block (RFC 9559, 10). `None`: it is another track's.
    fn block(&mut self, mut body: Bytes) -> Result<Option<EncodedFrame>, MediaError> {
        let Ok((track, bytes)) = ebml::vint(&body, false) else { return Err(self.damaged()) };
        let Some(&[high, low, flags]) = body.get(bytes..bytes + 3) else { return Err(self.damaged()) };
        if Some(track) != self.track {
            return Ok(None);
        }
        if flags & 6 != 0 {
            return Err(wrong("several frames are in one block (lacing), write it anew without that"));
        }
        let since = i128::from(self.cluster) - i128::from(self.origin.unwrap_or_default());
        let ticks = since + i128::from(i16::from_be_bytes([high, low]));
        let nanos = u128::try_from(ticks).unwrap_or_default().saturating_mul(self.scale.into());
        let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).max(self.last);
        if time - self.last > MEDIA_PAUSE {
            let at = self.feed.position();
            return Err(wrong(&format!("a frame before byte {at} is {} s late", (time - self.last).as_secs())));
        }
        let data = body.split_off(bytes + 3);
        let codec = self.kind.codec();
        let key = match codec {
            Codec::Opus => opus::samples(&data).map(|_| true),
            Codec::Vp8 => vp8::header(&data).map(|header| header.key),
        };
        let Some(key) = key else {
            return Err(wrong(&format!("a frame before byte {} is no {}", self.feed.position(), codec.name())));
        };
        self.last = time;
        Ok(Some(EncodedFrame { codec, time, key, data }))
    }

    fn hungry(&self) -> Result<Read<EncodedFrame>, MediaError> {
        match self.feed.ended() {
            true if !self.known => Err(wrong("it ends in its header")),
            true => Ok(Read::Ended),
            false => Ok(Read::Hungry),
        }
    }

    fn damaged(&self) -> MediaError {
        wrong(&format!("it is damaged at byte {}", self.feed.position()))
    }
}

fn wrong(what: &str) -> MediaError {
    MediaError::File(format!("the WebM file cannot be played: {what}"))
}
