//! The peer connections of an agent: who offers to whom, what is tried again, which datagram is whose.
//!
//! Knows no server: signals for remote peers leave as [`PeersEffect::Deliver`], while the owner said that there is
//! somebody to deliver them ([`Peers::up`]).
//!
//! In glare one of two gives way (perfect negotiation, RFC 9429 4.1.8): it is the one whose id compares lower, byte
//! for byte. Both ids are known to both sides before the first offer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::agent::AgentNotice;
use crate::agent::channels::Channels;
use crate::agent::stun::Gathering;
use crate::agent::turn::{Received, Relays};
use crate::deadlines::Deadlines;
use crate::ids::Secrets;
use crate::limits;
use crate::media::Kind;
use crate::peer::{ChannelSpec, Crypto, Peer, PeerEffect, PeerState};
use crate::signal::{Name, Payload, Refusal, Signal};

mod datagrams;
mod links;
mod mates;
mod signals;
mod tracks;

pub(super) use self::tracks::MediaEffect;

/// Between two attempts to reach somebody who is not there.
const ABSENT_RETRY: Duration = Duration::from_secs(2);

/// For an answer to an offer, where the dialect would not say that nobody is there.
const SILENT_RETRY: Duration = Duration::from_secs(5);

/// For an answer to an offer, where the dialect would.
const ANSWER: Duration = Duration::from_secs(15);

/// For so long an address that a STUN server saw is taken as still mapped by the NAT (RFC 4787, REQ-5 asks for two
/// minutes; many keep less).
const MAPPING_FRESH: Duration = Duration::from_secs(15);

/// The next wake-up of a connection is at least so far away: no connection can make the machine spin.
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);

/// What the peer connections want done or tell.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum PeersEffect {
    /// Carry a signal to a remote peer.
    Deliver { to: Name, signal: Signal },
    /// Send a datagram.
    Datagram { local: SocketAddr, remote: SocketAddr, bytes: Vec<u8> },
    /// Sound and picture, of this connection.
    Media { from: Name, effect: MediaEffect },
    /// Tell the embedding program.
    Notice(AgentNotice),
}

/// How connections are set up.
#[derive(Debug)]
pub(super) struct Settings {
    /// The host candidates.
    pub(super) hosts: Vec<SocketAddr>,
    /// STUN servers.
    pub(super) stun: Vec<SocketAddr>,
    /// Whether only relayed candidates are used and told.
    pub(super) relay_only: bool,
    /// The channel that an offer opens.
    pub(super) channel: ChannelSpec,
    /// As [`PeerConfig::channel_buffer_bytes`].
    pub(super) channel_buffer_bytes: usize,
    /// As [`PeerConfig::crypto`].
    pub(super) crypto: Crypto,
    /// Whether the server says so when somebody is not there.
    pub(super) told_of_absence: bool,
    /// Whether a restart that somebody unknown wants is a wish for a first offer: so zenn's server asks for one.
    pub(super) asked_to_offer: bool,
}

impl Settings {
    /// For an answer to an offer.
    fn patience(&self) -> Duration {
        if self.told_of_absence { ANSWER } else { SILENT_RETRY }
    }

    /// The host candidates that a connection may have.
    fn candidates(&self) -> Vec<SocketAddr> {
        if self.relay_only { Vec::new() } else { self.hosts.clone() }
    }
}

/// All peer connections.
#[derive(Debug)]
pub(super) struct Peers {
    settings: Settings,
    secrets: Secrets,
    me: Option<Name>,
    up: bool,
    remotes: BTreeMap<Name, Remote>,
    /// Whom to offer to once we have a name.
    wanted: BTreeSet<Name>,
    /// Room mates who could not be reached, and how often that was tried again.
    apart: BTreeMap<Name, u32>,
    /// Room mates with whom a command closed the connection, and whether they heard our goodbye.
    shut: BTreeMap<Name, bool>,
    routes: BTreeMap<(SocketAddr, SocketAddr), Name>,
    /// Candidates that came before their offer.
    early: VecDeque<(Name, Signal)>,
    /// Signals that wait for the server to come back.
    held: VecDeque<(Name, Signal)>,
    gathering: Gathering,
    gathered: Option<Instant>,
    /// What the present or last gathering found: mapped address and base.
    mapped: BTreeSet<(SocketAddr, SocketAddr)>,
    relays: Relays,
    /// The kinds that every connection has a track of ours of.
    published: BTreeSet<Kind>,
    wanted_bandwidth: u64,
    timers: Deadlines<Timer>,
    work: VecDeque<(Name, PeerEffect)>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Stun,
    Turn,
    /// An offer is unanswered for too long.
    Offer(Name),
    Connection(Name),
    /// A room mate is to be tried again.
    Mate(Name),
}

