//! When a path counts as lost, who then does what, and when to give up.

use std::time::{Duration, Instant};

/// From the first description to the first connection, and from a lost path to a new one (RFC 7675, 5.1: without
/// consent for 30 s nothing may be sent any more).
const GIVE_UP: Duration = Duration::from_secs(30);

/// Without any datagram from the remote for so long, the path is lost. Each side checks it at least every 3 s, and
/// every second once a check is not answered. str0m's own verdict takes 15 s and more.
const SILENCE: Duration = Duration::from_secs(9);

/// After an ICE restart, how long the old path may serve before the lack of a new one counts as a loss.
const SEARCH: Duration = Duration::from_secs(5);

/// How long the polite side waits for the impolite side's restart before it asks for one.
const ASK_AFTER: Duration = Duration::from_secs(3);

/// Between two attempts: doubles from the first to the second.
const RETRY: Duration = Duration::from_secs(3);
const RETRY_MAX: Duration = Duration::from_secs(6);

/// What ICE and DTLS say about the path, and what is due because of it.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    begun: bool,
    /// DTLS is up: it stays up over a lost path.
    secured: bool,
    /// ICE has a nominated pair.
    paired: bool,
    give_up: Option<Instant>,
    /// Then the path is lost, unless something is heard or found.
    doubt: Option<Instant>,
    retry: Option<Instant>,
    attempts: u32,
}

/// What to do about a lost path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// No path in time.
    GiveUp,
    /// The path is lost.
    Lost,
    /// Restart ICE.
    Restart,
    /// Ask the remote to restart ICE.
    Ask,
}

impl Recovery {
    /// A first description was signaled.
    pub fn begin(&mut self, now: Instant) {
        if !self.begun {
            self.begun = true;
            self.give_up = Some(now + GIVE_UP);
        }
    }

    /// DTLS is up, and with it the connection.
    pub fn secured(&mut self, now: Instant) {
        self.secured = true;
        self.paired(now);
    }

    /// ICE has a pair. Whether that makes the connection.
    pub fn paired(&mut self, now: Instant) -> bool {
        self.paired = true;
        self.received(now)
    }

    /// A datagram came. Whether the connection stands.
    pub fn received(&mut self, now: Instant) -> bool {
        let stands = self.secured && self.paired;
        if stands {
            (self.give_up, self.retry, self.attempts) = (None, None, 0);
            self.doubt = Some(now + SILENCE);
        }
        stands
    }

    /// ICE checks pairs anew.
    pub fn checking(&mut self, now: Instant) {
        if self.secured && self.paired {
            self.paired = false;
            self.doubt = Some(now + SEARCH);
        }
    }

    /// ICE has no pair left. Whether that breaks a connection.
    pub fn unpaired(&mut self) -> bool {
        self.paired = false;
        self.secured
    }

    /// The connection is broken.
    pub fn lost(&mut self, now: Instant, polite: bool) {
        self.doubt = None;
        self.give_up = Some(now + GIVE_UP);
        self.attempts = 0;
        self.retry = Some(if polite { now + ASK_AFTER } else { now });
    }

    /// A description came from the remote: leave it some time.
    pub fn heard(&mut self, now: Instant) {
        if self.retry.is_some() {
            self.retry = Some(now + RETRY);
        }
    }

    /// What is due now. Call again until there is nothing.
    pub fn due(&mut self, now: Instant, polite: bool) -> Option<Step> {
        let passed = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= now);
        if passed(self.give_up) {
            self.give_up = None;
            return Some(Step::GiveUp);
        }
        if passed(self.doubt) {
            self.doubt = None;
            return Some(Step::Lost);
        }
        if passed(self.retry) {
            let attempt = self.attempts;
            self.attempts += 1;
            self.retry = Some(now + (RETRY * (1 << attempt.min(4))).min(RETRY_MAX));
            // The remote's dialect may have no word for a request: then the polite side offers by itself.
            return Some(if polite && attempt.is_multiple_of(2) { Step::Ask } else { Step::Restart });
        }
        None
    }

    /// When [`Recovery::due`] has something next.
    pub fn next(&self) -> Option<Instant> {
        [self.give_up, self.doubt, self.retry].into_iter().flatten().min()
    }
}
