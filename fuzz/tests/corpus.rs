//! Replays the committed corpus: what fuzzing once found stays found.

use std::fs;
use std::path::Path;

fn replay(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let files: Vec<_> = fs::read_dir(&folder).expect("a corpus").map(|entry| entry.expect("an entry").path()).collect();
    assert!(!files.is_empty(), "no corpus in {}", folder.display());
    for file in files {
        let data = fs::read(&file).expect("a readable file");
        assert!(std::panic::catch_unwind(|| body(&data)).is_ok(), "{}", file.display());
    }
}

#[test]
fn http() {
    replay("http", enishi_fuzz::http);
}

#[test]
fn dialect() {
    replay("dialect", enishi_fuzz::dialect);
}

#[test]
fn hub() {
    replay("hub", enishi_fuzz::hub);
}

#[test]
fn peer_sdp() {
    replay("peer_sdp", enishi_fuzz::peer_sdp);
}

#[test]
fn datagram() {
    replay("datagram", enishi_fuzz::datagram);
}

#[test]
fn journal() {
    replay("journal", enishi_fuzz::journal);
}

#[test]
fn media() {
    replay("media", enishi_fuzz::media);
}

#[test]
fn world() {
    replay("world", enishi_fuzz::world);
}
