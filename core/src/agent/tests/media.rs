//! Sound and picture between agents: what one publishes, another hears and sees.

use super::*;
use crate::media::{Kind, Pattern, SourceSpec};

/// Two agents, the first with these sources, which offers to the second.
fn call(audio: Option<&str>, video: Option<&str>) -> World {
    let mut world = World::new();
    let source = |text: &str| text.parse::<SourceSpec>().unwrap();
    let media = MediaConfig { audio: audio.map(source), video: video.map(source), once: false };
    let host: SocketAddr = "192.0.2.1:5000".parse().unwrap();
    world.add_with(AgentConfig { role: Role::Offer, target: Some("bob".into()), media, ..config("alice", host) }, host);
    world.add("bob", None);
    world.connect();
    world
}

impl World {
    fn media(&mut self, index: usize, command: MediaCommand) {
        self.command(index, AgentCommand::Media(command));
    }

    fn publish(&mut self, index: usize, kind: Kind, source: &str) {
        self.media(index, MediaCommand::Publish { kind, source: source.parse().unwrap() });
    }

    /// What an agent hears and sees now.
    fn heard(&mut self, index: usize) -> Vec<TheirTrack> {
        self.media(index, MediaCommand::Tracks);
        let tracks = self.told(index).rev().find_map(|notice| match notice {
            AgentNotice::Media(MediaNotice::Tracks { theirs, .. }) => Some(theirs.clone()),
            _ => None,
        });
        tracks.unwrap()
    }

    fn told_of(&self, index: usize, wanted: &MediaNotice) -> usize {
        self.count(index, |notice| *notice == AgentNotice::Media(wanted.clone()))
    }

    fn offers(&self) -> usize {
        self.relay.signals.iter().filter(|(_, signal)| matches!(signal, Signal::Offer { .. })).count()
    }
}

#[test]
fn a_tone_and_a_pattern_are_heard_and_seen() {
    let mut world = call(Some("tone:440"), Some("pattern:checkerboard"));
    assert_eq!(world.offers(), 1, "all in one exchange");
    world.run(3 * SECOND);
    let [sound, picture] = &world.heard(1)[..] else { panic!("{:#?}", world.notices) };
    assert_eq!((sound.kind, picture.kind), (Kind::Audio, Kind::Video));
    let hz = sound.tone_hz.unwrap();
    assert!((hz - 440.0).abs() < 5.0, "{hz}");
    assert!((145..=160).contains(&sound.frames) && sound.missing == 0, "{sound:?}");
    assert_eq!((picture.pattern, picture.size), (Some(Pattern::Checkerboard), Some((640, 480))));
    let rate = picture.frame_rate.unwrap();
    assert!((rate - 30.0).abs() < 0.5, "{rate}");
    assert_eq!(world.heard(0), [], "the second sends nothing");
}

#[test]
fn a_tenth_of_the_packets_lost_is_still_a_tone_and_a_pattern() {
    let mut world = call(Some("tone:440"), Some("pattern:color"));
    world.loss = 0.1;
    world.run(6 * SECOND);
    let [sound, picture] = &world.heard(1)[..] else { panic!("{:#?}", world.notices) };
    let hz = sound.tone_hz.unwrap();
    assert!((hz - 440.0).abs() < 5.0, "{hz}");
    assert!((0.05..0.2).contains(&sound.loss()), "{sound:?}");
    assert_eq!(picture.pattern, Some(Pattern::Color));
    assert!(
        picture.frame_rate.is_some_and(|rate| (25.0..31.0).contains(&rate) || (13.0..16.0).contains(&rate)),
        "{picture:?}"
    );
}

