//! JSON that is checked once and stays where it stands.
//!
//! A relayed frame is read for the few members that say what it is and whom it is for; the rest is passed on as it came.
//! serde_json's `RawValue` does that too, but reads every byte again at each level that is opened, and byte by byte: for
//! an SDP inside an object inside an object, that was a third of the server's time (`docs/performance-notes.md`).
//! Here a text is checked once, strictly (RFC 8259), and what is in the objects of the upper levels is remembered on the
//! way, so that opening one of them reads nothing again. A property test holds this module to what serde_json takes.

use std::borrow::Cow;

use serde::ser::{Error, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::limits::{JSON_DEPTH, JSON_MEMBERS};
use crate::signal::Refusal;

const NO_JSON: Refusal = Refusal::Malformed("this is not a JSON object");
const TOO_MANY: Refusal = Refusal::Malformed("an object has too many members");
const TOO_DEEP: Refusal = Refusal::Malformed("objects and lists are nested too deep");

/// Objects in objects whose members are remembered, the outermost counted: as deep as any dialect looks.
const OPEN_DEPTH: usize = 4;

/// Members of all objects that most messages do not have more of: the longest is a candidate of conic's third generation.
const USUAL_MEMBERS: usize = 12;

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
        scanner.white();
        let start = scanner.at();
        scanner.check(0)?;
        let value = scanner.raw(start)?;
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
        Object::parse(self.0)
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

/// An object. Its values are not looked into, but the members of objects in it are remembered, so that opening one of
/// them costs nothing.
#[derive(Debug, Clone)]
pub struct Object<'a> {
    members: Members<'a>,
}

/// The members of an object in the order of the text, each followed by those of the object that is its value.
#[derive(Debug, Clone)]
enum Members<'a> {
    Own(Vec<Member<'a>>),
    Lent(&'a [Member<'a>]),
}

#[derive(Debug, Clone)]
struct Member<'a> {
    name: Cow<'a, str>,
    value: Raw<'a>,
    /// How many members after this one stand in its value.
    inside: usize,
}

impl<'a> Object<'a> {
    /// Reads one object and nothing after it.
    ///
    /// # Errors
    /// [`Refusal::Malformed`]: it is not a JSON object, is nested deeper than [`JSON_DEPTH`], or has more than
    /// [`JSON_MEMBERS`] members.
    pub fn parse(text: &'a str) -> Result<Self, Refusal> {
        let mut scanner = Scanner { text, rest: text.as_bytes() };
        let mut members = Vec::with_capacity(USUAL_MEMBERS);
        scanner.white();
        if !scanner.object(&mut members, 1)? {
            return Err(TOO_MANY);
        }
        scanner.white();
        if scanner.rest.is_empty() { Ok(Object { members: Members::Own(members) }) } else { Err(NO_JSON) }
    }

    /// All members, in the order of the text.
    pub fn members(&self) -> impl Iterator<Item = (&str, Raw<'a>)> {
        self.places().map(|(_, member)| (member.name.as_ref(), member.value))
    }

    /// Where the member is whose name `is_wanted`.
    ///
    /// # Errors
    /// [`Refusal::Malformed`]: there are two.
    pub fn place(&self, is_wanted: impl Fn(&str) -> bool) -> Result<Option<usize>, Refusal> {
        let mut found = self.places().filter(|(_, member)| is_wanted(&member.name)).map(|(place, _)| place);
        let first = found.next();
        match found.next() {
            Some(_) => Err(Refusal::Malformed("a member appears twice in one object")),
            None => Ok(first),
        }
    }

