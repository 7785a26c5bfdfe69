//! Ogg Opus (RFC 3533, RFC 7845): Opus packets in pages.

use std::collections::VecDeque;
use std::time::Duration;

use ::ogg::reading::{BasePacketReader, PageParser};
use ::ogg::{PacketWriteEndInfo, PacketWriter};
use bytes::Bytes;

use crate::limits::MEDIA_HEADER_BYTES;

use super::feed::{Feed, Read};
use super::opus::{self, PRE_SKIP, RATE};
use super::{Codec, EncodedFrame, MediaError, contained};

/// The fixed part of a page's header.
const PAGE_HEADER_BYTES: usize = 27;

/// Which stream of the file we write.
const SERIAL: u32 = 1;

/// No page waits for more packets than these: half a second.
const PAGE_SAMPLES: u64 = RATE as u64 / 2;

/// Reads an Ogg Opus file piece by piece: its first stream of Opus with one or two channels.
#[derive(Default)]
pub struct Reader {
    feed: Feed,
    packets: Packets,
    stream: Option<Stream>,
    /// Samples so far.
    samples: u64,
}

/// The crate's reader, and how much it holds of a packet that goes on from page to page.
struct Packets {
    inner: BasePacketReader,
    held: usize,
}

#[derive(Clone, Copy)]
struct Stream {
    serial: u32,
    part: Part,
}

/// What comes next in a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Head,
    Tags,
    Sound,
    End,
}

impl Default for Packets {
    fn default() -> Self {
        Packets { inner: BasePacketReader::new(), held: 0 }
    }
}

impl Packets {
    fn read(&mut self) -> Result<Option<::ogg::Packet>, MediaError> {
        contained("the Ogg reader", || self.inner.read_packet())
    }
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

    /// The next packet; times count from the first one. A last page that is cut off is left out: a recording that was
    /// interrupted.
    ///
    /// # Errors
    /// It is no Ogg Opus file, or damaged; a sentence says where.
    pub fn read(&mut self) -> Result<Read<EncodedFrame>, MediaError> {
        loop {
            while let Some(packet) = self.packets.read()? {
                self.packets.held = 0;
                if let Some(frame) = self.packet(packet.data.into())? {
                    return Ok(Read::Frame(frame));
                }
            }
            if self.stream.is_some_and(|stream| stream.part == Part::End) {
                return Ok(Read::Ended);
            }
            if !self.page()? {
                return match self.feed.ended() {
                    true if self.feed.position() == 0 => Err(wrong("it is no Ogg file, or an empty one")),
                    true if self.stream.is_none() => Err(wrong("it holds no Opus")),
                    true => Ok(Read::Ended),
                    false => Ok(Read::Hungry),
                };
            }
        }
    }

    /// Reads one page. `false`: it is not there yet.
    fn page(&mut self) -> Result<bool, MediaError> {
        let Some(header) = self.feed.peek(PAGE_HEADER_BYTES) else { return Ok(false) };
        let Ok(header) = <[u8; PAGE_HEADER_BYTES]>::try_from(header) else { return Ok(false) };
        let at = self.feed.position();
        let damaged = |why: &str| wrong(&format!("the page at byte {at} is damaged: {why}"));
        if !header.starts_with(b"OggS") {
            return Err(if at == 0 { wrong("it does not begin with OggS") } else { damaged("it lacks OggS") });
        }
        let table = usize::from(header[26]);
        let Some(segments) = self.feed.peek(PAGE_HEADER_BYTES + table) else { return Ok(false) };
        let segments = segments[PAGE_HEADER_BYTES..].to_vec();
        let body: usize = segments.iter().map(|segment| usize::from(*segment)).sum();
        if self.feed.peek(PAGE_HEADER_BYTES + table + body).is_none() {
            return Ok(false);
        }
        self.feed.skip((PAGE_HEADER_BYTES + table) as u64);
        let Some(body) = self.feed.take(body) else { return Ok(false) };
        let serial = u32::from_le_bytes([header[14], header[15], header[16], header[17]]);
        let (first, last) = (header[5] & 2 != 0, header[5] & 4 != 0);
        let ours = match self.stream {
            Some(stream) => stream.serial == serial,
            None => first && body.starts_with(b"OpusHead"),
        };
        if !ours {
            // Another stream beside it, such as a picture.
            return Ok(true);
        }
        self.packets.held += body.len();
        if self.packets.held > MEDIA_HEADER_BYTES {
            return Err(damaged("its packet is longer than 4 MiB"));
        }
        self.stream.get_or_insert(Stream { serial, part: Part::Head });
        let inner = &mut self.packets.inner;
        let pushed = contained("the Ogg reader", || {
            let (mut parser, _) = PageParser::new(header)?;
            parser.parse_segments(segments);
            inner.push_page(parser.parse_packet_data(body.into())?)
        })?;
        pushed.map_err(|error| damaged(&error.to_string()))?;
        if last && let Some(stream) = &mut self.stream {
            // Its packets are read before this is looked at.
            stream.part = if stream.part == Part::Sound { Part::End } else { stream.part };
        }
        Ok(true)
    }

