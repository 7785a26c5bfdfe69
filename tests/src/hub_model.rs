//! What the hub ought to do, said again in obvious lines: a list of clients, searched from front to back.
//!
//! A [`Model`] is asked what a hub is asked, and answers one question: who is told what? A [`Follower`] goes beside a
//! hub, step by step, and says where the two differ. What cannot be known beforehand is left out of the comparison (the
//! tokens of sessions and the epochs of rooms) or believed (an id that the hub invents).

pub mod ops;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use enishi_core::hub::{ClientId, HubEffect};
use enishi_core::limits::{Limits, PRIVATE_ROOM_MEMBERS};
use enishi_core::machine::ConnId;
use enishi_core::server::ask::{Asked, HubStep};
use enishi_core::signal::{
    Command, Departure, Envelope, Event, Letter, Name, Payload, Place, Refusal, Resumed, RoomName, Signal, Tag, To,
};

/// On which connection something is told, and what, with what cannot be known beforehand left out.
pub type Line = (ConnId, Event);

/// A client: one session, which may outlive its connection.
#[derive(Debug, Default)]
struct Client {
    /// What the hub calls it.
    id: Option<ClientId>,
    conn: Option<ConnId>,
    gone: bool,
    names: Vec<Name>,
    rooms: BTreeSet<RoomName>,
    session: Option<Session>,
    waits_until: Option<Instant>,
}

/// What makes a client resumable.
#[derive(Debug, Default)]
struct Session {
    /// The newest at the end; the one before it is valid until the client has said something.
    tokens: Vec<Box<str>>,
    /// Everything told since the session began, as far as the client may still say that it has seen it.
    told: Vec<Event>,
    /// From here on it is kept.
    kept_from: usize,
    /// Whether something did not fit while the client was away.
    gap: bool,
}

/// The model.
#[derive(Debug)]
pub struct Model {
    limits: Limits,
    clients: Vec<Client>,
    /// The number of the last event in each room that is not empty.
    seqs: BTreeMap<RoomName, u64>,
    lines: Vec<Line>,
}

impl Model {
    /// One that knows nobody.
    pub fn new(limits: Limits) -> Self {
        Model { limits, clients: Vec::new(), seqs: BTreeMap::new(), lines: Vec::new() }
    }

    /// All names, in order.
    pub fn names(&self) -> Vec<Name> {
        let names: BTreeSet<Name> = self.clients.iter().flat_map(|client| client.names.clone()).collect();
        names.into_iter().collect()
    }

    /// There is a client more: its number, unless there are as many as there may be.
    pub fn attach(&mut self, conn: ConnId) -> Option<usize> {
        if self.clients.iter().filter(|client| !client.gone).count() >= self.limits.clients {
            return None;
        }
        self.clients.push(Client { conn: Some(conn), ..Client::default() });
        Some(self.clients.len() - 1)
    }

    /// A client's connection is gone.
    pub fn detach(&mut self, now: Instant, c: usize, why: Departure) {
        let grace = self.limits.grace;
        let client = &mut self.clients[c];
        client.conn = None;
        if client.session.is_some() && !client.names.is_empty() && grace > Duration::ZERO {
            client.waits_until = Some(now + grace);
        } else {
            self.end(c, why);
        }
    }

    /// Those whose time to come back is over are gone: one after the other, at the same moment in the order of the hub's
    /// names for them.
    pub fn timeout(&mut self, now: Instant) {
        let mut due: Vec<usize> = (0..self.clients.len()).collect();
        due.retain(|c| self.clients[*c].waits_until.is_some_and(|at| at <= now));
        due.sort_by_key(|c| (self.clients[*c].waits_until, self.clients[*c].id));
        for c in due {
            self.end(c, Departure::Gone);
        }
    }

    /// Whoever waits may wait so much longer.
    pub fn put_off(&mut self, by: Duration) {
        for at in self.clients.iter_mut().filter_map(|client| client.waits_until.as_mut()) {
            *at += by;
        }
    }

