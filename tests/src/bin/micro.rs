//! Repeats one piece of `enishi_tests::micro`: `micro NAME COUNT` prints nanoseconds per repetition, `micro` the names.
//!
//! Under callgrind, with `--toggle-collect='*Micro*step*'`, it counts instructions; see tests/benches/instructions.

use std::io::Write;
use std::time::Instant;

use enishi_tests::micro::Micro;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, count] = &arguments[..] else {
        return Micro::names().iter().try_for_each(|name| writeln!(out, "{name}"));
    };
    let count: u32 = count.parse().map_err(std::io::Error::other)?;
    let mut micro = Micro::prepare(name);
    let (begin, cpu) = (Instant::now(), cpu_nanos());
    (0..count).for_each(|_| micro.step());
    // Where the kernel tells it, CPU time: what others do meanwhile is not in it.
    let nanos = match cpu_nanos().zip(cpu) {
        Some((now, then)) => now.saturating_sub(then),
        None => begin.elapsed().as_nanos() as u64,
    };
    writeln!(out, "{}", nanos / u64::from(count.max(1)))
}

fn cpu_nanos() -> Option<u64> {
    std::fs::read_to_string("/proc/self/schedstat").ok()?.split(' ').next()?.parse().ok()
}