    fn packet(&mut self, data: Bytes) -> Result<Option<EncodedFrame>, MediaError> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        match stream.part {
            Part::Head => {
                check_head(&data)?;
                stream.part = Part::Tags;
                Ok(None)
            }
            Part::Tags => {
                stream.part = Part::Sound;
                Ok(None)
            }
            Part::Sound | Part::End => {
                // An empty packet is allowed in a page and means nothing (RFC 7845, 4.1: decoders skip them).
                let Some(samples) = opus::samples(&data) else { return Ok(None) };
                let time = Duration::from_nanos(self.samples * 1_000_000_000 / u64::from(RATE));
                self.samples += samples as u64;
                Ok(Some(EncodedFrame { codec: Codec::Opus, time, key: true, data }))
            }
        }
    }
}

/// Writes an Ogg Opus file.
pub struct Writer {
    inner: PacketWriter<'static, Vec<u8>>,
    /// The packets of the page, each with the samples up to its end. The last one of a page waits for the next page,
    /// because only the end of the stream tells that it was the last one.
    page: VecDeque<(Bytes, u64)>,
    /// Samples so far.
    samples: u64,
    /// When the packet after that should be.
    next: Option<Duration>,
}

impl Writer {
    /// A stream of two channels.
    pub fn new() -> Self {
        let inner = PacketWriter::new(Vec::new());
        let mut writer = Writer { inner, page: VecDeque::new(), samples: 0, next: None };
        writer.write(head().into(), PacketWriteEndInfo::EndPage, 0);
        let vendor = concat!("enishi ", env!("CARGO_PKG_VERSION"));
        let mut tags = b"OpusTags".to_vec();
        tags.extend((vendor.len() as u32).to_le_bytes());
        tags.extend(vendor.as_bytes());
        tags.extend([0; 4]);
        writer.write(tags.into(), PacketWriteEndInfo::EndPage, 0);
        writer
    }

    /// Takes one more packet. Up to [`crate::limits::SOUND_HOLE`] before it is filled with packets that decoders conceal; a longer hole
    /// is a break.
    pub fn packet(&mut self, frame: &EncodedFrame) {
        let Some(samples) = opus::samples(&frame.data) else { return };
        let missing = self.next.map_or(0, |next| opus::missing(next, frame.time, samples));
        if missing > 0 {
            opus::holes(&frame.data, missing).into_iter().for_each(|packet| self.add(packet));
        }
        self.next = opus::duration(&frame.data).map(|duration| frame.time + duration);
        self.add(frame.data.clone());
    }

    /// Ends the page: all but the last packet are in [`Self::take`].
    pub fn flush(&mut self) {
        while self.page.len() > 1 {
            let Some((packet, granule)) = self.page.pop_front() else { return };
            let last = self.page.len() == 1;
            let end = if last { PacketWriteEndInfo::EndPage } else { PacketWriteEndInfo::NormalPacket };
            self.write(packet, end, granule);
        }
    }

    /// Ends the stream.
    pub fn finish(&mut self) {
        self.flush();
        if let Some((packet, granule)) = self.page.pop_front() {
            self.write(packet, PacketWriteEndInfo::EndStream, granule);
        }
    }

    /// The bytes that are to be appended to the file.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.inner.inner_mut())
    }

    fn add(&mut self, packet: Bytes) {
        self.samples += opus::samples(&packet).unwrap_or_default() as u64;
        self.page.push_back((packet, self.samples));
        if self.page.front().is_some_and(|(_, first)| self.samples - first >= PAGE_SAMPLES) {
            self.flush();
        }
    }

    fn write(&mut self, packet: Bytes, end: PacketWriteEndInfo, granule: u64) {
        // A Vec takes everything.
        let _ = self.inner.write_packet(Vec::from(packet), SERIAL, end, granule);
    }
}

impl Default for Writer {
    fn default() -> Self {
        Writer::new()
    }
}

/// What an Opus stream of two channels begins with (RFC 7845, 5.1); WebM has the same as its `CodecPrivate`.
pub(super) fn head() -> Vec<u8> {
    let mut head = b"OpusHead\x01\x02".to_vec();
    head.extend(PRE_SKIP.to_le_bytes());
    head.extend(RATE.to_le_bytes());
    head.extend([0; 3]);
    head
}

/// Whether a stream is one that can be sent.
fn check_head(head: &[u8]) -> Result<(), MediaError> {
    let (Some(version), Some(channels), Some(family)) = (head.get(8), head.get(9), head.get(18)) else {
        return Err(wrong("its header is too short"));
    };
    if version & 0xf0 != 0 {
        return Err(wrong(&format!("its version is {version}, 1 is known")));
    }
    if !(1..=2).contains(channels) || *family != 0 {
        return Err(wrong(&format!(
            "it has {channels} channels of family {family}, one or two of family 0 can be sent"
        )));
    }
    Ok(())
}

fn wrong(what: &str) -> MediaError {
    MediaError::File(format!("the Ogg file cannot be played: {what}"))
}