    /// A client asks for something; `invented` is the id that the hub gives it if it asks for any.
    pub fn command(&mut self, now: Instant, c: usize, command: &Command, invented: Option<&Name>) {
        if let Some(session) = &mut self.clients[c].session {
            // It has the newest token: it could not have come here otherwise.
            let older = session.tokens.len().saturating_sub(1);
            session.tokens.drain(..older);
        }
        match command {
            Command::Register { name, resumable } => {
                let nobody = Name::private("nobody");
                let name = name.as_ref().or(invented).unwrap_or(&nobody).clone();
                self.register(c, name, *resumable);
            }
            Command::Resume { token, received } => self.resume(now, c, token, *received),
            Command::Unregister { name } => self.unregister(c, name),
            Command::List { tag } => {
                let names = self.names();
                self.tell(c, Event::Listed { names, tag: tag.clone() });
            }
            Command::Join { room, tag } => self.join(c, room, tag.clone()),
            Command::Leave { room, tag } => {
                if self.clients[c].rooms.contains(room) {
                    self.exit(c, room, Departure::Left);
                } else {
                    self.refuse(c, Refusal::NotInRoom, None, tag.clone());
                }
            }
            Command::Signal(envelope) => self.signal(c, envelope),
            Command::Bye => self.end(c, Departure::Left),
        }
    }

    /// A client is told that something was not done.
    pub fn refuse(&mut self, c: usize, refusal: Refusal, to: Option<Name>, tag: Option<Tag>) {
        self.tell(c, Event::Refused { refusal, to, tag });
    }

