//! VP8 (RFC 6386): pictures to frames and back.

mod repeat;

use bytes::Bytes;
use oxideav_vp8::encoder::{I420Frame, KeyframeParams, encode_keyframe_with_reconstruction, encode_p_frame_zero_mv};
use oxideav_vp8::frame::KeyframePlanes;
use oxideav_vp8::state::Vp8DecoderState;

use crate::limits;

use super::{MediaError, contained};

/// The quantiser of all pictures (RFC 6386, 9.6): 0 is best and large, 127 is worst.
const QUANTISER: u8 = 30;

/// A picture in planes: luma, and both chroma of half the width and height, rounded up (I420).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// In pixels, at least 1.
    pub width: u16,
    /// In pixels, at least 1.
    pub height: u16,
    /// Luma, line by line.
    pub y: Vec<u8>,
    /// Blue minus luma.
    pub u: Vec<u8>,
    /// Red minus luma.
    pub v: Vec<u8>,
}

impl Picture {
    /// One colour all over: Y, Cb, Cr. A size of 0 becomes 1.
    pub fn new(width: u16, height: u16, color: [u8; 3]) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        let pixels = usize::from(width) * usize::from(height);
        let chroma = usize::from(width).div_ceil(2) * usize::from(height).div_ceil(2);
        let [y, u, v] = color;
        Picture { width, height, y: vec![y; pixels], u: vec![u; chroma], v: vec![v; chroma] }
    }

    /// The same colour everywhere.
    pub fn fill(&mut self, [y, u, v]: [u8; 3]) {
        self.y.fill(y);
        self.u.fill(u);
        self.v.fill(v);
    }
}

/// What the first bytes of a frame tell (RFC 6386, 9.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whether decoding can begin here.
    pub key: bool,
    /// Width and height of a key frame, in pixels.
    pub size: Option<(u16, u16)>,
}

/// Reads the first bytes of a frame. `None`: it is no VP8 frame.
pub fn header(frame: &[u8]) -> Option<Header> {
    let tag = frame.get(..3)?;
    if tag[0] & 1 == 1 {
        return Some(Header { key: false, size: None });
    }
    let rest = frame.get(3..10)?;
    let size = |low: usize| u16::from_le_bytes([rest[low], rest[low + 1]]) & 0x3fff;
    let fine = rest[..3] == [0x9d, 0x01, 0x2a] && size(3) > 0 && size(5) > 0;
    fine.then(|| Header { key: true, size: Some((size(3), size(5))) })
}

/// Encodes pictures, each from the one before or as a key frame.
#[derive(Debug, Default)]
pub struct Encoder {
    /// The last picture, and what a decoder makes of it.
    last: Option<(Picture, KeyframePlanes)>,
}

impl Encoder {
    /// Encodes the next picture. It becomes a key frame if it is the first one, of another size, or asked to. Takes
    /// about 30 ms at 640 x 480, 8 ms at 320 x 240; one that is the same as the last one takes no time.
    ///
    /// # Errors
    /// The encoder failed. The next picture becomes a key frame.
    pub fn encode(&mut self, picture: &Picture, key: bool) -> Result<Bytes, MediaError> {
        let size = (picture.width, picture.height);
        let last = self.last.take().filter(|(last, _)| !key && (last.width, last.height) == size);
        if last.as_ref().is_some_and(|(last, _)| last == picture) {
            self.last = last;
            return Ok(repeat::repeat(size));
        }
        let frame = I420Frame::packed(size.0.into(), size.1.into(), &picture.y, &picture.u, &picture.v);
        let params = KeyframeParams { y_ac_qi: QUANTISER, ..KeyframeParams::default() };
        let encoded = contained("the VP8 encoder", || match &last {
            Some((_, planes)) => encode_p_frame_zero_mv(&frame, planes, &params),
            None => encode_keyframe_with_reconstruction(&frame, &params),
        })?;
        let (bytes, planes) =
            encoded.map_err(|error| MediaError::Codec(format!("the picture cannot be encoded: {error}")))?;
        self.last = Some((picture.clone(), planes));
        Ok(bytes.into())
    }
}

/// Decodes frames.
#[derive(Debug)]
pub struct Decoder {
    state: Vp8DecoderState,
}

impl Decoder {
    /// Waits for a key frame.
    pub fn new() -> Self {
        Decoder { state: Vp8DecoderState::new().with_max_pixels_per_frame(limits::MEDIA_PIXELS) }
    }

    /// Decodes the next frame. `None`: it is decoded, but not to be shown (RFC 6386, 9.1).
    ///
    /// # Errors
    /// The frame is damaged, too large, or builds on one that was not decoded. The next key frame is fine again.
    pub fn decode(&mut self, frame: &[u8]) -> Result<Option<Picture>, MediaError> {
        let decoded = contained("the VP8 decoder", || self.state.decode_frame(frame));
        let decoded = decoded.inspect_err(|_| *self = Decoder::new())?;
        let decoded = decoded.map_err(|error| MediaError::Codec(format!("the frame is no VP8: {error}")))?;
        if self.state.last_frame_shown() == Some(false) {
            return Ok(None);
        }
        // 14 bits in the header.
        let (width, height) = (decoded.width as u16, decoded.height as u16);
        Ok(Some(Picture { width, height, y: decoded.y, u: decoded.u, v: decoded.v }))
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder::new()
    }
}
