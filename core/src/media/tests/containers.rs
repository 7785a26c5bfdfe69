//! What is written is read again, whatever the pieces; what was interrupted is read up to there; what was lost is heard
//! as something.

use proptest::prelude::*;

use crate::media::{detect, ivf, ogg, webm};

use super::*;

/// Opus packets one after the other: a few kinds of lengths, any payload.
fn packets() -> impl Strategy<Value = Vec<EncodedFrame>> {
    let packet = (0_usize..4, proptest::collection::vec(any::<u8>(), 0..400));
    proptest::collection::vec(packet, 1..120).prop_map(|packets| {
        let mut samples = 0;
        let frame = |(kind, payload): (usize, Vec<u8>)| {
            // 20, 60, 2.5 and 20 ms, the last in two frames of 10.
            let data: Bytes = [&[[0xfc, 0x18, 0xe4, 0xf1][kind]][..], &payload].concat().into();
            let time = Duration::from_nanos(samples * 1_000_000_000 / 48_000);
            samples += opus::samples(&data).unwrap() as u64;
            EncodedFrame { codec: Codec::Opus, time, key: true, data }
        };
        packets.into_iter().map(frame).collect()
    })
}

/// What looks like VP8 from outside, up to a second apart, beginning with a key frame.
fn pictures() -> impl Strategy<Value = Vec<EncodedFrame>> {
    let picture = (1_u64..1_000, any::<bool>(), proptest::collection::vec(any::<u8>(), 0..3_000));
    proptest::collection::vec(picture, 1..40).prop_map(|pictures| {
        let mut millis = 0;
        let frame = |(number, (step, key, payload)): (usize, (u64, bool, Vec<u8>))| {
            let key = key || number == 0;
            millis += if number == 0 { 0 } else { step };
            let head: &[u8] = if key { &[0x10, 2, 0, 0x9d, 1, 0x2a, 0x40, 1, 0xf0, 0] } else { &[0x11, 2, 0] };
            let data = [head, &payload].concat().into();
            EncodedFrame { codec: Codec::Vp8, time: Duration::from_millis(millis), key, data }
        };
        pictures.into_iter().enumerate().map(frame).collect()
    })
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(prop_oneof![1_usize..40, 1_usize..5_000], 1..8)
}

fn read_ogg(file: &[u8], pieces: &[usize]) -> Result<Vec<EncodedFrame>, MediaError> {
    read(ogg::Reader::default(), file, pieces, ogg::Reader::push, ogg::Reader::end, ogg::Reader::read)
}

fn read_ivf(file: &[u8], pieces: &[usize]) -> Result<Vec<EncodedFrame>, MediaError> {
    read(ivf::Reader::default(), file, pieces, ivf::Reader::push, ivf::Reader::end, ivf::Reader::read)
}

fn read_webm(kind: Kind, file: &[u8], pieces: &[usize]) -> Result<Vec<EncodedFrame>, MediaError> {
    read(webm::Reader::new(kind), file, pieces, webm::Reader::push, webm::Reader::end, webm::Reader::read)
}

fn of_track(track: usize, frames: &[EncodedFrame]) -> Vec<(usize, EncodedFrame)> {
    frames.iter().map(|frame| (track, frame.clone())).collect()
}

/// Sound as track 0, the picture as track 1, in the order of time; times of whole milliseconds, as WebM has them.
fn together(sound: &[EncodedFrame], picture: &[EncodedFrame]) -> Vec<(usize, EncodedFrame)> {
    let mut frames = [of_track(0, sound), of_track(1, picture)].concat();
    for (_, frame) in &mut frames {
        frame.time = Duration::from_millis(frame.time.as_millis() as u64);
    }
    frames.sort_by_key(|(_, frame)| frame.time);
    frames
}

/// What was written to a track, and so far.
fn track(of: usize, frames: &[(usize, EncodedFrame)]) -> Vec<EncodedFrame> {
    frames.iter().filter(|(track, _)| *track == of).map(|(_, frame)| frame.clone()).collect()
}

