//! Panics that the core contains are no findings: str0m may panic on what a remote sends, as long as that ends one
//! connection and nothing else.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

thread_local! {
    /// Whether this thread runs a body that contains panics.
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
    /// Where panics were contained so far.
    static PLACES: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
}

/// Runs a body whose callee contains panics. libFuzzer's own hook would end the process at each of them; here each
/// place that panics is named once, and only what escapes from the body goes on.
pub fn run(body: impl FnOnce()) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| if WATCHED.get() { note(info) } else { loud(info) }));
    });
    WATCHED.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(body));
    WATCHED.set(false);
    if let Err(panic) = result {
        say(&format!("escaped: {}", LAST.take()));
        panic::resume_unwind(panic);
    }
}

fn note(info: &PanicHookInfo<'_>) {
    let place = info.location().map(|place| place.to_string()).unwrap_or_default();
    if PLACES.with_borrow_mut(|places| places.insert(place)) {
        say(&format!("a panic: {}", info.to_string().replace('\n', " ")));
    }
    LAST.set(info.to_string());
}

#[expect(clippy::print_stderr, reason = "whoever runs a fuzzer reads its log")]
fn say(text: &str) {
    eprintln!("{text}");
}
