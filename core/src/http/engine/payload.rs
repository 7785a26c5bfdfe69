//! Several packets in one body of HTTP, as polling carries them.
//!
//! | version | form | length in |
//! |---|---|---|
//! | 0.9 | `\u{fffd}<len>\u{fffd}<packet>`…, a single packet as it is | UTF-16 code units |
//! | Engine.IO 3 | `<len>:<packet>`… | UTF-16 code units |
//! | Engine.IO 4 | packets with `\u{1e}` between them | |
//!
//! Lengths are JavaScript's: its strings count UTF-16 code units.

use std::fmt::Write;

use crate::dialect::socketio::Version;
use crate::limits::PAYLOAD_PACKETS;

/// Between two packets of Engine.IO 4.
const SEPARATOR: char = '\u{1e}';

/// Around a length of 0.9.
const MARK: char = '\u{fffd}';

/// Writes packets as one body.
pub fn encode<'a>(version: Version, packets: impl ExactSizeIterator<Item = &'a str>) -> String {
    let mut body = String::new();
    let alone = packets.len() == 1;
    for (position, packet) in packets.enumerate() {
        // Writing text to memory does not fail.
        match version {
            Version::Legacy if alone => {}
            Version::Legacy => _ = write!(body, "{MARK}{}{MARK}", units(packet)),
            Version::Three => _ = write!(body, "{}:", units(packet)),
            Version::Four if position > 0 => body.push(SEPARATOR),
            Version::Four => {}
        }
        body.push_str(packet);
    }
    body
}

/// Takes a body apart. `None`: it is none, or has more than [`PAYLOAD_PACKETS`].
pub fn decode(version: Version, body: &str) -> Option<Vec<&str>> {
    let mut packets = Vec::new();
    match version {
        Version::Legacy if !body.starts_with(MARK) => packets.push(body),
        Version::Legacy | Version::Three => {
            let mut rest = body;
            while !rest.is_empty() && packets.len() <= PAYLOAD_PACKETS {
                let (length, after) = match version {
                    Version::Legacy => rest.strip_prefix(MARK)?.split_once(MARK)?,
                    _ => rest.split_once(':')?,
                };
                let is_number = (1..=7).contains(&length.len()) && length.bytes().all(|byte| byte.is_ascii_digit());
                let units = length.parse().ok().filter(|_| is_number)?;
                let packet = prefix(after, units)?;
                packets.push(packet);
                rest = after.strip_prefix(packet)?;
            }
        }
        Version::Four => packets.extend(body.split(SEPARATOR).take(PAYLOAD_PACKETS.saturating_add(1))),
    }
    (packets.len() <= PAYLOAD_PACKETS).then_some(packets)
}

/// The length of a string in JavaScript.
fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// The beginning of a text that has this many code units. `None`: it is shorter, or a character would be cut.
fn prefix(text: &str, units: usize) -> Option<&str> {
    let mut left = units;
    for (position, char) in text.char_indices() {
        if left == 0 {
            return text.get(..position);
        }
        left = left.checked_sub(char.len_utf16())?;
    }
    (left == 0).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Version; 3] = [Version::Legacy, Version::Three, Version::Four];

    #[test]
    fn bodies_look_as_they_were_captured() {
        let packets = ["4:::{\"é\":1}", "3:::縁👋"];
        let legacy = "\u{fffd}11\u{fffd}4:::{\"é\":1}\u{fffd}7\u{fffd}3:::縁👋";
        assert_eq!(encode(Version::Legacy, packets.into_iter()), legacy);
        assert_eq!(encode(Version::Legacy, ["1::"].into_iter()), "1::");
        assert_eq!(encode(Version::Three, ["40", "2probe"].into_iter()), "2:406:2probe");
        assert_eq!(encode(Version::Four, ["40", "2"].into_iter()), "40\u{1e}2");
        assert_eq!(decode(Version::Legacy, legacy).unwrap(), packets);
    }

    #[test]
    fn what_is_no_body_is_refused() {
        for body in ["1", "x:1", "3:40", ":", "1:ab", "+1:a", "99999999:a", "1:👋"] {
            assert_eq!(decode(Version::Three, body), None, "{body}");
        }
        for body in ["\u{fffd}", "\u{fffd}1", "\u{fffd}3\u{fffd}1:", "\u{fffd}1\u{fffd}ab", "\u{fffd}x\u{fffd}1"] {
            assert_eq!(decode(Version::Legacy, body), None, "{body}");
        }
        let many = vec!["4"; PAYLOAD_PACKETS + 1];
        for version in ALL {
            assert_eq!(decode(version, &encode(version, many.iter().copied())), None);
            assert!(decode(version, &encode(version, many[1..].iter().copied())).is_some());
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(packets in prop::collection::vec("[^\u{1e}\u{fffd}]{1,20}", 1..20)) {
            for version in ALL {
                let body = encode(version, packets.iter().map(String::as_str));
                prop_assert_eq!(decode(version, &body).unwrap(), packets.clone());
            }
        }

        #[test]
        fn nothing_panics(body in "[\u{fffd}0-9:é👋\u{1e}]{0,40}") {
            for version in ALL {
                let _ = decode(version, &body);
            }
        }
    }
}
