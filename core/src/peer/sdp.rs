//! The few things that we must know of a description and that str0m does not tell.

use std::net::IpAddr;

use str0m::Candidate;
use str0m::media::Mid;
use str0m::net::Protocol;

use crate::limits;
use crate::media::Kind;

/// What a description without `a=max-message-size` stands for (RFC 8841, 6.1).
const DEFAULT_MESSAGE_BYTES: usize = 64 * 1024;

/// How much of a remote's text is repeated in a note about it, in characters.
const QUOTE_CHARS: usize = 80;

/// One side's description, as far as [`super::Peer`] looks into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Description {
    /// The ICE user fragment: names the ICE generation (RFC 8839, 5.4).
    pub ufrag: String,
    /// The certificate's fingerprint, normalised: `sha-256 AB:CD:…`.
    pub fingerprint: String,
    /// The `a=mid` of the first media section that is used, and its number: all others share its path.
    pub mid: Option<String>,
    pub index: u16,
    /// The longest message that this side takes, in bytes.
    pub message_bytes: usize,
    /// Its media sections of sound and picture.
    pub sections: Vec<Section>,
}

/// One media section of sound or picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    /// Its name.
    pub mid: Mid,
    /// What it carries.
    pub kind: Kind,
    /// Not used, or not any more: its port is 0 (RFC 9429, 5.3.1).
    pub rejected: bool,
    /// The names of its encodings, for a person.
    pub codecs: Vec<String>,
    /// Whether it wants in-band error correction (RFC 7587, 6.1).
    pub fec: bool,
}

/// Reads a description.
///
/// # Errors
/// A clause for a person: no ICE user fragment, or no usable fingerprint (RFC 8122; SHA-1 does not count), or
/// several different ones; or more than [`limits::MEDIA_SECTIONS`].
pub(super) fn read(sdp: &str) -> Result<Description, String> {
    let value = |name: &str| sdp.lines().find_map(|line| line.trim_end().strip_prefix(name)).map(str::to_owned);
    let ufrag = value("a=ice-ufrag:").ok_or("the description has no a=ice-ufrag")?;
    let mut fingerprints = sdp.lines().filter_map(|line| sha256(line.trim_end().strip_prefix("a=fingerprint:")?));
    let fingerprint = fingerprints.next().ok_or("the description has no a=fingerprint with sha-256")?;
    if fingerprints.any(|other| other != fingerprint) {
        return Err("the description names several certificates".into());
    }
    let message_bytes = match value("a=max-message-size:").and_then(|size| size.trim().parse::<usize>().ok()) {
        Some(0) => usize::MAX,
        Some(bytes) => bytes,
        None => DEFAULT_MESSAGE_BYTES,
    };
    let sections: Vec<&str> = sections(sdp).collect();
    if sections.len() > limits::MEDIA_SECTIONS {
        return Err(format!(
            "the description has {} media sections; {} is the most",
            sections.len(),
            limits::MEDIA_SECTIONS
        ));
    }
    let first = sections.iter().position(|text| !is_rejected(text)).unwrap_or(0);
    let mid = sections.get(first).and_then(|text| attributes(text, "a=mid:").next()).map(str::to_owned);
    let index = u16::try_from(first).unwrap_or(0);
    let sections = sections.into_iter().filter_map(section).collect();
    Ok(Description { ufrag, fingerprint, mid, index, message_bytes, sections })
}

/// The media sections, each from its `m=` line on.
fn sections(sdp: &str) -> impl Iterator<Item = &str> {
    let starts: Vec<usize> = (sdp.match_indices("m=").map(|(at, _)| at))
        .filter(|at| *at == 0 || sdp.as_bytes().get(at - 1) == Some(&b'\n'))
        .collect();
    let ends: Vec<usize> = starts.iter().skip(1).copied().chain([sdp.len()]).collect();
    starts.into_iter().zip(ends).filter_map(|(from, to)| sdp.get(from..to))
}