    /// Who was told what since the last time, in order.
    pub fn take_lines(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.lines)
    }

    /// The hub gave a token to the client of a connection.
    fn learn(&mut self, conn: ConnId, token: &str) {
        let client = self.clients.iter_mut().find(|client| client.conn == Some(conn));
        if let Some(session) = client.and_then(|client| client.session.as_mut())
            && !session.tokens.iter().any(|known| **known == *token)
        {
            session.tokens.push(token.into());
        }
    }

    fn tell(&mut self, c: usize, event: Event) {
        let client = &mut self.clients[c];
        if let Some(session) = &mut client.session {
            session.keep(&event, client.conn.is_some(), &self.limits);
        }
        if let Some(conn) = client.conn {
            self.lines.push((conn, event));
        }
    }

    fn holder(&self, name: &Name) -> Option<usize> {
        self.clients.iter().position(|client| client.names.contains(name))
    }

    fn register(&mut self, c: usize, name: Name, resumable: bool) {
        match self.holder(&name) {
            Some(holder) if holder == c => return self.welcome(c, name, Resumed::Fresh),
            Some(holder) if self.clients[holder].conn.is_some() => {
                return self.refuse(c, Refusal::NameTaken, None, None);
            }
            Some(holder) => self.end(holder, Departure::Gone),
            None => {}
        }
        if self.clients[c].session.is_some() {
            return self.refuse(c, Refusal::AlreadyRegistered, None, None);
        }
        if self.clients[c].names.len() >= self.limits.names_per_client {
            return self.refuse(c, Refusal::TooManyNames, None, None);
        }
        self.clients[c].session = resumable.then(Session::default);
        self.clients[c].names.push(name.clone());
        self.welcome(c, name, Resumed::Fresh);
    }

    fn welcome(&mut self, c: usize, name: Name, resumed: Resumed) {
        self.tell(c, Event::Registered { name, token: None, resumed });
    }

    fn unregister(&mut self, c: usize, name: &Name) {
        let Some(position) = self.clients[c].names.iter().position(|own| own == name) else {
            return self.refuse(c, Refusal::NotYourName, Some(name.clone()), None);
        };
        if position == 0 {
            for room in self.clients[c].rooms.clone() {
                self.exit(c, &room, Departure::Left);
            }
        }
        let client = &mut self.clients[c];
        client.names.remove(position);
        if client.names.is_empty() {
            client.session = None;
        }
        self.tell(c, Event::Unregistered { name: name.clone() });
    }

    /// Who is in a room, by their first names.
    fn members(&self, room: &RoomName) -> Vec<usize> {
        let mut members: Vec<usize> =
            (0..self.clients.len()).filter(|c| self.clients[*c].rooms.contains(room)).collect();
        members.sort_by_key(|c| self.clients[*c].names[0].clone());
        members
    }

    fn roster(&mut self, c: usize, room: &RoomName, tag: Option<Tag>) {
        let others = self.members(room).into_iter().filter(|member| *member != c);
        let members = others.map(|member| self.clients[member].names[0].clone()).collect();
        let place = Place { epoch: 0, seq: self.seqs[room] };
        self.tell(c, Event::Roster { room: room.clone(), place, members, tag });
    }

    fn join(&mut self, c: usize, room: &RoomName, tag: Option<Tag>) {
        let Some(name) = self.clients[c].names.first().cloned() else {
            return self.refuse(c, Refusal::NotRegistered, None, tag);
        };
        if self.clients[c].rooms.contains(room) {
            return self.roster(c, room, tag);
        }
        if self.clients[c].rooms.len() >= self.limits.rooms_per_client {
            return self.refuse(c, Refusal::TooManyRooms, None, tag);
        }
        if !self.seqs.contains_key(room) && self.seqs.len() >= self.limits.rooms {
            return self.refuse(c, Refusal::ServerFull, None, tag);
        }
        let members = self.members(room);
        let most = if room.is_private() { PRIVATE_ROOM_MEMBERS } else { self.limits.room_members };
        if members.len() >= most {
            return self.refuse(c, Refusal::RoomFull, None, tag);
        }
        let place = self.next_place(room);
        self.clients[c].rooms.insert(room.clone());
        for member in members {
            self.tell(member, Event::Joined { room: room.clone(), place, name: name.clone() });
        }
        self.roster(c, room, tag);
    }

    fn next_place(&mut self, room: &RoomName) -> Place {
        let seq = self.seqs.entry(room.clone()).or_default();
        *seq += 1;
        Place { epoch: 0, seq: *seq }
    }

    fn exit(&mut self, c: usize, room: &RoomName, why: Departure) {
        self.clients[c].rooms.remove(room);
        let name = self.clients[c].names[0].clone();
        let place = self.next_place(room);
        let members = self.members(room);
        if members.is_empty() {
            self.seqs.remove(room);
        }
        for member in members.into_iter().chain([c]) {
            self.tell(member, Event::Left { room: room.clone(), place, name: name.clone(), why });
        }
    }

    fn signal(&mut self, c: usize, envelope: &Envelope) {
        let Envelope { from, to, letter, tag, receipt } = envelope.clone();
        let about = if let To::Peer(name) = &to { Some(name.clone()) } else { None };
        let Some(first) = self.clients[c].names.first().cloned() else {
            return self.refuse(c, Refusal::NotRegistered, about, tag);
        };
        let from = from.unwrap_or(first);
        if !self.clients[c].names.contains(&from) {
            return self.refuse(c, Refusal::NotYourName, about, tag);
        }
        let receivers: Vec<usize> = match &to {
            To::Peer(name) => match self.holder(name).filter(|receiver| self.may_meet(c, *receiver)) {
                Some(receiver) => vec![receiver],
                None => return self.refuse(c, Refusal::NoSuchPeer, about, tag),
            },
            To::Room(room) if self.clients[c].rooms.contains(room) => {
                self.members(room).into_iter().filter(|member| *member != c).collect()
            }
            To::Room(_) => return self.refuse(c, Refusal::NotInRoom, None, tag),
        };
        let event = Event::Signal { from, to, letter };
        // To a room the receipt says no more than that everybody is tried.
        if receipt && (about.is_none() || receivers.iter().all(|receiver| self.can_hold(*receiver, &event))) {
            self.tell(c, Event::Accepted { tag: tag.clone() });
        }
        for receiver in receivers {
            if self.can_hold(receiver, &event) {
                self.tell(receiver, event.clone());
            } else {
                let about = about.clone().or_else(|| self.clients[receiver].names.first().cloned());
                self.refuse(c, Refusal::PeerAway, about, tag.clone());
            }
        }
    }

    fn may_meet(&self, one: usize, other: usize) -> bool {
        let (one, other) = (&self.clients[one].rooms, &self.clients[other].rooms);
        let is_in_none = |rooms: &BTreeSet<RoomName>| rooms.iter().all(RoomName::is_private);
        is_in_none(one) || is_in_none(other) || one.iter().any(|room| other.contains(room))
    }

    fn can_hold(&self, c: usize, event: &Event) -> bool {
        let client = &self.clients[c];
        client.conn.is_some() || client.session.as_ref().is_some_and(|session| session.fits(event, &self.limits))
    }

    fn end(&mut self, c: usize, why: Departure) {
        if self.clients[c].gone {
            return;
        }
        self.clients[c].conn = None;
        self.clients[c].session = None;
        for room in self.clients[c].rooms.clone() {
            self.exit(c, &room, why);
        }
        self.clients[c] = Client { gone: true, ..Client::default() };
    }

    /// The connection of `newcomer` goes over to an earlier client, if the token is of one.
    fn resume(&mut self, now: Instant, newcomer: usize, token: &str, received: u64) {
        let Client { conn, names, session, .. } = &self.clients[newcomer];
        let conn = *conn;
        if session.is_some() || !names.is_empty() {
            return self.refuse(newcomer, Refusal::AlreadyRegistered, None, None);
        }
        let knows = |session: &Session| {
            session.tokens.iter().any(|known| **known == *token) && received <= session.told.len() as u64
        };
        let wanted = self.clients.iter().position(|client| client.session.as_ref().is_some_and(knows));
        let due = |c: &usize| self.clients[*c].waits_until.is_some_and(|at| at <= now);
        let Some(c) = wanted.filter(|c| !due(c)) else {
            return self.refuse(newcomer, Refusal::SessionGone, None, None);
        };
        self.clients[newcomer] = Client { gone: true, ..Client::default() };
        let client = &mut self.clients[c];
        client.conn = conn;
        client.waits_until = None;
        let (rooms, name) = (client.rooms.clone(), client.names[0].clone());
        let Some(session) = &mut client.session else { return };
        session.tokens.retain(|known| **known == *token);
        let (missed, gap) = session.rewind(received as usize);
        self.welcome(c, name, if gap { Resumed::WithGap } else { Resumed::Whole });
        for room in rooms.iter().filter(|_| gap) {
            self.roster(c, room, None);
        }
        for event in missed {
            self.tell(c, event);
        }
    }
}

