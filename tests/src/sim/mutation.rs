//! Falsifications of what the judge sees: each oracle must be able to fail.

use std::time::Instant;

use enishi_core::agent::AgentNotice;
use enishi_core::hub::HubEffect;
use enishi_core::peer::PeerState;
use enishi_core::signal::{Event, Letter, Payload, Signal};

use crate::sim::heard;
use crate::sim::judge::{Seen, Told};

/// A falsification of what is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// A message is lost.
    Lose,
    /// A message comes twice.
    Repeat,
    /// Two messages change places.
    Swap,
    /// What is said in one room is heard in another.
    Leak,
    /// Somebody is in a roster who never entered the room.
    Stranger,
    /// A message is said to be from somebody else.
    Spoof,
    /// An agent that is gone stays in rosters.
    Ghost,
    /// An agent is told of nobody in its rooms.
    Forget,
    /// Somebody is registered twice.
    Twin,
    /// More waits for a client than may.
    Hoard,
    /// There are more connections than may be.
    Crowd,
    /// A deadline comes again at once.
    Hurry,
    /// The same moment comes again and again.
    Freeze,
    /// Nobody is ever connected.
    Deafen,
    /// Who is connected is not heard.
    Mute,
    /// A closed connection is not counted.
    Miscount,
    /// The hub does not tell a client what was sent to it.
    Withhold,
    /// The hub tells it something else.
    Garble,
    /// The hub leaves somebody out of a roster.
    Overlook,
    /// The hub does not give back an id.
    Cling,
    /// Something is logged as an error.
    Complain,
    /// Something panics.
    Panic,
}

impl Mutation {
    /// All of them, each with the invariant that must notice it.
    pub const ALL: [(Mutation, &'static str); 22] = [
        (Mutation::Lose, "I1: all arrive"),
        (Mutation::Repeat, "I1: once and in order"),
        (Mutation::Swap, "I1"),
        (Mutation::Leak, "I2: rooms are apart"),
        (Mutation::Stranger, "I2: rooms are apart"),
        (Mutation::Spoof, "I3: who it is from"),
        (Mutation::Ghost, "I4"),
        (Mutation::Forget, "I4"),
        (Mutation::Twin, "I4: no id twice"),
        (Mutation::Hoard, "I5: queues are bounded"),
        (Mutation::Crowd, "I5: connections are bounded"),
        (Mutation::Hurry, "I6: a due deadline is done with"),
        (Mutation::Freeze, "I6: time goes on"),
        (Mutation::Deafen, "I7: all who have a path are connected"),
        (Mutation::Mute, "I7: who is connected is heard"),
        (Mutation::Miscount, "I9: counters agree"),
        (Mutation::Withhold, "the hub tells what its model tells"),
        (Mutation::Garble, "the hub tells what its model tells"),
        (Mutation::Overlook, "the hub tells what its model tells"),
        (Mutation::Cling, "the hub knows whom its model knows"),
        (Mutation::Complain, "nothing is logged as an error"),
        (Mutation::Panic, "no panic"),
    ];
}

/// Carries a mutation out.
#[derive(Debug)]
pub(super) struct Falsifier {
    pub(super) mutation: Option<Mutation>,
    done: bool,
    /// What is kept back.
    kept: Option<Told>,
    /// The first moment that was seen.
    first: Option<Instant>,
}

impl Falsifier {
    pub(super) fn new(mutation: Option<Mutation>) -> Self {
        Falsifier { mutation, done: false, kept: None, first: None }
    }

