//! Files of sound and picture that are damaged or lie, and frames of a hostile remote.

use std::time::Duration;

use enishi_core::media::{Container, EncodedFrame, Kind, MediaError, Muxer, Next, Quality, Source, Write, opus, vp8};

use crate::contained;

const NAMES: [(&str, Kind); 5] = [
    ("a.wav", Kind::Audio),
    ("a.ogg", Kind::Audio),
    ("a.ivf", Kind::Video),
    ("a.webm", Kind::Audio),
    ("a.webm", Kind::Video),
];

/// How much of a file is played.
const LENGTH: Duration = Duration::from_millis(300);

/// Any bytes, in two ways:
///
/// - as a file of each kind, read at once and in pieces whose lengths the last bytes tell: both times the same frames or
///   the same fault, which is one line;
/// - as frames from a remote, each a byte for the time since the one before in 10 ms, a byte of flags (1: picture, 2: a
///   small key frame), a length of two bytes, the payload: they are decoded, recorded to all containers, and the
///   recordings are read again.
///
/// # Panics
/// On a defect. What panics inside a codec ends this track.
pub fn media(data: &[u8]) {
    contained::run(|| {
        for (name, kind) in NAMES {
            let whole = play(name, kind, false, data, &[u8::MAX]);
            let pieces = data.get(data.len().saturating_sub(4)..).unwrap_or_default();
            assert_eq!(play(name, kind, false, data, pieces), whole, "{name} in pieces {pieces:?}");
            let _ = play(name, kind, true, data, &[u8::MAX]);
        }
        let frames = frames(data);
        decode(&frames);
        for (container, tracks) in [
            (Container::WebM, &[Kind::Audio, Kind::Video][..]),
            (Container::Ogg, &[Kind::Audio]),
            (Container::Wav, &[Kind::Audio]),
            (Container::Ivf, &[Kind::Video]),
        ] {
            let file = record(container, tracks, &frames);
            let name = format!("a.{}", container.extension());
            for kind in tracks {
                let read = play(&name, *kind, false, &file, &[u8::MAX]);
                assert!(read.is_ok() || is_empty(&read), "{name}: {read:?}");
            }
        }
    });
}

/// Whether nothing is wrong with a file but that nothing could be recorded, or after too long a pause.
fn is_empty(read: &Result<Vec<EncodedFrame>, String>) -> bool {
    matches!(read, Err(why) if why.contains("it holds no") || why.contains(" late") || why.contains("claims to be"))
}

/// What a source gives of a file; the driver answers in pieces of up to so many bytes each, in turn, if not all.
fn play(name: &str, kind: Kind, looping: bool, file: &[u8], pieces: &[u8]) -> Result<Vec<EncodedFrame>, String> {
    let spec = name.parse().expect("a source");
    let (mut frames, mut asked) = (Vec::new(), 0);
    let mut result = || -> Result<(), MediaError> {
        let mut source = Source::new(&spec, kind, looping)?;
        if looping {
            source.set_quality(Quality::Low);
        }
        loop {
            match source.next()? {
                Next::Frame(frame) if frame.time >= LENGTH => return Ok(()),
                Next::Frame(frame) => {
                    assert!(frames.last().is_none_or(|last: &EncodedFrame| last.time < frame.time), "time goes back");
                    assert!(!frame.data.is_empty() && frame.codec == kind.codec());
                    frames.push(frame);
                }
                Next::Ended => return Ok(()),
                Next::Bytes { offset, len } => {
                    assert_eq!(
                        source.next(),
                        Ok(Next::Bytes { offset, len }),
                        "the same question until it is answered"
                    );
                    let rest = usize::try_from(offset).ok().and_then(|offset| file.get(offset..)).unwrap_or_default();
                    let piece = match pieces.get(asked % pieces.len().max(1)) {
                        Some(&u8::MAX) | None => len,
                        Some(piece) => len.min(usize::from(*piece) + 1),
                    };
                    source.bytes(&rest[..piece.min(rest.len())], rest.len() <= piece);
                    asked += 1;
                }
            }
        }
    };
    match result() {
        Ok(()) => Ok(frames),
        Err(error) => {
            let why = error.to_string();
            assert!(why.starts_with(name) && !why.contains(char::is_control), "{why:?}");
            Err(why)
        }
    }
}

fn frames(mut data: &[u8]) -> Vec<EncodedFrame> {
    let (mut frames, mut time) = (Vec::new(), Duration::ZERO);
    while let [step, flags, high, low, rest @ ..] = data {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (payload, after) = rest.split_at(length);
        let (kind, mut payload) = (if flags & 1 == 1 { Kind::Video } else { Kind::Audio }, payload.to_vec());
        if flags & 2 == 2 && kind == Kind::Video && payload.len() > 10 {
            payload[0] &= 0xfe;
            payload[3..10].copy_from_slice(&[0x9d, 1, 0x2a, 48, 0, 32, 0]);
        }
        time += Duration::from_millis(10) * u32::from(*step);
        let key = vp8::header(&payload).is_some_and(|header| header.key) || kind == Kind::Audio;
        frames.push(EncodedFrame { codec: kind.codec(), time, key, data: payload.into() });
        data = after;
    }
    frames
}

fn decode(frames: &[EncodedFrame]) {
    let (mut sound, mut picture) = (opus::Decoder::new().expect("a decoder"), vp8::Decoder::new());
    for frame in frames {
        if frame.codec == Kind::Audio.codec() {
            let _ = (sound.conceal(960, Some(&frame.data)), sound.decode(&frame.data));
        } else if let Ok(Some(shown)) = picture.decode(&frame.data) {
            assert_eq!(shown.y.len(), usize::from(shown.width) * usize::from(shown.height));
        }
    }
}

/// The file that a recording becomes.
fn record(container: Container, tracks: &[Kind], frames: &[EncodedFrame]) -> Vec<u8> {
    let (mut muxer, mut file) = (Muxer::new(container, tracks).expect("such tracks"), Vec::new());
    let mut write = |writes: Vec<Write>| {
        for Write { at, bytes } in writes {
            let at = at.map_or(file.len(), |at| at as usize);
            assert!(at <= file.len() && !bytes.is_empty(), "a hole in the file");
            file.resize(file.len().max(at + bytes.len()), 0);
            file[at..at + bytes.len()].copy_from_slice(&bytes);
        }
    };
    for (number, frame) in frames.iter().enumerate() {
        let Some(track) = tracks.iter().position(|kind| kind.codec() == frame.codec) else { continue };
        muxer.push(frame, track);
        if number % 7 == 0 {
            muxer.flush();
            write(muxer.take());
        }
    }
    muxer.finish();
    write(muxer.take());
    file
}
