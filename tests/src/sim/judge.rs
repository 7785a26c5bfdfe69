//! What must hold after every step, and what must be so in the end.
//!
//! - I1: every message between two agents arrives once and in order, or one of them is told that the connection is gone.
//! - I2: what is said in a room is heard in that room only.
//! - I3: whom a message is said to be from is who sent it.
//! - I4: all who share a room come to know of each other, and of nobody who is gone; no id is there twice.
//! - I5: what waits for a client is bounded.
//! - I6: after a deadline the next one is later, and time goes on.
//! - I7: in the end all who have a path are connected and hear each other.
//! - I9: connections accepted are those closed and those there are.
//!
//! I8 is about files, which agents do not send. Besides, the hub tells what its model tells, and nothing is logged as an
//! error. A [`Mutation`] falsifies what is seen: each of these must be able to fail.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use enishi_core::agent::AgentNotice;
use enishi_core::dialect::Dialect;
use enishi_core::hub::stats::ServerStats;
use enishi_core::limits::Limits;
use enishi_core::machine::Deadline;
use enishi_core::peer::PeerState;

use enishi_core::signal::{Name, Payload};

use crate::hub_model::Follower;
use crate::sim::heard;
use crate::sim::mutation::{Falsifier, Mutation};
use crate::sim::plan::{Member, Plan, room_name};
use crate::world::{HubTold, Who, World};

/// Steps at one moment, above which nothing but a busy loop explains them.
const STEPS_AT_ONCE: u32 = 10_000;

/// The server's counters are compared every so many steps, and after every operation.
const COUNT_EVERY: u64 = 32;

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which invariant.
    pub invariant: &'static str,
    /// How.
    pub what: String,
    /// The number of the operation; one more than there are: after healing.
    pub op: usize,
    /// When.
    pub at: Duration,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (operation {}, {:?}): {}", self.invariant, self.op, self.at, self.what)
    }
}

/// A notice: when, whose, what.
pub(super) type Told = (Duration, usize, AgentNotice);

/// What was seen in a step.
pub(super) struct Seen<'a> {
    pub(super) now: Instant,
    pub(super) told: Cow<'a, [Told]>,
    /// What hubs did: when, the how-manieth since the beginning, what.
    pub(super) hub: Cow<'a, [HubTold]>,
    pub(super) progress: Option<(Who, Deadline)>,
    pub(super) stats: Option<(ServerStats, &'a Limits)>,
    pub(super) ids: Vec<Name>,
    /// The how-manieth server runs.
    server: u32,
}

/// An agent, as it should be and as it tells that it is.
#[derive(Debug, Default)]
struct Known {
    name: String,
    /// Whether it keeps its id and has rooms.
    is_citizen: bool,
    is_mesh: bool,
    /// Whether it ended or crashed, or is about to.
    gone: bool,
    /// How often it was started before.
    life: u32,
    /// How many texts it sent in this life.
    sent: u64,
    first_room: Option<String>,
    wants: BTreeSet<String>,
    /// Rooms that it left.
    left: BTreeSet<String>,
    registered: bool,
    /// Whether its server is lost to it.
    lost: bool,
    rosters: BTreeMap<String, BTreeSet<String>>,
    peers: BTreeMap<String, PeerState>,
    connecting: BTreeMap<String, Duration>,
    /// With whom a channel is open.
    open: BTreeSet<String>,
    /// Whose probes it heard.
    probes: BTreeSet<String>,
}

/// The judge.
#[derive(Debug)]
pub struct Judge {
    /// The number of the operation.
    pub op: usize,
    /// How often the invariants were checked.
    pub checks: u64,
    /// From "connecting" to "connected", for each connection.
    pub connects: Vec<Duration>,
    falsifier: Falsifier,
    /// What is logged as an error.
    errors: Receiver<String>,
    /// How many notices were seen, and how many steps of hubs.
    seen: (usize, usize),
    /// The model beside the how-manieth hub.
    hub: Option<(u32, Follower)>,
    agents: Vec<Known>,
    /// Who ever entered a room.
    entered: BTreeMap<String, BTreeSet<String>>,
    /// The last text that an agent got, by sender, the sender's life and kind.
    last: BTreeMap<(usize, usize, u32, char), u64>,
    /// Texts accepted for sending, by sender and receiver; and received, the same way around.
    accepted: BTreeMap<(usize, usize), u64>,
    received: BTreeMap<(usize, usize), u64>,
    /// Pairs of whom one was told that a connection is gone.
    parted: BTreeSet<(usize, usize)>,
    steps: (Option<Instant>, u32),
}