/// A file that nobody finished, with all that is ready to be written.
fn interrupted(container: Container, tracks: &[Kind], frames: &[(usize, EncodedFrame)]) -> Vec<u8> {
    let (mut muxer, mut file) = (Muxer::new(container, tracks).unwrap(), Vec::new());
    frames.iter().for_each(|(track, frame)| muxer.push(frame, *track));
    muxer.flush();
    apply(&mut file, muxer.take());
    file
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn ogg_is_read_as_it_was_written(frames in packets(), pieces in pieces()) {
        let file = mux(Container::Ogg, &[Kind::Audio], &of_track(0, &frames));
        prop_assert_eq!(read_ogg(&file, &pieces).unwrap(), frames);
    }

    #[test]
    fn ivf_is_read_as_it_was_written(frames in pictures(), pieces in pieces()) {
        let file = mux(Container::Ivf, &[Kind::Video], &of_track(0, &frames));
        prop_assert_eq!(read_ivf(&file, &pieces).unwrap(), frames);
    }

    #[test]
    fn webm_is_read_as_it_was_written(sound in packets(), picture in pictures(), pieces in pieces()) {
        let frames = together(&sound, &picture);
        let file = mux(Container::WebM, &[Kind::Audio, Kind::Video], &frames);
        prop_assert_eq!(read_webm(Kind::Audio, &file, &pieces).unwrap(), track(0, &frames));
        prop_assert_eq!(read_webm(Kind::Video, &file, &pieces).unwrap(), track(1, &frames));
    }

    /// Whatever ends a recording, what was written before can be played.
    #[test]
    fn a_file_that_is_cut_anywhere_is_read_up_to_there(
        sound in packets(), picture in pictures(), pieces in pieces(), at in any::<prop::sample::Index>(),
    ) {
        let cut = |file: &[u8]| file[..at.index(file.len() + 1)].to_vec();
        let frames = together(&sound, &picture);
        let webm = mux(Container::WebM, &[Kind::Audio, Kind::Video], &frames);
        let ogg = mux(Container::Ogg, &[Kind::Audio], &of_track(0, &sound));
        let ivf = mux(Container::Ivf, &[Kind::Video], &of_track(0, &picture));
        for (read, all) in [
            (read_webm(Kind::Audio, &cut(&webm), &pieces), track(0, &frames)),
            (read_webm(Kind::Video, &cut(&webm), &pieces), track(1, &frames)),
            (read_ogg(&cut(&ogg), &pieces), sound),
            (read_ivf(&cut(&ivf), &pieces), picture),
        ] {
            // An error is fine where even the header is not there.
            let read = read.unwrap_or_default();
            prop_assert_eq!(&all[..read.len()], &read[..]);
        }
    }

    #[test]
    fn nothing_is_missing_from_an_interrupted_recording(sound in packets(), picture in pictures()) {
        let frames = together(&sound, &picture);
        let webm = interrupted(Container::WebM, &[Kind::Audio, Kind::Video], &frames);
        prop_assert_eq!(read_webm(Kind::Audio, &webm, &[4096]).unwrap(), track(0, &frames));
        prop_assert_eq!(read_webm(Kind::Video, &webm, &[4096]).unwrap(), track(1, &frames));
        let ivf = interrupted(Container::Ivf, &[Kind::Video], &of_track(0, &picture));
        prop_assert_eq!(read_ivf(&ivf, &[4096]).unwrap(), picture);
        let ogg = interrupted(Container::Ogg, &[Kind::Audio], &of_track(0, &sound));
        prop_assert_eq!(&read_ogg(&ogg, &[4096]).unwrap()[..], &sound[..sound.len() - 1]);
    }
}

/// Without every tenth packet, one of them with its neighbour.
fn lossy(frames: &[EncodedFrame]) -> Vec<EncodedFrame> {
    let lost = |at: &usize| at % 10 == 5 || *at == 36;
    frames.iter().enumerate().filter(|(at, _)| !lost(at)).map(|(_, frame)| frame.clone()).collect()
}

/// The samples of one channel of a WAV file of ours.
fn wav_samples(file: &[u8]) -> Vec<i16> {
    file[44..].chunks_exact(4).map(|both| i16::from_le_bytes([both[0], both[1]])).collect()
}

#[test]
fn lost_sound_is_concealed_in_wav() {
    let all = frames("tone:440", 3_000);
    let file = mux(Container::Wav, &[Kind::Audio], &of_track(0, &lossy(&all)));
    let heard = wav_samples(&file);
    assert_eq!(heard.len(), all.len() * 960, "as long as what was sent");
    let peak = detect::peak_hz(&heard, 48_000).unwrap();
    assert!((peak - 440.0).abs() < 5.0, "{peak} Hz");
    // No hole: there is sound in every 20 ms. Only the second packet in a row, Opus fades out.
    for (number, packet) in heard.chunks(960).enumerate().filter(|(number, _)| *number != 36) {
        let loudest = packet.iter().map(|sample| sample.unsigned_abs()).max().unwrap();
        assert!(loudest > 1_000, "packet {number} is silent: {loudest}");
    }
}