/// One remote peer.
#[derive(Debug)]
struct Remote {
    peer: Peer,
    state: PeerState,
    channels: Channels,
    tracks: tracks::Tracks,
    /// Whether we began it.
    ours: bool,
    /// Our last offer and what we signaled after it, until it is answered or given up: said again if it was lost.
    unanswered: Vec<Signal>,
    /// The last attempt found nobody.
    absent: bool,
    /// That was told.
    absence_told: bool,
    /// Waits for the answers of STUN and TURN servers.
    gathering: bool,
    /// Whom relays were asked to let through for it.
    permitted: BTreeSet<IpAddr>,
    /// Signals were lost: ICE has to restart.
    interrupted: bool,
    restarted: Option<Instant>,
    closing: bool,
    /// Left the last room that we had in common: their signaling is gone, so a lost path will not come back.
    gone: bool,
    /// They left a room of ours and share one with us, perhaps without having known that when they said goodbye: if it
    /// ends by then, we meet them anew.
    renew: Option<Instant>,
    /// Gave up before anybody answered: start over.
    again: bool,
}

impl Peers {
    /// No connection yet.
    pub(super) fn new(settings: Settings, relays: Relays, secrets: Secrets) -> Self {
        Peers {
            settings,
            secrets,
            me: None,
            up: false,
            remotes: BTreeMap::new(),
            wanted: BTreeSet::new(),
            apart: BTreeMap::new(),
            shut: BTreeMap::new(),
            routes: BTreeMap::new(),
            early: VecDeque::new(),
            held: VecDeque::new(),
            gathering: Gathering::default(),
            gathered: None,
            mapped: BTreeSet::new(),
            relays,
            published: BTreeSet::new(),
            wanted_bandwidth: 0,
            timers: Deadlines::default(),
            work: VecDeque::new(),
        }
    }

    /// How many connections there are.
    pub(super) fn len(&self) -> usize {
        self.remotes.len()
    }

    /// Whether there is no connection.
    pub(super) fn is_empty(&self) -> bool {
        self.remotes.is_empty()
    }

    /// Signals can be delivered, from us under this name. Says again what may have been lost before.
    pub(super) fn up(&mut self, now: Instant, me: Name, out: &mut Vec<PeersEffect>) {
        (self.me, self.up) = (Some(me), true);
        out.extend(self.held.drain(..).map(|(to, signal)| PeersEffect::Deliver { to, signal }));
        for name in self.names() {
            let Some(remote) = self.remotes.get_mut(&name) else { continue };
            let interrupted = std::mem::take(&mut remote.interrupted);
            if !remote.unanswered.is_empty() {
                self.offer_again(now, &name, out);
            } else if interrupted || (remote.ours && remote.state != PeerState::Connected) {
                self.with(now, &name, |peer, effects| peer.restart(now, effects));
            }
        }
        for name in std::mem::take(&mut self.wanted) {
            self.offer(now, name, out);
        }
        self.settle(now, out);
    }

    /// Signals cannot be delivered until [`Peers::up`].
    pub(super) fn down(&mut self) {
        self.up = false;
    }