/// Reads one media section, if it is one of sound or picture that has a name.
fn section(text: &str) -> Option<Section> {
    let word = text.strip_prefix("m=")?.split(' ').next();
    let kind = [Kind::Audio, Kind::Video].into_iter().find(|kind| Some(kind.name()) == word)?;
    let mid = Mid::from(attributes(text, "a=mid:").next()?);
    let mut codecs = Vec::new();
    for name in attributes(text, "a=rtpmap:").filter_map(|map| map.split_once(' ')?.1.split('/').next()) {
        let is_codec = !["rtx", "red", "ulpfec", "flexfec-03", "telephone-event", "CN"].contains(&name);
        if is_codec && !codecs.iter().any(|known| known == name) {
            codecs.push(name.to_owned());
        }
    }
    let fec = attributes(text, "a=fmtp:").any(|parameters| parameters.contains("useinbandfec=1"));
    Some(Section { mid, kind, rejected: is_rejected(text), codecs, fec })
}

/// What follows a name, on each line of a section that begins with it.
fn attributes<'a>(section: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    section.lines().filter_map(move |line| line.trim_end().strip_prefix(name))
}

/// Whether a section is not used: its port is 0, without the promise to be bundled (RFC 9143, 6).
fn is_rejected(section: &str) -> bool {
    section.split(' ').nth(1) == Some("0") && attributes(section, "a=bundle-only").next().is_none()
}

/// A description of ours that does not promise to send in these sections.
pub(super) fn without_sending(sdp: &str, silent: &[Mid]) -> String {
    // The sections reach from the first one's start to the end.
    let head = sdp.len() - sections(sdp).map(str::len).sum::<usize>();
    let mut text = sdp.get(..head).unwrap_or_default().to_owned();
    for part in sections(sdp) {
        let is_silent = section(part).is_some_and(|section| silent.contains(&section.mid));
        for line in part.split_inclusive('\n') {
            match line.trim_end() {
                "a=sendrecv" if is_silent => text.push_str("a=recvonly\r\n"),
                "a=sendonly" if is_silent => text.push_str("a=inactive\r\n"),
                line if is_silent && (line.starts_with("a=ssrc") || line.starts_with("a=msid:")) => {}
                _ => text.push_str(line),
            }
        }
    }
    text
}

/// The value of an `a=fingerprint` in one spelling, if it is made with SHA-256.
fn sha256(value: &str) -> Option<String> {
    let (hash, bytes) = value.split_once(' ')?;
    hash.eq_ignore_ascii_case("sha-256").then(|| format!("sha-256 {}", bytes.trim().to_ascii_uppercase()))
}

/// A remote description without the candidates that cannot be used; each one left out is told by a note. Without
/// simulcast (RFC 8853) too: of several encodings of one picture we take one, and whoever offered more then sends one.
pub(super) fn without_unusable(sdp: &str, mut note: impl FnMut(String)) -> String {
    let mut kept = String::with_capacity(sdp.len());
    let mut candidates = 0;
    for line in sdp.split_inclusive('\n') {
        if let Some(text) = line.trim_end().strip_prefix("a=").filter(|text| text.starts_with("candidate:")) {
            candidates += 1;
            if candidates > limits::EARLY_SIGNALS {
                continue;
            }
            if let Err(why) = candidate(text) {
                note(why);
                continue;
            }
        }
        if !line.starts_with("a=simulcast:") && !line.starts_with("a=rid:") {
            kept.push_str(line);
        }
    }
    if candidates > limits::EARLY_SIGNALS {
        note(format!("all but {} of the {candidates} candidates of a description", limits::EARLY_SIGNALS));
    }
    kept
}

/// Reads a remote candidate that a datagram can be sent to.
///
/// # Errors
/// A clause for a person. None of them is fatal: a remote may have better candidates.
pub(super) fn candidate(text: &str) -> Result<Candidate, String> {
    let text = text.trim();
    let text = text.strip_prefix("a=").unwrap_or(text);
    if text.contains(".local ") {
        return Err(format!("a candidate whose address is hidden behind mDNS: {}", quote(text)));
    }
    let candidate =
        Candidate::from_sdp_string(text).map_err(|_| format!("a candidate that cannot be read: {}", quote(text)))?;
    if candidate.proto() != Protocol::Udp {
        return Err(format!("a candidate that is not UDP: {}", quote(text)));
    }
    let address = candidate.addr();
    let aimless = match address.ip() {
        IpAddr::V4(ip) => ip.is_multicast() || ip.is_unspecified() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_multicast() || ip.is_unspecified(),
    };
    if aimless || address.port() == 0 {
        return Err(format!("a candidate that is no peer's address: {}", quote(text)));
    }
    Ok(candidate)
}

