//! Tracks between two peers: what is negotiated, what flows, what is told.

use super::*;
use crate::media::Codec;

const FRAME: Duration = Duration::from_millis(20);
const PICTURE: Duration = Duration::from_millis(50);

/// An Opus packet, as far as anybody here looks into it.
fn sound(n: u64) -> EncodedFrame {
    let data = Bytes::from([&[0x78][..], &n.to_be_bytes(), &[7; 60]].concat());
    EncodedFrame { codec: Codec::Opus, time: FRAME * n as u32, key: true, data }
}

/// A VP8 frame, as far as anybody here looks into it (RFC 6386, 9.1).
fn picture(n: u64, key: bool) -> EncodedFrame {
    let head: &[u8] = if key { &[0x10, 2, 0, 0x9d, 0x01, 0x2a, 64, 0, 64, 0] } else { &[0x11, 2, 0] };
    let data = Bytes::from([head, &n.to_be_bytes(), &vec![9; if key { 6_000 } else { 1_500 }]].concat());
    EncodedFrame { codec: Codec::Vp8, time: PICTURE * n as u32, key, data }
}

fn spoken(frame: &EncodedFrame) -> u64 {
    let at = match (frame.codec, frame.key) {
        (Codec::Opus, _) => 1,
        (Codec::Vp8, true) => 10,
        (Codec::Vp8, false) => 3,
    };
    u64::from_be_bytes(frame.data[at..at + 8].try_into().unwrap())
}

impl World {
    fn publish(&mut self, who: usize, kind: Kind) -> TrackKey {
        self.act(who, |peer, now, out| peer.publish(now, kind, out))
    }

    fn write(&mut self, who: usize, track: TrackKey, frame: &EncodedFrame) {
        self.act(who, |peer, now, out| peer.write_frame(now, track, frame, now, out));
    }

    fn ready(&self, who: usize, track: TrackKey) -> bool {
        self.told[who].iter().any(|effect| matches!(effect, PeerEffect::TrackReady { track: of, .. } if *of == track))
    }

    /// The remote's tracks of a kind that are there now, as told.
    fn added(&self, who: usize, kind: Kind) -> Vec<TrackKey> {
        let mut tracks = Vec::new();
        for effect in &self.told[who] {
            match effect {
                PeerEffect::TrackAdded { track, kind: of } if *of == kind => tracks.push(*track),
                PeerEffect::TrackRemoved { track } => tracks.retain(|known| known != track),
                _ => {}
            }
        }
        tracks
    }

    fn frames(&self, who: usize, of: TrackKey) -> Vec<EncodedFrame> {
        let frames = self.told[who].iter().filter_map(|effect| match effect {
            PeerEffect::Frame { track, frame, .. } if *track == of => Some(frame.clone()),
            _ => None,
        });
        frames.collect()
    }

    fn key_frames_wanted(&self, who: usize) -> usize {
        self.told[who].iter().filter(|effect| matches!(effect, PeerEffect::KeyFrameWanted { .. })).count()
    }

    fn offers(&self, who: usize) -> usize {
        self.signaled[who].iter().filter(|signal| matches!(signal, Signal::Offer { .. })).count()
    }

    /// Alice sends sound and picture for so many seconds; a key frame at the start and whenever one is wanted.
    fn play(&mut self, sound_on: TrackKey, picture_on: TrackKey, from: u64, seconds: u64) {
        let mut wanted = self.key_frames_wanted(ALICE);
        for tick in from * 100..(from + seconds) * 100 {
            if tick.is_multiple_of(2) {
                self.write(ALICE, sound_on, &sound(tick / 2));
            }
            if tick.is_multiple_of(5) {
                let key = tick == 0 || self.key_frames_wanted(ALICE) > wanted;
                wanted = self.key_frames_wanted(ALICE);
                self.write(ALICE, picture_on, &picture(tick / 5, key));
            }
            self.run(Duration::from_millis(10));
        }
        self.run(Duration::from_secs(1));
    }

    /// Alice publishes sound and picture before they connect.
    fn published(seed: u64) -> (Self, TrackKey, TrackKey) {
        let mut world = World::new(seed);
        let (audio, video) = (world.publish(ALICE, Kind::Audio), world.publish(ALICE, Kind::Video));
        world.act(ALICE, |peer, now, out| peer.open_channel(now, spec("chat"), out));
        world.until(Duration::from_secs(5), |world| world.opened(ALICE) == 1 && world.opened(BOB) == 1);
        assert!(world.ready(ALICE, audio) && world.ready(ALICE, video));
        (world, audio, video)
    }
}