#[test]
fn lost_packets_of_ogg_are_holes_of_the_same_length() {
    let all = frames("tone:440", 3_000);
    let read = read_ogg(&mux(Container::Ogg, &[Kind::Audio], &of_track(0, &lossy(&all))), &[999]).unwrap();
    assert_eq!(read.len(), all.len());
    for (read, sent) in read.iter().zip(&all) {
        assert_eq!(read.time, sent.time);
        assert!(read.data == sent.data || read.data.len() == 1);
    }
    let peak = detect::peak_hz(&heard_with_holes(&read), 48_000).unwrap();
    assert!((peak - 440.0).abs() < 5.0, "{peak} Hz");
}

fn heard_with_holes(frames: &[EncodedFrame]) -> Vec<i16> {
    let mut decoder = opus::Decoder::new().unwrap();
    let decoded = frames.iter().flat_map(|frame| match frame.data.len() {
        1 => decoder.conceal(960, None).unwrap(),
        _ => decoder.decode(&frame.data).unwrap(),
    });
    decoded.step_by(2).collect()
}

#[test]
fn a_long_pause_is_not_filled() {
    let mut frames = frames("tone", 100);
    let late = frames.last().unwrap().time + Duration::from_secs(3_600);
    frames.push(EncodedFrame { time: late, ..frames[0].clone() });
    assert_eq!(wav_samples(&mux(Container::Wav, &[Kind::Audio], &of_track(0, &frames))).len(), 6 * 960);
    assert_eq!(read_ogg(&mux(Container::Ogg, &[Kind::Audio], &of_track(0, &frames)), &[64]).unwrap().len(), 6);
}

#[test]
fn a_wav_file_is_right_at_every_flush() {
    let mut muxer = Muxer::new(Container::Wav, &[Kind::Audio]).unwrap();
    let mut file = Vec::new();
    for frame in frames("tone", 100) {
        muxer.push(&frame, 0);
        muxer.flush();
        apply(&mut file, muxer.take());
        let reader = hound::WavReader::new(file.as_slice()).unwrap();
        assert_eq!(reader.duration() as usize, (file.len() - 44) / 4);
    }
}

#[test]
fn the_picture_begins_with_a_key_frame() {
    let all = frames("pattern:flash", 200);
    for (container, tracks) in [(Container::Ivf, &[Kind::Video][..]), (Container::WebM, &[Kind::Video])] {
        let mut written = of_track(0, &all[1..]);
        written.push((0, EncodedFrame { time: Duration::from_millis(300), ..all[0].clone() }));
        let file = mux(container, tracks, &written);
        let read = match container {
            Container::Ivf => read_ivf(&file, &[777]),
            _ => read_webm(Kind::Video, &file, &[777]),
        };
        assert_eq!(read.unwrap().into_iter().map(|frame| frame.key).collect::<Vec<_>>(), [true]);
    }
}

#[test]
fn files_are_chosen_by_their_names_and_hold_what_they_can() {
    for (path, container) in [
        ("a.webm", Some(Container::WebM)),
        ("a.b/C.OGG", Some(Container::Ogg)),
        ("a.opus", Some(Container::Ogg)),
        ("a.wav", Some(Container::Wav)),
        ("a.ivf", Some(Container::Ivf)),
        ("a.mp4", None),
        ("webm", None),
    ] {
        assert_eq!(Container::of(path), container, "{path}");
    }
    for (container, tracks, why) in [
        (Container::Ogg, &[Kind::Video][..], "a .ogg file does not hold video, try .webm"),
        (Container::Wav, &[Kind::Audio, Kind::Video], "a .wav file does not hold video, try .webm"),
        (Container::Ivf, &[Kind::Audio], "a .ivf file does not hold audio, try .webm"),
        (Container::Ivf, &[Kind::Video, Kind::Video], "a .ivf file does not hold 2 tracks"),
        (Container::WebM, &[], "a .webm file does not hold 0 tracks"),
    ] {
        assert_eq!(Muxer::new(container, tracks).err().map(|error| error.to_string()).as_deref(), Some(why));
    }
}
