//! Sources: what they are called, what they send, how they loop, and what is said of files that cannot be sent.

use std::io::Cursor;

use hound::{SampleFormat, WavSpec, WavWriter};

use crate::media::{Pattern, Quality, detect, tone};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn source(spec: &str, kind: Kind, looping: bool) -> Source {
    Source::new(&spec.parse().unwrap(), kind, looping).unwrap()
}

/// Plays a file under a name for up to ten seconds.
fn file(name: &str, kind: Kind, looping: bool, bytes: &[u8]) -> Result<Vec<EncodedFrame>, String> {
    let mut source = source(name, kind, looping);
    play(&mut source, bytes, SECOND * 10).map(|(frames, _)| frames).map_err(|error| error.to_string())
}

fn assert_tone(frames: &[EncodedFrame], hz: f64) {
    let heard = heard(frames);
    let peak = detect::peak_hz(&heard[4_800..], 48_000).unwrap();
    assert!((peak - hz).abs() < 5.0, "{peak} instead of {hz} Hz");
}

fn assert_rising(frames: &[EncodedFrame]) {
    assert!(frames.windows(2).all(|pair| pair[0].time < pair[1].time));
}

#[test]
fn sources_have_names() {
    for (text, spec, kind) in [
        ("tone", SourceSpec::Tone { hz: 440 }, Some(Kind::Audio)),
        ("tone:1000", SourceSpec::Tone { hz: 1_000 }, Some(Kind::Audio)),
        ("beep", SourceSpec::Beep, Some(Kind::Audio)),
        ("pattern", SourceSpec::Pattern(Pattern::Gradient), Some(Kind::Video)),
        ("pattern:bounce", SourceSpec::Pattern(Pattern::Bounce), Some(Kind::Video)),
        ("a/b.wav", SourceSpec::File { path: "a/b.wav".into() }, Some(Kind::Audio)),
        ("C:\\b.OGG", SourceSpec::File { path: "C:\\b.OGG".into() }, Some(Kind::Audio)),
        ("b.opus", SourceSpec::File { path: "b.opus".into() }, Some(Kind::Audio)),
        ("b.ivf", SourceSpec::File { path: "b.ivf".into() }, Some(Kind::Video)),
        ("b.webm", SourceSpec::File { path: "b.webm".into() }, None),
    ] {
        assert_eq!(text.parse(), Ok(spec.clone()), "{text}");
        assert_eq!(spec.kind(), kind, "{text}");
        assert_eq!(spec.to_string().parse(), Ok(spec), "{text}");
    }
    for (text, part) in [
        ("", "'' is no source"),
        ("a.mp3", "files that end in .wav, .ogg, .opus, .ivf or .webm"),
        ("tone:0", "1 to 20000 Hz"),
        ("tone:x", "such as tone:440"),
        ("pattern:snow", "there are gradient, checkerboard, bounce, color, flash"),
        ("\u{1b}[2J", "\\u{1b}"),
    ] {
        let error = text.parse::<SourceSpec>().unwrap_err().to_string();
        assert!(error.contains(part) && !error.contains(char::is_control), "{text:?}: {error}");
    }
    for (text, kind) in
        [("tone", Kind::Video), ("pattern", Kind::Audio), ("a.wav", Kind::Video), ("a.ivf", Kind::Audio)]
    {
        let error = Source::new(&text.parse().unwrap(), kind, true).err().unwrap().to_string();
        assert!(error.contains(&format!("has no {}", kind.name())), "{error}");
    }
}

#[test]
fn a_tone_is_heard_at_every_quality() {
    for quality in Quality::ALL {
        let mut source = source("tone:440", Kind::Audio, true);
        source.set_quality(quality);
        let (frames, _) = play(&mut source, &[], SECOND * 2).unwrap();
        assert_eq!(frames.len(), 100);
        assert!((1..).zip(&frames[1..]).all(|(at, frame)| frame.time == Duration::from_millis(20) * at));
        assert_tone(&frames, 440.0);
        let bits: u64 = frames.iter().map(|frame| frame.data.len() as u64 * 4).sum();
        assert!(bits <= source.bitrate(quality) * 3 / 2, "{quality:?}: {bits} bit/s");
    }
}

