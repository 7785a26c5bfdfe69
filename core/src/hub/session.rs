//! What is kept of a resumable client, so that a new connection can go on where the old one ended.
//!
//! Events are not numbered on the wire: both sides count them (as XEP-0198 counts stanzas). A resuming client says how
//! many it has seen, and what came after is told again.

use std::collections::VecDeque;

use crate::limits::Limits;
use crate::machine::Frame;
use crate::signal::{Event, Letter, Payload, Signal};

/// About what an event without a letter takes.
const SMALL_EVENT_BYTES: usize = 128;

#[derive(Debug)]
pub(super) struct Session {
    token: Box<str>,
    /// The token before, valid until the client has shown that it knows the new one.
    previous: Option<Box<str>>,
    /// How many events the client was told since the session began.
    told: u64,
    /// The last of them, the newest at the back.
    kept: VecDeque<Event>,
    kept_bytes: usize,
    /// Something could not be kept while the client was away.
    gap: bool,
}

/// What a resuming client has not seen.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Missed {
    pub(super) events: Vec<Event>,
    /// Some are lost: room events are left out of `events`, rosters stand in for them.
    pub(super) gap: bool,
}

impl Session {
    pub(super) fn new(token: Box<str>) -> Self {
        Session { token, previous: None, told: 0, kept: VecDeque::new(), kept_bytes: 0, gap: false }
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    pub(super) fn into_tokens(self) -> impl Iterator<Item = Box<str>> {
        [Some(self.token), self.previous].into_iter().flatten()
    }

    /// Whether an event fits while the client is away.
    pub(super) fn can_hold(&self, event: &Event, limits: &Limits) -> bool {
        self.kept.len() < limits.replay_events && self.kept_bytes + weight(event) <= limits.replay_bytes
    }

    /// Keeps an event that the client is told now (`present`) or later.
    pub(super) fn keep(&mut self, event: &Event, present: bool, limits: &Limits) {
        if !present && !self.can_hold(event, limits) {
            self.gap = true;
            return;
        }
        self.told += 1;
        self.kept_bytes += weight(event);
        self.kept.push_back(event.clone());
        while self.kept.len() > limits.replay_events || self.kept_bytes > limits.replay_bytes {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.kept_bytes -= weight(&oldest);
        }
    }

    /// Goes back to what the client has seen. `None` if it claims to have seen more than there was.
    pub(super) fn rewind(&mut self, received: u64) -> Option<Missed> {
        let missed = usize::try_from(self.told.checked_sub(received)?).unwrap_or(usize::MAX);
        let gap = self.gap || missed > self.kept.len();
        let seen = self.kept.len().saturating_sub(missed);
        let events = self.kept.drain(..).skip(seen).filter(|event| is_repeatable(event, gap)).collect();
        self.told = received;
        self.kept_bytes = 0;
        self.gap = false;
        Some(Missed { events, gap })
    }

    /// Takes a fresh token, after a resumption with `used`. A token that nobody needs any more comes back.
    pub(super) fn renew(&mut self, used: &str, fresh: Box<str>) -> Option<Box<str>> {
        let before = std::mem::replace(&mut self.token, fresh);
        if *before == *used { self.previous.replace(before) } else { Some(before) }
    }

    /// The client said something on its present connection: so it has the new token.
    pub(super) fn confirm(&mut self) -> Option<Box<str>> {
        self.previous.take()
    }
}

/// An old welcome means nothing on a new connection; after a gap, rosters stand in for single steps.
fn is_repeatable(event: &Event, gap: bool) -> bool {
    match event {
        Event::Registered { .. } => false,
        Event::Roster { .. } | Event::Joined { .. } | Event::Left { .. } => !gap,
        Event::Signal { .. }
        | Event::Unregistered { .. }
        | Event::Listed { .. }
        | Event::Accepted { .. }
        | Event::Refused { .. } => true,
    }
}

fn weight(event: &Event) -> usize {
    let body = match event {
        Event::Signal { letter: Letter::Sealed(sealed), .. } => match &sealed.frame {
            Frame::Text(text) => text.len(),
            Frame::Binary(bytes) => bytes.len(),
            Frame::Ping | Frame::Pong => 0,
        },
        Event::Signal { letter: Letter::Open(signal), .. } => match signal {
            Signal::Offer { sdp } | Signal::Answer { sdp } => sdp.len(),
            Signal::Candidate(candidate) => candidate.candidate.len(),
            Signal::Data { label, payload: Payload::Text(text) } => label.len() + text.len(),
            Signal::Data { label, payload: Payload::Binary(bytes) } => label.len() + bytes.len(),
            Signal::EndOfCandidates { .. } | Signal::Restart => 0,
        },
        Event::Listed { names, .. } | Event::Roster { members: names, .. } => {
            names.iter().map(|name| name.as_str().len()).sum()
        }
        _ => 0,
    };
    SMALL_EVENT_BYTES + body
}
