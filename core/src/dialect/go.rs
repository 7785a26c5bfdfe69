//! The habits of Go's `encoding/json`, which several dialects have on the wire without saying so.
//!
//! Input: members are matched whatever their case, unknown ones ignored, `null` is as good as absent, and `[]byte` is
//! standard base64 with padding. Output: compact, and `<`, `>`, `&`, U+2028 and U+2029 are escaped.
//!
//! Go takes the last of two members with the same name. Here a member that is asked for and appears twice is refused:
//! otherwise two readers of one frame could disagree about whom it is for.
//!
//! Values are borrowed from the frame and stay unparsed until somebody needs them: an SDP of 2 KB that is only passed
//! on is never unescaped.
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

pub use super::json::{Object, Raw};
use crate::limits;
use crate::signal::Refusal;

/// Go's `base64.StdEncoding`: padding is a must, spare bits at the end are not looked at.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

impl<'a> Object<'a> {
    /// Where a member stands, its name compared as Go does. `null` is as good as absent.
    ///
    /// # Errors
    /// [`Refusal::Malformed`]: the member appears twice.
    pub fn find(&self, name: &str) -> Result<Option<usize>, Refusal> {
        let is_null = |place| self.value(place).is_some_and(|value| value.get() == "null");
        Ok(self.place(|key| same_name(key, name))?.filter(|place| !is_null(*place)))
    }

    /// The value of a member that [`Object::find`] finds.
    ///
    /// # Errors
    /// As there.
    pub fn get(&self, name: &str) -> Result<Option<Raw<'a>>, Refusal> {
        Ok(self.find(name)?.and_then(|place| self.value(place)))
    }

    /// The object that is the value of such a member.
    ///
    /// # Errors
    /// As there, and as [`Raw::object`].
    pub fn object(&self, name: &str) -> Result<Option<Object<'_>>, Refusal> {
        self.find(name)?.map(|place| self.open(place)).transpose()
    }

    /// The value of a member that is a string.
    ///
    /// # Errors
    /// As [`Object::get`] and [`Raw::string`].
    pub fn string(&self, name: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
        self.get(name)?.map(Raw::string).transpose()
    }

    /// Whether there is a member of exactly this name.
    pub fn has(&self, name: &str) -> bool {
        self.members().any(|(key, _)| key == name)
    }
}

/// Whether Go takes a member called `key` for the field called `name`, which is ASCII. Two letters outside ASCII fold
/// into it: the long s and the Kelvin sign.
#[inline]
pub fn same_name(key: &str, name: &str) -> bool {
    if key.len() == name.len() {
        return key == name || key.eq_ignore_ascii_case(name);
    }
    // A key with one of the two in it is longer than the name.
    key.len() > name.len() && !key.is_ascii() && key.chars().map(fold).eq(name.chars().map(fold))
}

fn fold(c: char) -> char {
    match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    }
}

/// The bytes of a `[]byte`: standard base64 with padding, in which line ends are skipped.
///
/// # Errors
/// [`Refusal::Malformed`]: it is not that.
pub fn bytes(text: &str) -> Result<Vec<u8>, Refusal> {
    let decoded = BASE64.decode(text).or_else(|_| BASE64.decode(text.replace(['\r', '\n'], "")));
    decoded.map_err(|_| Refusal::Malformed("this is not standard base64 with padding"))
}

/// A `[]byte` as Go writes it.
pub fn base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// Refuses text in which objects and lists are nested deeper than [`limits::JSON_DEPTH`].
///
/// Nothing here recurses into a value, but whoever a frame is passed on to may.
///
/// # Errors
/// [`Refusal::Malformed`].
pub fn shallow(text: &str) -> Result<(), Refusal> {
    // Few messages have that many brackets at all, and counting bytes is quick.
    if text.bytes().filter(|byte| matches!(byte, b'{' | b'[')).count() <= limits::JSON_DEPTH {
        return Ok(());
    }
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth = depth.saturating_add(1),
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > limits::JSON_DEPTH {
            return Err(Refusal::Malformed("objects and lists are nested too deep"));
        }
    }
    Ok(())
}

/// Whether Go's `time.Time` takes this: RFC 3339 with an upper-case `T` and `Z`, no leap second, a real date.
pub fn is_time(text: &str) -> bool {
    let Some((head, rest)) = text.as_bytes().split_first_chunk::<19>() else { return false };
    let [c, c1, y, y1, b'-', m, m1, b'-', d, d1, b'T', h, h1, b':', n, n1, b':', s, s1] = *head else { return false };
    let (Some(century), Some(year)) = (two(c, c1, 99), two(y, y1, 99)) else { return false };
    let leap = if year == 0 { century.is_multiple_of(4) } else { year.is_multiple_of(4) };
    let days = match (m, m1) {
        (b'0', b'2') if leap => 29,
        (b'0', b'2') => 28,
        (b'0', b'4' | b'6' | b'9') | (b'1', b'1') => 30,
        _ => 31,
    };
    let is_date = two(m, m1, 12).is_some_and(|month| month > 0) && two(d, d1, days).is_some_and(|day| day > 0);
    is_date && two(h, h1, 23).and(two(n, n1, 59)).and(two(s, s1, 59)).is_some() && is_fraction_and_zone(rest)
}

