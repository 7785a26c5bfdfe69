//! `enishi generate-audio` and `enishi generate-video`: files to send, made from nothing.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use bytes::Bytes;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use enishi_core::limits::MEDIA_PIXELS;
use enishi_core::media::pattern::LOOP;
use enishi_core::media::{Codec, EncodedFrame, Pattern, ivf, tone, vp8, wav};
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::print;
use crate::failure::Failure;

/// The longest file, in seconds: a day.
const LONGEST: f64 = 86_400.0;

/// The most pictures a second.
const MOST_FPS: u32 = 240;

/// The longest side of a picture (RFC 6386, 9.1: 14 bits).
const LONGEST_SIDE: u16 = 16_383;

/// Bytes of one sample of both channels.
const SAMPLE_BYTES: u64 = 4;

/// Samples that are written at once.
const CHUNK: u64 = 48_000;

/// What was typed after `enishi generate-audio`.
#[derive(Debug, clap::Args)]
pub struct AudioArgs {
    /// The file to write
    #[arg(long, value_name = "FILE", default_value = "sample.wav")]
    pub output: PathBuf,

    /// How long it is
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    pub duration: f64,

    /// The tone's frequency
    #[arg(long, value_name = "HZ", default_value_t = tone::HZ)]
    pub freq: u32,

    /// Samples a second
    #[arg(long, value_name = "HZ", default_value_t = 48_000)]
    pub rate: u32,
}

/// What was typed after `enishi generate-video`.
#[derive(Debug, clap::Args)]
pub struct VideoArgs {
    /// The file to write
    #[arg(long, value_name = "FILE", default_value = "sample.ivf")]
    pub output: PathBuf,

    /// Pixels from left to right
    #[arg(long, value_name = "PIXELS", default_value_t = 640)]
    pub width: u16,

    /// Pixels from top to bottom
    #[arg(long, value_name = "PIXELS", default_value_t = 480)]
    pub height: u16,

    /// Pictures a second
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub fps: u32,

    /// How long it is
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    pub duration: f64,

    /// What it shows
    #[arg(long, value_name = "NAME", default_value = "gradient", value_parser = patterns())]
    pub pattern: Pattern,
}

/// Writes a tone.
///
/// # Errors
/// There is no such tone, or the file cannot be written.
pub fn audio(args: &AudioArgs) -> Result<u8, Failure> {
    let &AudioArgs { duration, freq, rate, .. } = args;
    tone::check(freq, rate).map_err(|error| anyhow!("--freq, --rate: {error}"))?;
    let samples = count(duration, rate)?;
    let bytes = samples * SAMPLE_BYTES;
    let most = u64::from(u32::MAX) - wav::HEADER_BYTES as u64;
    if bytes > most {
        let most = most / SAMPLE_BYTES / u64::from(rate);
        return Err(anyhow!("--duration: {duration} s of {rate} Hz do not fit a WAV file, at most {most} s do").into());
    }
    let path = &args.output;
    print(format!("Generating {freq} Hz for {duration} s into {}\n", path.display()).as_bytes())?;
    let mut file = create(path)?;
    write_audio(&mut file, freq, rate, samples).with_context(|| cannot_write(path))?;
    let rows: [(&str, &dyn Display); 6] = [
        ("Duration", &format_args!("{duration} s")),
        ("Frequency", &format_args!("{freq} Hz")),
        ("Sample Rate", &format_args!("{rate} Hz")),
        ("Channels", &"2 (stereo)"),
        ("Bit Depth", &"16 bits"),
        ("File Size", &format_args!("{} bytes", bytes + wav::HEADER_BYTES as u64)),
    ];
    summary(path, "WAV", &rows)
}

