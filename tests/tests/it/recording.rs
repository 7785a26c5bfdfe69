//! Recordings of whole calls in the simulated world, read back by us and by ffprobe.

mod chromium;
mod programs;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;
use std::{env, fs, process};

use enishi_core::agent::{AgentCommand, AgentNotice, MediaCommand, MediaConfig, RecordSpec, RecordingNotice};
use enishi_core::dialect::Dialect;
use enishi_core::media::{EncodedFrame, Kind, Read, detect, opus, vp8, wav, webm};
use enishi_core::peer::{Crypto, PeerState};
use enishi_tests::world::{Disk, Path, World};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(30);

/// Who records, and whom.
const BOB: usize = 0;
const ALICE: usize = 1;

/// A call in which the second one publishes, and which stands.
fn call(seed: u64, audio: Option<&str>, video: Option<&str>, record: Option<&str>) -> World {
    let mut world = World::new(seed);
    // Sound and picture need the keys of real DTLS.
    world.crypto = Crypto::default();
    let bob = world.add_with(Dialect::Enishi, "bob", None, |config| config.record = record.map(spec));
    world.disk(bob).folders.insert("out".to_owned());
    world.add_with(Dialect::Enishi, "alice", Some("bob"), |config| {
        let source = |text: &str| text.parse().expect("a source");
        config.media = MediaConfig { audio: audio.map(source), video: video.map(source), once: false };
    });
    world.until(PATIENCE, "the channel opens", |world| world.is_open(BOB) && world.is_open(ALICE));
    world
}

fn spec(path: &str) -> RecordSpec {
    RecordSpec { path: path.to_owned(), ours_too: false }
}

fn start(world: &mut World, agent: usize, path: &str) {
    world.command(agent, AgentCommand::RecordStart(spec(path)));
}

/// Ends a recording and waits until the disk has everything.
fn stop(world: &mut World, agent: usize) {
    let before = complete(world, agent).len();
    world.command(agent, AgentCommand::RecordStop);
    world.until(PATIENCE, "the recording is complete", |world| complete(world, agent).len() > before);
}

/// The files that were completed.
fn complete(world: &World, agent: usize) -> Vec<&str> {
    world
        .told(agent)
        .filter_map(|notice| match notice {
            AgentNotice::Recording(RecordingNotice::Complete { path, .. }) => Some(path.as_str()),
            _ => None,
        })
        .collect()
}

fn failures(world: &World, agent: usize) -> Vec<&str> {
    world
        .told(agent)
        .filter_map(|notice| match notice {
            AgentNotice::Recording(RecordingNotice::Failed { why, .. }) => Some(why.as_str()),
            _ => None,
        })
        .collect()
}

/// The frames of a kind in a WebM file.
fn frames(file: &[u8], kind: Kind) -> Vec<EncodedFrame> {
    let mut reader = webm::Reader::new(kind);
    reader.push(file);
    reader.end();
    let mut frames = Vec::new();
    while let Read::Frame(frame) = reader.read().expect("a file that can be read") {
        frames.push(frame);
    }
    frames
}

/// When a file's picture turns white, decoded.
fn flashes(file: &[u8]) -> Vec<Duration> {
    let mut decoder = vp8::Decoder::new();
    let (mut was_bright, mut flashes) = (true, Vec::new());
    for frame in frames(file, Kind::Video) {
        if let Some(picture) = decoder.decode(&frame.data).expect("a picture that can be decoded") {
            let is_bright = detect::is_bright(&picture);
            if is_bright && !was_bright {
                flashes.push(frame.time);
            }
            was_bright = is_bright;
        }
    }
    flashes
}

/// When a file's sound begins to beep, decoded: the first of these milliseconds after 500 of silence. A beep whose
/// first packet was lost began at a time that nobody can tell, and is left out.
fn beeps(file: &[u8]) -> Vec<Duration> {
    let mut decoder = opus::Decoder::new().expect("a decoder");
    let (mut silent_since, mut beeps) = (Some(Duration::ZERO), Vec::new());
    let mut expected = Duration::ZERO;
    for frame in frames(file, Kind::Audio) {
        let after_loss = frame.time > expected + MS * 10;
        expected = frame.time + MS * 20;
        let sound = decoder.decode(&frame.data).expect("sound that can be decoded");
        for (number, piece) in sound.chunks(96).enumerate() {
            let at = frame.time + MS * number as u32;
            let is_silent = piece.iter().all(|sample| sample.unsigned_abs() < 3_000);
            if is_silent {
                silent_since.get_or_insert(at);
            } else if silent_since.take().is_some_and(|since| at - since > SECOND / 2) && at > SECOND && !after_loss {
                beeps.push(at);
            }
        }
    }
    beeps
}

/// The offsets of the beeps from the flashes that they belong to, in milliseconds.
fn offsets(file: &[u8]) -> Vec<i64> {
    let (flashes, beeps) = (flashes(file), beeps(file));
    let offset = |flash: &Duration| {
        beeps
            .iter()
            .map(|beep| beep.as_millis() as i64 - flash.as_millis() as i64)
            .min_by_key(|offset| offset.abs())
            .filter(|offset| offset.abs() < 500)
    };
    flashes.iter().filter(|flash| **flash > SECOND).filter_map(offset).collect()
}

