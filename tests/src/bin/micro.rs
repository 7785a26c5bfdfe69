//! Repeats one piece of `enishi_tests::micro`: `micro NAME COUNT` so often; `micro NAME` for half a second, and prints
//! nanoseconds per repetition; `micro` prints the names.
//!
//! Under callgrind, with `--toggle-collect='*Micro*step*'`, it counts instructions; see tests/benches/instructions.

use std::io::Write;
use std::time::{Duration, Instant};

use enishi_tests::micro::Micro;

/// Much more than the kernel's grain of a few milliseconds.
const TIMED: Duration = Duration::from_millis(500);

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (name, count) = match &arguments[..] {
        [name, count] => (name, Some(count.parse::<u64>().map_err(std::io::Error::other)?)),
        [name] => (name, None),
        _ => return Micro::names().iter().try_for_each(|name| writeln!(out, "{name}")),
    };
    let mut micro = Micro::prepare(name);
    if let Some(count) = count {
        (0..count).for_each(|_| micro.step());
        return Ok(());
    }
    let (begin, cpu, mut done) = (Instant::now(), cpu_nanos(), 0_u64);
    while begin.elapsed() < TIMED {
        (0..16).for_each(|_| micro.step());
        done += 16;
    }
    // Where the kernel tells it, CPU time: what others do meanwhile is not in it.
    let nanos = match cpu_nanos().zip(cpu) {
        Some((now, then)) => now.saturating_sub(then),
        None => begin.elapsed().as_nanos() as u64,
    };
    writeln!(out, "{}", nanos / done)
}

fn cpu_nanos() -> Option<u64> {
    std::fs::read_to_string("/proc/self/schedstat").ok()?.split(' ').next()?.parse().ok()
}
