//! Frames in, files out.

mod bounds;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::media::{Codec, Read, ivf, ogg, webm};

/// 2026-11-21T03:27:31Z.
const UNIX: Duration = Duration::from_secs(1_795_231_651);

const SOUND: TrackKey = TrackKey(1);
const PICTURE: TrackKey = TrackKey(2);

/// A recorder and its disk.
struct Scene {
    recorder: Recorder,
    start: Instant,
    now: Instant,
    disk: BTreeMap<String, Vec<u8>>,
    /// What is under way, if the disk does not answer at once.
    asked: Vec<(FileOp, String, WriteAt, Bytes)>,
    is_slow: bool,
    /// How many bytes fit.
    room: usize,
    /// When each op was asked.
    ops: Vec<Instant>,
    wanted: Vec<(Option<Name>, TrackKey)>,
    notices: Vec<AgentNotice>,
}

impl Scene {
    fn new() -> Self {
        let now = Instant::now();
        Scene {
            recorder: Recorder::new(now, WallClock::new(now, UNIX)),
            start: now,
            now,
            disk: BTreeMap::new(),
            asked: Vec::new(),
            is_slow: false,
            room: usize::MAX,
            ops: Vec::new(),
            wanted: Vec::new(),
            notices: Vec::new(),
        }
    }

    /// One that records to a folder or a file.
    fn recording(path: &str) -> Self {
        let mut scene = Scene::new();
        scene.start(path, false);
        scene
    }

    fn start(&mut self, path: &str, ours_too: bool) {
        let mut out = Vec::new();
        self.recorder.start(RecordSpec { path: path.to_owned(), ours_too }, &mut out);
        self.carry_out(out);
    }

    fn stop(&mut self) {
        let mut out = Vec::new();
        self.recorder.stop(self.now, &mut out);
        self.carry_out(out);
    }

    fn add(&mut self, name: &str, track: TrackKey, kind: Kind) {
        let mut out = Vec::new();
        self.recorder.track_added(&name.into(), track, kind, &mut out);
        self.carry_out(out);
    }

    fn remove(&mut self, name: &str, track: TrackKey) {
        let mut out = Vec::new();
        self.recorder.track_removed(self.now, &name.into(), track, &mut out);
        self.carry_out(out);
    }

    /// Both kinds of tracks of a peer.
    fn add_both(&mut self, name: &str) {
        self.add(name, SOUND, Kind::Audio);
        self.add(name, PICTURE, Kind::Video);
    }

    fn frame(&mut self, name: &str, track: TrackKey, frame: &EncodedFrame) {
        self.frame_after(name, track, frame, false);
    }

    fn frame_after(&mut self, name: &str, track: TrackKey, frame: &EncodedFrame, lost: bool) {
        let mut out = Vec::new();
        let arrival = Arrival { frame: frame.clone(), lost, arrived: self.now, sampled: None };
        self.recorder.frame(self.now, &name.into(), track, arrival, &mut out);
        self.carry_out(out);
    }

    fn own_frame(&mut self, frame: &EncodedFrame) {
        let mut out = Vec::new();
        self.recorder.own_frame(self.now, frame, self.now, &mut out);
        self.carry_out(out);
    }