#[test]
fn sound_and_picture_stay_together_for_a_minute() {
    let bad = Path { delay: MS * 30, jitter: MS * 25, loss: 0.02 };
    for (seed, path, time) in [(1, Path::default(), 15), (2, bad, 60)] {
        let mut world = call(seed, Some("beep"), Some("pattern:flash"), Some("out"));
        world.path = path;
        world.run(SECOND * time);
        stop(&mut world, BOB);
        let files = complete(&world, BOB);
        let [name] = files[..] else { panic!("one file, not {files:?}") };
        assert!(name.starts_with("out/alice-2026") && name.ends_with("Z.webm"), "{name}");
        let name = name.to_owned();
        let file = &world.disk(BOB).files[&name];
        let offsets = offsets(file);
        assert!(offsets.len() as u32 >= time / 2 - 3, "{path:?}: {offsets:?}");
        assert!(offsets.iter().all(|offset| offset.abs() <= 40), "{path:?}: {offsets:?}");
        for kind in [Kind::Audio, Kind::Video] {
            let last = frames(file, kind).last().expect("frames").time;
            let end = SECOND * (time - 1)..SECOND * (time + 1);
            assert!(end.contains(&last), "{path:?}: {} ends at {last:?}", kind.name());
        }
        ffprobe("minute", "webm", file).assert_whole(&[("opus", time as usize * 46), ("vp8", time as usize * 25)]);
    }
}

#[test]
fn a_program_that_is_killed_leaves_all_but_the_last_second() {
    let mut world = call(3, Some("tone"), Some("pattern:bounce"), Some("out"));
    world.run(SECOND * 8);
    let end = world.elapsed();
    world.crash(BOB);
    let written = world.disk(BOB).written.clone();
    assert!(written.len() >= 8, "{}", written.len());
    // Its disk after each of the writes.
    let (mut disk, mut last) = (Disk::default(), Duration::ZERO);
    disk.folders.insert("out".to_owned());
    let began = written[0].time;
    for (number, write) in written.iter().enumerate() {
        disk.write(&write.path, write.at, &write.bytes).expect("it was written");
        let file = &disk.files[&write.path];
        let times = [Kind::Audio, Kind::Video].map(|kind| frames(file, kind).last().expect("frames").time);
        assert!(*times.iter().min().expect("two") >= last, "nothing gets lost: {times:?}");
        last = *times.iter().min().expect("two");
        // Until the next write.
        let next = written.get(number + 1).map_or(end, |next| next.time);
        assert!(last + began + SECOND + MS * 300 >= next, "{last:?} is all there is at {next:?}");
        if number % 4 == 0 {
            ffprobe("killed", "webm", file).assert_playable(&["opus", "vp8"]);
        }
    }
    let file = disk.files.values().next().expect("a file");
    ffprobe("killed", "webm", file).assert_playable(&["opus", "vp8"]);
    // In the middle of a write.
    ffprobe("torn", "webm", &file[..file.len() - 700]).assert_playable(&["opus", "vp8"]);
}

#[test]
fn a_disk_that_fills_ends_the_recording_and_not_the_call() {
    let mut world = call(4, Some("tone"), Some("pattern:color"), Some("out"));
    world.disk(BOB).room = Some(60_000);
    world.until(PATIENCE, "the end of the recording is told", |world| !failures(world, BOB).is_empty());
    let heard = |world: &mut World| {
        world.command(BOB, AgentCommand::Media(MediaCommand::Tracks));
        let frames = world.told(BOB).rev().find_map(|notice| match notice {
            AgentNotice::Media(enishi_core::agent::MediaNotice::Tracks { theirs, .. }) => {
                Some(theirs.iter().map(|track| track.frames).sum::<u64>())
            }
            _ => None,
        });
        frames.expect("the tracks")
    };
    let before = heard(&mut world);
    world.say(ALICE, "still here?");
    world.run(SECOND * 3);
    assert_eq!(world.texts(BOB), ["still here?"]);
    assert!(heard(&mut world) > before + 150);
    assert_eq!(failures(&world, BOB), ["the disk is full"]);
    assert_eq!(world.count(BOB, |notice| matches!(notice, AgentNotice::Peer { state: PeerState::Closed, .. })), 0);
    let file = world.disk(BOB).files.values().next().expect("a file").clone();
    ffprobe("full", "webm", &file).assert_playable(&["opus", "vp8"]);
}

#[test]
fn two_recordings_in_one_second_are_two_files() {
    let mut world = call(5, Some("tone"), None, None);
    world.run(SECOND);
    for _ in 0..2 {
        start(&mut world, BOB, "out");
        world.run(MS * 100);
        stop(&mut world, BOB);
    }
    let files = complete(&world, BOB);
    let [first, second] = files[..] else { panic!("two files, not {files:?}") };
    assert_ne!(first, second);
    for path in [first.to_owned(), second.to_owned()] {
        assert!(!frames(&world.disk(BOB).files[&path], Kind::Audio).is_empty(), "{path}");
    }
}

