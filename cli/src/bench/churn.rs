//! Pairs that come, talk a little and go, all the time: whatever a server keeps of each would add up.

use std::time::{Duration, Instant};

use anyhow::anyhow;
use enishi_core::machine::Frame;
use enishi_core::signal::{Command, Event, Letter, To};

use super::client::{Client, Stage, Surroundings};
use super::load::Load;
use super::message::{self, Mark, Payload};
use super::pairs::envelope;
use super::process::{Look, Pid};
use super::progress::Progress;
use super::report::{Report, round};
use crate::failure::Failure;

/// Offers that the first of a pair sends, each answered by the second.
const ROUNDS: u64 = 3;

/// Bytes of a session description.
const SDP_BYTES: usize = 2048;

/// One pair in so many says goodbye; the others vanish, as most of the world does.
const POLITE: usize = 4;

/// Before a pair goes, what it said has to have arrived; not within this time is lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often memory and descriptors are looked at.
const LOOKS: Duration = Duration::from_millis(500);

/// The share of the time after which what a server keeps for use again (tables, buffers, arenas) is taken to be there.
const WARM: f64 = 0.2;

/// How much larger memory and descriptors may be at the end than after that.
const GROWTH: f64 = 1.05;

/// Bytes that are no growth whatever the share: a few pages more or less.
const SLACK_BYTES: u64 = 1024 * 1024;

/// Descriptors that are none: connections just then between two others.
const SLACK_FILES: u64 = 16;

/// What the kernel knows of the server at one moment.
#[derive(Debug, Clone, Copy)]
struct Size {
    rss: u64,
    files: u64,
}

/// How far a pair has come.
#[derive(Debug, Clone, Copy, Default)]
struct Pair {
    offers: u64,
    answers: u64,
}

/// There are always `clients` clients, of whom `rate` a second are replaced, the oldest first.
///
/// # Errors
/// A client could not connect, or lost its connection.
pub fn churn(
    load: &mut Load,
    clients: usize,
    rate: f64,
    time: Duration,
    pid: Option<Pid>,
    progress: &Progress,
) -> Result<Report, Failure> {
    let mut pairs = vec![Pair::default(); clients / 2];
    load.connect(clients, |index| index / 2, progress)?;
    let (look, begin) = (Look::now(pid), Instant::now());
    let (mut looks, mut came, mut messages, mut hint) = (Vec::new(), 0, 0, 0);
    let gap = Duration::from_secs_f64(2.0 / rate);
    let mut due = begin;
    while begin.elapsed() < time {
        while due <= Instant::now() && begin.elapsed() < time {
            let oldest = came % pairs.len();
            finish(load, &mut pairs, oldest, &mut hint)?;
            messages += pairs[oldest].answers + pairs[oldest].offers;
            pairs[oldest] = Pair::default();
            came += 1;
            for index in [2 * oldest, 2 * oldest + 1] {
                load.replace(index, came, |index| index / 2, oldest % POLITE == 0)?;
            }
            due += gap;
        }
        turn(load, &mut pairs, &mut hint)?;
        if looks.len() as u32 * LOOKS < begin.elapsed() {
            looks.push(size(pid));
        }
        progress.set(begin.elapsed().as_secs_f64() / time.as_secs_f64(), "churning");
        std::thread::sleep(Duration::from_millis(1).min(due.saturating_duration_since(Instant::now())));
    }
    for pair in 0..pairs.len() {
        finish(load, &mut pairs, pair, &mut hint)?;
    }
    looks.push(size(pid));

    let mut report = Report::default();
    report.put("clients", "clients at once", Some(clients), "");
    report.put("connections", "came and went", Some(2 * came), "");
    report.put("messages", "messages", Some(messages), "");
    let window = begin.elapsed();
    report.put("seconds", "measured for", Some(round(window.as_secs_f64())), "s");
    report.usage(&look.since(), window, 2 * came as u64, "cpu_us_per_connection", "CPU per connection");
    if let Some(looks) = looks.into_iter().collect::<Option<Vec<Size>>>() {
        grown(&mut report, &looks);
    }
    Ok(report)
}

/// Tells how memory and descriptors went, and fails the run if they grew.
fn grown(report: &mut Report, looks: &[Size]) {
    let warm = (looks.len() as f64 * WARM) as usize;
    let (Some(start), Some(middle), Some(end)) = (looks.get(warm), looks.get((warm + looks.len()) / 2), looks.last())
    else {
        return;
    };
    for (key, label, size) in [
        ("rss_start_bytes", "memory once warm", start.rss),
        ("rss_middle_bytes", "in the middle", middle.rss),
        ("rss_end_bytes", "at the end", end.rss),
    ] {
        report.put(key, label, Some(size), "bytes");
    }
    for (key, label, size) in [
        ("files_start", "descriptors once warm", start.files),
        ("files_middle", "in the middle", middle.files),
        ("files_end", "at the end", end.files),
    ] {
        report.put(key, label, Some(size), "");
    }
    for (what, start, end, slack) in [
        ("memory", start.rss, end.rss, SLACK_BYTES),
        ("the number of descriptors", start.files, end.files, SLACK_FILES),
    ] {
        let bound = ((start as f64 * GROWTH) as u64).max(start + slack);
        if end > bound {
            report.fail(format!("{what} grew from {start} to {end}, where {bound} is the bound"));
        }
    }
}