    /// Connects to somebody, now or as soon as we have a name.
    pub(super) fn offer(&mut self, now: Instant, to: Name, out: &mut Vec<PeersEffect>) {
        let Some(me) = &self.me else {
            self.wanted.insert(to);
            return;
        };
        if *me == to {
            return fail(out, format!("{} is this peer itself; offer to another id", to.as_str()));
        }
        if let Some(remote) = self.remotes.get(&to) {
            let (id, state) = (to.as_str(), remote.state);
            return fail(out, format!("there is a connection with {id} already ({state:?}); try restart or close"));
        }
        self.shut.remove(&to);
        if !self.create(now, &to, true, out) {
            let most = limits::PEERS;
            return fail(out, format!("there are {most} connections, which is the most; close one first"));
        }
        let spec = self.settings.channel.clone();
        self.add_channel(now, &to, spec);
        self.settle(now, out);
    }

    /// Opens a data channel to one peer or to all.
    pub(super) fn open_channel(
        &mut self,
        now: Instant,
        to: Option<Name>,
        spec: &ChannelSpec,
        out: &mut Vec<PeersEffect>,
    ) {
        if spec.label.len() > limits::LABEL_BYTES {
            return fail(out, format!("a label has at most {} bytes; choose a shorter one", limits::LABEL_BYTES));
        }
        for name in self.targets(to, out) {
            let Some(remote) = self.remotes.get_mut(&name) else { continue };
            if remote.channels.find(Some(&spec.label)).is_some() {
                let (id, label) = (name.as_str(), &spec.label);
                fail(out, format!("there is a channel {label} with {id} already; send on it or choose another label"));
            } else {
                self.add_channel(now, &name, spec.clone());
            }
        }
        self.settle(now, out);
    }

    /// Sends on the channel of a label, or on the first, to one peer or to all who have it.
    pub(super) fn send(
        &mut self,
        now: Instant,
        to: Option<Name>,
        label: Option<&str>,
        payload: &Payload,
        out: &mut Vec<PeersEffect>,
    ) {
        let one = to.is_some();
        let mut found = false;
        for name in self.targets(to, out) {
            let Some(remote) = self.remotes.get_mut(&name) else { continue };
            let id = name.as_str();
            let Some(channel) = remote.channels.find(label) else {
                if one {
                    let have = remote.channels.labels();
                    let have = if have.is_empty() { "none".to_owned() } else { have };
                    fail(out, format!("there is no such channel with {id} (there: {have}); open it with channel"));
                    return;
                }
                continue;
            };
            found = true;
            let key = channel.key;
            if channel.queue(payload.clone()) {
                self.flush(now, &name, key, out);
            } else {
                let most = limits::CHANNEL_QUEUE_MESSAGES;
                fail(out, format!("{most} messages wait for {id} already; this one was not sent, try again later"));
            }
        }
        if !one && !found && !self.remotes.is_empty() {
            let label = label.unwrap_or("any label");
            fail(out, format!("nobody has a channel of {label}; open it with channel"));
        }
        self.settle(now, out);
    }

    /// Restarts ICE with a peer.
    pub(super) fn restart(&mut self, now: Instant, name: Name, out: &mut Vec<PeersEffect>) {
        for name in self.targets(Some(name), out) {
            // Not before there is a path: if our answer was lost, an offer of ours would turn the roles of DTLS.
            if self.remotes.get(&name).is_some_and(|remote| remote.state == PeerState::Connecting) {
                let id = name.as_str();
                fail(out, format!("the connection with {id} is still being made; there is nothing to restart yet"));
            } else {
                self.with(now, &name, |peer, effects| peer.restart(now, effects));
            }
        }
        self.settle(now, out);
    }

    /// Closes the connection with a peer.
    pub(super) fn close(&mut self, now: Instant, name: Name, out: &mut Vec<PeersEffect>) {
        if self.wanted.remove(&name) {
            return;
        }
        for name in self.targets(Some(name), out) {
            self.close_one(now, &name);
        }
        self.settle(now, out);
    }

    /// Closes all connections that have nothing to send.
    pub(super) fn close_idle(&mut self, now: Instant, out: &mut Vec<PeersEffect>) {
        for name in self.names() {
            if self.remotes.get(&name).is_some_and(|remote| remote.channels.waiting() == 0) {
                self.close_one(now, &name);
            }
        }
        self.settle(now, out);
    }

