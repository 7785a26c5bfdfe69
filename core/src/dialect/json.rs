//! JSON that is checked once and stays where it stands.
//!
//! A relayed frame is read for the few members that say what it is and whom it is for; the rest is passed on as it came.
//! serde_json's `RawValue` does that too, but reads every byte again at each level that is opened, and byte by byte: for
//! an SDP inside an object inside an object, that was a third of the server's time (`docs/performance-notes.md`).
//! Here a text is checked once, strictly (RFC 8259). What was found valid is trusted when an object in it is opened:
//! then only the ends of its values are looked for. A property test holds this module to what serde_json takes.

use std::borrow::Cow;

use serde::ser::{Error, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::limits::{JSON_DEPTH, JSON_MEMBERS};
use crate::signal::Refusal;

const NO_JSON: Refusal = Refusal::Malformed("this is not a JSON object");
const TOO_DEEP: Refusal = Refusal::Malformed("objects and lists are nested too deep");

// The kinds of open brackets are kept in the bits of one u64.
const _: () = assert!(JSON_DEPTH <= 64);

/// One value as it stands in a text: valid JSON, nested no deeper than [`JSON_DEPTH`], without white space around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raw<'a>(&'a str);

impl<'a> Raw<'a> {
    /// Reads one value and nothing after it.
    ///
    /// # Errors
    /// [`Refusal::Malformed`]: it is not JSON, or is nested deeper than [`JSON_DEPTH`].
    pub fn parse(text: &'a str) -> Result<Self, Refusal> {
        let mut scanner = Scanner { text, rest: text.as_bytes() };
        let value = scanner.raw(|scanner| scanner.check(0))?;
        scanner.white();
        if scanner.rest.is_empty() { Ok(value) } else { Err(NO_JSON) }
    }

    /// Its text.
    pub fn get(self) -> &'a str {
        self.0
    }

    /// The object that it is.
    ///
    /// # Errors
    /// [`Refusal::Malformed`]: it is none, or has more than [`JSON_MEMBERS`] members.
    pub fn object(self) -> Result<Object<'a>, Refusal> {
        Object::read(self.0, Scanner::pass)
    }

    /// The text of a string; borrowed where nothing in it is escaped.
    ///
    /// # Errors
    /// [`Refusal::Malformed`]: it is not a string, or has half of a surrogate pair in it.
    pub fn string(self) -> Result<Cow<'a, str>, Refusal> {
        match self.0.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
            Some(inside) if !has_backslash(inside.as_bytes()) => Ok(Cow::Borrowed(inside)),
            Some(_) => unescape(self.0).map(Cow::Owned),
            None => Err(Refusal::Malformed("a string was expected")),
        }
    }
}

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value: &RawValue = serde_json::from_str(self.0).map_err(S::Error::custom)?;
        value.serialize(serializer)
    }
}

impl<'a> From<&'a RawValue> for Raw<'a> {
    /// The caller knows how deep it is nested.
    fn from(value: &'a RawValue) -> Self {
        Raw(value.get())
    }
}

/// An object whose values are not looked into.
#[derive(Debug, Clone)]
pub struct Object<'a> {
    members: Vec<(Cow<'a, str>, Raw<'a>)>,
}

impl<'a> Object<'a> {
    /// Reads one object and nothing after it.
    ///
    /// # Errors
    /// [`Refusal::Malformed`]: it is not a JSON object, is nested deeper than [`JSON_DEPTH`], or has more than
    /// [`JSON_MEMBERS`] members.
    pub fn parse(text: &'a str) -> Result<Self, Refusal> {
        Object::read(text, |scanner| scanner.check(1))
    }

    /// All members, in the order of the text.
    pub fn members(&self) -> impl Iterator<Item = (&str, Raw<'a>)> {
        self.members.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    /// `skip` steps over one value of the object.
    fn read(text: &'a str, skip: impl Fn(&mut Scanner<'a>) -> Result<(), Refusal>) -> Result<Self, Refusal> {
        let mut scanner = Scanner { text, rest: text.as_bytes() };
        // Most have not more, and one that has is not much slower.
        let mut members = Vec::with_capacity(4);
        scanner.white();
        scanner.expect(b'{')?;
        scanner.white();
        if !scanner.take(b'}') {
            loop {
                if members.len() >= JSON_MEMBERS {
                    return Err(Refusal::Malformed("an object has too many members"));
                }
                members.push((scanner.name()?, scanner.raw(&skip)?));
                scanner.white();
                match scanner.next()? {
                    b',' => scanner.white(),
                    b'}' => break,
                    _ => return Err(NO_JSON),
                }
            }
        }
        scanner.white();
        if scanner.rest.is_empty() { Ok(Object { members }) } else { Err(NO_JSON) }
    }
}

