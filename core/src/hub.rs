//! Who is here, under which names, in which rooms, and what is carried between them.
//!
//! The hub takes [`Command`]s of clients and pushes [`HubEffect`]s into the sink of each call. It knows no dialect and
//! no socket: a client is whoever [`Hub::attach`] was called for, and a letter is carried unopened.
//!
//! What it promises: between one sender and one receiver every signal is told exactly once and in order, or the sender
//! gets a refusal, or one of the two gets a visible disconnect (RFC 8838, section 18).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::arena::{Arena, Key};
use crate::deadlines::Deadlines;
use crate::ids::{Ids, Secrets};
use crate::limits::{Limits, PRIVATE_ROOM_MEMBERS};
use crate::machine::ConnId;
use crate::signal::{Command, Departure, Envelope, Event, Name, Refusal, Resumed, RoomName, Tag, To};

pub mod bucket;
pub mod outbox;
mod room;
mod session;
pub mod stats;

use room::Room;
use session::Session;
use stats::HubStats;

/// A client: one session, which may outlive its connection.
pub type ClientId = Key<Client>;

/// What the hub keeps of a client.
#[derive(Debug)]
pub struct Client {
    conn: Option<ConnId>,
    names: Vec<Name>,
    rooms: BTreeSet<RoomName>,
    /// For clients that can resume. Boxed: most cannot.
    session: Option<Box<Session>>,
    /// Whom it signalled last: mostly whom it will signal next.
    correspondent: Option<ClientId>,
}

/// What the hub wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubEffect {
    /// Tell a client.
    Tell {
        /// Its connection.
        conn: ConnId,
        /// What.
        event: Event,
        /// Whom to refuse if the connection's dialect has no word for it.
        sender: Option<Sender>,
    },
    /// The connection now belongs to an earlier client, whose session goes on.
    Rebound {
        /// The connection.
        conn: ConnId,
        /// The client.
        client: ClientId,
    },
    /// Close a connection: its session goes on elsewhere.
    Replaced {
        /// The connection.
        conn: ConnId,
    },
    /// A name was taken.
    Named {
        /// The connection.
        conn: ConnId,
        /// The name.
        name: Name,
    },
    /// A name is free again.
    Freed {
        /// The name.
        name: Name,
    },
}

/// Who sent a signal, to be told if it cannot be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// The client.
    pub client: ClientId,
    /// Its own name for the signal.
    pub tag: Option<Tag>,
}

/// The hub.
#[derive(Debug)]
pub struct Hub {
    limits: Limits,
    clients: Arena<Client>,
    names: BTreeMap<Name, ClientId>,
    rooms: BTreeMap<RoomName, Room>,
    tokens: BTreeMap<Box<str>, ClientId>,
    grace: Deadlines<ClientId>,
    secrets: Secrets,
    ids: Ids,
    stats: HubStats,
}

impl Hub {
    /// An empty hub.
    pub fn new(limits: Limits, mut secrets: Secrets) -> Self {
        let ids = Ids::new(secrets.number());
        Hub {
            clients: Arena::with_limit(limits.clients),
            limits,
            names: BTreeMap::new(),
            rooms: BTreeMap::new(),
            tokens: BTreeMap::new(),
            grace: Deadlines::default(),
            secrets,
            ids,
            stats: HubStats::default(),
        }
    }

    /// A connection whose dialect is known becomes a client.
    ///
    /// # Errors
    /// [`Refusal::ServerFull`].
    pub fn attach(&mut self, conn: ConnId) -> Result<ClientId, Refusal> {
        let client =
            Client { conn: Some(conn), names: Vec::new(), rooms: BTreeSet::new(), session: None, correspondent: None };
        self.clients.insert(client).map_err(|_| Refusal::ServerFull)
    }

    /// A client's connection is gone. A resumable one keeps its names and rooms for [`Limits::grace`].
    pub fn detach(&mut self, now: Instant, client: ClientId, why: Departure, fx: &mut Vec<HubEffect>) {
        let Some(state) = self.clients.get_mut(client) else { return };
        state.conn = None;
        if state.session.is_some() && !state.names.is_empty() && self.limits.grace > Duration::ZERO {
            self.grace.set(client, now + self.limits.grace);
        } else {
            self.end(client, why, fx);
        }
    }

