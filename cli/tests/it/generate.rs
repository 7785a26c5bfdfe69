//! Files made from nothing: `enishi generate-audio` and `enishi generate-video`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use enishi_core::media::{Codec, EncodedFrame, Kind, Next, Pattern, Source, SourceSpec, detect, vp8};

use crate::process::{Done, run};

/// A file of its own for a test, which does not exist yet.
fn file(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("enishi-it-generate-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join(name);
    let _ = fs::remove_file(&file);
    file
}

fn generate(command: &str, output: &Path, arguments: &[&str]) -> Done {
    let mut all = vec![command, "--output", output.to_str().unwrap()];
    all.extend(arguments);
    run(&all)
}

/// What a peer would send of a file.
fn play(path: &Path, kind: Kind) -> Vec<EncodedFrame> {
    let bytes = fs::read(path).unwrap();
    let spec: SourceSpec = path.to_str().unwrap().parse().unwrap();
    let mut source = Source::new(&spec, kind, false).unwrap();
    let mut frames = Vec::new();
    loop {
        match source.next().unwrap() {
            Next::Frame(frame) => frames.push(frame),
            Next::Ended => return frames,
            Next::Bytes { offset, len } => {
                let rest = &bytes[(offset as usize).min(bytes.len())..];
                source.bytes(&rest[..len.min(rest.len())], rest.len() <= len);
            }
        }
    }
}

#[test]
fn a_tenth_of_a_second_is_conics_file_to_the_byte() {
    let output = file("tenth.wav");
    let done = generate("generate-audio", &output, &["--duration", "0.1", "--freq", "440", "--rate", "48000"]);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""), "{done:?}");
    let bytes = fs::read(&output).unwrap();
    assert_eq!(bytes.len(), 19_244);
    let header = [
        b"RIFF\x24\x4b\0\0WAVEfmt \x10\0\0\0".as_slice(),
        // PCM, two channels, 48,000 samples and 192,000 bytes a second, 4 bytes a sample of both, 16 bits.
        &[1, 0, 2, 0, 0x80, 0xbb, 0, 0, 0x00, 0xee, 2, 0, 4, 0, 16, 0],
        b"data\0\x4b\0\0",
    ];
    assert_eq!(bytes[..44], header.concat());
    assert_eq!(bytes[44..56], [0, 0, 0, 0, 0x35, 0x02, 0x35, 0x02, 0x69, 0x04, 0x69, 0x04]);
    for (index, both) in bytes[44..].chunks_exact(4).enumerate() {
        let phase = std::f64::consts::TAU * 440.0 * index as f64 / 48_000.0;
        let expected = (0.3 * 32_767.0 * phase.sin()) as i16;
        assert_eq!(both, [expected.to_le_bytes(), expected.to_le_bytes()].concat(), "sample {index}");
    }
    for line in [
        "Successfully generated ",
        "WAV file details:",
        "Duration: 0.1 s",
        "Frequency: 440 Hz",
        "Sample Rate: 48000 Hz",
        "Channels: 2 (stereo)",
        "Bit Depth: 16 bits",
        "File Size: 19244 bytes",
    ] {
        assert!(done.out.contains(line), "no {line:?} in {}", done.out);
    }
}

#[test]
fn the_defaults_are_those_of_conic() {
    let folder = file("defaults");
    fs::create_dir_all(&folder).unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_enishi")).arg("generate-audio").current_dir(&folder).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    assert_eq!(fs::metadata(folder.join("sample.wav")).unwrap().len(), 44 + 5 * 48_000 * 4);
    for (command, defaults) in [
        ("generate-audio", ["sample.wav", "[default: 5]", "[default: 440]", "[default: 48000]"].as_slice()),
        ("generate-video", &["sample.ivf", "640]", "480]", "30]", "10]", "[default: gradient]", "bounce"]),
    ] {
        let done = run(&[command, "--help"]);
        for part in defaults.iter().chain(&["a file that exists is overwritten"]) {
            assert!(done.out.contains(part), "no {part:?} in {}", done.out);
        }
    }
}

