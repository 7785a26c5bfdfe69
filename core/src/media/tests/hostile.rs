//! Whatever the bytes are: no panic, no endless loop, and what is refused is refused in a sentence.

use proptest::prelude::*;

use crate::media::detect;

use super::*;

const NAMES: [(&str, Kind); 6] = [
    ("a.wav", Kind::Audio),
    ("a.ogg", Kind::Audio),
    ("a.ivf", Kind::Video),
    ("a.webm", Kind::Audio),
    ("a.webm", Kind::Video),
    ("a.opus", Kind::Audio),
];

/// Plays a file as each kind that it could be.
fn play_as_all(bytes: &[u8]) -> Result<(), TestCaseError> {
    for (name, kind) in NAMES {
        for looping in [false, true] {
            let mut source = Source::new(&name.parse().unwrap(), kind, looping).unwrap();
            match play(&mut source, bytes, Duration::from_millis(500)) {
                Ok((frames, _)) => prop_assert!(frames.windows(2).all(|pair| pair[0].time < pair[1].time)),
                Err(error) => {
                    let error = error.to_string();
                    prop_assert!(error.starts_with(name) && !error.contains(char::is_control), "{:?}", error);
                }
            }
        }
    }
    Ok(())
}

/// A small file of each kind.
fn files() -> Vec<Vec<u8>> {
    let sound: Vec<_> = frames("tone", 200).into_iter().map(|frame| (0, frame)).collect();
    let picture: Vec<_> = frames("pattern:flash", 200).into_iter().map(|frame| (1, frame)).collect();
    let both = [sound.clone(), picture.clone()].concat();
    vec![
        mux(Container::WebM, &[Kind::Audio, Kind::Video], &both),
        mux(Container::Ogg, &[Kind::Audio], &sound),
        mux(Container::Wav, &[Kind::Audio], &sound)[..2_000].to_vec(),
        mux(Container::Ivf, &[Kind::Video], &picture.into_iter().map(|(_, frame)| (0, frame)).collect::<Vec<_>>()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        play_as_all(&bytes)?;
    }

    #[test]
    fn damaged_files_are_read_or_refused(
        of in 0_usize..4,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = files().swap_remove(of);
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        play_as_all(&bytes)?;
        play_as_all(&bytes[..cut.index(bytes.len())])?;
    }

    /// Also what a remote sends may be anything.
    #[test]
    fn any_frames_are_decoded_or_refused(
        frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..8),
        key in any::<bool>(),
    ) {
        let (mut opus, mut vp8) = (opus::Decoder::new().unwrap(), vp8::Decoder::new());
        let mut muxer = Muxer::new(Container::Wav, &[Kind::Audio]).unwrap();
        for (number, mut data) in frames.into_iter().enumerate() {
            if let Ok(samples) = opus.decode(&data) {
                prop_assert!(samples.len() <= opus::LONGEST * 2);
            }
            let _ = opus.conceal(number * 100, Some(&data));
            let time = Duration::from_millis(number as u64 * 40);
            let frame = EncodedFrame { codec: Codec::Opus, time, key: true, data: data.clone().into() };
            muxer.push(&frame, 0);
            if key && data.len() > 10 {
                // A small key frame by its header.
                data[0] &= 0xf0;
                data[3..10].copy_from_slice(&[0x9d, 1, 0x2a, 64, 0, 64, 0]);
            }
            if let Ok(Some(picture)) = vp8.decode(&data) {
                let _ = detect::pattern(&picture);
            }
        }
        muxer.finish();
        prop_assert!(muxer.take().iter().map(|write| write.bytes.len()).sum::<usize>() < 8 * 10 * opus::LONGEST * 4);
    }
}

#[test]
fn decoders_go_on_after_damage() {
    let sound = frames("tone:440", 2_000);
    let mut decoder = opus::Decoder::new().unwrap();
    let _ = decoder.decode(&[0xff; 7]);
    assert!(decoder.decode(&[]).is_err());
    let heard: Vec<i16> = sound.iter().flat_map(|frame| decoder.decode(&frame.data).unwrap()).step_by(2).collect();
    assert!((detect::peak_hz(&heard[9_600..], 48_000).unwrap() - 440.0).abs() < 5.0);
    let picture = frames("pattern:flash", 100);
    let mut decoder = vp8::Decoder::new();
    assert!(decoder.decode(&picture[1].data).is_err(), "nothing to build on");
    assert!(decoder.decode(&[0, 0, 0]).is_err() && decoder.decode(&[]).is_err());
    let huge = [0x10, 2, 0, 0x9d, 1, 0x2a, 0xff, 0x3f, 0xff, 0x3f, 0, 0];
    assert!(decoder.decode(&huge).is_err(), "268 million pixels");
    assert!(decoder.decode(&picture[0].data).unwrap().is_some());
}

#[test]
fn silence_and_snippets_have_no_tone() {
    assert_eq!(detect::peak_hz(&[], 48_000), None);
    assert_eq!(detect::peak_hz(&[0; 48_000], 48_000), None);
    assert_eq!(detect::peak_hz(&[i16::MIN; 100], 48_000), None);
    assert_eq!(detect::pattern(&vp8::Picture::new(1, 1, [16, 128, 128])), None);
    assert_eq!(detect::pattern(&vp8::Picture::new(64, 64, [128, 128, 128])), None);
}