    /// Lets time pass.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((at, _)) = self.recorder.next_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            let mut out = Vec::new();
            self.recorder.timeout(self.now, &mut out);
            self.carry_out(out);
            assert!(self.recorder.next_timeout().is_none_or(|(at, _)| at > self.now), "no progress");
        }
        self.now = end;
    }

    /// A call of so long: sound every 20 ms and a picture every 40 ms of each of these peers, a key frame each second.
    fn call(&mut self, names: &[&str], time: Duration) {
        let end = self.now + time;
        while self.now < end {
            let at = self.now - self.start;
            for name in names {
                self.frame(name, SOUND, &sound(at));
                if at.as_millis().is_multiple_of(40) {
                    self.frame(name, PICTURE, &picture(at, at.as_millis().is_multiple_of(1000)));
                }
            }
            self.run(ms(20));
        }
    }

    fn carry_out(&mut self, effects: Vec<RecorderEffect>) {
        for effect in effects {
            match effect {
                RecorderEffect::Write { op, path, at, bytes } => {
                    let busy = self.asked.iter().any(|(_, busy, ..)| *busy == path);
                    assert!(!busy, "{path} is written to twice at once");
                    self.ops.push(self.now);
                    self.asked.push((op, path, at, bytes));
                }
                RecorderEffect::WantKeyFrame { name, track } => self.wanted.push((name, track)),
                RecorderEffect::Notice(notice) => self.notices.push(notice),
            }
        }
        if !self.is_slow {
            self.answer();
        }
    }

    /// The disk does what was asked.
    fn answer(&mut self) {
        for (op, path, at, bytes) in std::mem::take(&mut self.asked) {
            let result = self.write(&path, at, &bytes);
            let mut out = Vec::new();
            self.recorder.file_written(self.now, op, result, &mut out);
            self.carry_out(out);
        }
    }

    fn write(&mut self, path: &str, at: WriteAt, bytes: &[u8]) -> Result<(), FileError> {
        if path.starts_with("missing/") {
            return Err(FileError::Missing);
        }
        if at == WriteAt::New && self.disk.contains_key(path) {
            return Err(FileError::Exists);
        }
        let used: usize = self.disk.values().map(Vec::len).sum();
        let file = match at {
            WriteAt::New => self.disk.entry(path.to_owned()).or_default(),
            WriteAt::Offset(_) => self.disk.get_mut(path).ok_or(FileError::Missing)?,
        };
        let start = match at {
            WriteAt::New => 0,
            WriteAt::Offset(offset) => offset as usize,
        };
        assert!(start <= file.len(), "a hole in {path}");
        let end = start + bytes.len();
        if end > file.len() && used + end - file.len() > self.room {
            return Err(FileError::Other("the disk is full".into()));
        }
        file.resize(file.len().max(end), 0);
        file[start..end].copy_from_slice(bytes);
        Ok(())
    }

    fn files(&self) -> Vec<&str> {
        self.disk.keys().map(String::as_str).collect()
    }

    /// The times of the frames of a kind in a WebM file, in milliseconds.
    fn times(&self, path: &str, kind: Kind) -> Vec<u64> {
        times(&self.disk[path], kind)
    }
}

