//! Clients that come, stay and go: set-up and idle.

use std::time::{Duration, Instant};

use super::load::Load;
use super::message::Payload;
use super::pairs::{self, Others, Plan, Talk};
use super::process::{Look, Pid, Usage};
use super::progress::Progress;
use super::report::{Report, round};
use crate::failure::Failure;

/// For a server to notice what has ended, and to give memory back.
const SETTLE: Duration = Duration::from_millis(1500);

/// Between two rounds of set-ups.
const BREAK: Duration = Duration::from_millis(200);

/// Clients that come and go before the memory is looked at for the first time: enough for an allocator's lists of freed
/// blocks to be as long as they get, and for our server to have given memory back once.
const FIRST: usize = 128;

/// Messages that each client sends before the memory after traffic is looked at.
const TRAFFIC: u64 = 20;

/// Clients connect and register, all go, and again, for so long.
///
/// # Errors
/// A client could not connect.
pub fn setup(
    load: &mut Load,
    clients: usize,
    time: Duration,
    pid: Option<Pid>,
    progress: &Progress,
) -> Result<Report, Failure> {
    let begin = Instant::now();
    let (mut count, mut window) = (0, Duration::ZERO);
    let mut sum = Usage::default();
    let state = || (pid.and_then(Pid::rss), pid.and_then(Pid::files));
    let files_before = state().1;
    let mut first = None;
    while count == 0 || begin.elapsed() < time {
        let (look, start) = (Look::now(pid), Instant::now());
        load.connect(clients, |index| index / 2, progress)?;
        window += start.elapsed();
        sum = sum.and(look.since());
        count += clients as u64;
        load.disconnect();
        load.rest(BREAK, progress)?;
        first.get_or_insert_with(|| state().0);
    }
    load.rest(SETTLE, progress)?;
    let (rss, files) = state();
    let mut report = Report::default();
    report.put("clients", "clients at once", Some(clients), "");
    report.put("connections", "connections", Some(count), "");
    let rate = count as f64 / window.as_secs_f64();
    report.put("connections_per_second", "throughput", Some(rate.round() as u64), "connections/s");
    report.usage(&sum, window, count, "cpu_us_per_connection", "CPU per connection");
    report.put("rss_first_bytes", "memory after a round", first.flatten(), "bytes");
    report.put("rss_bytes", "after the last", rss, "bytes");
    report.put("files_before", "files before", files_before, "");
    report.put("files", "files after the last", files, "");
    Ok(report)
}

/// Clients connect, are silent, talk a little, and go. What memory that takes at each step, and what silence costs.
///
/// # Errors
/// A client could not connect, or lost its connection.
pub fn idle(
    load: &mut Load,
    clients: usize,
    time: Duration,
    pid: Option<Pid>,
    progress: &Progress,
) -> Result<Report, Failure> {
    let rss = || pid.and_then(Pid::rss);
    let talk = |load: &mut Load, clients: usize| {
        let plan = Plan {
            talk: Talk::Only(Payload::Sdp),
            bytes: 2048,
            window: 1,
            rate: None,
            window_time: Duration::from_secs(10),
            count: TRAFFIC * clients as u64,
            others: Others::default(),
        };
        load.is_paired().then(|| pairs::run(load, plan, pid, progress)).transpose()
    };
    // The code and the tables that the first clients bring into memory are not what a client takes.
    load.connect(FIRST.min(clients), |index| index / 2, progress)?;
    talk(load, FIRST.min(clients))?;
    load.disconnect();
    load.rest(SETTLE, progress)?;
    let before = rss();
    load.connect(clients, |index| index / 2, progress)?;
    load.rest(SETTLE, progress)?;
    let connected = rss();
    let (look, start) = (Look::now(pid), Instant::now());
    load.rest(time, progress)?;
    let (usage, window) = (look.since(), start.elapsed());
    let traffic = talk(load, clients)?;
    load.rest(SETTLE, progress)?;
    let after_traffic = rss();
    load.disconnect();
    load.rest(SETTLE, progress)?;
    let left = rss();

    let mut report = Report::default();
    let each = |now: Option<u64>| Some(now?.saturating_sub(before?) / clients as u64);
    report.put("clients", "clients", Some(clients), "");
    report.put("idle_bytes_per_connection", "per connection, idle", each(connected), "bytes");
    report.put("bytes_per_connection", "after traffic", each(after_traffic), "bytes");
    report.put("rss_before_bytes", "memory before", before, "bytes");
    report.put("rss_bytes", "with all clients", connected, "bytes");
    report.put("rss_after_bytes", "after all left", left, "bytes");
    let grown = left.zip(before).map(|(left, before)| round((left as f64 / before as f64 - 1.0) * 100.0));
    report.put("rss_growth_percent", "more than before", grown, "%");
    let seconds = (window.as_secs_f64() * clients as f64) as u64;
    report.usage(&usage, window, seconds, "idle_cpu_us_per_second", "CPU per idle second");
    if let Some(traffic) = traffic {
        report.take_failures(traffic);
    }
    Ok(report)
}