#[test]
fn it_beeps_when_it_flashes() {
    let heard = heard(&frames("beep", 6_000));
    let pictures = seen(&frames("pattern:flash", 6_000));
    assert_eq!(pictures.len(), 180);
    let bright: Vec<usize> = (0..180).filter(|at| detect::is_bright(&pictures[*at])).collect();
    assert_eq!(bright, [0..30, 60..90, 120..150].into_iter().flatten().collect::<Vec<_>>());
    for flash in 0..3 {
        let begin = flash * 96_000 + usize::from(opus::PRE_SKIP);
        let loud = |samples: &[i16]| samples.iter().any(|sample| sample.unsigned_abs() > 3_000);
        let onset = heard[begin.saturating_sub(2_000)..].iter().position(|sample| sample.unsigned_abs() > 3_000);
        let onset = onset.unwrap() as i64 - 2_000.min(begin) as i64;
        assert!(onset.abs() < 240, "the beep is {onset} samples late");
        assert!(loud(&heard[begin + 8_600..begin + 9_600]) && !loud(&heard[begin + 12_000..begin + 90_000]));
        let peak = detect::peak_hz(&heard[begin..begin + 9_600], 48_000).unwrap();
        assert!((peak - f64::from(tone::BEEP_HZ)).abs() < 5.0, "{peak} Hz");
    }
}

#[test]
fn patterns_are_seen_at_every_quality_and_repeat() {
    for pattern in Pattern::ALL {
        for (quality, size, rate) in [(Quality::Low, (160, 120), 15), (Quality::Medium, (320, 240), 30)] {
            let mut source = Source::new(&SourceSpec::Pattern(pattern), Kind::Video, true).unwrap();
            source.set_quality(quality);
            let (frames, _) = play(&mut source, &[], SECOND * 4).unwrap();
            assert_eq!(frames.len(), rate * 4);
            for (number, picture) in seen(&frames).iter().enumerate() {
                assert_eq!((picture.width, picture.height), size);
                assert_eq!(detect::pattern(picture), Some(pattern), "{quality:?}, frame {number}");
            }
            let (first, second) = frames.split_at(rate * 2);
            assert!(
                first.iter().zip(second).all(|(first, second)| first.data == second.data && first.key == second.key)
            );
            assert!(first.iter().step_by(rate).all(|frame| frame.key), "a key frame a second");
            let bits: u64 = first.iter().map(|frame| frame.data.len() as u64 * 4).sum();
            assert!(bits <= source.bitrate(quality), "{pattern} {quality:?}: {bits} bit/s");
        }
    }
}

#[test]
fn the_largest_pictures_are_those_of_conic() {
    let frames = frames("pattern:flash", 2_000);
    assert_eq!(frames.len(), 60, "30 a second");
    let pictures = seen(&frames);
    assert!(pictures.iter().all(|picture| (picture.width, picture.height) == (640, 480)));
    assert!((0..60).all(|at| detect::is_bright(&pictures[at]) == (at < 30)), "30 white, then 30 black");
}

/// Whatever is asked when: times rise, the next frame is a key frame, and a decoder that joins there sees all the rest.
#[test]
fn key_frames_come_when_they_are_asked_for() {
    let mut source = source("pattern:gradient", Kind::Video, true);
    source.set_quality(Quality::Low);
    let mut frames = Vec::new();
    let (mut joined, mut requests) = (Vec::new(), [3, 4, 15, 29, 40, 70].into_iter().peekable());
    for number in 0..90 {
        let asked = requests.next_if_eq(&number).is_some();
        if asked {
            source.request_key();
            joined.push(vp8::Decoder::new());
        }
        if number == 50 {
            source.set_quality(Quality::Medium);
        }
        let Next::Frame(frame) = source.next().unwrap() else { panic!("a frame") };
        assert!(frame.key || !asked && number != 0 && number != 50, "frame {number}");
        for decoder in &mut joined {
            let picture = decoder.decode(&frame.data).unwrap().unwrap();
            assert_eq!(detect::pattern(&picture), Some(Pattern::Gradient), "frame {number}");
            assert_eq!(picture.width, if number < 50 { 160 } else { 320 });
        }
        frames.push(frame);
    }
    assert_rising(&frames);
    let keys = frames.iter().filter(|frame| frame.key).count();
    assert!((8..=14).contains(&keys), "{keys} key frames");
}

