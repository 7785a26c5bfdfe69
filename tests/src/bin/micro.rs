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
    let begin = Instant::now();
    (0..count).for_each(|_| micro.step());
    writeln!(out, "{}", begin.elapsed().as_nanos() / u128::from(count.max(1)))
}