impl Session {
    fn fits(&self, event: &Event, limits: &Limits) -> bool {
        let kept = &self.told[self.kept_from..];
        let bytes: usize = kept.iter().map(weight).sum();
        kept.len() < limits.replay_events && bytes + weight(event) <= limits.replay_bytes
    }

    fn keep(&mut self, event: &Event, present: bool, limits: &Limits) {
        if !present && !self.fits(event, limits) {
            self.gap = true;
            return;
        }
        self.told.push(event.clone());
        let mut bytes: usize = self.told[self.kept_from..].iter().map(weight).sum();
        while self.told.len() - self.kept_from > limits.replay_events || bytes > limits.replay_bytes {
            bytes -= weight(&self.told[self.kept_from]);
            self.kept_from += 1;
        }
    }

    /// Goes back to what the client has seen: what of the rest is told again, and whether that is not all.
    fn rewind(&mut self, received: usize) -> (Vec<Event>, bool) {
        let gap = std::mem::take(&mut self.gap) || received < self.kept_from;
        let missed = self.told.split_off(received.max(self.kept_from));
        self.told.truncate(received);
        self.kept_from = received;
        let is_told_again = |event: &Event| match event {
            Event::Registered { .. } => false,
            Event::Roster { .. } | Event::Joined { .. } | Event::Left { .. } => !gap,
            _ => true,
        };
        (missed.into_iter().filter(is_told_again).collect(), gap)
    }
}

