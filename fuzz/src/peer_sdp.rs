//! Descriptions and candidates of a hostile remote.

use std::time::{Duration, Instant};

use enishi_core::limits;
use enishi_core::peer::{ChannelSpec, Crypto, Peer, PeerConfig, PeerEffect, PeerFault, PeerState};
use enishi_core::signal::{Candidate, Signal};

use crate::contained;

const CHROMIUM: &str = include_str!("../../core/src/peer/testdata/chromium-offer.sdp");

/// Lines that are done; more only make runs slow.
const LINES: usize = 60;

/// A remote that edits real descriptions and gives them to a peer, one step a line. Positions are one byte each, from
/// `!` on.
///
/// | byte | the rest |
/// |---|---|
/// | `0` to `4` | take as the text: Chromium's offer, our own offer, our answer to what the peer offered, what the peer said itself, our restart |
/// | `r` | position, what replaces that line |
/// | `v` | position, what replaces that line's value, from its `:` or `=` on |
/// | `i` | position, what is inserted there as a line |
/// | `d` | position: delete the line |
/// | `D` | position: double the line |
/// | `x` | two positions: exchange the lines |
/// | `t` | position: cut the rest |
/// | `o`, `a` | the text goes to the peer as an offer, as an answer |
/// | `c`, `C` | a candidate, with and without its section |
/// | `e`, `R` | end of candidates, a request to restart |
/// | `k` | the peer opens a channel of this label |
/// | `+` | as many tenths of a second pass as it has bytes |
/// | `q`, `Q` | all that follows is an offer, an answer, as it is |
///
/// Whatever comes, the peer goes on or ends with a reason. What panics inside str0m ends this peer.
///
/// # Panics
/// On a defect.
pub fn peer_sdp(data: &[u8]) {
    contained::run(|| {
        fastrand::seed(0);
        let mut remote = Remote::new();
        let mut rest = data;
        for _ in 0..LINES {
            if let Some((kind @ (b'q' | b'Q'), sdp)) = rest.split_first() {
                remote.text = String::from_utf8_lossy(sdp).replace('\n', "\r\n").replace("\r\r\n", "\r\n");
                remote.step(if *kind == b'q' { b'o' } else { b'a' }, &[]);
                break;
            }
            let end = rest.iter().position(|byte| *byte == b'\n');
            let line = &rest[..end.unwrap_or(rest.len())];
            if let Some((kind, arguments)) = line.split_first() {
                remote.step(*kind, arguments);
            }
            match end {
                Some(end) => rest = &rest[end + 1..],
                None => break,
            }
        }
        remote.step(b'+', &[0; 50]);
        remote.victim.finish();
    });
}

/// Who edits, and whom that reaches.
struct Remote {
    victim: Victim,
    /// Another peer of ours, which makes the descriptions that are edited; from its first one on.
    scribe: Option<Peer>,
    text: String,
}

/// The peer that all of this is for.
struct Victim {
    peer: Peer,
    now: Instant,
    /// The last description that it signaled.
    said: Option<Signal>,
    out: Vec<PeerEffect>,
}

impl Remote {
    fn new() -> Self {
        let now = Instant::now();
        let peer = Peer::new(now, config(0));
        Remote { victim: Victim { peer, now, said: None, out: Vec::new() }, scribe: None, text: CHROMIUM.to_owned() }
    }

    fn step(&mut self, kind: u8, arguments: &[u8]) {
        match kind {
            b'0' => self.text = CHROMIUM.to_owned(),
            b'1' => self.take(|scribe, now, out| _ = scribe.open_channel(now, channel("scribe"), out)),
            b'2' => {
                if let Some(offer @ Signal::Offer { .. }) = self.victim.said.clone() {
                    self.take(|scribe, now, out| scribe.receive_signal(now, offer, out));
                }
            }
            b'3' => {
                if let Some(Signal::Offer { sdp } | Signal::Answer { sdp }) = &self.victim.said {
                    self.text = sdp.clone();
                }
            }
            b'4' => {
                if let Some(answer @ Signal::Answer { .. }) = self.victim.said.clone() {
                    self.take(|scribe, now, out| scribe.receive_signal(now, answer, out));
                }
                self.take(|scribe, now, out| scribe.restart(now, out));
            }
            b'o' => self.signal(Signal::Offer { sdp: self.text.clone() }),
            b'a' => self.signal(Signal::Answer { sdp: self.text.clone() }),
            b'c' | b'C' => {
                let candidate = String::from_utf8_lossy(arguments).into_owned();
                let (sdp_mid, sdp_m_line_index) =
                    if kind == b'c' { (Some("0".to_owned()), Some(0)) } else { (None, None) };
                let candidate = Candidate { candidate, sdp_mid, sdp_m_line_index, username_fragment: None };
                self.signal(Signal::Candidate(candidate));
            }
            b'e' => self.signal(Signal::EndOfCandidates { username_fragment: None }),
            b'R' => self.signal(Signal::Restart),
            b'k' => {
                let label = String::from_utf8_lossy(arguments).into_owned();
                self.victim.act(|peer, now, out| _ = peer.open_channel(now, channel(&label), out));
            }
            b'+' => self.victim.pass(Duration::from_millis(100) * arguments.len().min(100) as u32),
            _ => edit(&mut self.text, kind, arguments),
        }
    }