    /// Closes all connections. What was not sent by now will not be.
    pub(super) fn close_all(&mut self, now: Instant, out: &mut Vec<PeersEffect>) {
        for name in self.names() {
            if let Some(remote) = self.remotes.get_mut(&name) {
                lost_messages(&name, remote.channels.give_up(), out);
            }
            self.close_one(now, &name);
        }
        self.settle(now, out);
    }

    /// The connections and their counters.
    pub(super) fn list(&self, out: &mut Vec<PeersEffect>) {
        let peers = self.remotes.iter();
        let peers = peers.map(|(name, remote)| (name.clone(), remote.peer.state(), remote.peer.stats())).collect();
        out.push(PeersEffect::Notice(AgentNotice::Peers(peers)));
    }

    /// Takes a signal from a remote peer; relayed data is not for this module.
    pub(super) fn receive_signal(&mut self, now: Instant, from: Name, signal: Signal, out: &mut Vec<PeersEffect>) {
        let id = from.as_str();
        if self.me.as_ref().is_none_or(|me| *me == from) {
            return detail(out, format!("a signal from {id}, which is this peer itself, was skipped"));
        }
        match &signal {
            Signal::Offer { sdp } => {
                if !self.prepare_for_offer(now, &from, sdp, out) {
                    let most = limits::PEERS;
                    return detail(out, format!("an offer from {id} was skipped: there are {most} connections"));
                }
            }
            Signal::Answer { sdp } => match self.remotes.get_mut(&from) {
                Some(remote) if remote.peer.is_stale(sdp) => {
                    return detail(out, format!("an answer from {id} was skipped: it is to an earlier offer"));
                }
                Some(remote) if !remote.unanswered.is_empty() && remote.peer.is_foreign(sdp) => {
                    return self.begin_anew(now, &from, out);
                }
                Some(remote) if !remote.unanswered.is_empty() => {
                    remote.unanswered.clear();
                    remote.absent = false;
                    self.timers.clear(&Timer::Offer(from.clone()));
                }
                _ => return detail(out, format!("an answer from {id} was skipped: no offer of ours waits for one")),
            },
            Signal::Candidate(_) | Signal::EndOfCandidates { .. } => {
                if !self.remotes.contains_key(&from) {
                    return self.keep_early(from, signal, out);
                }
            }
            Signal::Restart if self.settings.asked_to_offer && !self.remotes.contains_key(&from) => {
                return self.offer(now, from, out);
            }
            Signal::Restart | Signal::Data { .. } => {
                if !self.remotes.contains_key(&from) {
                    return detail(out, format!("a request from {id} was skipped: there is no connection with it"));
                }
            }
        }
        self.came(&from);
        self.with(now, &from, |peer, effects| peer.receive_signal(now, signal, effects));
        self.settle(now, out);
        self.give_early(now, &from);
        self.settle(now, out);
    }

    /// The server refused a signal. `false`: that is not about an offer that is under way, and nothing was done.
    ///
    /// Some dialects do not say whom the signal was for. It was for the only one whom we wait for, if it is only one.
    pub(super) fn refused(
        &mut self,
        now: Instant,
        to: Option<&Name>,
        refusal: Refusal,
        out: &mut Vec<PeersEffect>,
    ) -> bool {
        let to = match to {
            Some(to) => to.clone(),
            None if refusal == Refusal::NoSuchPeer => {
                let mut waiting = self.remotes.iter().filter(|(_, remote)| !remote.unanswered.is_empty());
                let (Some((only, _)), None) = (waiting.next(), waiting.next()) else { return false };
                only.clone()
            }
            None => return false,
        };
        let Some(remote) = self.remotes.get_mut(&to) else { return false };
        if remote.unanswered.is_empty() || !is_passing(refusal) {
            return false;
        }
        remote.absent = true;
        self.timers.set(Timer::Offer(to.clone()), now + ABSENT_RETRY);
        if !std::mem::replace(&mut remote.absence_told, true) {
            out.push(PeersEffect::Notice(AgentNotice::Waiting { target: to }));
        }
        true
    }

    /// How many signals wait for an offer.
    #[cfg(test)]
    pub(super) fn early_count(&self) -> usize {
        self.early.len()
    }