#[test]
fn both_directions_are_recorded_if_wanted() {
    let mut world = call(6, Some("tone:440"), None, None);
    let source = "tone:880".parse().expect("a source");
    world.command(BOB, AgentCommand::Media(MediaCommand::Publish { kind: Kind::Audio, source }));
    world.run(SECOND);
    world.command(BOB, AgentCommand::RecordStart(RecordSpec { path: "call.webm".to_owned(), ours_too: true }));
    world.run(SECOND * 3);
    stop(&mut world, BOB);
    world.run(SECOND);
    let mut tones = BTreeMap::new();
    for (path, file) in &world.disk(BOB).files {
        let mut decoder = opus::Decoder::new().expect("a decoder");
        let sound: Vec<i16> =
            frames(file, Kind::Audio).iter().flat_map(|frame| decoder.decode(&frame.data).expect("sound")).collect();
        let left: Vec<i16> = sound.iter().step_by(2).copied().collect();
        tones.insert(path.as_str(), detect::peak_hz(&left, 48_000).expect("a tone").round() as u32);
    }
    assert_eq!(tones, BTreeMap::from([("call.webm", 440), ("call-ours.webm", 880)]));
}

#[test]
fn a_tone_survives_a_lossy_path_into_a_wav_file() {
    for loss in [0.0, 0.1] {
        let mut world = call(7, Some("tone:440"), None, Some("call.wav"));
        world.path.loss = loss;
        world.run(SECOND * 5);
        stop(&mut world, BOB);
        let file = world.disk(BOB).files["call.wav"].clone();
        let mut reader = wav::Reader::default();
        reader.push(&file);
        reader.end();
        let mut left = Vec::new();
        while let Read::Frame(samples) = reader.read().expect("a WAV file") {
            left.extend(samples.iter().step_by(2).map(|sample| (sample * 32_767.0) as i16));
        }
        let hz = detect::peak_hz(&left, 48_000).expect("a tone");
        assert!((hz - 440.0).abs() < 5.0, "{hz} Hz with a loss of {loss}");
        assert!((4.5..6.5).contains(&(left.len() as f64 / 48_000.0)), "{} samples", left.len());
        ffprobe("tone", "wav", &file).assert_playable(&["pcm_s16le"]);
    }
}

#[test]
fn ffprobe_takes_every_kind_of_file() {
    for (extension, codecs) in
        [("webm", &[("opus", 130), ("vp8", 60)][..]), ("ogg", &[("opus", 130)]), ("ivf", &[("vp8", 60)])]
    {
        let mut world = call(8, Some("tone"), Some("pattern:checkerboard"), Some(&format!("call.{extension}")));
        world.run(SECOND * 3);
        stop(&mut world, BOB);
        let file = world.disk(BOB).files[&format!("call.{extension}")].clone();
        ffprobe("kinds", extension, &file).assert_whole(codecs);
    }
}

/// What ffprobe says of a file.
struct Probed {
    /// Per stream: its codec, and how many frames could be decoded.
    streams: BTreeMap<String, usize>,
    errors: String,
}

/// Has ffprobe read and decode a file.
///
/// # Panics
/// It is not installed.
fn ffprobe(name: &str, extension: &str, file: &[u8]) -> Probed {
    let path = env::temp_dir().join(format!("enishi-recording-{name}-{}.{extension}", process::id()));
    fs::write(&path, file).expect("a file");
    let mut command = Command::new("ffprobe");
    command.args([
        "-v",
        "error",
        "-count_frames",
        "-show_entries",
        "stream=codec_name,nb_read_frames",
        "-of",
        "csv=p=0",
    ]);
    let output = command.arg(&path).output().expect("ffprobe is there: run tests/setup");
    let _ = fs::remove_file(&path);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let stream = |line: &str| {
        let (codec, frames) = line.split_once(',')?;
        Some((codec.to_owned(), frames.trim_end_matches(',').parse().unwrap_or(0)))
    };
    Probed {
        streams: text.lines().filter_map(stream).collect(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Probed {
    /// These streams, each with so many frames at least, and nothing to complain of.
    fn assert_whole(&self, streams: &[(&str, usize)]) {
        assert_eq!(self.errors, "");
        assert_eq!(self.streams.len(), streams.len(), "{:?}", self.streams);
        for (codec, least) in streams {
            let frames = self.streams.get(*codec).copied().unwrap_or(0);
            assert!(frames >= *least, "{frames} frames of {codec}");
        }
    }

    /// These streams, with something in each.
    fn assert_playable(&self, streams: &[&str]) {
        for codec in streams {
            assert!(self.streams.get(*codec).is_some_and(|frames| *frames > 0), "{:?} {}", self.streams, self.errors);
        }
    }
}