fn size(pid: Option<Pid>) -> Option<Size> {
    let pid = pid?;
    Some(Size { rss: pid.rss()?, files: pid.files()? })
}

/// Waits until a pair has said everything.
fn finish(load: &mut Load, pairs: &mut [Pair], pair: usize, hint: &mut usize) -> Result<(), Failure> {
    let begin = Instant::now();
    while pairs[pair].answers < ROUNDS {
        turn(load, pairs, hint)?;
        if begin.elapsed() > PATIENCE {
            let Pair { offers, answers } = pairs[pair];
            let seconds = PATIENCE.as_secs();
            return Err(anyhow!("after {offers} offers and {answers} answers, nothing came within {seconds} s").into());
        }
    }
    Ok(())
}

/// Looks at the sockets once; pairs that are both there begin, and go on when they hear.
fn turn(load: &mut Load, pairs: &mut [Pair], hint: &mut usize) -> Result<(), Failure> {
    let mut heard = |clients: &mut [Client], around: &mut Surroundings, index: usize, frame: Frame| {
        let Some(number) = heard(&mut clients[index], around, &frame, hint)? else { return Ok(()) };
        let pair = &mut pairs[index / 2];
        if index % 2 == 1 {
            return say(clients, around, index, number);
        }
        pair.answers += 1;
        if pair.answers == pair.offers && pair.offers < ROUNDS {
            pair.offers += 1;
            return say(clients, around, index, pair.offers);
        }
        Ok(())
    };
    load.turn(&mut heard).map_err(|error| anyhow!(error))?;
    let Load { clients, around, .. } = load;
    for (index, pair) in pairs.iter_mut().enumerate() {
        let there = |index: usize| clients.get(index).is_some_and(|client| client.stage == Stage::Registered);
        if pair.offers == 0 && there(2 * index) && there(2 * index + 1) {
            pair.offers = 1;
            say(clients, around, 2 * index, 1).map_err(|error| anyhow!(error))?;
        }
    }
    Ok(())
}

/// The number of a message, if it is one of ours.
fn heard(
    client: &mut Client,
    around: &mut Surroundings,
    frame: &Frame,
    hint: &mut usize,
) -> Result<Option<u64>, String> {
    let found = match frame {
        Frame::Text(text) => Mark::find(text.as_bytes(), hint),
        Frame::Binary(bytes) => Mark::find(bytes, hint),
        Frame::Ping | Frame::Pong => None,
    };
    if let Some(mark) = found {
        return Ok(Some(mark.number));
    }
    for event in client.events(frame, around) {
        match event {
            Event::Signal { letter: Letter::Open(signal), .. } => return Ok(Mark::of(&signal).map(|mark| mark.number)),
            Event::Refused { refusal, .. } => return Err(format!("the server refused a signal: {refusal}")),
            _ => {}
        }
    }
    Ok(None)
}

/// Offers to the other of the pair, or answers.
fn say(clients: &mut [Client], around: &mut Surroundings, from: usize, number: u64) -> Result<(), String> {
    let offers = from.is_multiple_of(2);
    let signal = message::signal(Payload::Sdp, offers, Mark { sender: from, number }, SDP_BYTES);
    let to = To::Peer(clients[from ^ 1].name.clone());
    clients[from].command(&Command::Signal(envelope(to, signal)), around)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(looks: impl Iterator<Item = (u64, u64)>) -> bool {
        let mut report = Report::default();
        let looks: Vec<Size> = looks.map(|(rss, files)| Size { rss: 20_000_000 + rss, files: 300 + files }).collect();
        grown(&mut report, &looks);
        report.failed()
    }

    #[test]
    fn what_grows_all_the_time_fails_and_what_is_only_warm_does_not() {
        assert!(!failed((0..100).map(|_| (0, 0))));
        assert!(!failed((0..100).map(|at| (if at < 10 { 0 } else { 30_000_000 }, at % 5))));
        assert!(!failed((0..100).map(|at| (1_000_000 * (at % 2), 0))));
        assert!(failed((0..100).map(|at| (20_000 * at, 0))));
        assert!(failed((0..100).map(|at| (0, at))));
    }
}