fn is_fraction_and_zone(text: &[u8]) -> bool {
    let zone = match text {
        [b'.', digit, rest @ ..] if digit.is_ascii_digit() => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            rest.get(digits..).unwrap_or_default()
        }
        zone => zone,
    };
    match *zone {
        [b'Z'] => true,
        [b'+' | b'-', h, h1, b':', m, m1] => two(h, h1, 23).and(two(m, m1, 59)).is_some(),
        _ => false,
    }
}

/// A number of two digits, if it is not greater than `most`.
fn two(tens: u8, ones: u8, most: u8) -> Option<u8> {
    let number = (tens & 0xf).wrapping_mul(10).wrapping_add(ones & 0xf);
    (tens.is_ascii_digit() && ones.is_ascii_digit() && number <= most).then_some(number)
}

/// A value as Go writes what it read into an `any`: compact, members sorted, the last of two alike, numbers as float64.
///
/// # Errors
/// [`Refusal::Malformed`]: it cannot be read.
pub fn canonical(value: Raw<'_>) -> Result<String, Refusal> {
    let value = serde_json::from_str(value.get()).map_err(|_| Refusal::Malformed("a value cannot be read"))?;
    let mut out = String::new();
    write_any(&mut out, &value);
    Ok(out)
}

/// Recurses no deeper than a [`Raw`] may be nested.
fn write_any(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        // Writing to a String does not fail.
        Value::Number(number) => _ = write!(out, "{}", number.as_f64().unwrap_or_default()),
        Value::String(text) => quote(out, text),
        Value::Array(values) => {
            out.push('[');
            for (position, value) in values.iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                write_any(out, value);
            }
            out.push(']');
        }
        Value::Object(members) => {
            let sorted: BTreeMap<&String, &Value> = members.iter().collect();
            out.push('{');
            for (position, (name, value)) in sorted.into_iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                quote(out, name);
                out.push(':');
                write_any(out, value);
            }
            out.push('}');
        }
    }
}

/// Objects that we write are seldom longer, but for those with an SDP in them.
const USUAL_BYTES: usize = 192;

/// Writes one object, member by member.
#[derive(Debug)]
pub struct Builder(String);

impl Builder {
    /// An empty object.
    pub fn new() -> Self {
        let mut text = String::with_capacity(USUAL_BYTES);
        text.push('{');
        Builder(text)
    }

    /// Adds a string. As everywhere here the name is one of ours, in which nothing has to be escaped.
    pub fn text(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        quote(&mut self.0, value);
        self
    }

    /// Adds a value that is JSON already.
    pub fn raw(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        self.0.push_str(value);
        self
    }

    /// Adds a member as somebody else named it.
    pub fn others(mut self, name: &str, value: Raw<'_>) -> Self {
        self.comma();
        quote(&mut self.0, name);
        self.0.push(':');
        self.0.push_str(value.get());
        self
    }

    /// Adds a string, or `null`.
    pub fn maybe(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self.raw(name, "null"),
        }
    }

    /// Ends the object.
    pub fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }

    fn name(&mut self, name: &str) {
        debug_assert!(find_escaped(name).is_none(), "nothing has to be escaped in {name}");
        self.comma();
        self.0.push('"');
        self.0.push_str(name);
        self.0.push_str("\":");
    }

    fn comma(&mut self) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
    }
}

impl Default for Builder {
    fn default() -> Self {
        Builder::new()
    }
}

