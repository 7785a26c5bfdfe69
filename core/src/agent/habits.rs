//! What some systems' peers say by themselves on the first channel with a peer: conic's greetings, Tony Bai's chatter.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::agent::{AgentNotice, Role};
use crate::deadlines::Deadlines;
use crate::peer::PeerState;
use crate::signal::Name;

/// What conic's offering peer says (`protocols.md` 000.5).
const OFFERER_GREETS: [&str; 3] =
    ["Hello from offer side!", "This is a sample message", "WebRTC data channel is working!"];

/// What conic's answering peer says.
const ANSWERER_GREETS: [&str; 3] =
    ["Hello from answer side!", "Thanks for the messages!", "Data channel communication confirmed!"];

/// From the open channel to the first greeting of an offering peer.
const OFFERER_GREETS_AFTER: Duration = Duration::from_secs(1);

/// The same of an answering peer.
const ANSWERER_GREETS_AFTER: Duration = Duration::from_secs(2);

/// Between two greetings.
const GREETS_EVERY: Duration = Duration::from_secs(2);

/// The shortest pause between two texts of chatter.
const SHORTEST_CHATTER: Duration = Duration::from_millis(10);

/// The habits of one agent.
#[derive(Debug)]
pub(super) struct Habits {
    role: Role,
    greets: bool,
    chatter: Option<Duration>,
    rng: fastrand::Rng,
    /// Peers with an open channel, and how many greetings they got.
    greeted: BTreeMap<Name, usize>,
    timers: Deadlines<Timer>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Greet(Name),
    Chatter(Name),
}

impl Habits {
    /// Nobody to talk to yet.
    pub(super) fn new(role: Role, greets: bool, chatter: Option<Duration>, seed: u64) -> Self {
        Habits {
            role,
            greets,
            chatter: chatter.map(|every| every.max(SHORTEST_CHATTER)),
            rng: fastrand::Rng::with_seed(seed),
            greeted: BTreeMap::new(),
            timers: Deadlines::default(),
        }
    }

    /// A peer's first channel opens, or the peer goes.
    pub(super) fn notice(&mut self, now: Instant, notice: &AgentNotice) {
        match notice {
            AgentNotice::ChannelOpened { id, .. } if !self.greeted.contains_key(id) => {
                self.greeted.insert(id.clone(), 0);
                if self.greets {
                    let first = match self.role {
                        Role::Offer => OFFERER_GREETS_AFTER,
                        Role::Answer => ANSWERER_GREETS_AFTER,
                    };
                    self.timers.set(Timer::Greet(id.clone()), now + first);
                }
                if let Some(every) = self.chatter {
                    self.timers.set(Timer::Chatter(id.clone()), now + every);
                }
            }
            AgentNotice::Peer { id, state: PeerState::Closed } => {
                self.greeted.remove(id);
                self.timers.clear(&Timer::Greet(id.clone()));
                self.timers.clear(&Timer::Chatter(id.clone()));
            }
            _ => {}
        }
    }

    /// What is to be said now, and to whom.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(Name, String)> {
        let mut texts = Vec::new();
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Greet(name) => {
                    let greetings = match self.role {
                        Role::Offer => OFFERER_GREETS,
                        Role::Answer => ANSWERER_GREETS,
                    };
                    let Some(said) = self.greeted.get_mut(&name) else { continue };
                    let Some(text) = greetings.get(*said) else { continue };
                    *said += 1;
                    if *said < greetings.len() {
                        self.timers.set(Timer::Greet(name.clone()), now + GREETS_EVERY);
                    }
                    texts.push((name, (*text).to_owned()));
                }
                Timer::Chatter(name) => {
                    let side = match self.role {
                        Role::Offer => "offer",
                        Role::Answer => "answer",
                    };
                    let text = format!("{side}-{}", self.rng.i32(0..));
                    if let Some(every) = self.chatter {
                        self.timers.set(Timer::Chatter(name.clone()), now + every);
                    }
                    texts.push((name, text));
                }
            }
        }
        texts
    }

    /// When [`Habits::due`] has something next.
    pub(super) fn next_timeout(&self) -> Option<(Instant, &'static str)> {
        self.timers.next().map(|(at, timer)| match timer {
            Timer::Greet(_) => (at, "greeting"),
            Timer::Chatter(_) => (at, "chatter"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::ChannelSpec;

    fn opened(id: &str) -> AgentNotice {
        let spec = ChannelSpec { label: "chat".into(), ordered: true, max_retransmits: None, max_lifetime: None };
        AgentNotice::ChannelOpened { id: id.into(), spec }
    }

    fn run(habits: &mut Habits, start: Instant, seconds: u64) -> Vec<(Duration, Name, String)> {
        let mut said = Vec::new();
        while let Some((at, _)) = habits.next_timeout().filter(|(at, _)| *at <= start + Duration::from_secs(seconds)) {
            said.extend(habits.due(at).into_iter().map(|(name, text)| (at - start, name, text)));
        }
        said
    }

    #[test]
    fn greetings_come_when_conics_peers_would_send_them() {
        let start = Instant::now();
        for (role, at, texts) in [(Role::Offer, [1, 3, 5], OFFERER_GREETS), (Role::Answer, [2, 4, 6], ANSWERER_GREETS)]
        {
            let mut habits = Habits::new(role, true, None, 1);
            habits.notice(start, &opened("bob"));
            habits.notice(start, &opened("bob"));
            let said = run(&mut habits, start, 60);
            let wanted = at.into_iter().zip(texts);
            let wanted: Vec<_> =
                wanted.map(|(at, text)| (Duration::from_secs(at), Name::from("bob"), text.to_owned())).collect();
            assert_eq!(said, wanted);
        }
    }

    #[test]
    fn chatter_goes_on_until_the_peer_goes() {
        let start = Instant::now();
        let mut habits = Habits::new(Role::Answer, false, Some(Duration::from_secs(5)), 1);
        habits.notice(start, &opened("bob"));
        let said = run(&mut habits, start, 20);
        assert_eq!(said.len(), 4);
        for (_, _, text) in said {
            let number: u32 = text.strip_prefix("answer-").unwrap().parse().unwrap();
            assert!(number <= i32::MAX as u32);
        }
        habits.notice(start, &AgentNotice::Peer { id: "bob".into(), state: PeerState::Closed });
        assert_eq!(habits.next_timeout(), None);
    }
}