/// Writes a moving picture.
///
/// # Errors
/// There is no such picture, or the file cannot be written.
pub fn video(args: &VideoArgs) -> Result<u8, Failure> {
    let &VideoArgs { width, height, fps, duration, pattern, .. } = args;
    check_picture(width, height, fps)?;
    let frames = count(duration, fps)?;
    let path = &args.output;
    print(format!("Generating {pattern} for {duration} s into {}\n", path.display()).as_bytes())?;
    let mut file = create(path)?;
    let bar = if io::stderr().is_terminal() { ProgressBar::new(frames) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("Progress: {pos}/{len} frames {bar:40} {eta}") {
        bar.set_style(style);
    }
    let bytes = write_video(&mut file, args, frames, &bar).with_context(|| cannot_write(path));
    bar.finish_and_clear();
    let bytes = bytes?;
    let rows: [(&str, &dyn Display); 6] = [
        ("Duration", &format_args!("{duration} s")),
        ("Size", &format_args!("{width} x {height}")),
        ("Frames", &format_args!("{frames}, {fps} a second")),
        ("Pattern", &pattern),
        ("Codec", &Codec::Vp8.name()),
        ("File Size", &format_args!("{bytes} bytes")),
    ];
    summary(path, "IVF", &rows)
}

fn check_picture(width: u16, height: u16, fps: u32) -> anyhow::Result<()> {
    for (flag, side) in [("--width", width), ("--height", height)] {
        ensure!(
            (1..=LONGEST_SIDE).contains(&side),
            "{flag}: a VP8 picture has 1 to {LONGEST_SIDE} pixels a side, not {side}"
        );
    }
    let pixels = u64::from(width) * u64::from(height);
    ensure!(
        pixels <= MEDIA_PIXELS,
        "--width, --height: {pixels} pixels are too many, at most {MEDIA_PIXELS} are encoded"
    );
    ensure!((1..=MOST_FPS).contains(&fps), "--fps: 1 to {MOST_FPS} pictures a second can be made, not {fps}");
    Ok(())
}

/// How many of so many a second there are in a time.
fn count(seconds: f64, rate: u32) -> anyhow::Result<u64> {
    let count = (seconds * f64::from(rate)).round();
    match seconds {
        _ if !(0.0..=LONGEST).contains(&seconds) => bail!("--duration: a time from 0 to {LONGEST} s, not {seconds}"),
        _ if count < 1.0 => bail!("--duration: {seconds} s are too short for anything at {rate} a second"),
        _ => Ok(count as u64),
    }
}

fn write_audio(file: &mut (impl Write + Seek), freq: u32, rate: u32, samples: u64) -> io::Result<()> {
    let mut writer = wav::Writer::new(rate);
    file.write_all(&writer.header())?;
    for first in (0..samples).step_by(CHUNK as usize) {
        let chunk = first..samples.min(first + CHUNK);
        let both = chunk.flat_map(|index| [tone::sample(freq, rate, index); 2]).collect::<Vec<i16>>();
        file.write_all(&writer.samples(&both))?;
    }
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&writer.header())?;
    file.flush()
}

/// Gives the length of the file.
fn write_video(
    file: &mut (impl Write + Seek),
    args: &VideoArgs,
    frames: u64,
    bar: &ProgressBar,
) -> anyhow::Result<u64> {
    let rate = u64::from(args.fps);
    let mut writer = ivf::Writer::new(args.fps, 1);
    file.write_all(&writer.header())?;
    // The pattern repeats, and so do its frames.
    let mut first_loop: Vec<Bytes> = Vec::new();
    let in_loop = rate * LOOP.as_secs();
    let mut encoder = vp8::Encoder::default();
    for number in 0..frames {
        let time = Duration::from_nanos((u128::from(number) * 1_000_000_000 / u128::from(rate)) as u64);
        let key = args.pattern.begins(number, rate);
        let data = match first_loop.get((number % in_loop) as usize) {
            Some(data) => data.clone(),
            None => {
                let data = encoder.encode(&args.pattern.draw(time, args.width, args.height), key)?;
                first_loop.push(data.clone());
                data
            }
        };
        file.write_all(&writer.frame(&EncodedFrame { codec: Codec::Vp8, time, key, data }))?;
        bar.set_position(number + 1);
    }
    let bytes = file.stream_position()?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&writer.header())?;
    file.flush()?;
    Ok(bytes)
}

fn create(path: &Path) -> anyhow::Result<BufWriter<File>> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let there = fs::metadata(folder).is_ok_and(|folder| folder.is_dir());
        ensure!(there, "{}: there is no folder {}, create it first", cannot_write(path), folder.display());
    }
    Ok(BufWriter::new(File::create(path).with_context(|| cannot_write(path))?))
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

fn summary(path: &Path, format: &str, rows: &[(&str, &dyn Display)]) -> Result<u8, Failure> {
    let rows: String = rows.iter().map(|(name, value)| format!("  {name}: {value}\n")).collect();
    let path = path.display();
    print(format!("Successfully generated {path}\n{format} file details:\n{rows}").as_bytes())
}

fn patterns() -> impl TypedValueParser<Value = Pattern> {
    PossibleValuesParser::new(Pattern::ALL.map(Pattern::name)).try_map(|name| name.parse::<Pattern>())
}