    /// Takes what the scribe says as the text, if it says something.
    fn take(&mut self, call: impl FnOnce(&mut Peer, Instant, &mut Vec<PeerEffect>)) {
        let (now, mut out) = (self.victim.now, Vec::new());
        call(self.scribe.get_or_insert_with(|| Peer::new(now, config(1))), now, &mut out);
        for effect in out {
            if let PeerEffect::Signal(Signal::Offer { sdp } | Signal::Answer { sdp }) = effect {
                self.text = sdp;
            }
        }
    }

    fn signal(&mut self, signal: Signal) {
        if let Signal::Offer { sdp } = &signal {
            let _ = self.victim.peer.is_foreign(sdp);
        }
        self.victim.act(|peer, now, out| peer.receive_signal(now, signal, out));
    }
}

impl Victim {
    fn act(&mut self, call: impl FnOnce(&mut Peer, Instant, &mut Vec<PeerEffect>)) {
        call(&mut self.peer, self.now, &mut self.out);
        let mut failed = false;
        for effect in self.out.drain(..) {
            match effect {
                PeerEffect::Signal(signal @ (Signal::Offer { .. } | Signal::Answer { .. })) => self.said = Some(signal),
                PeerEffect::Failed(fault) => {
                    assert!(!failed, "failed twice");
                    failed = true;
                    if let PeerFault::Refused(why) | PeerFault::Panicked(why) = fault {
                        assert!(!why.is_empty() && !why.contains(char::is_control), "{why:?}");
                    }
                }
                _ => {}
            }
        }
        assert!(!failed || self.peer.state() == PeerState::Closed, "failed and not closed");
    }

    /// Time passes; each deadline is met, and the next one is later.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.peer.next_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.act(|peer, now, out| peer.timeout(now, out));
            assert!(self.peer.next_timeout().is_none_or(|next| next > self.now), "a due timeout makes no progress");
        }
        self.now = end;
    }

    /// Closes the peer, which then is closed in time.
    fn finish(mut self) {
        let _ = (self.peer.stats(), self.peer.fingerprints());
        self.act(|peer, now, out| peer.close(now, out));
        self.pass(Duration::from_secs(10));
        assert_eq!(self.peer.state(), PeerState::Closed);
        assert_eq!(self.peer.next_timeout(), None);
    }
}

/// Edits a text by lines.
fn edit(text: &mut String, kind: u8, arguments: &[u8]) {
    let mut lines: Vec<&str> = text.split_terminator("\r\n").collect();
    let Some((position, arguments)) = arguments.split_first() else { return };
    if lines.is_empty() {
        return;
    }
    let place = |position: u8| usize::from(position.wrapping_sub(b'!')) % lines.len();
    let at = place(*position);
    let with = String::from_utf8_lossy(arguments);
    let value;
    match kind {
        b'r' => lines[at] = &with,
        b'v' => {
            let line = lines[at];
            let end = line.find(':').or_else(|| line.find('=')).map_or(line.len(), |end| end + 1);
            value = format!("{}{with}", &line[..end]);
            lines[at] = &value;
        }
        b'i' => lines.insert(at, &with),
        b'd' => _ = lines.remove(at),
        b'D' => lines.insert(at, lines[at]),
        b'x' => {
            let other = place(arguments.first().copied().unwrap_or_default());
            lines.swap(at, other);
        }
        b't' => lines.truncate(at),
        _ => return,
    }
    // Inserted lines and doubled ones: no longer than a signaling server would carry.
    *text = lines.into_iter().take(1000).flat_map(|line| [line, "\r\n"]).collect();
}

fn config(who: u8) -> PeerConfig {
    let hosts = vec![([10, 0, 0, 1 + who], 5000).into()];
    PeerConfig {
        polite: who == 0,
        hosts,
        channel_buffer_bytes: limits::CHANNEL_BUFFER_BYTES,
        crypto: Crypto::default(),
        estimate_bandwidth: true,
    }
}

fn channel(label: &str) -> ChannelSpec {
    ChannelSpec { label: label.to_owned(), ordered: true, max_retransmits: None, max_lifetime: None }
}
