//! The VP8 frame that says: the same again. No encoder at hand writes it without looking for motion everywhere.

use bytes::Bytes;
use oxideav_vp8::encoder::{BoolEncoder, COEFF_UPDATE_PROBS_FLAT, write_no_token_prob_updates};

/// Probabilities that the motion vectors' own are updated (RFC 6386, 17.2).
const MV_UPDATE: [u8; 38] = [
    237, 246, 253, 253, 254, 254, 254, 254, 254, 254, 254, 254, 254, 254, 250, 250, 252, 254, 254, 231, 243, 245, 253,
    254, 254, 254, 254, 254, 254, 254, 254, 254, 254, 251, 251, 254, 254, 254,
];

/// Probabilities of a motion vector of zero beside none, two and five neighbours that have it (RFC 6386, 18.3): a corner,
/// an edge, elsewhere.
const ZERO_MV: [u8; 3] = [7, 135, 234];

/// A frame of this size that shows the last one again and changes no other state of a decoder. About 30 bytes.
pub(super) fn repeat((width, height): (u16, u16)) -> Bytes {
    let mut first = BoolEncoder::new();
    let mut flags = |bits, value| first.write_literal(value, bits);
    // The header of a frame that is no key frame (RFC 6386, 19.2): no segments, no loop filter, one partition.
    flags(1, 0);
    flags(1 + 6 + 3, 0);
    flags(1, 0);
    flags(2, 0);
    // The quantiser, of which nothing is made, and its five offsets.
    flags(7 + 5, 0);
    // Golden and alternate frames stay as they are and where they are.
    flags(1 + 1 + 2 + 2 + 1 + 1, 0);
    // The probabilities stay; this becomes the last frame.
    flags(2, 0b11);
    write_no_token_prob_updates(&mut first, &COEFF_UPDATE_PROBS_FLAT);
    // Macroblocks say whether they have coefficients; that one does is as improbable as can be, as are those that are
    // coded alone, or from another frame than the last one.
    first.write_literal(1, 1);
    [1, 1, 255, 128].into_iter().for_each(|probability| first.write_literal(probability, 8));
    first.write_literal(0, 2);
    MV_UPDATE.into_iter().for_each(|probability| first.write_bool(probability, false));
    for row in 0..height.div_ceil(16) {
        for column in 0..width.div_ceil(16) {
            let neighbours = usize::from(row > 0) + usize::from(column > 0);
            // No coefficients, from another frame, from the last one, not moved.
            for (probability, value) in [(1, true), (1, true), (255, false), (ZERO_MV[neighbours], false)] {
                first.write_bool(probability, value);
            }
        }
    }
    let first = first.finish();
    // Not a key frame, version 0, shown, and the length of the first partition (RFC 6386, 9.1).
    let tag = 1 | 1 << 4 | (first.len() as u32) << 5;
    let mut frame = tag.to_le_bytes().into_iter().take(3).collect::<Vec<u8>>();
    frame.extend(first);
    frame.extend(BoolEncoder::new().finish());
    frame.into()
}

#[cfg(test)]
mod tests {
    use crate::media::pattern::Pattern;
    use crate::media::vp8::{Decoder, Encoder};
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_picture_stays_and_what_follows_builds_on_it() {
        for (width, height) in [(1, 1), (16, 16), (17, 40), (160, 120), (321, 33)] {
            let (mut encoder, mut decoder) = (Encoder::default(), Decoder::new());
            let draw = |at: u64| Pattern::Gradient.draw(Duration::from_millis(at * 100), width, height);
            let first = decoder.decode(&encoder.encode(&draw(0), true).unwrap()).unwrap();
            for _ in 0..3 {
                let frame = repeat((width, height));
                assert!(frame.len() < 80, "{} bytes", frame.len());
                assert_eq!(encoder.encode(&draw(0), false).unwrap(), frame);
                assert_eq!(decoder.decode(&frame).unwrap(), first);
            }
            let mut alone = Decoder::new();
            let (mut other, next) = (Encoder::default(), encoder.encode(&draw(1), false).unwrap());
            alone.decode(&other.encode(&draw(0), true).unwrap()).unwrap();
            assert_eq!(other.encode(&draw(1), false).unwrap(), next);
            assert_eq!(decoder.decode(&next).unwrap(), alone.decode(&next).unwrap());
        }
    }
}