#[test]
fn what_is_generated_can_be_sent() {
    let output = file("sent.wav");
    let done = generate("generate-audio", &output, &["--duration", "1", "--freq", "1000", "--rate", "44100"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let frames = play(&output, Kind::Audio);
    assert!((50..=51).contains(&frames.len()), "{} packets of 20 ms", frames.len());
    let mut decoder = enishi_core::media::opus::Decoder::new().unwrap();
    let heard: Vec<i16> =
        frames.iter().flat_map(|frame| decoder.decode(&frame.data).unwrap()).step_by(2).skip(4_800).collect();
    let peak = detect::peak_hz(&heard[..38_400], 48_000).unwrap();
    assert!((peak - 1_000.0).abs() < 5.0, "{peak} Hz");
}

#[test]
fn every_pattern_is_vp8_that_shows_it() {
    for pattern in Pattern::ALL {
        let output = file(&format!("{pattern}.ivf"));
        let arguments = ["--pattern", pattern.name(), "--width", "160", "--height", "120", "--fps", "20"];
        let done = generate("generate-video", &output, &[&arguments[..], &["--duration", "2.5"]].concat());
        assert_eq!((done.code, done.err.as_str()), (Some(0), ""), "{done:?}");
        assert!(done.out.contains("Frames: 50, 20 a second"), "{}", done.out);
        let bytes = fs::read(&output).unwrap();
        assert_eq!(bytes[..32], *b"DKIF\0\0\x20\0VP80\xa0\0\x78\0\x14\0\0\0\x01\0\0\0\x32\0\0\0\0\0\0\0");
        let (mut decoder, frames) = (vp8::Decoder::new(), play(&output, Kind::Video));
        assert_eq!(frames.len(), 50);
        assert!(frames.iter().filter(|frame| frame.key).count() >= 3, "a key frame a second");
        for (number, frame) in frames.iter().enumerate() {
            assert_eq!((frame.codec, frame.time), (Codec::Vp8, Duration::from_millis(50) * number as u32));
            let picture = decoder.decode(&frame.data).unwrap().unwrap();
            assert_eq!((picture.width, picture.height), (160, 120));
            assert_eq!(detect::pattern(&picture), Some(pattern), "frame {number}");
        }
    }
}

#[test]
fn a_file_that_exists_is_overwritten() {
    let output = file("again.wav");
    fs::write(&output, vec![7; 50_000]).unwrap();
    assert_eq!(generate("generate-audio", &output, &["--duration", "0.1"]).code, Some(0));
    assert_eq!(fs::metadata(&output).unwrap().len(), 19_244);
}

#[test]
fn what_cannot_be_made_is_said_in_one_line() {
    let output = file("never.wav");
    for (command, arguments, parts) in [
        ("generate-audio", ["--freq", "0"], ["--freq", "0 Hz is silence"]),
        ("generate-audio", ["--rate", "0"], ["--rate", "0 Hz holds no sound"]),
        ("generate-audio", ["--freq", "30000"], ["does not fit a rate of 48000 Hz", "24000 Hz"]),
        ("generate-audio", ["--duration", "0"], ["--duration", "too short"]),
        ("generate-audio", ["--duration", "nan"], ["--duration", "NaN"]),
        ("generate-audio", ["--duration", "86400"], ["do not fit a WAV file", "at most 22369 s"]),
        ("generate-audio", ["--output", "/nonexistent/a.wav"], ["no folder /nonexistent", "create it"]),
        ("generate-audio", ["--output", "/"], ["cannot write /", "directory"]),
        ("generate-video", ["--width", "0"], ["--width", "1 to 16383"]),
        ("generate-video", ["--height", "20000"], ["--height", "1 to 16383"]),
        ("generate-video", ["--fps", "0"], ["--fps", "1 to 240"]),
        ("generate-video", ["--duration", "-1"], ["--duration", "-1"]),
        ("generate-video", ["--output", "/dev/full"], ["cannot write /dev/full", "No space left"]),
    ] {
        let mut all = vec![command];
        if arguments[0] != "--output" {
            all.extend(["--output", output.to_str().unwrap()]);
        }
        let joined = format!("{}={}", arguments[0], arguments[1]);
        all.push(&joined);
        let done = run(&all);
        assert_eq!(done.code, Some(1), "{done:?}");
        assert_eq!(done.err.lines().count(), 1, "{done:?}");
        assert!(parts.iter().all(|part| done.err.contains(part)), "{parts:?} in {done:?}");
        assert!(!output.exists(), "{joined} leaves a file");
    }
    let done = run(&["generate-video", "--pattern", "grid"]);
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(done.err.contains("checkerboard"), "{done:?}");
}
