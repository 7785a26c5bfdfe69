//! Pseudonyms in text, without knowing what it is: JSON, SDP, a candidate, a URL, JSON within a string of JSON.
//!
//! A text is taken apart into words (letters and digits) and what is between them. A word becomes another one with a
//! letter for each letter and a digit for each digit; that is a permutation, so two names never become one.

use std::hash::Hasher;
use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::Pseudonyms;

/// The words that are kept, whatever their case, sorted: what dialects and endpoints are told apart by.
#[rustfmt::skip]
pub const KEPT: &[&str] = &[
    "2probe", "3probe", "already", "answer", "args", "away", "bad", "base64", "bearer", "body", "bye", "candidate",
    "candidates", "channel", "client", "code", "command", "conic", "connect", "css", "data", "description",
    "disconnected", "echo", "eio", "end", "enishi", "error", "errors", "false", "fragment", "from", "gap", "gone",
    "hello", "host", "http", "https", "ice", "id", "index", "io", "join", "joined", "jsonp", "label", "leave", "left",
    "line", "list", "livez", "lobby", "localhost", "md5", "mesh", "message", "metrics", "mid", "mline", "msg", "name",
    "names", "no", "null", "of", "offer", "ok", "or", "payload", "peer", "peers", "polling", "pranswer", "prflx",
    "probe", "raddr", "raw", "readyz", "receipt", "received", "ref", "register", "registered", "relay", "request",
    "response", "restart", "resume", "resumed", "role", "rollback", "room", "roster", "rport", "sdp", "sdpmid",
    "sdpmlineindex", "seq", "session", "sessiondescription", "sha", "sid", "signal", "socket", "source", "srflx",
    "stats", "stun", "stuns", "style", "success", "target", "targetid", "tcp", "text", "timestamp", "to", "token",
    "transport", "true", "tunnel", "turn", "turns", "typ", "type", "udp", "unregister", "unregistered", "upgrade",
    "url", "urls", "user", "username", "usernamefragment", "v1", "version", "wait", "websocket", "welcome", "ws",
    "wss",
];

/// How deep base64 in base64 is looked into: Tony Bai's has two.
const DEPTH: usize = 3;

/// The shortest base64 that is looked into.
const ENCODED_BYTES: usize = 16;

/// Numbers that are longer stand for somebody.
const PLAIN_DIGITS: usize = 6;

/// The hexadecimal digits of a MAC address; more with colons is a fingerprint.
const HEX_DIGITS: usize = 12;

/// What a part of a text is hashed for.
const WORD: u8 = 1;
const CHAR: u8 = 2;
const IP: u8 = 3;

/// Where in a text something stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    before: Option<char>,
    depth: usize,
}

impl Pseudonyms {
    /// A whole message: it may begin with the number of a packet.
    pub(super) fn message(&self, text: &str) -> String {
        self.rewrite(text, Place { before: None, depth: 0 })
    }

    /// A value, which is the same wherever it stands.
    pub(super) fn value(&self, text: &str) -> String {
        self.rewrite(text, Place { before: Some('"'), depth: 0 })
    }

