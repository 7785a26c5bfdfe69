//! Runs many seeds on all cores: `sweep [--seeds N] [--from S] [--real-dtls-share X]`. Prints each seed that fails with
//! the invariant, and at the end the rate. Ends with 1 if any failed.
//!
//! `sweep --trace S` tells the story of one seed. `sweep --room PEERS [--seeds N]` measures on one core how fast time
//! passes in a room of so many peers who talk on bad Wi-Fi for five minutes, one room for each seed.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use enishi_core::dialect::Dialect;
use enishi_tests::sim;
use enishi_tests::sim::judge::Violation;
use enishi_tests::sim::plan::{Plan, Weather};

/// A seed, its outcome, and the virtual time that it took.
type Outcome = (u64, Result<Duration, Violation>);

fn main() -> io::Result<ExitCode> {
    let (mut seeds, mut from, mut share) = (1_000, 0, 0.02);
    let (mut traced, mut room) = (None, None);
    let mut arguments = env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let value = arguments.next().unwrap_or_default();
        let understood = match flag.as_str() {
            "--seeds" => value.parse().map(|value| seeds = value).is_ok(),
            "--from" => value.parse().map(|value| from = value).is_ok(),
            "--trace" => value.parse().map(|seed| traced = Some(seed)).is_ok(),
            "--room" => value.parse().map(|peers| room = Some(peers)).is_ok(),
            "--real-dtls-share" => value.parse().map(|value| share = value).is_ok(),
            _ => false,
        };
        if !understood {
            writeln!(
                io::stderr(),
                "usage: sweep [--seeds N] [--from S] [--real-dtls-share 0..1] [--trace S] [--room PEERS]"
            )?;
            return Ok(ExitCode::from(2));
        }
    }
    if let Some(seed) = traced {
        let (story, outcome) = sim::trace(&Plan::from_seed(seed), true);
        writeln!(io::stdout(), "{story}{outcome:?}")?;
        return Ok(ExitCode::from(u8::from(outcome.is_err())));
    }
    if let Some(peers) = room {
        return measure(from, seeds, peers);
    }
    // Panics are caught and told with their seed.
    std::panic::set_hook(Box::new(|_| ()));
    sweep(from, seeds, share)
}

fn sweep(from: u64, seeds: u64, share: f64) -> io::Result<ExitCode> {
    let next = AtomicU64::new(from);
    let begin = Instant::now();
    let (mut done, mut virtual_time, mut failed) = (0u64, Duration::ZERO, BTreeMap::new());
    thread::scope(|scope| -> io::Result<()> {
        let (outcomes, all) = mpsc::channel::<Outcome>();
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            let (next, outcomes) = (&next, outcomes.clone());
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let real_dtls = fastrand::Rng::with_seed(seed).f64() < share;
                    if seed >= from + seeds || outcomes.send((seed, run(seed, real_dtls))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(outcomes);
        let mut out = io::stdout().lock();
        for (seed, outcome) in all {
            done += 1;
            match outcome {
                Ok(time) => virtual_time += time,
                Err(violation) => {
                    virtual_time += violation.at;
                    writeln!(out, "seed {seed}: {violation}")?;
                    failed.insert(seed, violation);
                }
            }
            if done.is_multiple_of(1_000) {
                writeln!(out, "{done} seeds, {} failed, {:?}", failed.len(), begin.elapsed())?;
            }
        }
        Ok(())
    })?;
    let real = begin.elapsed().as_secs_f64();
    let (a_minute, faster) = (done as f64 / real * 60.0, virtual_time.as_secs_f64() / real);
    writeln!(
        io::stdout(),
        "{done} seeds from {from}, {} failed; {a_minute:.0} worlds a minute, {faster:.0} virtual seconds a second",
        failed.len()
    )?;
    Ok(ExitCode::from(u8::from(!failed.is_empty())))
}

/// How long this thread has run: what others do on the same machine does not count, where the system says so.
fn time_on_core() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let start = *START;
    let ran = fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = ran.and_then(|ran| ran.split_whitespace().next()?.parse().ok());
    nanos.map_or_else(|| start.elapsed(), Duration::from_nanos)
}

/// How fast time passes in a lossy room, on one core.
fn measure(from: u64, seeds: u64, peers: usize) -> io::Result<ExitCode> {
    let (mut real, mut virtual_time) = (Duration::ZERO, Duration::ZERO);
    for seed in from..from + seeds {
        let plan = Plan::scenario(seed, peers, Weather::Lossy, 5, &[Dialect::Enishi]);
        let begin = time_on_core();
        let outcome = sim::run(&plan, None, &mut |_, _| ());
        real += time_on_core() - begin;
        match outcome {
            Ok(report) => virtual_time += report.time,
            Err(violation) => {
                writeln!(io::stdout(), "seed {seed}: {violation}")?;
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    let faster = virtual_time.as_secs_f64() / real.as_secs_f64();
    writeln!(
        io::stdout(),
        "{seeds} rooms of {peers} peers: {virtual_time:.0?} of virtual time in {real:.2?}, \
         {faster:.0} virtual seconds a second on one core"
    )?;
    Ok(ExitCode::SUCCESS)
}

fn run(seed: u64, real_dtls: bool) -> Result<Duration, Violation> {
    sim::run_seed(seed, real_dtls).map(|report| report.time)
}