#[test]
fn frames_arrive_in_order_and_on_time() {
    let (mut world, audio, video) = World::published(50);
    assert_eq!((world.offers(ALICE), world.offers(BOB)), (1, 0), "one exchange for the channel and both tracks");
    world.play(audio, video, 0, 3);
    for (kind, count) in [(Kind::Audio, 150), (Kind::Video, 60)] {
        let [track] = world.added(BOB, kind)[..] else { panic!("{:?}", world.told[BOB]) };
        let frames = world.frames(BOB, track);
        assert_eq!(frames.iter().map(spoken).collect::<Vec<_>>(), (0..count).collect::<Vec<_>>());
        for frame in &frames {
            let wanted = if kind == Kind::Audio { sound(spoken(frame)) } else { picture(spoken(frame), frame.key) };
            assert_eq!(*frame, wanted);
        }
        assert!(frames[0].key);
    }
    let nothing_lost = |effect: &PeerEffect| !matches!(effect, PeerEffect::Frame { lost: true, .. });
    assert!(world.told[BOB].iter().all(nothing_lost));
    assert!(world.added(ALICE, Kind::Audio).is_empty(), "Bob's answer promises nothing that he does not send");
}

#[test]
fn the_numbers_say_what_flows() {
    let (mut world, audio, video) = World::published(51);
    world.play(audio, video, 0, 6);
    let (sent, received) = (world.peers[ALICE].stats(), world.peers[BOB].stats());
    let [sent_sound, sent_picture] = &sent.tracks[..] else { panic!("{sent:?}") };
    let [got_sound, got_picture] = &received.tracks[..] else { panic!("{received:?}") };
    assert!(sent_sound.ours && sent_sound.live && !got_sound.ours && got_sound.live);
    assert_eq!((sent_sound.codec, got_picture.codec), (Codec::Opus, Codec::Vp8));
    assert_eq!((sent_sound.frames, got_sound.frames), (300, 300));
    assert_eq!((sent_picture.frames, got_picture.frames), (120, 120));
    assert_eq!((sent_picture.key_frames, got_picture.key_frames), (1, 1));
    assert_eq!((got_sound.packets, got_sound.loss.unwrap_or(0.0)), (300, 0.0));
    assert!(got_picture.packets >= 240 && got_picture.bytes > 120 * 1_500, "{got_picture:?}");
    assert!(got_sound.jitter.unwrap() < Duration::from_millis(5), "{got_sound:?}");
    assert!(sent_picture.round_trip.is_some_and(|time| time < Duration::from_millis(100)), "{sent_picture:?}");
    assert!(sent.bandwidth.is_some() && received.bandwidth.is_none());
}

#[test]
fn what_two_clocks_say_belongs_together() {
    let (mut world, audio, video) = World::published(52);
    world.play(audio, video, 0, 8);
    let sampled = |kind| {
        let [track] = world.added(BOB, kind)[..] else { panic!() };
        let frames = world.told[BOB].iter().filter_map(|effect| match effect {
            PeerEffect::Frame { track: of, frame, sampled, .. } if *of == track => Some((frame.time, (*sampled)?)),
            _ => None,
        });
        let frames: Vec<_> = frames.collect();
        frames.last().map(|(time, sampled)| *sampled - *time).unwrap()
    };
    let (sound, picture) = (sampled(Kind::Audio), sampled(Kind::Video));
    assert!(sound.abs_diff(picture) < Duration::from_millis(5), "{sound:?} {picture:?}");
}