/// A tone as a file.
fn wav(hz: u32, channels: u16, rate: u32, bits: u16, format: SampleFormat, samples: u64) -> Vec<u8> {
    let spec = WavSpec { channels, sample_rate: rate, bits_per_sample: bits, sample_format: format };
    let mut file = Cursor::new(Vec::new());
    let mut writer = WavWriter::new(&mut file, spec).unwrap();
    for index in 0..samples {
        let sample = tone::sample(hz, rate, index);
        for _ in 0..channels {
            match format {
                SampleFormat::Float => writer.write_sample(f32::from(sample) / 32_768.0).unwrap(),
                SampleFormat::Int if bits < 16 => writer.write_sample(sample >> (16 - bits)).unwrap(),
                SampleFormat::Int => writer.write_sample(i32::from(sample) << (bits - 16)).unwrap(),
            }
        }
    }
    writer.finalize().unwrap();
    file.into_inner()
}

#[test]
fn wav_of_any_format_and_rate_is_heard() {
    let int = SampleFormat::Int;
    for (channels, rate, bits, format) in [
        (1, 8_000, 8, int),
        (2, 44_100, 16, int),
        (1, 48_000, 16, int),
        (2, 48_000, 24, int),
        (1, 96_000, 32, int),
        (2, 22_050, 32, SampleFormat::Float),
        (1, 11_025, 16, int),
        (2, 192_000, 16, int),
        (1, 47_999, 16, int),
    ] {
        let bytes = wav(440, channels, rate, bits, format, u64::from(rate) * 2);
        let frames = file("a.wav", Kind::Audio, false, &bytes).unwrap();
        assert_eq!(frames.len(), 100, "{rate} Hz");
        assert!((1..).zip(&frames[1..]).all(|(at, frame)| frame.time == Duration::from_millis(20) * at));
        assert_tone(&frames, 440.0);
    }
}

#[test]
fn wav_of_any_length_loops() {
    for samples in [1, 2, 959, 960, 961, 4_801, 20_000] {
        let bytes = wav(1_000, 1, 48_000, 16, SampleFormat::Int, samples);
        let mut source = source("a.wav", Kind::Audio, true);
        let (frames, ended) = play(&mut source, &bytes, SECOND * 2).unwrap();
        assert!(!ended);
        assert_eq!(frames.len(), 100, "{samples} samples");
        assert!((1..).zip(&frames[1..]).all(|(at, frame)| frame.time == Duration::from_millis(20) * at));
    }
    // 4,800 samples are 100 periods: nobody hears where it begins again.
    let bytes = wav(1_000, 1, 48_000, 16, SampleFormat::Int, 4_800);
    assert_tone(&file("a.wav", Kind::Audio, true, &bytes).unwrap()[..100], 1_000.0);
}