/// A place in a text.
struct Scanner<'a> {
    text: &'a str,
    rest: &'a [u8],
}

impl<'a> Scanner<'a> {
    fn at(&self) -> usize {
        self.text.len().saturating_sub(self.rest.len())
    }

    fn next(&mut self) -> Result<u8, Refusal> {
        let (byte, rest) = self.rest.split_first().ok_or(NO_JSON)?;
        self.rest = rest;
        Ok(*byte)
    }

    fn take(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), Refusal> {
        if self.take(byte) { Ok(()) } else { Err(NO_JSON) }
    }

    fn white(&mut self) {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    /// A value as it stands there.
    fn raw(&mut self, skip: impl Fn(&mut Self) -> Result<(), Refusal>) -> Result<Raw<'a>, Refusal> {
        self.white();
        let start = self.at();
        skip(self)?;
        self.text.get(start..self.at()).map(Raw).ok_or(NO_JSON)
    }

    /// The name of a member, and the colon after it.
    fn name(&mut self) -> Result<Cow<'a, str>, Refusal> {
        self.expect(b'"')?;
        let start = self.at();
        let escaped = self.string()?;
        let end = self.at();
        self.white();
        self.expect(b':')?;
        if escaped {
            let quoted = self.text.get(start.saturating_sub(1)..end).ok_or(NO_JSON)?;
            return unescape(quoted).map(Cow::Owned);
        }
        self.text.get(start..end.saturating_sub(1)).map(Cow::Borrowed).ok_or(NO_JSON)
    }

    /// Steps over one value and checks it, whatever is nested in it. It is `outer` levels deep itself.
    fn check(&mut self, outer: usize) -> Result<(), Refusal> {
        // One bit for each open bracket, the innermost the lowest: 1 is an object.
        let (mut depth, mut objects) = (outer, 0_u64);
        loop {
            self.white();
            let first = self.next()?;
            match first {
                b'"' => _ = self.string()?,
                b'{' | b'[' => {
                    if depth >= JSON_DEPTH {
                        return Err(TOO_DEEP);
                    }
                    self.white();
                    let is_object = first == b'{';
                    if !self.take(if is_object { b'}' } else { b']' }) {
                        depth = depth.saturating_add(1);
                        objects = objects << 1 | u64::from(is_object);
                        if is_object {
                            self.nested_name()?;
                        }
                        continue;
                    }
                }
                b't' => self.word(b"rue")?,
                b'f' => self.word(b"alse")?,
                b'n' => self.word(b"ull")?,
                _ => self.number(first)?,
            }
            // A value has ended; perhaps what it is in ends too.
            loop {
                if depth == outer {
                    return Ok(());
                }
                self.white();
                match (self.next()?, objects & 1) {
                    (b',', 0) => break,
                    (b',', _) => {
                        self.white();
                        self.nested_name()?;
                        break;
                    }
                    (b']', 0) | (b'}', 1) => (depth, objects) = (depth.saturating_sub(1), objects >> 1),
                    _ => return Err(NO_JSON),
                }
            }
        }
    }

    /// A name that nobody asked for.
    fn nested_name(&mut self) -> Result<(), Refusal> {
        self.expect(b'"')?;
        self.string()?;
        self.white();
        self.expect(b':')
    }

    /// The rest of a string, to the quote that ends it. Whether something in it is escaped.
    fn string(&mut self) -> Result<bool, Refusal> {
        let mut escaped = false;
        loop {
            self.plain();
            // Line ends of an SDP are two escapes in a row.
            while let [b'\\', escape, rest @ ..] = self.rest {
                (escaped, self.rest) = (true, rest);
                match escape {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                    b'u' => match rest.split_first_chunk::<4>() {
                        Some((digits, rest)) if digits.iter().all(u8::is_ascii_hexdigit) => self.rest = rest,
                        _ => return Err(NO_JSON),
                    },
                    _ => return Err(NO_JSON),
                }
            }
            match self.rest {
                [b'"', rest @ ..] => {
                    self.rest = rest;
                    return Ok(escaped);
                }
                [0x20..=b'[' | b']'.., rest @ ..] => self.rest = rest,
                _ => return Err(NO_JSON),
            }
        }
    }

    /// Steps over bytes of a string that mean themselves, eight at a time while there are eight.
    fn plain(&mut self) {
        while let Some((eight, rest)) = self.rest.split_first_chunk::<8>() {
            let found = special(u64::from_le_bytes(*eight));
            if found != 0 {
                let plain = found.trailing_zeros() / 8;
                self.rest = self.rest.get(plain as usize..).unwrap_or_default();
                return;
            }
            self.rest = rest;
        }
    }

    fn word(&mut self, rest_of_it: &[u8]) -> Result<(), Refusal> {
        self.rest = self.rest.strip_prefix(rest_of_it).ok_or(NO_JSON)?;
        Ok(())
    }

    fn number(&mut self, first: u8) -> Result<(), Refusal> {
        match if first == b'-' { self.next()? } else { first } {
            b'0' => {}
            b'1'..=b'9' => _ = self.digits(),
            _ => return Err(NO_JSON),
        }
        if self.take(b'.') && self.digits() == 0 {
            return Err(NO_JSON);
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            if self.digits() == 0 {
                return Err(NO_JSON);
            }
        }
        Ok(())
    }

    /// Steps over digits. How many there were.
    fn digits(&mut self) -> usize {
        let count = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.rest = self.rest.get(count..).unwrap_or_default();
        count
    }

    /// Steps over one value that was checked before.
    fn pass(&mut self) -> Result<(), Refusal> {
        let mut depth = 0_usize;
        loop {
            match self.next()? {
                b'"' => self.pass_string(),
                b'{' | b'[' => depth = depth.saturating_add(1),
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ if depth == 0 => {
                    let is_end = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
                    let len = self.rest.iter().position(is_end).unwrap_or(self.rest.len());
                    self.rest = self.rest.get(len..).unwrap_or_default();
                }
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// The rest of a string that was checked before: to the first quote that is not escaped.
    fn pass_string(&mut self) {
        let mut from = self.rest;
        while let Some(quote) = find_quote(from) {
            let (before, after) = from.split_at_checked(quote).unwrap_or_default();
            from = after.get(1..).unwrap_or_default();
            let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
            if backslashes.is_multiple_of(2) {
                break;
            }
        }
        self.rest = from;
    }
}

/// The bytes that end a run of plain ones: quotes, backslashes, control characters. The lowest bit that is set is in the
/// first of them; above it others may be set wrongly (Mycroft's test: a borrow goes only upwards).
fn special(eight: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xff;
    let zeroes = |bytes: u64| bytes.wrapping_sub(ONES) & !bytes;
    let quotes = zeroes(eight ^ ONES.wrapping_mul(b'"' as u64));
    let backslashes = zeroes(eight ^ ONES.wrapping_mul(b'\\' as u64));
    let controls = eight.wrapping_sub(ONES.wrapping_mul(0x20)) & !eight;
    (quotes | backslashes | controls) & ONES.wrapping_mul(0x80)
}

/// Where the first quote is. In blocks without a branch inside, of which the compiler makes vector instructions.
fn find_quote(bytes: &[u8]) -> Option<usize> {
    let (blocks, _) = bytes.as_chunks::<64>();
    let without = blocks.iter().take_while(|block| !block.iter().fold(false, |found, byte| found | (*byte == b'"')));
    let skipped = without.count().saturating_mul(64);
    let rest = bytes.get(skipped..)?;
    rest.iter().position(|byte| *byte == b'"').map(|at| at.saturating_add(skipped))
}

fn has_backslash(bytes: &[u8]) -> bool {
    let any = |bytes: &[u8]| bytes.iter().fold(false, |found, byte| found | (*byte == b'\\'));
    let (blocks, rest) = bytes.as_chunks::<16>();
    blocks.iter().any(|block| any(block)) || any(rest)
}

/// The text of a valid string with its quotes.
fn unescape(quoted: &str) -> Result<String, Refusal> {
    serde_json::from_str(quoted).map_err(|_| Refusal::Malformed("a string has an escape that is no character"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// What serde_json makes of a text: its members, if it is an object without two of the same name.
    fn oracle(text: &str) -> Option<BTreeMap<String, &RawValue>> {
        serde_json::from_str(text).ok()
    }

    fn agrees(text: &str) {
        let read = Object::parse(text);
        match (read, oracle(text)) {
            (Ok(object), Some(expected)) => {
                let members: BTreeMap<String, &str> =
                    object.members().map(|(name, value)| (name.to_owned(), value.get())).collect();
                let expected: BTreeMap<String, &str> =
                    expected.into_iter().map(|(name, value)| (name, value.get())).collect();
                assert_eq!(members, expected, "{text}");
                for (_, value) in object.members() {
                    reopens(value);
                }
            }
            (Err(_), None) => {}
            (read, oracle) => panic!("{text:?}: {read:?}, serde_json: {oracle:?}"),
        }
    }

    /// What is trusted reads as what is checked.
    fn reopens(value: Raw<'_>) {
        let checked = Object::parse(value.get());
        let trusted = value.object();
        assert_eq!(checked.is_ok(), trusted.is_ok(), "{value:?}");
        if let (Ok(checked), Ok(trusted)) = (checked, trusted) {
            assert!(checked.members().eq(trusted.members()), "{value:?}");
            checked.members().for_each(|(_, value)| reopens(value));
        }
    }

    #[test]
    fn every_short_text_is_taken_or_refused_as_serde_json_does() {
        const BYTES: &[u8] = br#"{}[]":,0-1.e+ tun\"#;
        for length in 0..5_u32 {
            for number in 0..BYTES.len().pow(length) {
                let pick = |place| *BYTES.iter().cycle().nth(number / BYTES.len().pow(place) % BYTES.len()).unwrap();
                let value: String = (0..length).map(|place| char::from(pick(place))).collect();
                agrees(&format!("{{\"a\":{value}}}"));
                if length < 4 {
                    agrees(&value);
                    agrees(&format!("{{\"{value}\":[{{\"b\" : {value}}}]}}"));
                }
            }
        }
    }

    #[test]
    fn strings_end_where_they_end_at_every_offset() {
        for length in 0..40 {
            for special in ["\\\"", "\\\\", "\\u0041", "\u{1}", "\u{7f}", "é", "\\x", "\\u12", "\\ud800", "\"", "\\"] {
                for place in 0..=length {
                    let (before, after) = ("a".repeat(place), "b".repeat(length - place));
                    agrees(&format!("{{\"k\":\"{before}{special}{after}\",\"l\":{{\"m\":\"{after}{special}\"}}}}"));
                }
            }
        }
        let long = "x".repeat(500);
        agrees(&format!(r#"{{"k":{{"sdp":"{long}\\\"{long}\\"}},"l":"{long}\\"}}"#));
    }

    #[test]
    fn numbers_are_those_of_rfc_8259() {
        for number in ["0", "-0", "10", "01", "1.", ".5", "1.50", "1e5", "1E+05", "1e-", "-", "+1", "1e400", "1.e3"] {
            agrees(&format!("{{\"n\":{number}}}"));
            agrees(&format!("{{\"n\":[{number} , {number}]}}"));
        }
    }

    #[test]
    fn members_and_depth_are_bounded() {
        let many = |count: usize| {
            let members: Vec<String> = (0..count).map(|i| format!("\"{i}\":0")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(Object::parse(&many(JSON_MEMBERS)).is_ok() && Object::parse(&many(JSON_MEMBERS + 1)).is_err());
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(Object::parse(&nested(JSON_DEPTH)).is_ok());
        assert_eq!(Object::parse(&nested(JSON_DEPTH + 1)).unwrap_err(), TOO_DEEP);
        assert!(Object::parse(&nested(200_000)).is_err());
        assert!(Object::parse(&format!("{{\"a\":\"{}\"}}", "[".repeat(1000))).is_ok());
        assert!(Object::parse(&format!("{{\"a\":[{}0]}}", "[],{},".repeat(1000))).is_ok());
    }

    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<bool>().prop_map(|value| value.to_string()),
            any::<f64>().prop_map(|value| serde_json::to_string(&value).unwrap()),
            ".{0,40}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            let member = ("[a-z\"\\\\é]{0,9}", inner.clone());
            prop_oneof![
                prop::collection::vec(inner, 0..6).prop_map(|values| format!("[ {} ]", values.join(" ,\n"))),
                prop::collection::vec(member, 0..6).prop_map(|members| {
                    // A name may come once, or the oracle would drop one.
                    let members: BTreeMap<String, String> = members.into_iter().collect();
                    let members: Vec<String> = members
                        .iter()
                        .map(|(name, value)| format!("{} :\t{value}", serde_json::to_string(name).unwrap()))
                        .collect();
                    format!("{{{}}}", members.join(", "))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn reads_what_serde_json_reads(value in json()) {
            agrees(&value);
            agrees(&format!(" {{\"data\": {value} }}\n"));
        }

        /// One byte is put in the place of another, taken out or put in.
        #[test]
        fn damaged_texts_are_refused_as_serde_json_does(value in json(), place: usize, with in "[ -~\n]?", cut in 0..2_usize) {
            let text = format!("{{\"data\":{value},\"type\":\"sdp\"}}");
            let place = place % text.len();
            if text.is_char_boundary(place) && text.is_char_boundary(place + cut) {
                let damaged = [&text[..place], &with, &text[place + cut..]].concat();
                // Two members of one name are for who asks for them to refuse.
                if serde_json::from_str::<serde_json::Value>(&damaged).map(|value| value.as_object().map_or(0, |o| o.len())).unwrap_or(0) != 1 {
                    agrees(&damaged);
                }
            }
        }
    }
}