impl Judge {
    /// One that has seen nothing. `errors` is what is logged as such.
    pub fn new(mutation: Option<Mutation>, errors: Receiver<String>) -> Self {
        Judge {
            op: 0,
            checks: 0,
            connects: Vec::new(),
            falsifier: Falsifier::new(mutation),
            errors,
            seen: (0, 0),
            hub: None,
            agents: Vec::new(),
            entered: BTreeMap::new(),
            last: BTreeMap::new(),
            accepted: BTreeMap::new(),
            received: BTreeMap::new(),
            parted: BTreeSet::new(),
            steps: (None, 0),
        }
    }

    /// There is an agent more.
    pub fn add(&mut self, index: usize, name: &str, member: &Member) {
        let first_room = member.room.map(room_name);
        debug_assert_eq!(index, self.agents.len());
        self.agents.push(Known {
            name: name.to_owned(),
            is_citizen: matches!(member.dialect, Dialect::Enishi | Dialect::Mesh),
            is_mesh: member.dialect == Dialect::Mesh,
            wants: first_room.iter().cloned().collect(),
            first_room: first_room.clone(),
            ..Known::default()
        });
        if let Some(room) = first_room {
            self.somebody_joins(&room, name);
        }
    }

    /// Somebody says that it enters a room.
    pub fn somebody_joins(&mut self, room: &str, name: &str) {
        self.entered.entry(room.to_owned()).or_default().insert(name.to_owned());
    }

    /// An agent is to enter a room; whether it can.
    pub fn joins(&mut self, agent: usize, room: &str) -> bool {
        let known = &mut self.agents[agent];
        // Without a server it would say that it cannot.
        if !known.is_citizen || known.gone || known.lost || known.is_mesh && !known.registered {
            return false;
        }
        if known.is_mesh {
            known.wants.clear();
            known.rosters.retain(|other, _| other == room);
        }
        known.wants.insert(room.to_owned());
        let name = known.name.clone();
        self.somebody_joins(room, &name);
        true
    }

    /// An agent is to leave a room; whether it is in it.
    pub fn leaves(&mut self, agent: usize, room: &str) -> bool {
        let known = &mut self.agents[agent];
        // The room mesh has no word for it but goodbye.
        if known.gone || known.is_mesh || !known.wants.remove(room) {
            return false;
        }
        known.rosters.remove(room);
        known.left.insert(room.to_owned());
        true
    }

    /// The rooms where an agent is to be.
    pub fn rooms(&self, agent: usize) -> Vec<String> {
        let known = &self.agents[agent];
        if known.gone { Vec::new() } else { known.wants.iter().cloned().collect() }
    }

    /// The rooms that an agent left and did not enter again.
    pub fn left(&self, agent: usize) -> Vec<String> {
        let known = &self.agents[agent];
        if known.gone { Vec::new() } else { known.left.difference(&known.wants).cloned().collect() }
    }

    /// An agent is told to quit.
    pub fn quits(&mut self, agent: usize) {
        self.crashed(agent);
    }

    /// An agent crashes.
    pub fn crashed(&mut self, agent: usize) {
        self.agents[agent].gone = true;
        for other in 0..self.agents.len() {
            self.part(agent, other);
        }
    }

    /// An agent that is gone starts anew.
    pub fn restarted(&mut self, agent: usize) {
        self.last.retain(|(receiver, ..), _| *receiver != agent);
        let known = &mut self.agents[agent];
        *known = Known {
            name: std::mem::take(&mut known.name),
            is_citizen: known.is_citizen,
            is_mesh: known.is_mesh,
            life: known.life + 1,
            wants: known.first_room.iter().cloned().collect(),
            first_room: known.first_room.take(),
            ..Known::default()
        };
    }

    /// The next text of an agent, of messages (`m`) or relayed ones (`r`).
    pub fn text(&mut self, agent: usize, kind: char) -> Payload {
        let known = &mut self.agents[agent];
        known.sent += 1;
        Payload::Text(format!("{kind}/{agent}/{}/{}", known.life, known.sent))
    }