    /// Takes one command. `unix` is the time since the Unix epoch, for fresh ids.
    pub fn command(
        &mut self,
        now: Instant,
        unix: Duration,
        client: ClientId,
        command: Command,
        fx: &mut Vec<HubEffect>,
    ) {
        self.stats.messages_in += 1;
        if let Some(session) = self.clients.get_mut(client).and_then(|client| client.session.as_mut())
            && let Some(unneeded) = session.confirm()
        {
            self.tokens.remove(&unneeded);
        }
        match command {
            Command::Register { name, resumable } => self.register(unix, client, name, resumable, fx),
            Command::Resume { token, received } => self.resume(now, client, &token, received, fx),
            Command::Unregister { name } => self.unregister(client, name, fx),
            Command::List { tag } => {
                let names = self.names.keys().cloned().collect();
                self.tell(client, Event::Listed { names, tag }, None, fx);
            }
            Command::Join { room, tag } => self.join(client, room, tag, fx),
            Command::Leave { room, tag } => self.leave(client, &room, tag, fx),
            Command::Signal(envelope) => self.signal(client, envelope, fx),
            Command::Bye => self.end(client, Departure::Left, fx),
        }
    }

    /// Ends the sessions whose grace time is over.
    pub fn timeout(&mut self, now: Instant, fx: &mut Vec<HubEffect>) {
        while let Some(client) = self.grace.pop_due(now) {
            self.end(client, Departure::Gone, fx);
        }
    }

    /// Time in which nobody could reach the hub does not count against sessions that wait.
    pub fn put_off(&mut self, by: Duration) {
        self.grace.put_off(by);
    }