#[test]
fn a_lossy_path_carries_sound_with_gaps_and_picture_whole() {
    let (mut world, audio, video) = World::published(53);
    world.run(Duration::from_secs(1));
    world.loss = 0.1;
    world.play(audio, video, 0, 20);
    let [sound] = world.added(BOB, Kind::Audio)[..] else { panic!() };
    let [picture] = world.added(BOB, Kind::Video)[..] else { panic!() };
    let heard: Vec<u64> = world.frames(BOB, sound).iter().map(spoken).collect();
    assert!((850..960).contains(&heard.len()), "{}", heard.len());
    assert!(heard.is_sorted());
    let seen: Vec<u64> = world.frames(BOB, picture).iter().map(spoken).collect();
    assert!(seen.len() > 380 && seen.is_sorted(), "{} of 400", seen.len());
    // A gap is told with the frame behind it, and nothing else is.
    let mut last = None;
    for effect in &world.told[BOB] {
        if let PeerEffect::Frame { track, frame, lost, .. } = effect
            && *track == sound
        {
            let gap = last.is_some_and(|last| spoken(frame) != last + 1);
            assert_eq!(*lost, gap, "{last:?} {}", spoken(frame));
            last = Some(spoken(frame));
        }
    }
    let stats = world.peers[BOB].stats();
    let [of_sound, of_picture] = &stats.tracks[..] else { panic!("{stats:?}") };
    // The end of the sound may be missing without anybody's knowing.
    assert!((990..=1_000).contains(&(of_sound.missing as usize + heard.len())), "{of_sound:?}");
    assert!(of_picture.missing < 60, "what is lost is sent again: {of_picture:?}");
    assert!(stats.tracks.iter().all(|track| track.loss.is_some_and(|loss| loss > 0.01)), "{stats:?}");
    assert!(stats.tracks.iter().any(|track| track.nacks > 10), "{stats:?}");
}

#[test]
fn tracks_come_and_go_in_mid_call() {
    let (mut world, _) = World::connected(54);
    let video = world.publish(BOB, Kind::Video);
    world.until(Duration::from_secs(1), |world| world.ready(BOB, video));
    let [at_alice] = world.added(ALICE, Kind::Video)[..] else { panic!("{:?}", world.told[ALICE]) };
    world.write(BOB, video, &picture(0, true));
    world.until(Duration::from_secs(1), |world| world.frames(ALICE, at_alice).len() == 1);

    // The other direction takes the same section.
    let back = world.publish(ALICE, Kind::Video);
    world.until(Duration::from_secs(1), |world| world.ready(ALICE, back));
    let last_offer = |world: &World, who: usize| {
        let offers = world.signaled[who].iter().filter_map(|signal| match signal {
            Signal::Offer { sdp } => Some(sdp.clone()),
            _ => None,
        });
        offers.last().unwrap()
    };
    assert_eq!(last_offer(&world, ALICE).matches("m=video").count(), 1);
    let [at_bob] = world.added(BOB, Kind::Video)[..] else { panic!("{:?}", world.told[BOB]) };
    world.write(ALICE, back, &picture(0, true));
    world.until(Duration::from_secs(1), |world| world.frames(BOB, at_bob).len() == 1);

    world.act(BOB, |peer, now, out| peer.unpublish(now, video, out));
    world.until(Duration::from_secs(1), |world| world.has(ALICE, &PeerEffect::TrackRemoved { track: at_alice }));
    world.write(BOB, video, &picture(1, true));
    world.write(ALICE, back, &picture(1, true));
    world.until(Duration::from_secs(1), |world| world.frames(BOB, at_bob).len() == 2);
    assert_eq!(world.frames(ALICE, at_alice).len(), 1, "nothing of an ended track is sent");

    world.act(ALICE, |peer, now, out| peer.unpublish(now, back, out));
    world.until(Duration::from_secs(1), |world| world.has(BOB, &PeerEffect::TrackRemoved { track: at_bob }));

    // Once more: an old section serves again.
    let again = world.publish(BOB, Kind::Video);
    world.until(Duration::from_secs(1), |world| world.ready(BOB, again));
    let [at_alice] = world.added(ALICE, Kind::Video)[..] else { panic!("{:?}", world.told[ALICE]) };
    assert_eq!(last_offer(&world, BOB).matches("m=video").count(), 1);
    for n in 0..5 {
        world.write(BOB, again, &picture(n, n == 0));
        world.run(PICTURE);
    }
    world.until(Duration::from_secs(1), |world| world.frames(ALICE, at_alice).len() == 5);
}

#[test]
fn both_publish_at_once() {
    for (seed, kinds) in [(55, [Kind::Video, Kind::Video]), (56, [Kind::Audio, Kind::Video])] {
        let (mut world, _) = World::connected(seed);
        let alices = world.publish(ALICE, kinds[ALICE]);
        let bobs = world.publish(BOB, kinds[BOB]);
        world.until(Duration::from_secs(5), |world| world.ready(ALICE, alices) && world.ready(BOB, bobs));
        let frame = |kind| if kind == Kind::Audio { sound(0) } else { picture(0, true) };
        world.write(ALICE, alices, &frame(kinds[ALICE]));
        world.write(BOB, bobs, &frame(kinds[BOB]));
        let [at_bob] = world.added(BOB, kinds[ALICE])[..] else { panic!("{:?}", world.told[BOB]) };
        let [at_alice] = world.added(ALICE, kinds[BOB])[..] else { panic!("{:?}", world.told[ALICE]) };
        world.until(Duration::from_secs(1), |world| {
            world.frames(BOB, at_bob).len() == 1 && world.frames(ALICE, at_alice).len() == 1
        });
        world.run(Duration::from_secs(2));
        let offers = (world.offers(ALICE), world.offers(BOB));
        assert!(offers.0 + offers.1 <= 4, "they come to rest: {offers:?}");
    }
}

