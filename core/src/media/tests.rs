//! Sound and picture on their whole way: from a generator or a file through a container and a codec to what is seen and
//! heard.

mod containers;
mod hostile;
mod sources;

use std::time::Duration;

use bytes::Bytes;

use super::feed::Read;
use super::source::{Next, Source, SourceSpec};
use super::{Codec, Container, EncodedFrame, Kind, MediaError, Muxer, Write, opus, vp8};

/// What a file would be after these writes.
fn apply(file: &mut Vec<u8>, writes: Vec<Write>) {
    for Write { at, bytes } in writes {
        assert!(!bytes.is_empty());
        let at = at.map_or(file.len(), |at| at as usize);
        assert!(at <= file.len(), "a hole in the file");
        file.resize(file.len().max(at + bytes.len()), 0);
        file[at..at + bytes.len()].copy_from_slice(&bytes);
    }
}

/// A finished file with these frames.
fn mux(container: Container, tracks: &[Kind], frames: &[(usize, EncodedFrame)]) -> Vec<u8> {
    let (mut muxer, mut file) = (Muxer::new(container, tracks).unwrap(), Vec::new());
    for (track, frame) in frames {
        muxer.push(frame, *track);
        apply(&mut file, muxer.take());
    }
    muxer.finish();
    apply(&mut file, muxer.take());
    file
}

/// A source with its file: the frames up to a time, and whether it ended before that.
fn play(source: &mut Source, file: &[u8], until: Duration) -> Result<(Vec<EncodedFrame>, bool), MediaError> {
    let mut frames = Vec::new();
    loop {
        match source.next()? {
            Next::Frame(frame) if frame.time >= until => return Ok((frames, false)),
            Next::Frame(frame) => frames.push(frame),
            Next::Ended => return Ok((frames, true)),
            Next::Bytes { offset, len } => {
                assert!(len > 0);
                let begin = usize::try_from(offset).unwrap_or(usize::MAX).min(file.len());
                let end = (begin + len).min(file.len());
                source.bytes(&file[begin..end], end == file.len());
            }
        }
    }
}

/// The frames that a source gives within a time.
fn frames(spec: &str, millis: u64) -> Vec<EncodedFrame> {
    let spec: SourceSpec = spec.parse().unwrap();
    let mut source = Source::new(&spec, spec.kind().unwrap(), true).unwrap();
    play(&mut source, &[], Duration::from_millis(millis)).unwrap().0
}

/// One channel of what packets sound like.
fn heard(frames: &[EncodedFrame]) -> Vec<i16> {
    let mut decoder = opus::Decoder::new().unwrap();
    frames.iter().flat_map(|frame| decoder.decode(&frame.data).unwrap()).step_by(2).collect()
}

fn seen(frames: &[EncodedFrame]) -> Vec<vp8::Picture> {
    let mut decoder = vp8::Decoder::new();
    frames.iter().filter_map(|frame| decoder.decode(&frame.data).unwrap()).collect()
}

/// Reads a whole file in pieces of these lengths, over and over.
fn read<R, T>(
    mut reader: R,
    bytes: &[u8],
    pieces: &[usize],
    push: fn(&mut R, &[u8]),
    end: fn(&mut R),
    next: fn(&mut R) -> Result<Read<T>, MediaError>,
) -> Result<Vec<T>, MediaError> {
    let (mut all, mut rest, mut pieces) = (Vec::new(), bytes, pieces.iter().cycle());
    loop {
        match next(&mut reader)? {
            Read::Frame(frame) => all.push(frame),
            Read::Ended => return Ok(all),
            Read::Hungry => {
                let (piece, after) = rest.split_at(rest.len().min(*pieces.next().unwrap_or(&1)));
                push(&mut reader, piece);
                rest = after;
                if rest.is_empty() {
                    end(&mut reader);
                }
            }
        }
    }
}