    /// A violation, now.
    pub fn violation(&self, invariant: &'static str, what: String, world: &World) -> Violation {
        Violation { invariant, what, op: self.op, at: world.elapsed() }
    }

    /// Looks at what happened since the last time; which agents ended.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn look(&mut self, world: &World) -> Result<Vec<usize>, Violation> {
        self.checks += 1;
        let counts = self.checks.is_multiple_of(COUNT_EVERY);
        let mut seen = Seen {
            now: world.now,
            told: Cow::Borrowed(&world.notices[self.seen.0..]),
            hub: Cow::Borrowed(world.hub_steps.as_ref().map_or(&[], |steps| &steps[self.seen.1..])),
            progress: world.progress,
            stats: world.server().filter(|_| counts).map(|server| (server.stats(), world.limits())),
            ids: if counts { world.ids() } else { Vec::new() },
            server: world.servers(),
        };
        self.seen = (self.seen.0 + seen.told.len(), self.seen.1 + seen.hub.len());
        self.falsifier.falsify(&mut seen);
        let mut ended = Vec::new();
        let (op, at) = (self.op, world.elapsed());
        let violation = |(invariant, what)| Violation { invariant, what, op, at };
        self.check_time(&seen).map_err(violation)?;
        check_server(&seen).map_err(violation)?;
        self.check_hub(&seen, world.limits()).map_err(violation)?;
        if let Ok(line) = self.errors.try_recv() {
            return Err(violation(("nothing is logged as an error", line)));
        }
        for (at, agent, notice) in seen.told.iter() {
            let op = self.op;
            self.take(*at, *agent, notice).map_err(|(invariant, what)| Violation { invariant, what, op, at: *at })?;
            let gave_up = matches!(notice, AgentNotice::Ended | AgentNotice::SignalingLost { retry: None, .. });
            if gave_up && !world.is_crashed(*agent) {
                self.crashed(*agent);
                ended.push(*agent);
            }
        }
        Ok(ended)
    }

    fn check_time(&mut self, seen: &Seen<'_>) -> Result<(), Wrong> {
        self.steps =
            if self.steps.0 == Some(seen.now) { (self.steps.0, self.steps.1 + 1) } else { (Some(seen.now), 0) };
        if self.steps.1 > STEPS_AT_ONCE {
            return Err(("I6: time goes on", format!("{STEPS_AT_ONCE} steps at one moment")));
        }
        match seen.progress {
            Some((who, deadline)) if deadline.at <= seen.now => {
                Err(("I6: a due deadline is done with", format!("{who:?}: {}", deadline.why)))
            }
            _ => Ok(()),
        }
    }

    /// Beside each hub goes a model, and is asked the same.
    fn check_hub(&mut self, seen: &Seen<'_>, limits: &Limits) -> Result<(), Wrong> {
        for (now, number, step) in seen.hub.iter() {
            let follower = match &mut self.hub {
                Some((known, follower)) if known == number => follower,
                other => &mut other.insert((*number, Follower::new(limits.clone()))).1,
            };
            let differs = |what| ("the hub tells what its model tells", what);
            follower.follow(*now, step).map_err(differs)?;
        }
        if seen.stats.is_none() {
            return Ok(());
        }
        let follower = self.hub.as_ref().filter(|(number, _)| *number == seen.server);
        let names = follower.map_or_else(Vec::new, |(_, follower)| follower.names());
        if names == seen.ids {
            return Ok(());
        }
        Err(("the hub knows whom its model knows", format!("{names:?}, but there are {:?}", seen.ids)))
    }

    fn take(&mut self, at: Duration, agent: usize, notice: &AgentNotice) -> Result<(), Wrong> {
        if let Some((from, text, relayed)) = heard(notice) {
            return self.take_text(agent, from.as_str(), text, relayed);
        }
        match notice {
            AgentNotice::Registered { .. } => {
                (self.agents[agent].registered, self.agents[agent].lost) = (true, false);
            }
            AgentNotice::SignalingLost { .. } => {
                (self.agents[agent].registered, self.agents[agent].lost) = (false, true);
            }
            AgentNotice::Roster { room, members } => {
                let members: BTreeSet<String> = members.iter().map(|name| name.as_str().to_owned()).collect();
                self.check_members(agent, room.as_str(), &members)?;
                if self.agents[agent].wants.contains(room.as_str()) {
                    self.agents[agent].rosters.insert(room.as_str().to_owned(), members);
                }
            }
            AgentNotice::Presence { room, id, here } => {
                self.check_members(agent, room.as_str(), &BTreeSet::from([id.as_str().to_owned()]))?;
                let known = &mut self.agents[agent];
                if let Some(roster) = known.rosters.get_mut(room.as_str()) {
                    if *here {
                        roster.insert(id.as_str().to_owned());
                    } else {
                        roster.remove(id.as_str());
                    }
                }
            }
            AgentNotice::Peer { id, state } => self.take_state(at, agent, id.as_str(), *state),
            AgentNotice::ChannelOpened { id, .. } => {
                self.agents[agent].open.insert(id.as_str().to_owned());
            }
            AgentNotice::PeerFailed { id, .. } | AgentNotice::ChannelClosed { id, .. } => {
                self.agents[agent].open.remove(id.as_str());
                self.part_from(agent, id.as_str());
            }
            AgentNotice::Sent { id, .. } => {
                if let Some(to) = self.number(id.as_str()) {
                    *self.accepted.entry((agent, to)).or_default() += 1;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn take_state(&mut self, at: Duration, agent: usize, id: &str, state: PeerState) {
        let known = &mut self.agents[agent];
        known.peers.insert(id.to_owned(), state);
        match state {
            PeerState::Connecting => {
                known.connecting.insert(id.to_owned(), at);
            }
            PeerState::Connected => self.connects.extend(known.connecting.remove(id).map(|begin| at - begin)),
            PeerState::Disconnected => {}
            PeerState::Closed => {
                known.open.remove(id);
                self.part_from(agent, id);
            }
        }
    }

    fn take_text(&mut self, agent: usize, from: &str, text: &str, relayed: bool) -> Result<(), Wrong> {
        let words: Vec<&str> = text.split('/').collect();
        let sender = |number: &str| number.parse().ok().filter(|number: &usize| *number < self.agents.len());
        if let (["m" | "p", ..], Some(sender)) = (words.as_slice(), self.number(from)) {
            *self.received.entry((sender, agent)).or_default() += 1;
        }
        match words.as_slice() {
            ["room", room, name] => {
                let (room, name) = ((*room).to_owned(), (*name).to_owned());
                let may_hear =
                    self.entered.get(&room).is_some_and(|entered| entered.contains(&self.agents[agent].name));
                if !may_hear && self.agents[agent].is_citizen {
                    return Err(("I2: rooms are apart", format!("agent {agent} heard {name} in {room}")));
                }
            }
            ["p", number] => {
                self.check_sender(sender(number), from, text)?;
                self.agents[agent].probes.insert(from.to_owned());
            }
            [kind @ ("m" | "r"), number, life, count] => {
                let sender = sender(number);
                self.check_sender(sender, from, text)?;
                let (Some(sender), Ok(life), Ok(count)) = (sender, life.parse(), count.parse::<u64>()) else {
                    return Ok(());
                };
                debug_assert_eq!(relayed, *kind == "r");
                let key = (agent, sender, life, if relayed { 'r' } else { 'm' });
                let last = self.last.insert(key, count).unwrap_or(0);
                if count <= last {
                    let what = format!("agent {agent} got {text} after number {last}");
                    return Err(("I1: once and in order", what));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn check_sender(&self, sender: Option<usize>, from: &str, text: &str) -> Result<(), Wrong> {
        let right = sender.is_some_and(|sender| !self.agents[sender].is_citizen || self.agents[sender].name == from);
        if right { Ok(()) } else { Err(("I3: who it is from", format!("{text} is said to be from {from}"))) }
    }

    /// Nobody is told of in a room who never entered it. The room mesh's messages do not say which room they are about,
    /// so that its agents mistake it for a moment when they change it.
    fn check_members(&self, agent: usize, room: &str, members: &BTreeSet<String>) -> Result<(), Wrong> {
        let entered = self.entered.get(room);
        match members.iter().find(|name| !entered.is_some_and(|entered| entered.contains(*name))) {
            Some(stranger) if self.agents[agent].is_citizen && !self.agents[agent].is_mesh => {
                Err(("I2: rooms are apart", format!("agent {agent} was told that {stranger} is in {room}")))
            }
            _ => Ok(()),
        }
    }

    /// What is not yet as it must be in the end.
    pub fn missing(&self, world: &World, plan: &Plan) -> Option<String> {
        if !plan.is_peaceable() {
            return None;
        }
        let ids = world.ids();
        let here: Vec<(usize, &Known)> = self.here().collect();
        for (index, known) in &here {
            let name = &known.name;
            if !known.registered || !ids.iter().any(|id| id.as_str() == name) {
                return Some(format!("agent {index} is not registered"));
            }
            for room in &known.wants {
                let mates = here.iter().filter(|(other, mate)| other != index && mate.wants.contains(room));
                let wanted: BTreeSet<String> = mates.map(|(_, mate)| mate.name.clone()).collect();
                let roster = known.rosters.get(room);
                if roster != Some(&wanted) {
                    return Some(format!("I4: agent {index} has {roster:?} in {room}, not {wanted:?}"));
                }
            }
        }
        for (one, other) in self.pairs() {
            let name = &self.agents[other].name;
            let state = self.agents[one].peers.get(name);
            if state != Some(&PeerState::Connected) || !self.agents[one].open.contains(name) {
                return Some(format!("agent {one} and {name}, who share a room: {state:?}"));
            }
        }
        None
    }

    /// Who was not heard though it should be.
    pub fn unheard(&self, _: &World) -> Option<String> {
        let unheard = |(one, other): &(usize, usize)| !self.agents[*one].probes.contains(&self.agents[*other].name);
        self.pairs().into_iter().find(unheard).map(|(one, other)| format!("agent {one} did not hear agent {other}"))
    }

    /// At the end: whatever was accepted between two who were never parted has arrived, and nobody is there who is gone.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn settle(&mut self, world: &World) -> Result<(), Violation> {
        self.checks += 1;
        if self.falsifier.mutation == Some(Mutation::Panic) {
            panic!("as the mutation wants");
        }
        for (pair, accepted) in &self.accepted {
            let received = self.received.get(pair).copied().unwrap_or(0);
            let whole = [pair.0, pair.1].iter().all(|agent| !self.agents[*agent].gone && self.agents[*agent].life == 0);
            if whole && !self.parted.contains(pair) && received != *accepted && self.pairs().contains(pair) {
                let what = format!("{accepted} texts from agent {} to agent {}, {received} arrived", pair.0, pair.1);
                return Err(self.violation("I1: all arrive", what, world));
            }
        }
        Ok(())
    }

    fn here(&self) -> impl Iterator<Item = (usize, &Known)> {
        self.agents.iter().enumerate().filter(|(_, known)| known.is_citizen && !known.gone)
    }

    /// Ordered pairs of those who share a room.
    fn pairs(&self) -> Vec<(usize, usize)> {
        let mut pairs = Vec::new();
        for (one, known) in self.here() {
            for (other, mate) in self.here().filter(|(other, _)| *other != one) {
                if known.wants.intersection(&mate.wants).next().is_some() {
                    pairs.push((one, other));
                }
            }
        }
        pairs
    }

    fn number(&self, name: &str) -> Option<usize> {
        self.agents.iter().position(|known| known.is_citizen && known.name == name)
    }

    fn part_from(&mut self, agent: usize, name: &str) {
        if let Some(other) = self.number(name) {
            self.part(agent, other);
        }
    }

    fn part(&mut self, one: usize, other: usize) {
        self.parted.insert((one, other));
        self.parted.insert((other, one));
    }
}

/// Which invariant, and how it is violated.
type Wrong = (&'static str, String);

fn check_server(seen: &Seen<'_>) -> Result<(), Wrong> {
    let Some((stats, limits)) = &seen.stats else { return Ok(()) };
    if stats.accepted != stats.closed + stats.connections {
        let what = format!("{} accepted, {} closed, {} there", stats.accepted, stats.closed, stats.connections);
        return Err(("I9: counters agree", what));
    }
    if stats.deepest_queue_bytes > limits.outbox_hard_bytes as u64 {
        return Err(("I5: queues are bounded", format!("{} bytes wait for one client", stats.deepest_queue_bytes)));
    }
    if stats.connections > limits.connections as u64 + stats.turned_away {
        return Err(("I5: connections are bounded", format!("{} connections", stats.connections)));
    }
    if !seen.ids.is_sorted_by(|one, other| one < other) {
        return Err(("I4: no id twice", format!("{:?}", seen.ids)));
    }
    Ok(())
}