fn times(file: &[u8], kind: Kind) -> Vec<u64> {
    let mut reader = webm::Reader::new(kind);
    reader.push(file);
    reader.end();
    let mut times = Vec::new();
    while let Read::Frame(frame) = reader.read().expect("a file that can be read") {
        times.push(frame.time.as_millis() as u64);
    }
    times
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// 20 ms of silence.
fn sound(time: Duration) -> EncodedFrame {
    EncodedFrame { codec: Codec::Opus, time, key: true, data: Bytes::from_static(&[0xfc, 0xff, 0xfe]) }
}

/// Something that looks like a frame of 64 x 48 pixels.
fn picture(time: Duration, key: bool) -> EncodedFrame {
    let data: &[u8] = if key { &[0x10, 0, 0, 0x9d, 0x01, 0x2a, 64, 0, 48, 0, 0, 0] } else { &[0x11, 0, 0, 0, 0, 0] };
    EncodedFrame { codec: Codec::Vp8, time, key, data: Bytes::copy_from_slice(data) }
}

fn recorded(path: &str, id: &str, length: u64) -> AgentNotice {
    AgentNotice::Recording(RecordingNotice::Complete {
        path: path.into(),
        id: Some(id.into()),
        length: ms(length),
        dropped: 0,
    })
}

#[test]
fn each_peer_gets_a_file_of_its_own_in_a_folder() {
    let mut scene = Scene::recording("out");
    scene.add_both("alice");
    scene.add_both("b/../ob");
    scene.call(&["alice", "b/../ob"], ms(3_000));
    scene.stop();
    let (alice, bob) = ("out/alice-20261121T032731Z.webm", "out/b_.._ob-20261121T032731Z.webm");
    assert_eq!(scene.files(), [alice, bob]);
    for (path, id) in [(alice, "alice"), (bob, "b/../ob")] {
        assert!(
            scene
                .notices
                .contains(&AgentNotice::Recording(RecordingNotice::Begun { path: path.into(), id: Some(id.into()) }))
        );
        assert!(scene.notices.contains(&recorded(path, id, 2_980)), "{:?}", scene.notices);
        assert_eq!(scene.times(path, Kind::Audio), (0..150).map(|n| n * 20).collect::<Vec<_>>());
        assert_eq!(scene.times(path, Kind::Video), (0..75).map(|n| n * 40).collect::<Vec<_>>());
    }
    assert!(!scene.recorder.is_busy());
}

#[test]
fn two_recordings_in_one_second_are_two_files() {
    let mut scene = Scene::new();
    scene.add_both("alice");
    for _ in 0..3 {
        scene.start("out", false);
        scene.call(&["alice"], ms(200));
        scene.stop();
    }
    let name = "out/alice-20261121T032731Z";
    assert_eq!(scene.files(), [format!("{name}-2.webm"), format!("{name}-3.webm"), format!("{name}.webm")]);
}

#[test]
fn a_named_file_takes_the_first_peer_and_none_that_exists_is_touched() {
    let mut scene = Scene::new();
    scene.disk.insert("call-2.webm".into(), b"precious".to_vec());
    scene.start("call.webm", true);
    scene.add_both("alice");
    scene.add_both("bob");
    scene.own_frame(&sound(ms(0)));
    scene.call(&["alice", "bob"], ms(1_000));
    scene.stop();
    assert_eq!(scene.files(), ["call-2.webm", "call-3.webm", "call-ours.webm", "call.webm"]);
    assert_eq!(scene.disk["call-2.webm"], b"precious");
    let of = |path: &str| {
        scene.notices.iter().find_map(|notice| match notice {
            AgentNotice::Recording(RecordingNotice::Begun { path: of, id }) if of == path => Some(id.clone()),
            _ => None,
        })
    };
    assert_eq!(of("call.webm"), Some(Some("alice".into())));
    assert_eq!(of("call-3.webm"), Some(Some("bob".into())));
    assert_eq!(of("call-ours.webm"), Some(None));
}

#[test]
fn ours_is_recorded_under_our_name_only_if_wanted() {
    for (ours_too, files) in [(false, vec![]), (true, vec!["out/me-20261121T032731Z.webm"])] {
        let mut scene = Scene::new();
        scene.recorder.named("me".into());
        scene.start("out", ours_too);
        for n in 0..50 {
            scene.own_frame(&sound(ms(n * 20)));
            scene.own_frame(&picture(ms(n * 20), n == 0));
            scene.run(ms(20));
        }
        scene.stop();
        assert_eq!(scene.files(), files);
        if ours_too {
            assert_eq!(scene.times(files[0], Kind::Video), scene.times(files[0], Kind::Audio));
        }
    }
}

#[test]
fn a_container_for_one_kind_takes_that_kind_only() {
    let mut scene = Scene::recording("call.ogg");
    scene.add_both("alice");
    scene.call(&["alice"], ms(1_000));
    scene.stop();
    let mut reader = ogg::Reader::default();
    reader.push(&scene.disk["call.ogg"]);
    reader.end();
    let mut packets = 0;
    while let Read::Frame(_) = reader.read().expect("an Ogg file") {
        packets += 1;
    }
    assert_eq!(packets, 50);

    let mut scene = Scene::recording("call.ivf");
    scene.add_both("alice");
    scene.call(&["alice"], ms(1_000));
    scene.stop();
    let mut reader = ivf::Reader::default();
    reader.push(&scene.disk["call.ivf"]);
    reader.end();
    let mut frames = 0;
    while let Read::Frame(_) = reader.read().expect("an IVF file") {
        frames += 1;
    }
    assert_eq!(frames, 25);
}

#[test]
fn what_was_lost_of_sound_is_filled_in_a_wav_file() {
    let mut scene = Scene::recording("call.wav");
    scene.add("alice", SOUND, Kind::Audio);
    for n in (0..200).filter(|n| n % 7 != 4 && !(100..110).contains(n)) {
        scene.now = scene.start + ms(n * 20);
        scene.run(Duration::ZERO);
        scene.frame("alice", SOUND, &sound(ms(n * 20)));
    }
    scene.stop();
    // Two bytes for each of two channels, 48 of them in a millisecond.
    assert_eq!(scene.disk["call.wav"].len(), 44 + 200 * 20 * 48 * 4);
}

#[test]
fn a_track_that_comes_later_begins_another_file_with_all_in_it() {
    let mut scene = Scene::recording("out");
    scene.add("alice", SOUND, Kind::Audio);
    for n in 0..250 {
        let at = ms(n * 20);
        scene.frame("alice", SOUND, &sound(at));
        if n == 100 {
            scene.add("alice", PICTURE, Kind::Video);
        }
        if n >= 110 {
            // What cannot be decoded changes nothing yet.
            scene.frame("alice", PICTURE, &picture(at, n == 150));
        }
        scene.run(ms(20));
    }
    scene.stop();
    let files = scene.files();
    let [first, second] = files[..] else { panic!("two files, not {files:?}") };
    assert_eq!(scene.times(first, Kind::Audio).len(), 151);
    assert_eq!(scene.times(second, Kind::Audio).len(), 99);
    assert_eq!(scene.times(second, Kind::Video).len(), 100);
    assert_eq!(scene.wanted.first(), Some(&(Some("alice".into()), PICTURE)));
}

#[test]
fn a_track_in_the_place_of_one_that_ended_goes_into_the_same_file() {
    let mut scene = Scene::recording("out");
    scene.add_both("alice");
    scene.call(&["alice"], ms(2_000));
    scene.remove("alice", PICTURE);
    for n in 0..50 {
        scene.frame("alice", SOUND, &sound(ms(2_000 + n * 20)));
        scene.run(ms(20));
    }
    scene.add("alice", TrackKey(9), Kind::Video);
    for n in 0..50 {
        scene.frame("alice", SOUND, &sound(ms(3_000 + n * 20)));
        scene.frame("alice", TrackKey(9), &picture(ms(n * 20), n == 0));
        scene.run(ms(20));
    }
    scene.stop();
    let files = scene.files();
    let [file] = files[..] else { panic!("one file, not {files:?}") };
    assert_eq!(scene.times(file, Kind::Audio).len(), 200);
    let pictures = scene.times(file, Kind::Video);
    assert_eq!(pictures[..50], (0..50).map(|n| n * 40).collect::<Vec<_>>());
    assert_eq!(pictures[50..], (0..50).map(|n| 3_000 + n * 20).collect::<Vec<_>>());
}

#[test]
fn a_second_picture_of_a_peer_gets_a_file_of_its_own() {
    let mut scene = Scene::recording("out");
    scene.add_both("alice");
    scene.add("alice", TrackKey(3), Kind::Video);
    for n in 0..100 {
        scene.frame("alice", SOUND, &sound(ms(n * 20)));
        scene.frame("alice", PICTURE, &picture(ms(n * 20), n % 50 == 0));
        scene.frame("alice", TrackKey(3), &picture(ms(n * 20), n % 50 == 0));
        scene.run(ms(20));
    }
    scene.stop();
    let files = scene.files();
    assert_eq!(files.len(), 2, "{files:?}");
    assert_eq!(files.iter().map(|file| scene.times(file, Kind::Video).len()).collect::<Vec<_>>(), [100, 100]);
}

#[test]
fn a_file_ends_with_its_peer() {
    let mut scene = Scene::recording("out");
    scene.add_both("alice");
    scene.call(&["alice"], ms(1_000));
    scene.remove("alice", SOUND);
    assert!(scene.recorder.is_busy());
    scene.remove("alice", PICTURE);
    assert!(!scene.recorder.is_busy());
    assert_eq!(scene.notices.last(), Some(&recorded("out/alice-20261121T032731Z.webm", "alice", 980)));
    // Another one of that name is another file, and the recording goes on.
    scene.run(ms(5_000));
    scene.add_both("alice");
    scene.call(&["alice"], ms(1_000));
    scene.stop();
    assert_eq!(scene.files(), ["out/alice-20261121T032731Z.webm", "out/alice-20261121T032737Z.webm"]);
}

#[test]
fn a_picture_that_cannot_be_decoded_is_left_out_until_the_next_key_frame() {
    let mut scene = Scene::recording("out");
    scene.add("alice", PICTURE, Kind::Video);
    scene.wanted.clear();
    for n in 0..100_u64 {
        scene.frame_after("alice", PICTURE, &picture(ms(n * 40), n == 5 || n == 60), n == 50);
        scene.run(ms(40));
    }
    scene.stop();
    let times = scene.times(scene.files()[0], Kind::Video);
    let expected = (5..50).chain(60..100).map(|n| (n - 5) * 40);
    assert_eq!(times, expected.collect::<Vec<_>>());
    assert_eq!(scene.wanted.len(), 15, "asked for with each frame that is of no use");
}

#[test]
fn what_came_is_on_the_disk_within_a_second() {
    let mut scene = Scene::recording("out");
    scene.add_both("alice");
    for second in 2..10 {
        scene.call(&["alice"], ms(1_000));
        if second < 4 {
            continue;
        }
        let path = scene.files()[0];
        for kind in [Kind::Audio, Kind::Video] {
            let last = *scene.times(path, kind).last().expect("something");
            let passed = (scene.now - scene.start).as_millis() as u64;
            assert!(last + 1_000 >= passed, "{last} ms of {passed} ms of {}", kind.name());
        }
    }
    assert!(scene.ops.len() < 40, "a few writes each second are enough: {}", scene.ops.len());
}

#[test]
fn what_came_before_a_silence_is_on_the_disk_too() {
    let mut scene = Scene::recording("out");
    scene.add_both("alice");
    scene.call(&["alice"], ms(3_000));
    scene.run(ms(1_000));
    assert_eq!(scene.times(scene.files()[0], Kind::Audio).last(), Some(&2_980));
    assert_eq!(scene.recorder.next_timeout(), None);
}

#[test]
fn a_program_that_is_killed_leaves_a_file_that_can_be_read() {
    let mut scene = Scene::recording("out");
    scene.add_both("alice");
    scene.is_slow = true;
    let mut states = Vec::new();
    for n in 0..400 {
        scene.call(&["alice"], ms(20));
        if n % 3 == 0 {
            scene.answer();
            states.extend(scene.disk.values().next().cloned());
        }
    }
    scene.stop();
    while scene.recorder.is_busy() {
        scene.answer();
        states.extend(scene.disk.values().next().cloned());
    }
    states.dedup();
    assert!(states.len() > 10, "{}", states.len());
    let whole = times(states.last().expect("a file"), Kind::Video);
    assert_eq!(whole.len(), 200);
    let mut longest = 0;
    for state in &states {
        let times = times(state, Kind::Video);
        assert!(!times.is_empty() && whole.starts_with(&times), "{times:?}");
        assert!(times.len() >= longest);
        longest = times.len();
    }
}

#[test]
fn a_disk_that_fills_ends_the_recording_with_one_message() {
    let mut scene = Scene::recording("out");
    scene.room = 3_000;
    scene.add_both("alice");
    scene.add_both("bob");
    scene.call(&["alice", "bob"], ms(10_000));
    let failures: Vec<_> = scene
        .notices
        .iter()
        .filter(|notice| matches!(notice, AgentNotice::Recording(RecordingNotice::Failed { .. })))
        .collect();
    let [AgentNotice::Recording(RecordingNotice::Failed { why, .. })] = failures[..] else {
        panic!("one message, not {failures:?}")
    };
    assert_eq!(why, "the disk is full");
    assert!(!scene.recorder.is_busy());
    let before = scene.ops.len();
    scene.call(&["alice", "bob"], ms(3_000));
    assert_eq!(scene.ops.len(), before, "nothing is tried again");
    for path in scene.files() {
        assert!(!scene.times(path, Kind::Audio).is_empty(), "what was written can be read");
    }
    // It can be begun again once there is room.
    scene.room = usize::MAX;
    scene.start("out", false);
    scene.call(&["alice", "bob"], ms(1_000));
    scene.stop();
    assert_eq!(scene.files().len(), 4);
}

#[test]
fn a_folder_that_is_missing_is_said() {
    let mut scene = Scene::recording("missing/x.webm");
    scene.add_both("alice");
    scene.call(&["alice"], ms(2_000));
    let why = "there is no such folder; make it first".to_owned();
    let failed = RecordingNotice::Failed { path: "missing/x.webm".into(), id: Some("alice".into()), why };
    assert_eq!(scene.notices, [AgentNotice::Recording(failed)]);
}

#[test]
fn a_disk_that_is_too_slow_costs_frames_and_no_memory() {
    let mut scene = Scene::recording("out");
    scene.is_slow = true;
    scene.add("alice", PICTURE, Kind::Video);
    for n in 0..400_u64 {
        let mut frame = picture(ms(n * 40), n % 25 == 0);
        frame.data = [&frame.data[..], &vec![0; 100_000]].concat().into();
        scene.frame("alice", PICTURE, &frame);
        scene.run(ms(40));
        let waiting: usize = scene.recorder.takes.iter().map(|take| take.sink.waiting()).sum();
        assert!(waiting < limits::RECORDING_WAITING_BYTES + 4_000_000, "{waiting}");
    }
    scene.is_slow = false;
    scene.answer();
    scene.stop();
    let Some(AgentNotice::Recording(RecordingNotice::Complete { dropped, .. })) = scene.notices.last() else {
        panic!("{:?}", scene.notices)
    };
    assert!((200..390).contains(dropped), "{dropped}");
    let times = scene.times(scene.files()[0], Kind::Video);
    assert!(times.len() >= 10);
}

#[test]
fn what_cannot_be_done_is_said() {
    let mut scene = Scene::new();
    scene.stop();
    scene.start("out", false);
    scene.start("other", false);
    scene.add_both("alice");
    scene.stop();
    scene.start("x.wav", false);
    scene.add("alice", PICTURE, Kind::Video);
    scene.frame("alice", PICTURE, &picture(ms(0), true));
    scene.stop();
    let sentences: Vec<_> = scene
        .notices
        .iter()
        .map(|notice| match notice {
            AgentNotice::CommandFailed(why) | AgentNotice::Warning(why) => why.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        sentences,
        [
            "nothing is being recorded; begin with `record start PATH`",
            "there is a recording already, to out; stop it first with `record stop`",
            "nothing was recorded to out: no sound or picture came",
            "nothing was recorded to x.wav: no sound came",
        ]
    );
}

#[derive(Debug, Clone)]
enum Step {
    Start(&'static str, bool),
    Stop,
    Add(bool, u32, bool),
    Remove(bool, u32),
    Frame { peer: bool, track: u32, time: u64, key: bool, lost: bool, sampled: Option<u64>, data: Vec<u8> },
    Own(bool, u64),
    Run(u64),
    Answer,
    Room(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let path = prop_oneof![Just("out"), Just("a.webm"), Just("a.wav"), Just("a.ogg"), Just("a.ivf"), Just("missing/a")];
    let data = prop_oneof![
        Just(sound(ms(0)).data.to_vec()),
        Just(picture(ms(0), true).data.to_vec()),
        prop::collection::vec(any::<u8>(), 0..40),
    ];
    prop_oneof![
        1 => (path, any::<bool>()).prop_map(|(path, ours)| Step::Start(path, ours)),
        1 => Just(Step::Stop),
        2 => (any::<bool>(), 0..3_u32, any::<bool>()).prop_map(|(peer, track, video)| Step::Add(peer, track, video)),
        1 => (any::<bool>(), 0..3_u32).prop_map(|(peer, track)| Step::Remove(peer, track)),
        20 => (any::<bool>(), 0..3_u32, any::<u64>(), any::<bool>(), any::<bool>(), any::<Option<u64>>(), data).prop_map(
            |(peer, track, time, key, lost, sampled, data)| Step::Frame { peer, track, time, key, lost, sampled, data }
        ),
        2 => (any::<bool>(), any::<u64>()).prop_map(|(video, time)| Step::Own(video, time)),
        10 => (0..800_u64).prop_map(Step::Run),
        6 => Just(Step::Answer),
        1 => (0..100_000_usize).prop_map(Step::Room),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever happens in whatever order: no panic, no two ops on one file, no hole in a file, an end that comes.
    #[test]
    fn nothing_that_happens_upsets_it(steps in prop::collection::vec(step(), 1..200)) {
        let mut scene = Scene::new();
        scene.is_slow = true;
        let peer = |first: bool| if first { "alice" } else { "bob" };
        for step in steps {
            match step {
                Step::Start(path, ours) => scene.start(path, ours),
                Step::Stop => scene.stop(),
                Step::Add(who, track, video) => {
                    scene.add(peer(who), TrackKey(track), if video { Kind::Video } else { Kind::Audio });
                }
                Step::Remove(who, track) => scene.remove(peer(who), TrackKey(track)),
                Step::Frame { peer: who, track, time, key, lost, sampled, data } => {
                    let codec = if track == 0 { Codec::Opus } else { Codec::Vp8 };
                    let time = Duration::from_nanos(time);
                    let frame = EncodedFrame { codec, time, key, data: data.into() };
                    let mut out = Vec::new();
                    let sampled = sampled.map(Duration::from_micros);
                    let (now, name) = (scene.now, peer(who).into());
                    let arrival = Arrival { frame, lost, arrived: now, sampled };
                    scene.recorder.frame(now, &name, TrackKey(track), arrival, &mut out);
                    scene.carry_out(out);
                }
                Step::Own(video, time) => {
                    let time = Duration::from_nanos(time);
                    scene.own_frame(&if video { picture(time, true) } else { sound(time) });
                }
                Step::Run(time) => scene.run(ms(time)),
                Step::Answer => scene.answer(),
                Step::Room(room) => scene.room = room,
            }
        }
        let mut out = Vec::new();
        scene.recorder.finish(scene.now, &mut out);
        scene.is_slow = false;
        scene.carry_out(out);
        scene.answer();
        prop_assert!(!scene.recorder.is_busy());
        prop_assert!(scene.recorder.next_timeout().is_none());
        prop_assert!(scene.recorder.desk.is_idle());
    }
}