    /// Whether there is a connection with somebody, of whatever state.
    pub(super) fn knows(&self, name: &Name) -> bool {
        self.remotes.contains_key(name)
    }

    /// A signal could not be delivered: for want of a server, or of a word for it.
    pub(super) fn undelivered(
        &mut self,
        now: Instant,
        to: Name,
        signal: Signal,
        refusal: Refusal,
        out: &mut Vec<PeersEffect>,
    ) {
        match (refusal, &signal) {
            (Refusal::NotRegistered, _) => self.hold(to, signal, out),
            // Without a word to ask for an offer, make one.
            (_, Signal::Restart) => {
                if let Some(remote) = self.remotes.get_mut(&to)
                    && remote.restarted.replace(now) != Some(now)
                {
                    self.with(now, &to, |peer, effects| peer.restart(now, effects));
                }
            }
            (_, Signal::EndOfCandidates { .. }) => {}
            (refusal, signal) => {
                let (kind, id) = (signal.kind(), to.as_str());
                detail(out, format!("{kind:?} for {id} was not sent: {}", refusal.sentence()));
            }
        }
        self.settle(now, out);
    }

    /// Takes a datagram of any connection, STUN or TURN server, or of nobody.
    pub(super) fn receive_datagram(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        bytes: &[u8],
        out: &mut Vec<PeersEffect>,
    ) {
        let mut found = Vec::new();
        if self.gathering.receive(local, remote, bytes, &mut found) {
            self.gathered(now, found, out);
            return self.settle(now, out);
        }
        let mut found = Vec::new();
        let received = self.relays.receive(now, local, remote, bytes, &mut found);
        self.relayed(now, found, out);
        match received {
            Received::PassedOn { relay, peer, bytes } => self.deliver(now, relay, peer, &bytes),
            Received::NotOurs if !self.settings.relay_only => self.deliver(now, local, remote, bytes),
            Received::NotOurs | Received::Handled => {}
        }
        self.settle(now, out);
    }

    /// Does what is due.
    pub(super) fn timeout(&mut self, now: Instant, out: &mut Vec<PeersEffect>) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Stun => {
                    let mut effects = Vec::new();
                    self.gathering.timeout(now, &mut effects);
                    self.gathered(now, effects, out);
                }
                Timer::Turn => {
                    let mut effects = Vec::new();
                    self.relays.timeout(now, &mut effects);
                    self.relayed(now, effects, out);
                }
                Timer::Offer(name) => self.offer_again(now, &name, out),
                Timer::Mate(name) => self.try_mate(now, &name, out),
                Timer::Connection(name) => {
                    self.with(now, &name, |peer, effects| peer.timeout(now, effects));
                }
            }
            self.settle(now, out);
        }
    }

    /// When [`Peers::timeout`] is due next, and what for.
    pub(super) fn next_timeout(&self) -> Option<(Instant, &'static str)> {
        self.timers.next().map(|(at, timer)| match timer {
            Timer::Stun => (at, "stun"),
            Timer::Turn => (at, "turn"),
            Timer::Offer(_) => (at, "offer again"),
            Timer::Connection(_) => (at, "peer"),
            Timer::Mate(_) => (at, "room mate again"),
        })
    }
}

/// Refusals that time may cure.
fn is_passing(refusal: Refusal) -> bool {
    matches!(refusal, Refusal::NoSuchPeer | Refusal::PeerAway | Refusal::TooFast)
}

fn lost_messages(id: &Name, count: usize, out: &mut Vec<PeersEffect>) {
    if count > 0 {
        let messages = if count == 1 { "1 message" } else { &format!("{count} messages") };
        fail(out, format!("not sent to {}: {messages}, for the channel is closed", id.as_str()));
    }
}

fn fail(out: &mut Vec<PeersEffect>, sentence: String) {
    out.push(PeersEffect::Notice(AgentNotice::CommandFailed(sentence)));
}

fn detail(out: &mut Vec<PeersEffect>, text: String) {
    out.push(PeersEffect::Notice(AgentNotice::Detail(text)));
}