    fn rewrite(&self, text: &str, mut place: Place) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let length = match first {
                '\\' => self.escape(rest, &mut out),
                '%' => percent(rest, &mut out),
                _ if !first.is_ascii() => {
                    out.push(self.foreign(first));
                    first.len_utf8()
                }
                _ => self.part(rest, place, &mut out),
            };
            let (taken, after) = rest.split_at(length);
            place.before = taken.chars().next_back();
            rest = after;
        }
        out
    }

    /// An address, base64, a word, or one character: the length of what was taken.
    fn part(&self, rest: &str, place: Place, out: &mut String) -> usize {
        let word = run(rest, |byte| byte.is_ascii_alphanumeric());
        if let Some(alias) = self.learnt.get(word) {
            out.push_str(alias);
            return word.len();
        }
        let others = [self.ipv4(rest, place), self.hex(rest, place), self.encoded(rest, place)];
        if let Some(alias) = others.into_iter().flatten().next() {
            out.push_str(&alias);
            return alias.len();
        }
        if word.is_empty() {
            out.push_str(&rest[..1]);
            return 1;
        }
        let digits = run(word, |byte| byte.is_ascii_digit()).len();
        let is_packet = matches!(place.before, None | Some(':' | '\u{1e}' | '\u{fffd}')) && (1..=2).contains(&digits);
        if is_packet && digits < word.len() && !is_kept(word) {
            out.push_str(&word[..digits]);
            return digits;
        }
        let padded = rest[word.len()..].starts_with('=') && word.len() >= 4;
        // What comes before padding must leave the spare bits alone (RFC 4648, 3.5).
        let taken = if padded && !is_kept(word) { word.len() - 1 } else { word.len() };
        out.push_str(&self.word(&word[..taken]));
        out.push_str(&word[taken..]);
        word.len()
    }

    /// The pseudonym of a word.
    pub(super) fn word(&self, word: &str) -> String {
        if let Some(alias) = self.learnt.get(word) {
            return alias.to_string();
        }
        let digits = run(word, |byte| byte.is_ascii_digit()).len();
        if is_kept(word) || is_number_or_time(word, digits) {
            return word.to_owned();
        }
        // No number begins with a zero that did not.
        let kept = if digits == word.len() { 1 } else { 0 };
        let mut bytes: Vec<u8> = word.bytes().collect();
        // Twice, from both ends, so that each character depends on all others.
        self.shift(&mut bytes[kept..], WORD);
        bytes[kept..].reverse();
        self.shift(&mut bytes[kept..], WORD);
        bytes[kept..].reverse();
        bytes.into_iter().map(char::from).collect()
    }

    /// Moves each character within its class by an amount that depends on those before it.
    fn shift(&self, bytes: &mut [u8], use_of: u8) {
        let mut sip = self.sip(use_of);
        sip.write_usize(bytes.len());
        for byte in bytes {
            let (base, size) = match byte {
                b'0'..=b'9' => (b'0', 10),
                b'a'..=b'z' => (b'a', 26),
                _ => (b'A', 26),
            };
            let plain = *byte;
            let by = (sip.clone().finish() % u64::from(size)) as u8;
            *byte = base + (plain - base + by) % size;
            sip.write_u8(plain);
        }
    }

    /// One character beyond ASCII as another of as many bytes in UTF-8, and never a control character.
    fn foreign(&self, char: char) -> char {
        let (base, size) = match char.len_utf8() {
            2 => (0xa0, 0x800 - 0xa0),
            3 => (0x800, 0xd800 - 0x800),
            _ => (0x1_0000, 0x10_0000),
        };
        let by = self.hash(CHAR, &u32::from(char).to_le_bytes()) % size;
        char::from_u32(base + by as u32).unwrap_or(char)
    }

    /// An escape of JSON, or of JSON in JSON: what it stands for may be a letter too.
    fn escape(&self, rest: &str, out: &mut String) -> usize {
        let slashes = run(rest, |byte| byte == b'\\');
        let after = &rest[slashes.len()..];
        let plain = |length: usize, out: &mut String| {
            out.push_str(&rest[..length]);
            length
        };
        match after.as_bytes().first() {
            Some(b'b' | b'f' | b'n' | b'r' | b't') => plain(slashes.len() + 1, out),
            Some(b'u') => {
                let Some(first) = unit(after) else { return plain(slashes.len(), out) };
                let second = after.get(5..).and_then(|rest| rest.strip_prefix(slashes)).and_then(unit);
                let pair = second.map_or_else(|| vec![first], |second| vec![first, second]);
                let (chars, units) = match char::decode_utf16(pair).next() {
                    Some(Ok(char)) => (char, char.len_utf16()),
                    _ => return plain(slashes.len() + 5, out),
                };
                let alias = match chars {
                    char if char.is_ascii_alphanumeric() => 'x',
                    char if char.is_ascii() => char,
                    char => self.foreign(char),
                };
                for unit in alias.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("{slashes}u{unit:04x}"));
                }
                units * (slashes.len() + 5)
            }
            _ => plain(slashes.len(), out),
        }
    }

    fn ipv4(&self, rest: &str, place: Place) -> Option<String> {
        let run = run(rest, |byte| byte.is_ascii_digit() || byte == b'.').trim_end_matches('.');
        let after = rest[run.len()..].bytes().next();
        let alone = !after.is_some_and(|byte| byte.is_ascii_alphanumeric()) && place.before != Some('.');
        let ip: Ipv4Addr = run.parse().ok().filter(|_| alone)?;
        if ip.is_loopback() || ip.is_unspecified() {
            return Some(run.to_owned());
        }
        let mut sip = self.sip(IP);
        let aliases = ip.octets().map(|octet| {
            let (base, size) = match octet {
                0..=9 => (0, 10),
                10..=99 => (10, 90),
                100.. => (100, 156),
            };
            let by = sip.clone().finish() % size;
            sip.write_u8(octet);
            base + (u64::from(octet) - base + by) % size
        });
        // No address becomes one of loopback, which has privileges.
        let [first, b, c, d] = aliases;
        let first = if first == 127 { 128 } else { first };
        Some(format!("{first}.{b}.{c}.{d}"))
    }

    /// An IPv6 address or a fingerprint: hexadecimal digits with colons.
    fn hex(&self, rest: &str, place: Place) -> Option<String> {
        let run = run(rest, |byte| byte.is_ascii_hexdigit() || byte == b':').trim_end_matches(':');
        let colons = run.bytes().filter(|byte| *byte == b':').count();
        // A packet of Socket.IO 0.9 begins with a digit and a colon.
        let is_packet = matches!(place.before, None | Some('\u{fffd}')) && run.as_bytes().get(1) == Some(&b':');
        if colons < 2 || is_packet {
            return None;
        }
        let digits = run.len() - colons;
        match run.parse::<Ipv6Addr>() {
            Ok(ip) if ip.is_loopback() || ip.is_unspecified() => return Some(run.to_owned()),
            Ok(_) => {}
            Err(_) if digits >= HEX_DIGITS => {}
            Err(_) => return None,
        }
        let upper = run.bytes().any(|byte| byte.is_ascii_uppercase());
        let mut sip = self.sip(IP);
        let alias = run.chars().map(|char| {
            let Some(digit) = char.to_digit(16) else { return char };
            let by = (sip.clone().finish() % 16) as u32;
            sip.write_u32(digit);
            let digit = char::from_digit((digit + by) % 16, 16).unwrap_or(char);
            if upper { digit.to_ascii_uppercase() } else { digit }
        });
        Some(alias.collect())
    }

    /// Text in base64.
    fn encoded(&self, rest: &str, place: Place) -> Option<String> {
        if place.depth >= DEPTH || matches!(place.before, Some('/' | '+' | '=')) {
            return None;
        }
        let body = run(rest, |byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/');
        let padding = run(&rest[body.len()..], |byte| byte == b'=').len().min(2);
        let run = &rest[..body.len() + padding];
        if run.len() < ENCODED_BYTES || !run.len().is_multiple_of(4) {
            return None;
        }
        let text = String::from_utf8(BASE64.decode(run).ok()?).ok()?;
        if text.chars().any(|char| char.is_control() && !char.is_whitespace()) {
            return None;
        }
        Some(BASE64.encode(self.rewrite(&text, Place { before: None, depth: place.depth + 1 })))
    }
}

