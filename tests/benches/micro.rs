//! `cargo bench -p enishi-tests`: what a message costs on its way through the core, in time.
//!
//! tests/benches/instructions counts the same pieces in instructions, which repeat.

use divan::Bencher;
use enishi_tests::micro::Micro;

fn main() {
    divan::main();
}

#[divan::bench(args = Micro::names())]
fn piece(bencher: Bencher<'_, '_>, name: &str) {
    let mut micro = Micro::prepare(name);
    bencher.bench_local(|| micro.step());
}