/// Writes a string as Go does.
fn quote(out: &mut String, text: &str) {
    out.reserve(text.len().saturating_add(2));
    out.push('"');
    let mut rest = text;
    while let Some((plain, tail)) = find_escaped(rest).and_then(|at| rest.split_at_checked(at)) {
        out.push_str(plain);
        let mut chars = tail.chars();
        match chars.next() {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some('\u{8}') => out.push_str("\\b"),
            Some('\u{c}') => out.push_str("\\f"),
            // Writing to a String does not fail.
            Some(c) => _ = write!(out, "\\u{:04x}", u32::from(c)),
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

/// Where the first character is that has to be escaped. Bytes are looked at, not characters: that is quicker.
fn find_escaped(text: &str) -> Option<usize> {
    let mut from = 0_usize;
    loop {
        let rest = text.as_bytes().get(from..)?;
        let found = rest.iter().position(|byte| matches!(byte, 0..=0x1f | b'"' | b'\\' | b'<' | b'>' | b'&' | 0xe2))?;
        let at = from.saturating_add(found);
        match rest.get(found..) {
            // U+2028 and U+2029 begin with 0xe2, and so do others.
            Some([0xe2, second, third, ..]) if (*second, third & 0xfe) != (0x80, 0xa8) => from = at.saturating_add(3),
            _ => return Some(at),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_whatever_their_case() {
        let object = Object::parse(r#"{"ID":"a","TargetID":"b","\u0074ype":"c","nothing":null}"#).unwrap();
        assert_eq!(object.string("id").unwrap().unwrap(), "a");
        assert_eq!(object.string("targetid").unwrap().unwrap(), "b");
        assert_eq!(object.string("type").unwrap().unwrap(), "c");
        assert!(object.get("target_id").unwrap().is_none());
        assert!(object.get("nothing").unwrap().is_none());
    }

    #[test]
    fn a_member_that_appears_twice_is_refused_in_any_disguise() {
        for text in [
            r#"{"to_id":"a","to_id":"b"}"#,
            r#"{"to_id":"a","To_ID":"b"}"#,
            r#"{"to_id":"a","\u0074o_id":"b"}"#,
            r#"{"to_id":null,"to_id":"b"}"#,
        ] {
            assert!(Object::parse(text).unwrap().get("to_id").is_err(), "{text}");
        }
        let object = Object::parse("{\"s\":1,\"\u{17f}\":2,\"k\":1,\"\u{212a}\":2}").unwrap();
        assert!(object.get("s").is_err() && object.get("k").is_err());
    }

    #[test]
    fn what_is_no_single_object_is_refused() {
        for text in ["", "[]", "1", "{", "{}{}", "{} x", "\u{feff}{}", r#"{"a":NaN}"#, r#"{"a":01}"#, "{\"a\":\"\n\"}"]
        {
            assert!(Object::parse(text).is_err(), "{text}");
        }
        let many: Vec<String> = (0..=limits::JSON_MEMBERS).map(|i| format!("\"{i}\":0")).collect();
        assert!(Object::parse(&format!("{{{}}}", many.join(","))).is_err());
        assert!(Object::parse(&format!("{{{}}}", many[1..].join(","))).is_ok());
    }

    #[test]
    fn nesting_is_bounded_and_brackets_in_strings_do_not_count() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(shallow(&nested(limits::JSON_DEPTH)).is_ok());
        assert!(shallow(&nested(limits::JSON_DEPTH + 1)).is_err());
        assert!(shallow(&nested(200_000)).is_err());
        assert!(shallow(&format!("[\"\\\"{}\"]", "[".repeat(1000))).is_ok());
        assert!(shallow(&"[]".repeat(1000)).is_ok());
    }

    #[test]
    fn base64_is_what_go_takes() {
        assert_eq!(bytes("aGk=").unwrap(), b"hi");
        assert_eq!(bytes("aG\r\nk=").unwrap(), b"hi");
        assert_eq!(bytes("aGl=").unwrap(), b"hi", "spare bits");
        for text in ["aGk", "a-k=", "{}", "aGk= "] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_what_go_takes() {
        for text in ["2025-08-10T12:00:00.123456789+09:00", "2024-02-29T23:59:59Z", "2025-01-01T00:00:00.1-23:59"] {
            assert!(is_time(text), "{text}");
        }
        for text in [
            "",
            "now",
            "2025-08-10",
            "2025-08-10T12:00:00",
            "2025-08-10 12:00:00Z",
            "2025-08-10t12:00:00Z",
            "2025-08-10T12:00:00z",
            "2025-02-29T12:00:00Z",
            "2025-13-01T12:00:00Z",
            "2025-08-10T24:00:00Z",
            "2025-08-10T12:00:60Z",
            "2025-08-10T12:00:00.Z",
            "2025-08-10T12:00:00,1Z",
            "2025-08-10T12:00:00+24:00",
            "2025-08-10T12:00:00+0900",
            "2025-8-10T12:00:00Z",
            "+025-08-10T12:00:00Z",
            "2025-08-10T1é:00:00Z",
            "2025-08-10T12:00:0éZ",
        ] {
            assert!(!is_time(text), "{text}");
        }
    }

    #[test]
    fn any_value_is_written_as_go_writes_it() {
        let value = Raw::parse(r#"{ "b" : [1.50, 0, null, true], "a": {"z":"<","y":1} }"#).unwrap();
        assert_eq!(canonical(value).unwrap(), r#"{"a":{"y":1,"z":"\u003c"},"b":[1.5,0,null,true]}"#);
        let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Raw::parse(&nested).is_err());
    }

    #[test]
    fn strings_are_written_as_go_writes_them() {
        let written = Builder::new()
            .text("a", "<>&\u{2028}\u{2029}")
            .text("b", "\"\\\n\r\t\u{8}\u{c}\u{1}\u{7f}é")
            .maybe("c", None)
            .raw("d", "1.50")
            .finish();
        let expected = "{\"a\":\"\\u003c\\u003e\\u0026\\u2028\\u2029\",\
                        \"b\":\"\\\"\\\\\\n\\r\\t\\b\\f\\u0001\u{7f}é\",\"c\":null,\"d\":1.50}";
        assert_eq!(written, expected);
    }
}