#[test]
fn tracks_are_published_and_taken_back_in_mid_call() {
    let mut world = call(None, None);
    world.publish(1, Kind::Audio, "tone:880");
    let added = MediaNotice::Added { id: "bob".into(), kind: Kind::Audio };
    world.until(SECOND, "the first is told", |world| world.told_of(0, &added) == 1);
    world.run(2 * SECOND);
    let [sound] = &world.heard(0)[..] else { panic!() };
    assert!(sound.live && (sound.tone_hz.unwrap() - 880.0).abs() < 5.0, "{sound:?}");
    world.publish(1, Kind::Audio, "tone:440");
    assert!(matches!(world.told(1).last(), Some(AgentNotice::CommandFailed(why)) if why.contains("replace")));
    world.media(1, MediaCommand::Unpublish(Kind::Audio));
    let removed = MediaNotice::Removed { id: "bob".into(), kind: Kind::Audio };
    world.until(SECOND, "the end is told", |world| world.told_of(0, &removed) == 1);
    let before = world.heard(0)[0].frames;
    world.run(SECOND);
    let [sound] = &world.heard(0)[..] else { panic!() };
    assert!(!sound.live && sound.frames == before, "{sound:?}");
    assert!(world.texts(0).is_empty());
    world.say(0, "still here");
    world.until(SECOND, "the channel lives on", |world| world.texts(1) == ["still here"]);
}

#[test]
fn both_publish_a_picture_at_once() {
    let mut world = call(None, None);
    world.publish(0, Kind::Video, "pattern:flash");
    world.publish(1, Kind::Video, "pattern:bounce");
    world.run(3 * SECOND);
    for (index, pattern) in [(0, Pattern::Bounce), (1, Pattern::Flash)] {
        let [picture] = &world.heard(index)[..] else { panic!("{:#?}", world.notices) };
        assert_eq!((picture.pattern, picture.live), (Some(pattern), true));
    }
}

#[test]
fn another_picture_takes_over_without_an_offer() {
    let mut world = call(None, Some("pattern:bounce"));
    world.run(SECOND);
    let offers = world.offers();
    for pattern in [Pattern::Checkerboard, Pattern::Bounce] {
        let source = SourceSpec::Pattern(pattern);
        world.media(0, MediaCommand::Replace { kind: Kind::Video, source });
        world.run(SECOND / 2);
        let [picture] = &world.heard(1)[..] else { panic!() };
        assert_eq!(picture.pattern, Some(pattern));
        assert_eq!(picture.frame_rate.map(f64::round), Some(30.0), "not a frame too early or too late");
    }
    assert_eq!(world.offers(), offers);
    // A source that cannot be played takes nothing over.
    world.media(0, MediaCommand::Replace { kind: Kind::Video, source: "gone.ivf".parse().unwrap() });
    world.run(SECOND);
    assert_eq!(world.heard(1)[0].pattern, Some(Pattern::Bounce));
    let why = "cannot send video from gone.ivf: there is no such file";
    assert_eq!(world.count(0, |notice| *notice == AgentNotice::CommandFailed(why.into())), 1);
}

#[test]
fn who_comes_late_has_a_picture_within_a_second() {
    let mut world = call(None, Some("pattern:gradient"));
    world.run(1_300 * SECOND / 1_000);
    let host: SocketAddr = "192.0.2.3:5000".parse().unwrap();
    let late =
        world.add_with(AgentConfig { role: Role::Offer, target: Some("alice".into()), ..config("late", host) }, host);
    let connected = |world: &World| world.count(late, |notice| is_peer(notice, PeerState::Connected)) == 1;
    world.until(5 * SECOND, "the late one connects", connected);
    world.run(SECOND);
    let [picture] = &world.heard(late)[..] else { panic!("{:#?}", world.notices) };
    assert!(picture.key_frames >= 1 && picture.pattern == Some(Pattern::Gradient), "{picture:?}");
    let [picture] = &world.heard(1)[..] else { panic!() };
    assert_eq!(picture.frame_rate.map(f64::round), Some(30.0), "the first listener misses nothing");
}