    pub(super) fn falsify(&mut self, seen: &mut Seen<'_>) {
        match self.mutation {
            None => {}
            Some(
                mutation @ (Mutation::Lose | Mutation::Repeat | Mutation::Swap | Mutation::Leak | Mutation::Spoof),
            ) => self.falsify_messages(mutation, seen),
            Some(mutation @ (Mutation::Withhold | Mutation::Garble | Mutation::Overlook)) => {
                falsify_hub(mutation, seen);
            }
            Some(Mutation::Complain) => tracing::error!("as the mutation wants"),
            Some(Mutation::Freeze) => seen.now = *self.first.get_or_insert(seen.now),
            Some(Mutation::Hurry) => {
                if let Some((_, deadline)) = &mut seen.progress {
                    deadline.at = seen.now;
                }
            }
            Some(mutation @ (Mutation::Hoard | Mutation::Crowd | Mutation::Miscount)) => falsify_stats(mutation, seen),
            Some(Mutation::Twin) => seen.ids.extend(seen.ids.first().cloned()),
            // Ids are looked at only with the counters.
            Some(Mutation::Cling) if seen.stats.is_some() => seen.ids.push("zz".into()),
            Some(Mutation::Cling) => {}
            Some(mutation) => falsify_notices(mutation, seen.told.to_mut()),
        }
    }

    fn falsify_messages(&mut self, mutation: Mutation, seen: &mut Seen<'_>) {
        let is_message = |told: &Told| matches!(heard(&told.2), Some((_, text, _)) if text.starts_with("m/"));
        let told = seen.told.to_mut();
        let Some(at) = told.iter().position(is_message) else { return };
        match mutation {
            Mutation::Lose if !self.done => {
                told.remove(at);
                self.done = true;
            }
            Mutation::Repeat => told.insert(at, told[at].clone()),
            Mutation::Swap => {
                if let Some(kept) = self.kept.take() {
                    told.insert(at + 1, kept);
                } else {
                    self.kept = Some(told.remove(at));
                }
            }
            Mutation::Leak => {
                if let AgentNotice::Message { payload, .. } = &mut told[at].2 {
                    *payload = Payload::Text("room/r9/x0".to_owned());
                }
            }
            Mutation::Spoof => {
                if let AgentNotice::Message { id, .. } = &mut told[at].2 {
                    *id = "mallory".into();
                }
            }
            _ => {}
        }
    }
}

fn falsify_notices(mutation: Mutation, told: &mut Vec<Told>) {
    told.retain(|(_, _, notice)| match mutation {
        Mutation::Ghost => !matches!(notice, AgentNotice::Presence { here: false, .. }),
        Mutation::Forget => !matches!(notice, AgentNotice::Presence { .. } | AgentNotice::Roster { .. }),
        Mutation::Deafen => !matches!(notice, AgentNotice::Peer { state: PeerState::Connected, .. }),
        Mutation::Mute => !matches!(heard(notice), Some((_, text, _)) if text.starts_with("p/")),
        _ => true,
    });
    for (_, _, notice) in told {
        if let (Mutation::Stranger, AgentNotice::Roster { members, .. }) = (mutation, notice) {
            members.push("mallory".into());
        }
    }
}

fn falsify_stats(mutation: Mutation, seen: &mut Seen<'_>) {
    let Some((stats, limits)) = &mut seen.stats else { return };
    match mutation {
        Mutation::Hoard => stats.deepest_queue_bytes = limits.outbox_hard_bytes as u64 + 1,
        Mutation::Crowd => {
            let more = limits.connections as u64 + stats.turned_away + 1;
            stats.accepted += more;
            stats.connections += more;
        }
        _ => stats.closed += 1,
    }
}

fn falsify_hub(mutation: Mutation, seen: &mut Seen<'_>) {
    for (_, _, step) in seen.hub.to_mut() {
        match mutation {
            Mutation::Withhold => {
                step.effects.retain(|effect| !matches!(effect, HubEffect::Tell { event: Event::Signal { .. }, .. }))
            }
            Mutation::Garble => {
                for effect in &mut step.effects {
                    if let HubEffect::Tell { event: Event::Signal { letter, .. }, .. } = effect {
                        *letter = Letter::Open(Signal::Restart);
                    }
                }
            }
            _ => {
                for effect in &mut step.effects {
                    if let HubEffect::Tell { event: Event::Roster { members, .. }, .. } = effect {
                        members.pop();
                    }
                }
            }
        }
    }
}