/// What str0m's parser says, without the memory address in it: the same run gives the same words.
pub(super) fn unreadable(error: &str) -> String {
    let said: Vec<_> = error.lines().filter(|line| !line.contains("PointerOffset")).collect();
    format!("the description cannot be read: {}", quote(&said.join(", ")))
}

/// A remote's text, shortened and escaped: safe to print.
pub(super) fn quote(text: &str) -> String {
    text.chars().take(QUOTE_CHARS).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHROMIUM: &str = include_str!("testdata/chromium-offer.sdp");

    #[test]
    fn reads_a_browsers_offer() {
        let read = read(CHROMIUM).unwrap();
        assert_eq!(read.ufrag, "VEZr");
        assert_eq!((read.mid.as_deref(), read.index), (Some("0"), 0));
        assert_eq!(read.message_bytes, 262_144);
        assert!(read.fingerprint.starts_with("sha-256 0B:D6:57"));
    }

    #[test]
    fn reads_what_a_browser_wants_to_send() {
        let read = read(CHROMIUM).unwrap();
        let [audio, video] = &read.sections[..] else { panic!("{:?}", read.sections) };
        assert_eq!((audio.mid, audio.kind, audio.rejected), (Mid::from("0"), Kind::Audio, false));
        assert_eq!((video.mid, video.kind, video.rejected), (Mid::from("1"), Kind::Video, false));
        assert_eq!(audio.codecs, ["opus", "G722", "PCMU", "PCMA"]);
        assert!(audio.fec && !video.fec);
        assert_eq!(video.codecs, ["VP8", "H264", "AV1", "VP9"]);

        let without_sound = CHROMIUM.replace("m=audio 54782", "m=audio 0");
        let read = super::read(&without_sound).unwrap();
        assert!(read.sections[0].rejected && !read.sections[1].rejected);
        assert_eq!((read.mid.as_deref(), read.index), (Some("1"), 1));
    }

    #[test]
    fn a_section_without_sending_only_receives() {
        let silent = without_sending(CHROMIUM, &[Mid::from("1")]);
        let parts: Vec<&str> = sections(&silent).collect();
        assert!(parts[0].contains("a=sendrecv") && parts[0].contains("a=ssrc:"));
        assert!(parts[1].contains("a=recvonly") && !parts[1].contains("a=ssrc") && !parts[1].contains("a=msid"));
        assert_eq!(without_sending(CHROMIUM, &[]), CHROMIUM);
        assert!(silent.starts_with(CHROMIUM.split("m=").next().unwrap()));
    }

    #[test]
    fn a_description_of_countless_sections_is_refused() {
        let many = CHROMIUM.to_owned() + &"m=audio 0 UDP/TLS/RTP/SAVPF 0\r\n".repeat(limits::MEDIA_SECTIONS);
        assert!(read(&many).unwrap_err().contains("media sections"));
    }

    #[test]
    fn refuses_a_description_without_one_clear_fingerprint() {
        let none: String = CHROMIUM.lines().filter(|l| !l.contains("fingerprint")).flat_map(|l| [l, "\r\n"]).collect();
        assert!(read(&none).unwrap_err().contains("no a=fingerprint"));
        assert!(read(&CHROMIUM.replace("sha-256", "sha-1")).unwrap_err().contains("sha-256"));
        assert!(read(&CHROMIUM.replacen("0B:D6", "0B:D7", 1)).unwrap_err().contains("several"));
    }

    #[test]
    fn keeps_only_candidates_that_a_datagram_can_reach() {
        let mut notes = Vec::new();
        let kept = without_unusable(CHROMIUM, |why| notes.push(why));
        assert_eq!(kept.matches("a=candidate").count(), 9);
        assert_eq!(notes.len(), 9, "each of three sections has three TCP candidates");
        for bad in [
            "candidate:1 1 udp 1 8c1b9b1e-a1b2-4a6b-9b1e-8c1b9b1ea1b2.local 5000 typ host",
            "candidate:1 1 udp 1 224.0.0.1 5000 typ host",
            "candidate:1 1 udp 1 0.0.0.0 5000 typ host",
            "candidate:1 1 udp 1 10.0.0.1 0 typ host",
            "candidate:nonsense",
            "",
        ] {
            assert!(candidate(bad).is_err(), "{bad}");
        }
        assert!(candidate("candidate:1 1 udp 2122260223 10.0.0.1 5000 typ host generation 0 ufrag abcd").is_ok());
    }
}