#[test]
fn a_muted_track_is_silent_and_black_and_comes_back() {
    let mut world = call(Some("tone:440"), Some("pattern:gradient"));
    world.run(2 * SECOND);
    for kind in [Kind::Audio, Kind::Video] {
        world.media(0, MediaCommand::Mute { kind, on: true });
    }
    world.run(2 * SECOND);
    let [sound, picture] = &world.heard(1)[..] else { panic!() };
    assert_eq!(sound.tone_hz, None);
    assert!(sound.live && picture.live);
    assert_eq!((picture.pattern, picture.size), (Some(Pattern::Flash), Some((320, 240))), "that is: all black");
    for kind in [Kind::Audio, Kind::Video] {
        world.media(0, MediaCommand::Mute { kind, on: false });
    }
    world.run(2 * SECOND);
    let [sound, picture] = &world.heard(1)[..] else { panic!() };
    assert!((sound.tone_hz.unwrap() - 440.0).abs() < 5.0);
    assert_eq!((picture.pattern, picture.size), (Some(Pattern::Gradient), Some((640, 480))));
    assert_eq!(sound.missing, 0);
}

#[test]
fn the_numbers_of_ended_tracks_are_told_for_a_while() {
    let mut world = call(Some("tone:440"), None);
    world.run(2 * SECOND);
    world.command(0, AgentCommand::Quit);
    world.run(5 * SECOND);
    let [sound] = &world.heard(1)[..] else { panic!() };
    assert!(!sound.live && sound.frames > 90 && (sound.tone_hz.unwrap() - 440.0).abs() < 5.0, "{sound:?}");
}

#[test]
fn a_missing_file_is_one_line_and_a_call_without_it() {
    let mut world = call(Some("gone.wav"), Some("pattern:flash"));
    world.run(2 * SECOND);
    let why = "cannot send audio from gone.wav: there is no such file";
    assert_eq!(world.count(0, |notice| *notice == AgentNotice::CommandFailed(why.into())), 1);
    assert_eq!(
        world.heard(1).iter().filter(|track| track.live).map(|track| track.kind).collect::<Vec<_>>(),
        [Kind::Video]
    );
}

#[test]
fn a_narrow_path_gets_a_smaller_picture() {
    let mut world = call(None, Some("pattern:gradient"));
    world.narrow = Some(60_000);
    world.run(20 * SECOND);
    let quality = |notice: &AgentNotice| match notice {
        AgentNotice::Media(MediaNotice::Quality { quality, .. }) => Some(*quality),
        _ => None,
    };
    let changes: Vec<_> = world.told(0).filter_map(quality).collect();
    assert!(!changes.is_empty() && changes.len() <= 6, "{changes:?}");
    let [picture] = &world.heard(1)[..] else { panic!() };
    assert_ne!(picture.size, Some((640, 480)), "{changes:?} {picture:?}");
    world.narrow = None;
    world.run(40 * SECOND);
    assert_eq!(world.heard(1)[0].size, Some((640, 480)), "{:?}", world.told(0).filter_map(quality).collect::<Vec<_>>());
}

#[test]
fn a_machine_that_is_too_slow_sends_less_instead_of_falling_behind() {
    let mut world = call(Some("tone:440"), Some("pattern:gradient"));
    world.run(SECOND);
    // As if each turn took 300 ms.
    for _ in 0..4 {
        world.now += SECOND * 3 / 10;
        world.give(0, Input::Timeout);
    }
    let slow = |notice: &AgentNotice| matches!(notice, AgentNotice::Warning(why) if why.contains("too slow"));
    assert_eq!(world.count(0, slow), 2, "{:?}", world.told(0).collect::<Vec<_>>());
    let before = world.now;
    world.run(3 * SECOND);
    let [sound, picture] = &world.heard(1)[..] else { panic!() };
    assert_eq!(picture.size, Some((160, 120)));
    assert!((sound.tone_hz.unwrap() - 440.0).abs() < 5.0, "{sound:?}");
    assert!(sound.time <= world.now - world.start && world.now > before);
    world.run(65 * SECOND);
    assert_eq!(world.heard(1)[1].size, Some((320, 240)), "it is tried again, one step at a time");
}