#[test]
fn one_ends_a_track_while_the_other_begins_one() {
    for who in [ALICE, BOB] {
        let (mut world, _) = World::connected(57);
        let first = world.publish(who, Kind::Video);
        world.until(Duration::from_secs(2), |world| world.ready(who, first));
        world.act(who, |peer, now, out| peer.unpublish(now, first, out));
        let back = world.publish(1 - who, Kind::Video);
        world.until(Duration::from_secs(5), |world| world.ready(1 - who, back));
        world.run(Duration::from_secs(2));
        assert_eq!(world.added(1 - who, Kind::Video), [], "{:?}", world.told[1 - who]);
        let [arriving] = world.added(who, Kind::Video)[..] else { panic!("{:?}", world.told[who]) };
        world.write(1 - who, back, &picture(0, true));
        world.until(Duration::from_secs(1), |world| world.frames(who, arriving).len() == 1);
    }
}

#[test]
fn who_cannot_decode_asks_for_a_key_frame() {
    let (mut world, _, video) = World::published(58);
    // Bob misses the key frame at the start.
    world.path = false;
    world.write(ALICE, video, &picture(0, true));
    world.run(PICTURE);
    world.path = true;
    for n in 1..40 {
        world.write(ALICE, video, &picture(n, false));
        world.run(PICTURE);
    }
    let wanted = world.key_frames_wanted(ALICE);
    assert!((3..=5).contains(&wanted), "in two seconds, each half a second: {wanted}");
    world.write(ALICE, video, &picture(40, true));
    for n in 41..60 {
        world.write(ALICE, video, &picture(n, false));
        world.run(PICTURE);
    }
    assert!(world.key_frames_wanted(ALICE) <= wanted + 1, "with a key frame there is peace");
    let [track] = world.added(BOB, Kind::Video)[..] else { panic!() };
    world.act(BOB, |peer, now, out| peer.request_key_frame(now, track, out));
    world.act(BOB, |peer, now, out| peer.request_key_frame(now, track, out));
    let before = world.key_frames_wanted(ALICE);
    world.run(Duration::from_secs(1));
    assert_eq!(world.key_frames_wanted(ALICE), before + 1);
}

#[test]
fn a_senders_time_may_begin_anew() {
    let (mut world, audio, _) = World::published(59);
    let [track] = world.added(BOB, Kind::Audio)[..] else { panic!() };
    for n in (0..50).chain(400_000..400_050).chain(0..50) {
        world.write(ALICE, audio, &sound(n));
        world.run(FRAME);
    }
    let times: Vec<Duration> = world.frames(BOB, track).iter().map(|frame| frame.time).collect();
    assert_eq!(times.len(), 150);
    for (n, time) in times.iter().enumerate() {
        assert!(time.abs_diff(FRAME * n as u32) < Duration::from_millis(40), "{n}: {time:?}");
    }
}

#[test]
fn a_browser_is_answered_with_opus_and_vp8_alone() {
    let offer = include_str!("../testdata/chromium-offer.sdp").to_owned();
    let simulcast = offer.replace(
        "a=rtpmap:96 VP8/90000",
        "a=rid:h send\r\na=rid:l send\r\na=simulcast:send h;l\r\na=rtpmap:96 VP8/90000",
    );
    for sdp in [offer, simulcast] {
        let mut world = World::new(60);
        let video = world.publish(BOB, Kind::Video);
        world.act(BOB, |peer, now, out| peer.receive_signal(now, Signal::Offer { sdp }, out));
        let [Signal::Answer { sdp: answer }] = &world.signaled[BOB][..] else { panic!("{:?}", world.signaled[BOB]) };
        let codecs: Vec<&str> = answer.lines().filter(|line| line.starts_with("a=rtpmap:")).collect();
        assert_eq!(codecs, ["a=rtpmap:111 opus/48000/2", "a=rtpmap:96 VP8/90000", "a=rtpmap:97 rtx/90000"]);
        assert!(!answer.contains("simulcast") && !answer.contains("a=rid"));
        let parts: Vec<&str> = answer.split("m=").collect();
        assert!(parts[1].starts_with("audio 9") && parts[1].contains("a=recvonly"), "{answer}");
        assert!(parts[2].starts_with("video 9") && parts[2].contains("a=sendrecv"), "{answer}");
        assert!(parts[1].contains("useinbandfec=1"));
        assert!(world.ready(BOB, video));
        assert_eq!((world.added(BOB, Kind::Audio).len(), world.added(BOB, Kind::Video).len()), (1, 1));
    }
}