#[test]
fn wav_that_cannot_be_played_is_told_at_once() {
    let fine = wav(440, 2, 48_000, 16, SampleFormat::Int, 48_000 * 9);
    let edited = |at: usize, bytes: &[u8]| {
        let mut file = fine.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    let empty = [&fine[..40], &[0; 4]].concat();
    for (bytes, part) in [
        (fine[..fine.len() - 1].to_vec(), "it is cut off, its header promises 1728000 bytes of sound"),
        (fine[..200_000].to_vec(), "it is cut off"),
        (fine[..44].to_vec(), "it is cut off"),
        (fine[..30].to_vec(), "it ends in its header"),
        (Vec::new(), "it ends in its header"),
        (empty, "it holds no sound"),
        (b"ID3 this is an MP3 file".to_vec(), "no RIFF tag"),
        (edited(22, &[0, 0]), "zero channels"),
        (edited(22, &[6, 0, 0x80, 0xbb, 0, 0, 0, 0xca, 8, 0, 12, 0]), "it has 6 channels"),
        (edited(24, &[0, 0, 0, 0, 0, 0, 0, 0]), "its sample rate is 0 Hz"),
        (edited(24, &[1, 0, 0, 0, 4, 0, 0, 0]), "its sample rate is 1 Hz"),
        (edited(20, &[2, 0]), "compressed"),
        (edited(12, b"xxxx"), "no fmt chunk"),
    ] {
        let error = file("a.wav", Kind::Audio, true, &bytes).unwrap_err();
        assert!(error.contains(part) && error.starts_with("a.wav: ") && !error.contains('\n'), "{part}: {error}");
    }
    let mut source = source("a.wav", Kind::Audio, true);
    let error = play(&mut source, &fine[..200_000], Duration::ZERO).unwrap_err();
    assert!(error.to_string().contains("cut off"), "before anything is sent: {error}");
}

#[test]
fn wav_without_a_length_plays_to_its_end() {
    let fine = wav(440, 2, 48_000, 16, SampleFormat::Int, 48_000);
    for length in [0, u32::MAX] {
        let mut live = fine.clone();
        live[40..44].copy_from_slice(&length.to_le_bytes());
        assert_eq!(file("a.wav", Kind::Audio, false, &live).unwrap().len(), 50);
    }
    // An odd chunk before the sound, with its padding.
    let chunk = [&fine[..36], b"LIST\x03\0\0\0abc\0", &fine[36..]].concat();
    assert_eq!(file("a.wav", Kind::Audio, false, &chunk).unwrap().len(), 50);
}

fn pattern(name: &str, millis: u64) -> Vec<EncodedFrame> {
    let mut source = source(name, Kind::Video, true);
    source.set_quality(Quality::Low);
    play(&mut source, &[], Duration::from_millis(millis)).unwrap().0
}

/// So many frames of a source.
fn take(source: &mut Source, file: &[u8], count: usize) -> Vec<EncodedFrame> {
    let mut frames = Vec::new();
    while frames.len() < count {
        match source.next().unwrap() {
            Next::Frame(frame) => frames.push(frame),
            Next::Bytes { offset, len } => {
                let rest = &file[(offset as usize).min(file.len())..];
                source.bytes(&rest[..len.min(rest.len())], rest.len() <= len);
            }
            Next::Ended => panic!("it loops"),
        }
    }
    frames
}

fn ivf(frames: &[EncodedFrame]) -> Vec<u8> {
    mux(Container::Ivf, &[Kind::Video], &frames.iter().map(|frame| (0, frame.clone())).collect::<Vec<_>>())
}

#[test]
fn files_that_are_encoded_are_sent_as_they_are_and_loop() {
    let (picture, sound) = (pattern("pattern:bounce", 3_000), frames("tone", 2_900));
    let mut both: Vec<_> = sound.iter().map(|frame| (0, frame.clone())).collect();
    both.extend(picture.iter().map(|frame| (1, frame.clone())));
    both.sort_by_key(|(_, frame)| frame.time);
    let webm = mux(Container::WebM, &[Kind::Audio, Kind::Video], &both);
    let ogg =
        mux(Container::Ogg, &[Kind::Audio], &both.iter().filter(|(track, _)| *track == 0).cloned().collect::<Vec<_>>());
    for (name, kind, bytes, of) in [
        ("a.ivf", Kind::Video, ivf(&picture), &picture),
        ("a.webm", Kind::Video, webm.clone(), &picture),
        ("a.webm", Kind::Audio, webm, &sound),
        ("a.ogg", Kind::Audio, ogg, &sound),
    ] {
        let once = file(name, kind, false, &bytes).unwrap();
        let data =
            |frames: &[EncodedFrame]| frames.iter().map(|frame| (frame.key, frame.data.clone())).collect::<Vec<_>>();
        assert_eq!(data(&once), data(of), "{name}");
        let looped = file(name, kind, true, &bytes).unwrap();
        assert_rising(&looped);
        assert!(looped.iter().zip(of.iter().cycle()).all(|(sent, of)| sent.data == of.data), "{name}");
        let (length, step) = (of.last().unwrap().time, of[1].time);
        let again = looped[of.len()].time;
        let off = again.abs_diff(length + step);
        assert!(off < Duration::from_millis(2), "{name} begins again after {again:?} instead of {:?}", length + step);
    }
}

#[test]
fn little_of_a_file_is_its_key_frames() {
    let bytes = ivf(&pattern("pattern:bounce", 3_000));
    let mut source = source("a.ivf", Kind::Video, true);
    let all = take(&mut source, &bytes, 38);
    source.set_quality(Quality::Low);
    let few = take(&mut source, &bytes, 4);
    assert!(few.iter().all(|frame| frame.key), "{few:?}");
    assert!(source.bitrate(Quality::Low) < source.bitrate(Quality::High) / 2);
    source.set_quality(Quality::High);
    let rest = take(&mut source, &bytes, 40);
    assert!(rest.iter().filter(|frame| !frame.key).count() > 35);
    let sent = [all, few, rest].concat();
    assert_rising(&sent);
    // A decoder misses nothing.
    for (number, picture) in seen(&sent).iter().enumerate() {
        assert_eq!(detect::pattern(picture), Some(Pattern::Bounce), "frame {number}");
    }
}

#[test]
fn ivf_that_lies_is_told() {
    let fine = ivf(&pattern("pattern:flash", 1_000));
    let edited = |at: usize, bytes: &[u8]| {
        let mut file = fine.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    for (bytes, part) in [
        (Vec::new(), "it ends in its header"),
        (fine[..31].to_vec(), "it ends in its header"),
        (fine[..40].to_vec(), "it holds no key frame"),
        (b"RIFF    WAVE                                ".to_vec(), "does not begin with DKIF"),
        (edited(8, b"VP90"), "it holds 'VP90', only VP80"),
        (edited(6, &[0, 0]), "claims 0 bytes"),
        (edited(16, &[0; 4]), "its clock runs 0 times in 1 s"),
        (edited(20, &[0; 4]), "in 0 s"),
        (edited(32, &[0xff; 4]), "frame 1 claims 4294967295 bytes"),
        (edited(44, &[0xff]), "it holds no key frame"),
        (edited(48, &[0xff]), "frame 1 is no VP8"),
        (edited(32, &[1, 0, 0, 0]), "frame 1 is no VP8"),
    ] {
        let error = file("a.ivf", Kind::Video, true, &bytes).unwrap_err();
        assert!(error.contains(part) && error.starts_with("a.ivf: "), "{part}: {error}");
    }
    // What its header says of the picture's size and the length nobody believes.
    assert_eq!(file("a.ivf", Kind::Video, false, &edited(12, &[1, 0, 1, 0])).unwrap().len(), 15);
    assert_eq!(file("a.ivf", Kind::Video, false, &edited(24, &[0xff; 4])).unwrap().len(), 15);
    // A second frame in a thousand years.
    let first = 44 + u32::from_le_bytes(fine[32..36].try_into().unwrap()) as usize;
    let error = file("a.ivf", Kind::Video, false, &edited(first + 8, &[0xff; 4])).unwrap_err();
    assert!(error.contains("frame 2 claims to be"), "{error}");
}

#[test]
fn webm_without_what_is_wanted_is_told() {
    let sound = frames("tone", 100).into_iter().map(|frame| (0, frame)).collect::<Vec<_>>();
    let fine = mux(Container::WebM, &[Kind::Audio], &sound);
    let replaced = |from: &[u8], to: &[u8]| {
        let at = fine.windows(from.len()).position(|window| window == from).unwrap();
        [&fine[..at], to, &fine[at + from.len()..]].concat()
    };
    for (kind, bytes, part) in [
        (Kind::Video, fine.clone(), "it has no video"),
        (Kind::Audio, replaced(b"A_OPUS", b"A_FLAC"), "its audio is A_FLAC, only plain A_OPUS can be sent"),
        (Kind::Audio, replaced(b"webm", b"wobm"), "neither WebM nor Matroska"),
        (Kind::Audio, fine[..10].to_vec(), "it ends in its header"),
        (Kind::Audio, b"\0\0\0\x20ftypisom".to_vec(), "damaged at byte 0"),
        (Kind::Audio, b"OggS    ".to_vec(), "does not begin as WebM does"),
        (Kind::Audio, fine[..fine.len() / 4].to_vec(), "it holds no sound"),
    ] {
        let error = file("a.webm", kind, true, &bytes).unwrap_err();
        assert!(error.contains(part) && error.starts_with("a.webm: "), "{part}: {error}");
    }
}

#[test]
fn ogg_that_is_damaged_is_told() {
    let sound = frames("tone", 3_000).into_iter().map(|frame| (0, frame)).collect::<Vec<_>>();
    let fine = mux(Container::Ogg, &[Kind::Audio], &sound);
    let at = |of: usize| fine.windows(4).enumerate().filter(|(_, window)| *window == b"OggS").nth(of).unwrap().0;
    let mut noise = fine.clone();
    noise[at(2) + 500] ^= 1;
    let mut lost = fine.clone();
    lost[at(3)] = 0;
    for (bytes, part) in [
        (noise, "is damaged: CRC32 hash mismatch"),
        (lost, "is damaged: it lacks OggS"),
        (b"RIFF then something else entirely".to_vec(), "does not begin with OggS"),
        (Vec::new(), "no Ogg file"),
        (fine[..at(2)].to_vec(), "it holds no sound"),
        (fine[at(2)..].to_vec(), "it holds no Opus"),
    ] {
        let error = file("a.ogg", Kind::Audio, true, &bytes).unwrap_err();
        assert!(error.contains(part) && error.starts_with("a.ogg: "), "{part}: {error}");
    }
}