/// What an event counts among those that are kept.
fn weight(event: &Event) -> usize {
    let names = |names: &[Name]| names.iter().map(|name| name.as_str().len()).sum();
    let payload = |payload: &Payload| payload.length();
    let body = match event {
        Event::Listed { names: listed, .. } => names(listed),
        Event::Roster { members, .. } => names(members),
        Event::Signal { letter: Letter::Sealed(sealed), .. } => sealed.frame.len(),
        Event::Signal { letter: Letter::Open(signal), .. } => match signal {
            Signal::Offer { sdp } | Signal::Answer { sdp } => sdp.len(),
            Signal::Candidate(candidate) => candidate.candidate.len(),
            Signal::Data { label, payload: body } => label.len() + payload(body),
            Signal::EndOfCandidates { .. } | Signal::Restart => 0,
        },
        _ => 0,
    };
    128 + body
}

/// A model that goes beside a hub.
#[derive(Debug)]
pub struct Follower {
    model: Model,
    clients: BTreeMap<ClientId, usize>,
}

impl Follower {
    /// Beside a hub that knows nobody.
    pub fn new(limits: Limits) -> Self {
        Follower { model: Model::new(limits), clients: BTreeMap::new() }
    }

    /// All names, in order.
    pub fn names(&self) -> Vec<Name> {
        self.model.names()
    }

    /// The model is asked what the hub was asked.
    ///
    /// # Errors
    /// Who should have been told what, if that is not what was told.
    pub fn follow(&mut self, now: Instant, step: &HubStep) -> Result<(), String> {
        let told: Vec<Line> = step.effects.iter().filter_map(line).collect();
        self.ask(now, &step.asked, &told)?;
        let wanted = self.model.take_lines();
        if wanted != told {
            return Err(format!("{:?}: to be told was {wanted:?}, told was {told:?}", step.asked));
        }
        for effect in &step.effects {
            if let HubEffect::Tell { conn, event: Event::Registered { token: Some(token), .. }, .. } = effect {
                self.model.learn(*conn, token);
            }
        }
        Ok(())
    }

    fn ask(&mut self, now: Instant, asked: &Asked, told: &[Line]) -> Result<(), String> {
        let known = |client: &ClientId| self.clients.get(client).copied().ok_or(format!("{client:?} is nobody"));
        match asked {
            Asked::Attach(conn, client) => match (self.model.attach(*conn), client) {
                (Some(c), Some(client)) => {
                    self.model.clients[c].id = Some(*client);
                    self.clients.insert(*client, c);
                }
                (None, None) => {}
                (wanted, _) => return Err(format!("{asked:?}, but there is room for more: {}", wanted.is_some())),
            },
            Asked::Detach(client, why) => self.model.detach(now, known(client)?, *why),
            Asked::Command(client, command) => {
                let invented = told.iter().find_map(|(_, event)| match event {
                    Event::Registered { name, .. } => Some(name),
                    _ => None,
                });
                self.model.command(now, known(client)?, command, invented);
            }
            Asked::Refuse(client, refusal, to, tag) => {
                self.model.refuse(known(client)?, *refusal, to.clone(), tag.clone());
            }
            Asked::Timeout => self.model.timeout(now),
            Asked::PutOff(by) => self.model.put_off(*by),
        }
        Ok(())
    }
}

/// What an effect tells, without what cannot be known beforehand.
fn line(effect: &HubEffect) -> Option<Line> {
    let HubEffect::Tell { conn, event, .. } = effect else { return None };
    let mut event = event.clone();
    match &mut event {
        Event::Registered { token, .. } => *token = None,
        Event::Roster { place, .. } | Event::Joined { place, .. } | Event::Left { place, .. } => place.epoch = 0,
        _ => {}
    }
    Some((*conn, event))
}