#[test]
fn a_picture_in_an_unknown_codec_is_a_call_without_it() {
    let (mut world, at) = (World::new(61), BOB);
    let offer = include_str!("../testdata/chromium-offer.sdp").replace("VP8/90000", "VP10/90000");
    world.act(at, |peer, now, out| peer.receive_signal(now, Signal::Offer { sdp: offer.clone() }, out));
    let [Signal::Answer { sdp: answer }] = &world.signaled[at][..] else { panic!("{:?}", world.told[at]) };
    assert!(answer.contains("m=video 0 ") && answer.contains("m=audio 9 ") && answer.contains("m=application 9 "));
    let refused = |effect: &&PeerEffect| matches!(effect, PeerEffect::TrackRefused { track: None, .. });
    let notes: Vec<_> = world.told[at].iter().filter(refused).collect();
    let [PeerEffect::TrackRefused { kind: Kind::Video, why, .. }] = notes[..] else { panic!("{notes:?}") };
    assert_eq!(why, "it offers video as VP10, H264, AV1, VP9, and VP8 is what we take");
    assert_eq!(world.peers[at].state(), PeerState::Connecting);
}

#[test]
fn who_refuses_our_picture_gets_the_rest() {
    let mut world = World::new(62);
    world.forge = |_, signal| match signal {
        // Bob's answer takes the picture in no codec.
        Signal::Answer { sdp } => Signal::Answer { sdp: sdp.replace("m=video 9 ", "m=video 0 ") },
        // And his offers never name it.
        signal => signal,
    };
    let (audio, video) = (world.publish(ALICE, Kind::Audio), world.publish(ALICE, Kind::Video));
    world.act(ALICE, |peer, now, out| peer.open_channel(now, spec("chat"), out));
    world.until(Duration::from_secs(5), |world| world.opened(ALICE) == 1 && world.opened(BOB) == 1);
    assert!(world.ready(ALICE, audio) && !world.ready(ALICE, video));
    let refused = |effect: &PeerEffect| matches!(effect, PeerEffect::TrackRefused { track: Some(track), kind: Kind::Video, .. } if *track == video);
    assert_eq!(world.told[ALICE].iter().filter(|effect| refused(effect)).count(), 1);
    world.run(Duration::from_secs(5));
    assert_eq!(world.offers(ALICE), 1, "it is not offered for ever");
}

#[test]
fn a_lost_path_takes_no_frames_and_the_next_one_carries_on() {
    let (mut world, audio, _) = World::published(63);
    let [track] = world.added(BOB, Kind::Audio)[..] else { panic!() };
    world.run(Duration::from_secs(1));
    world.path = false;
    world.until(Duration::from_secs(15), |world| world.peers[ALICE].state() == PeerState::Disconnected);
    for n in 0..500 {
        world.write(ALICE, audio, &sound(n));
    }
    world.path = true;
    world.until(Duration::from_secs(20), |world| world.peers[ALICE].state() == PeerState::Connected);
    world.write(ALICE, audio, &sound(1000));
    world.until(Duration::from_secs(2), |world| world.frames(BOB, track).len() == 1);
    assert_eq!(spoken(&world.frames(BOB, track)[0]), 1000);
}

#[test]
fn the_end_of_a_connection_is_the_end_of_its_tracks() {
    let (mut world, audio, _) = World::published(64);
    let [track] = world.added(BOB, Kind::Audio)[..] else { panic!() };
    world.act(ALICE, |peer, now, out| peer.close(now, out));
    world.until(Duration::from_secs(5), |world| world.has(BOB, &PeerEffect::TrackRemoved { track }));
    world.write(ALICE, audio, &sound(0));
    world.act(ALICE, |peer, now, out| peer.publish(now, Kind::Video, out));
    world.run(Duration::from_secs(1));
    assert_eq!(world.peers[ALICE].state(), PeerState::Closed);
}