    /// The value at a [`Object::place`].
    pub fn value(&self, place: usize) -> Option<Raw<'a>> {
        self.all().get(place).map(|member| member.value)
    }

    /// The object that is the value at a [`Object::place`].
    ///
    /// # Errors
    /// As [`Raw::object`].
    pub fn open(&self, place: usize) -> Result<Object<'_>, Refusal> {
        let (member, rest) = self.all().get(place..).and_then(<[_]>::split_first).ok_or(NO_JSON)?;
        match rest.get(..member.inside) {
            Some(inside @ [_, ..]) => Ok(Object { members: Members::Lent(inside) }),
            _ => member.value.object(),
        }
    }

    /// The same object for another reader.
    pub fn lend(&self) -> Object<'_> {
        Object { members: Members::Lent(self.all()) }
    }

    fn all(&self) -> &[Member<'a>] {
        match &self.members {
            Members::Own(members) => members,
            Members::Lent(members) => members,
        }
    }

    fn places(&self) -> impl Iterator<Item = (usize, &Member<'a>)> {
        let all = self.all();
        let mut next = 0_usize;
        std::iter::from_fn(move || {
            let (place, member) = (next, all.get(next)?);
            next = place.saturating_add(1).saturating_add(member.inside);
            Some((place, member))
        })
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

    /// What was stepped over since `start`.
    fn raw(&self, start: usize) -> Result<Raw<'a>, Refusal> {
        self.text.get(start..self.at()).map(Raw).ok_or(NO_JSON)
    }

    /// Steps over an object, the `depth`th, and adds its members to a list. `false`: there are too many of them.
    fn object(&mut self, members: &mut Vec<Member<'a>>, depth: usize) -> Result<bool, Refusal> {
        self.expect(b'{')?;
        self.white();
        if self.take(b'}') {
            return Ok(true);
        }
        for _ in 0..JSON_MEMBERS {
            if depth > 1 && members.len() >= JSON_MEMBERS {
                return Ok(false);
            }
            self.member(members, depth)?;
            self.white();
            match self.next()? {
                b',' => self.white(),
                b'}' => return Ok(true),
                _ => return Err(NO_JSON),
            }
        }
        Ok(false)
    }

    fn member(&mut self, members: &mut Vec<Member<'a>>, depth: usize) -> Result<(), Refusal> {
        let name = self.name()?;
        self.white();
        let (start, before, place) = (self.at(), self.rest, members.len());
        members.push(Member { name, value: Raw(""), inside: 0 });
        let is_open = before.first() == Some(&b'{')
            && depth < OPEN_DEPTH
            && self.object(members, depth.saturating_add(1)) == Ok(true);
        if !is_open {
            // It is for who opens it to refuse, if it is valid.
            members.truncate(place.saturating_add(1));
            self.rest = before;
            self.check(depth)?;
        }
        let (value, inside) = (self.raw(start)?, members.len().saturating_sub(place).saturating_sub(1));
        if let Some(member) = members.get_mut(place) {
            (member.value, member.inside) = (value, inside);
        }
        Ok(())
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
                opens(&object);
            }
            (Err(_), None) => {}
            (read, oracle) => panic!("{text:?}: {read:?}, serde_json: {oracle:?}"),
        }
    }

    /// What is remembered of an object inside is what its own text says.
    fn opens(object: &Object<'_>) {
        for (place, member) in object.places() {
            let (alone, remembered) = (Object::parse(member.value.get()), object.open(place));
            assert_eq!(alone.is_ok(), remembered.is_ok(), "{member:?}");
            if let (Ok(alone), Ok(remembered)) = (alone, remembered) {
                assert!(alone.members().eq(remembered.members()), "{member:?}");
                opens(&remembered);
            }
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
        // What nobody opens may have more, and does not take the room of others.
        let (most, more) = (many(JSON_MEMBERS), many(JSON_MEMBERS + 1));
        let text = format!("{{\"a\":{{\"b\":{more},\"c\":{more}}},\"d\":{most},\"e\":{most},\"f\":[{more}]}}");
        let object = Object::parse(&text).unwrap();
        opens(&object);
        assert_eq!([0, 3, 4, 5].map(|place| object.all()[place].inside), [2, 0, 0, 0]);
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