    /// When [`Hub::timeout`] is due next.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.grace.next().map(|(at, _)| at)
    }

    /// Tells a client that something of its was not done, and counts it.
    pub fn refuse(
        &mut self,
        client: ClientId,
        refusal: Refusal,
        to: Option<Name>,
        tag: Option<Tag>,
        fx: &mut Vec<HubEffect>,
    ) {
        self.count_refusal(refusal);
        self.tell(client, Event::Refused { refusal, to, tag }, None, fx);
    }

    /// Counts a refusal that was answered elsewhere.
    pub fn count_refusal(&mut self, refusal: Refusal) {
        *self.stats.refusals.entry(refusal.code()).or_default() += 1;
    }

    /// The first name of a client, if it has one.
    pub fn name_of(&self, client: ClientId) -> Option<&Name> {
        self.clients.get(client)?.names.first()
    }

    /// The connection of a client, if it has one.
    pub fn conn_of(&self, client: ClientId) -> Option<ConnId> {
        self.clients.get(client)?.conn
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.names.keys()
    }

    /// How many clients have a name.
    pub fn registered(&self) -> usize {
        self.names.len()
    }

    /// The counters, with the present sizes filled in.
    pub fn stats(&self) -> HubStats {
        let waiting = self.grace.len() as u64;
        HubStats {
            clients: self.clients.len() as u64 - waiting,
            waiting,
            names: self.names.len() as u64,
            rooms: self.rooms.len() as u64,
            ..self.stats.clone()
        }
    }

    fn register(
        &mut self,
        unix: Duration,
        client: ClientId,
        name: Option<Name>,
        resumable: bool,
        fx: &mut Vec<HubEffect>,
    ) {
        let name = name.unwrap_or_else(|| Name::new(self.ids.next(unix)));
        if let Some(&holder) = self.names.get(&name) {
            if holder == client {
                // The same id again on the same socket: an idempotent answer, as conic gives it.
                return self.tell_registered(client, name, Resumed::Fresh, fx);
            }
            if self.clients.get(holder).is_some_and(|holder| holder.conn.is_some()) {
                return self.refuse(client, Refusal::NameTaken, None, None, fx);
            }
            // The holder only waits to be resumed: an id whose socket died is free at once.
            self.end(holder, Departure::Gone, fx);
        }
        let Some(state) = self.clients.get_mut(client) else { return };
        let Some(conn) = state.conn else { return };
        let has_session = state.session.is_some();
        if has_session || state.names.len() >= self.limits.names_per_client {
            let refusal = if has_session { Refusal::AlreadyRegistered } else { Refusal::TooManyNames };
            return self.refuse(client, refusal, None, None, fx);
        }
        if resumable {
            let token = self.secrets.token();
            state.session = Some(Box::new(Session::new(token.clone())));
            self.tokens.insert(token, client);
        }
        // Mostly the only one.
        state.names.reserve_exact(1);
        state.names.push(name.clone());
        self.names.insert(name.clone(), client);
        self.stats.registrations += 1;
        fx.push(HubEffect::Named { conn, name: name.clone() });
        self.tell_registered(client, name, Resumed::Fresh, fx);
    }

    fn tell_registered(&mut self, client: ClientId, name: Name, resumed: Resumed, fx: &mut Vec<HubEffect>) {
        let session = self.clients.get(client).and_then(|client| client.session.as_ref());
        let token = session.map(|session| session.token().into());
        self.tell(client, Event::Registered { name, token, resumed }, None, fx);
    }

    /// The connection of `newcomer` takes over the session of `token`; `newcomer` itself is forgotten.
    fn resume(&mut self, now: Instant, newcomer: ClientId, token: &str, received: u64, fx: &mut Vec<HubEffect>) {
        let fresh = self.secrets.token();
        let Some(state) = self.clients.get(newcomer) else { return };
        let Some(conn) = state.conn else { return };
        if state.session.is_some() || !state.names.is_empty() {
            return self.refuse(newcomer, Refusal::AlreadyRegistered, None, None, fx);
        }
        let Some(&client) = self.tokens.get(token) else {
            return self.refuse(newcomer, Refusal::SessionGone, None, None, fx);
        };
        let due = self.grace.get(&client).is_some_and(|at| at <= now);
        let session = self.clients.get_mut(client).and_then(|client| client.session.as_mut());
        let missed = session.filter(|_| !due).and_then(|session| {
            let missed = session.rewind(received)?;
            if let Some(unneeded) = session.renew(token, fresh.clone()) {
                self.tokens.remove(&unneeded);
            }
            Some(missed)
        });
        let Some(missed) = missed else {
            return self.refuse(newcomer, Refusal::SessionGone, None, None, fx);
        };
        self.tokens.insert(fresh, client);
        self.grace.clear(&client);
        self.clients.remove(newcomer);
        let Some(state) = self.clients.get_mut(client) else { return };
        if let Some(old) = state.conn.replace(conn) {
            fx.push(HubEffect::Replaced { conn: old });
        }
        fx.push(HubEffect::Rebound { conn, client });
        self.stats.resumptions += 1;
        self.replay(client, missed, fx);
    }

    fn replay(&mut self, client: ClientId, missed: session::Missed, fx: &mut Vec<HubEffect>) {
        let Some(state) = self.clients.get(client) else { return };
        let rooms: Vec<RoomName> = state.rooms.iter().cloned().collect();
        let Some(name) = state.names.first().cloned() else { return };
        let resumed = if missed.gap { Resumed::WithGap } else { Resumed::Whole };
        self.tell_registered(client, name, resumed, fx);
        if missed.gap {
            for room in rooms {
                self.tell_roster(client, room, None, fx);
            }
        }
        for event in missed.events {
            self.tell(client, event, None, fx);
        }
    }

    fn unregister(&mut self, client: ClientId, name: Name, fx: &mut Vec<HubEffect>) {
        let Some(state) = self.clients.get(client) else { return };
        let Some(position) = state.names.iter().position(|own| *own == name) else {
            return self.refuse(client, Refusal::NotYourName, Some(name), None, fx);
        };
        if position == 0 {
            // Rooms know a client by its first name.
            for room in state.rooms.clone() {
                self.take_out(client, &room, Departure::Left, fx);
            }
        }
        if let Some(state) = self.clients.get_mut(client) {
            state.names.remove(position);
            // Without a name there is nothing to come back to.
            let over = if state.names.is_empty() { state.session.take() } else { None };
            for token in over.into_iter().flat_map(|session| session.into_tokens()) {
                self.tokens.remove(&token);
            }
        }
        self.names.remove(&name);
        fx.push(HubEffect::Freed { name: name.clone() });
        self.tell(client, Event::Unregistered { name }, None, fx);
    }

    fn join(&mut self, client: ClientId, room: RoomName, tag: Option<Tag>, fx: &mut Vec<HubEffect>) {
        let Some(state) = self.clients.get(client) else { return };
        let Some(name) = state.names.first().cloned() else {
            return self.refuse(client, Refusal::NotRegistered, None, tag, fx);
        };
        if state.rooms.contains(&room) {
            return self.tell_roster(client, room, tag, fx);
        }
        if state.rooms.len() >= self.limits.rooms_per_client {
            return self.refuse(client, Refusal::TooManyRooms, None, tag, fx);
        }
        if !self.rooms.contains_key(&room) {
            if self.rooms.len() >= self.limits.rooms {
                return self.refuse(client, Refusal::ServerFull, None, tag, fx);
            }
            // 53 bits, so that a JavaScript client can compare it.
            self.rooms.insert(room.clone(), Room::new(self.secrets.number() >> 11));
        }
        let Some(state) = self.rooms.get_mut(&room) else { return };
        // A dialect's own room has everybody of that dialect in it.
        let most = if room.is_private() { PRIVATE_ROOM_MEMBERS } else { self.limits.room_members };
        if state.members.len() >= most {
            return self.refuse(client, Refusal::RoomFull, None, tag, fx);
        }
        let (place, others) = state.enter(name.clone(), client);
        if let Some(state) = self.clients.get_mut(client) {
            state.rooms.insert(room.clone());
        }
        for other in others {
            self.tell(other, Event::Joined { room: room.clone(), place, name: name.clone() }, None, fx);
        }
        self.tell_roster(client, room, tag, fx);
    }

    fn tell_roster(&mut self, client: ClientId, room: RoomName, tag: Option<Tag>, fx: &mut Vec<HubEffect>) {
        let Some(state) = self.rooms.get(&room) else { return };
        let members = state.members.iter().filter(|(_, member)| **member != client).map(|(name, _)| name.clone());
        let event = Event::Roster { place: state.place, members: members.collect(), room, tag };
        self.tell(client, event, None, fx);
    }

    fn leave(&mut self, client: ClientId, room: &RoomName, tag: Option<Tag>, fx: &mut Vec<HubEffect>) {
        if !self.clients.get(client).is_some_and(|client| client.rooms.contains(room)) {
            return self.refuse(client, Refusal::NotInRoom, None, tag, fx);
        }
        self.take_out(client, room, Departure::Left, fx);
    }

    /// Takes a client out of a room and tells everybody, the client included.
    fn take_out(&mut self, client: ClientId, room: &RoomName, why: Departure, fx: &mut Vec<HubEffect>) {
        let Some(leaver) = self.clients.get_mut(client) else { return };
        leaver.rooms.remove(room);
        let Some(name) = leaver.names.first().cloned() else { return };
        let Some(state) = self.rooms.get_mut(room) else { return };
        let (place, others) = state.exit(&name);
        if others.is_empty() {
            self.rooms.remove(room);
        }
        for member in others.into_iter().chain([client]) {
            let event = Event::Left { room: room.clone(), place, name: name.clone(), why };
            self.tell(member, event, None, fx);
        }
    }

    fn signal(&mut self, client: ClientId, envelope: Envelope, fx: &mut Vec<HubEffect>) {
        let Envelope { from, to, letter, tag, receipt } = envelope;
        let about = |to: To| if let To::Peer(name) = to { Some(name) } else { None };
        let from = match self.own_name(client, from) {
            Ok(from) => from,
            Err(refusal) => return self.refuse(client, refusal, about(to), tag, fx),
        };
        let sender = Sender { client, tag: tag.clone() };
        match &to {
            To::Peer(name) => {
                let holder = self.holder(client, name).filter(|(receiver, _)| self.may_meet(client, *receiver));
                let Some((receiver, name)) = holder else {
                    return self.refuse(client, Refusal::NoSuchPeer, about(to), tag, fx);
                };
                let event = Event::Signal { from, to: To::Peer(name), letter };
                if self.can_hold(receiver, &event) {
                    if receipt {
                        self.tell(client, Event::Accepted { tag }, None, fx);
                    }
                    self.tell(receiver, event, Some(sender), fx);
                } else if let Event::Signal { to, .. } = event {
                    self.refuse(client, Refusal::PeerAway, about(to), tag, fx);
                }
            }
            To::Room(room) => {
                let Some(state) = self.rooms.get(room).filter(|state| state.members.values().any(|m| *m == client))
                else {
                    return self.refuse(client, Refusal::NotInRoom, None, tag, fx);
                };
                let others: Vec<ClientId> = state.members.values().copied().filter(|m| *m != client).collect();
                if receipt {
                    self.tell(client, Event::Accepted { tag: tag.clone() }, None, fx);
                }
                for receiver in others {
                    let event = Event::Signal { from: from.clone(), to: to.clone(), letter: letter.clone() };
                    if self.can_hold(receiver, &event) {
                        self.tell(receiver, event, Some(sender.clone()), fx);
                    } else {
                        let about = self.name_of(receiver).cloned();
                        self.refuse(client, Refusal::PeerAway, about, tag.clone(), fx);
                    }
                }
            }
        }
    }

    /// Who has a name that `client` wants to signal, and the name as it is kept: one that many events share.
    fn holder(&mut self, client: ClientId, name: &Name) -> Option<(ClientId, Name)> {
        let kept = |hub: &Self, holder| Some((holder, own(&hub.clients.get(holder)?.names, name)?));
        let last = self.clients.get(client)?.correspondent;
        if let Some(found) = last.and_then(|last| kept(self, last)) {
            return Some(found);
        }
        let holder = *self.names.get(name)?;
        self.clients.get_mut(client)?.correspondent = Some(holder);
        kept(self, holder)
    }

    /// The name to send under: the one that the message states, if it is the client's own.
    fn own_name(&self, client: ClientId, stated: Option<Name>) -> Result<Name, Refusal> {
        let names = self.clients.get(client).map(|client| client.names.as_slice()).unwrap_or_default();
        let first = names.first().ok_or(Refusal::NotRegistered)?;
        match stated {
            None => Ok(first.clone()),
            Some(stated) => own(names, &stated).ok_or(Refusal::NotYourName),
        }
    }

    /// Whether two clients may signal each other: rooms are apart, but who is in none may call and be called by all.
    /// Private rooms have no walls: they only keep the clients of a dialect together.
    fn may_meet(&self, one: ClientId, other: ClientId) -> bool {
        let (Some(one), Some(other)) = (self.clients.get(one), self.clients.get(other)) else { return false };
        let roams = |client: &Client| client.rooms.iter().all(RoomName::is_private);
        roams(one) || roams(other) || one.rooms.intersection(&other.rooms).next().is_some()
    }

    /// Whether a client is connected, or has room to keep an event for when it is again.
    fn can_hold(&self, client: ClientId, event: &Event) -> bool {
        self.clients.get(client).is_some_and(|client| {
            client.conn.is_some() || client.session.as_ref().is_some_and(|s| s.can_hold(event, &self.limits))
        })
    }

    fn tell(&mut self, client: ClientId, event: Event, sender: Option<Sender>, fx: &mut Vec<HubEffect>) {
        let Some(state) = self.clients.get_mut(client) else { return };
        if let Some(session) = &mut state.session {
            session.keep(&event, state.conn.is_some(), &self.limits);
        }
        if let Some(conn) = state.conn {
            self.stats.messages_out += 1;
            fx.push(HubEffect::Tell { conn, event, sender });
        }
    }

    /// Takes a client out of everything and forgets it.
    fn end(&mut self, client: ClientId, why: Departure, fx: &mut Vec<HubEffect>) {
        self.grace.clear(&client);
        let Some(state) = self.clients.get_mut(client) else { return };
        state.conn = None;
        let session = state.session.take();
        for room in state.rooms.clone() {
            self.take_out(client, &room, why, fx);
        }
        for token in session.into_iter().flat_map(|session| session.into_tokens()) {
            self.tokens.remove(&token);
        }
        for name in self.clients.remove(client).map(|client| client.names).unwrap_or_default() {
            self.names.remove(&name);
            fx.push(HubEffect::Freed { name });
        }
        if self.names.is_empty() {
            // An empty map keeps its last node, wherever that lies.
            self.names = BTreeMap::new();
        }
    }
}

/// A name among those of a client, as it is kept there.
fn own(names: &[Name], name: &Name) -> Option<Name> {
    names.iter().find(|own| *own == name).cloned()
}
