//! EBML (RFC 8794): elements of an id, a length and a body.

/// Ids of the elements that are read or written, with their length markers (RFC 9559, 5).
pub(super) mod id {
    pub const EBML: u32 = 0x1a45_dfa3;
    pub const EBML_VERSION: u32 = 0x4286;
    pub const EBML_READ_VERSION: u32 = 0x42f7;
    pub const EBML_MAX_ID_LENGTH: u32 = 0x42f2;
    pub const EBML_MAX_SIZE_LENGTH: u32 = 0x42f3;
    pub const DOC_TYPE: u32 = 0x4282;
    pub const DOC_TYPE_VERSION: u32 = 0x4287;
    pub const DOC_TYPE_READ_VERSION: u32 = 0x4285;
    pub const VOID: u32 = 0xec;
    pub const SEGMENT: u32 = 0x1853_8067;
    pub const SEEK_HEAD: u32 = 0x114d_9b74;
    pub const SEEK: u32 = 0x4dbb;
    pub const SEEK_ID: u32 = 0x53ab;
    pub const SEEK_POSITION: u32 = 0x53ac;
    pub const INFO: u32 = 0x1549_a966;
    pub const TIMESTAMP_SCALE: u32 = 0x2a_d7b1;
    pub const DURATION: u32 = 0x4489;
    pub const MUXING_APP: u32 = 0x4d80;
    pub const WRITING_APP: u32 = 0x5741;
    pub const TRACKS: u32 = 0x1654_ae6b;
    pub const TRACK_ENTRY: u32 = 0xae;
    pub const TRACK_NUMBER: u32 = 0xd7;
    pub const TRACK_UID: u32 = 0x73c5;
    pub const TRACK_TYPE: u32 = 0x83;
    pub const FLAG_LACING: u32 = 0x9c;
    pub const CODEC_ID: u32 = 0x86;
    pub const CODEC_PRIVATE: u32 = 0x63a2;
    pub const CODEC_DELAY: u32 = 0x56aa;
    pub const SEEK_PRE_ROLL: u32 = 0x56bb;
    pub const CONTENT_ENCODINGS: u32 = 0x6d80;
    pub const VIDEO: u32 = 0xe0;
    pub const PIXEL_WIDTH: u32 = 0xb0;
    pub const PIXEL_HEIGHT: u32 = 0xba;
    pub const AUDIO: u32 = 0xe1;
    pub const SAMPLING_FREQUENCY: u32 = 0xb5;
    pub const CHANNELS: u32 = 0x9f;
    pub const CLUSTER: u32 = 0x1f43_b675;
    pub const TIMESTAMP: u32 = 0xe7;
    pub const SIMPLE_BLOCK: u32 = 0xa3;
    pub const BLOCK_GROUP: u32 = 0xa0;
    pub const BLOCK: u32 = 0xa1;
    pub const CUES: u32 = 0x1c53_bb6b;
    pub const CUE_POINT: u32 = 0xbb;
    pub const CUE_TIME: u32 = 0xb3;
    pub const CUE_TRACK_POSITIONS: u32 = 0xb7;
    pub const CUE_TRACK: u32 = 0xf7;
    pub const CUE_CLUSTER_POSITION: u32 = 0xf1;
}

/// The longest head of an element: an id of 4 bytes and a length of 8.
pub(super) const LONGEST_HEAD: usize = 12;

/// The head of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub id: u32,
    /// Bytes of the head itself.
    pub bytes: usize,
    /// Bytes of the body. `None`: unknown, up to the next element that cannot be inside.
    pub body: Option<u64>,
}

/// A head could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// There are too few bytes.
    Short,
    /// No element begins like that.
    Damaged,
}

/// Reads the head of an element.
pub(super) fn head(bytes: &[u8]) -> Result<Head, Fault> {
    let (id, id_bytes) = vint(bytes, true)?;
    let id = u32::try_from(id).map_err(|_| Fault::Damaged)?;
    let (body, body_bytes) = vint(bytes.get(id_bytes..).unwrap_or_default(), false)?;
    let unknown = (1 << (7 * body_bytes)) - 1;
    Ok(Head { id, bytes: id_bytes + body_bytes, body: Some(body).filter(|body| *body != unknown) })
}

/// Reads a number of variable length: its value, with the marker of its length if that is wanted, and its bytes.
pub(super) fn vint(bytes: &[u8], marker: bool) -> Result<(u64, usize), Fault> {
    let first = *bytes.first().ok_or(Fault::Short)?;
    let length = first.leading_zeros() as usize + 1;
    if length > if marker { 4 } else { 8 } {
        return Err(Fault::Damaged);
    }
    let bytes = bytes.get(..length).ok_or(Fault::Short)?;
    let value = number(bytes);
    let value = if marker { value } else { value & ((1 << (7 * length)) - 1) };
    Ok((value, length))
}

/// A big-endian number of up to 8 bytes.
pub(super) fn number(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// The elements in a body, up to the first one that is damaged or cut.
pub(super) fn elements(mut body: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    std::iter::from_fn(move || {
        let head = head(body).ok()?;
        let end = head.bytes.checked_add(usize::try_from(head.body?).ok()?)?;
        let inside = body.get(head.bytes..end)?;
        body = body.get(end..)?;
        Some((head.id, inside))
    })
}

/// The bytes of an element.
pub(super) fn element(id: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = id_bytes(id);
    bytes.extend(length(body.len() as u64));
    bytes.extend_from_slice(body);
    bytes
}

/// An element with an unsigned number.
pub(super) fn unsigned(id: u32, value: u64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let zeros = bytes.iter().take(7).take_while(|byte| **byte == 0).count();
    element(id, bytes.get(zeros..).unwrap_or_default())
}

/// An id as it is written.
pub(super) fn id_bytes(id: u32) -> Vec<u8> {
    id.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect()
}

/// A length in as few bytes as it needs.
fn length(length: u64) -> Vec<u8> {
    // All ones would mean unknown.
    let bytes = (1..8).find(|bytes| length < (1 << (7 * bytes)) - 1).unwrap_or(8);
    let marked = length | 1 << (7 * bytes);
    marked.to_be_bytes().into_iter().skip(8 - bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read_as_they_are_written() {
        for len in [0, 1, 126, 127, 128, 16_382, 16_383, 16_384, 70_000] {
            for id in [id::VOID, id::SEEK, id::TIMESTAMP_SCALE, id::SEGMENT] {
                let bytes = element(id, &vec![7; len]);
                let read = head(&bytes).unwrap();
                assert_eq!((read.id, read.body, read.bytes + len), (id, Some(len as u64), bytes.len()));
                assert_eq!(elements(&bytes).collect::<Vec<_>>(), [(id, &vec![7; len][..])]);
                assert_eq!(head(&bytes[..read.bytes - 1]), Err(Fault::Short));
            }
        }
        for value in [0, 1, 255, 256, u64::MAX] {
            let bytes = unsigned(id::TIMESTAMP, value);
            assert_eq!(elements(&bytes).map(|(_, body)| number(body)).collect::<Vec<_>>(), [value]);
        }
    }

    #[test]
    fn a_length_of_ones_is_unknown() {
        assert_eq!(head(&[0xec, 0xff]), Ok(Head { id: id::VOID, bytes: 2, body: None }));
        let live = [0x18, 0x53, 0x80, 0x67, 1, 255, 255, 255, 255, 255, 255, 255];
        assert_eq!(head(&live), Ok(Head { id: id::SEGMENT, bytes: 12, body: None }));
        assert_eq!(head(&[0x00, 0x81]), Err(Fault::Damaged));
    }
}