/// The words of a text and where they begin.
pub(super) fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let pieces = text.split(|char: char| !char.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    pieces.map(|word| (word.as_ptr() as usize - text.as_ptr() as usize, word))
}

fn is_kept(word: &str) -> bool {
    word.len() <= 18 && KEPT.binary_search(&word.to_ascii_lowercase().as_str()).is_ok()
}

/// Short numbers, `1e9`, and the pieces of `2026-11-20T17:42:00.360655523Z` that have a letter.
fn is_number_or_time(word: &str, digits: usize) -> bool {
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    match (word.get(digits..digits + 1), word.get(digits + 1..)) {
        (None, _) => digits <= PLAIN_DIGITS,
        (Some("Z"), Some("")) => (1..=9).contains(&digits),
        (Some("T"), Some(after)) => digits == 2 && after.len() == 2 && is_digits(after),
        (Some("e" | "E"), Some(after)) => (1..=PLAIN_DIGITS).contains(&digits) && after.len() <= 2 && is_digits(after),
        _ => false,
    }
}

/// The longest beginning of which every byte fits. The bytes are ASCII, so it ends between characters.
fn run(text: &str, fits: impl Fn(u8) -> bool) -> &str {
    let length = text.bytes().position(|byte| !byte.is_ascii() || !fits(byte)).unwrap_or(text.len());
    &text[..length]
}

/// `uXXXX`.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix('u')?.get(..4)?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
}

/// A percent sign and the two digits that belong to it.
fn percent(text: &str, out: &mut String) -> usize {
    let digits = run(text.get(1..).unwrap_or_default(), |byte| byte.is_ascii_hexdigit()).len();
    let length = if digits >= 2 { 3 } else { 1 };
    out.push_str(&text[..length]);
    length
}
