//! What the hub ought to do, said again in obvious lines: a list of clients, searched from front to back.
//!
//! [`Model::apply`] answers one question per operation: who is told what? A line is a client's number and a text.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use enishi_core::hub::{ClientId, Hub, HubEffect};
use enishi_core::ids::Secrets;
use enishi_core::limits::Limits;
use enishi_core::machine::ConnId;
use enishi_core::signal::{Command, Departure, Envelope, Event, Letter, Name, Payload, Resumed, Signal, To};

/// One step of a story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// A new client connects.
    Connect,
    /// Client takes a name; whether it can resume.
    Register(u8, u8, bool),
    /// Client gives up a name.
    Unregister(u8, u8),
    /// Client enters a room.
    Join(u8, u8),
    /// Client leaves a room.
    Leave(u8, u8),
    /// Client sends to a name, under a name if stated.
    Send(u8, u8, Option<u8>),
    /// Client sends to a room.
    Shout(u8, u8),
    /// Client asks who is there.
    List(u8),
    /// Client's connection is lost.
    Lose(u8),
    /// Client says goodbye.
    Bye(u8),
    /// A new connection resumes the session of a client, having missed so many of its last events.
    Resume(u8, u8),
    /// Time passes, in seconds.
    Pass(u8),
}

/// What a client was told, with what cannot be known beforehand left out.
pub type Line = (usize, String);

#[derive(Debug, Clone, Default)]
struct Client {
    connected: bool,
    gone: bool,
    names: Vec<u8>,
    rooms: Vec<u8>,
    resumable: bool,
    waits_until: Option<u64>,
    /// Everything told since the session began.
    told: Vec<String>,
    /// How much of it reached the client: it was connected.
    reached: usize,
    /// How much of it the client has confirmed: a client does not go back behind what it said before.
    confirmed: usize,
}

/// The model.
#[derive(Debug, Default)]
pub struct Model {
    clients: Vec<Client>,
    seqs: BTreeMap<u8, u64>,
    second: u64,
    sent: u32,
    lines: Vec<Line>,
}

const GRACE: u64 = 10;
const NAMES: usize = 2;
const MEMBERS: usize = 3;

/// Tight bounds, so that a short story meets them.
pub fn limits() -> Limits {
    Limits {
        names_per_client: NAMES,
        room_members: MEMBERS,
        rooms_per_client: 1,
        grace: Duration::from_secs(GRACE),
        ..Limits::default()
    }
}

impl Model {
    /// Who is told what because of this operation, in order.
    pub fn apply(&mut self, op: Op) -> Vec<Line> {
        let alive = |c: u8| self.clients.get(usize::from(c)).is_some_and(|client| client.connected && !client.gone);
        // Every letter has a number, whatever becomes of it.
        self.sent += u32::from(matches!(op, Op::Send(..) | Op::Shout(..)));
        match op {
            Op::Connect => self.clients.push(Client { connected: true, ..Client::default() }),
            Op::Register(c, name, resumable) if alive(c) => self.register(c.into(), name, resumable),
            Op::Unregister(c, name) if alive(c) => self.unregister(c.into(), name),
            Op::Join(c, room) if alive(c) => self.join(c.into(), room),
            Op::Leave(c, room) if alive(c) => {
                if self.clients[usize::from(c)].rooms.contains(&room) {
                    self.exit(c.into(), room, "Left");
                } else {
                    self.tell(c.into(), "refused not-in-room".into());
                }
            }
            Op::Send(c, to, stated) if alive(c) => self.send(c.into(), to, stated),
            Op::Shout(c, room) if alive(c) => self.shout(c.into(), room),
            Op::List(c) if alive(c) => {
                let mut names: Vec<u8> = self.clients.iter().flat_map(|client| client.names.clone()).collect();
                names.sort_unstable();
                self.tell(c.into(), format!("listed {names:?}"));
            }
            Op::Lose(c) if alive(c) => self.lose(c.into()),
            Op::Bye(c) if alive(c) => self.end(c.into(), "Left"),
            Op::Resume(c, missed) => self.resume(c.into(), missed.into()),
            Op::Pass(seconds) => {
                self.second += u64::from(seconds);
                let mut due: Vec<(u64, usize)> = Vec::new();
                for (c, client) in self.clients.iter().enumerate() {
                    due.extend(client.waits_until.filter(|at| *at <= self.second).map(|at| (at, c)));
                }
                due.sort_unstable();
                for (_, c) in due {
                    self.end(c, "Gone");
                }
            }
            _ => {}
        }
        std::mem::take(&mut self.lines)
    }

    fn tell(&mut self, c: usize, text: String) {
        let client = &mut self.clients[c];
        if client.resumable {
            client.told.push(text.clone());
        }
        if client.connected {
            client.reached = client.told.len();
            self.lines.push((c, text));
        }
    }

    fn holder(&self, name: u8) -> Option<usize> {
        self.clients.iter().position(|client| client.names.contains(&name))
    }

    fn register(&mut self, c: usize, name: u8, resumable: bool) {
        match self.holder(name) {
            Some(holder) if holder == c => return self.tell(c, format!("registered {name} Fresh")),
            Some(holder) if self.clients[holder].connected => return self.tell(c, "refused name-taken".into()),
            Some(holder) => self.end(holder, "Gone"),
            None => {}
        }
        if self.clients[c].resumable {
            return self.tell(c, "refused already-registered".into());
        }
        if self.clients[c].names.len() == NAMES {
            return self.tell(c, "refused too-many-names".into());
        }
        self.clients[c].resumable = resumable;
        self.clients[c].names.push(name);
        self.tell(c, format!("registered {name} Fresh"));
    }

    fn unregister(&mut self, c: usize, name: u8) {
        let Some(position) = self.clients[c].names.iter().position(|own| *own == name) else {
            return self.tell(c, format!("refused not-your-name {name}"));
        };
        if position == 0 {
            for room in self.clients[c].rooms.clone() {
                self.exit(c, room, "Left");
            }
        }
        let client = &mut self.clients[c];
        client.names.remove(position);
        if client.names.is_empty() {
            client.resumable = false;
            client.told.clear();
            (client.reached, client.confirmed) = (0, 0);
        }
        self.tell(c, format!("unregistered {name}"));
    }

    fn members(&self, room: u8) -> Vec<usize> {
        let mut members: Vec<usize> =
            (0..self.clients.len()).filter(|c| self.clients[*c].rooms.contains(&room)).collect();
        members.sort_by_key(|c| self.clients[*c].names[0]);
        members
    }

    fn roster(&mut self, c: usize, room: u8) {
        let others: Vec<u8> =
            self.members(room).into_iter().filter(|m| *m != c).map(|m| self.clients[m].names[0]).collect();
        self.tell(c, format!("roster {room} {} {others:?}", self.seqs[&room]));
    }

    fn join(&mut self, c: usize, room: u8) {
        let Some(&name) = self.clients[c].names.first() else {
            return self.tell(c, "refused not-registered".into());
        };
        if self.clients[c].rooms.contains(&room) {
            return self.roster(c, room);
        }
        if !self.clients[c].rooms.is_empty() {
            return self.tell(c, "refused too-many-rooms".into());
        }
        let members = self.members(room);
        if members.len() == MEMBERS {
            return self.tell(c, "refused room-full".into());
        }
        if members.is_empty() {
            self.seqs.insert(room, 0);
        }
        let seq = self.next_seq(room);
        self.clients[c].rooms.push(room);
        for member in members {
            self.tell(member, format!("joined {room} {seq} {name}"));
        }
        self.roster(c, room);
    }

    fn next_seq(&mut self, room: u8) -> u64 {
        let seq = self.seqs.entry(room).or_default();
        *seq += 1;
        *seq
    }

    fn exit(&mut self, c: usize, room: u8, why: &str) {
        let name = self.clients[c].names[0];
        self.clients[c].rooms.retain(|r| *r != room);
        let seq = self.next_seq(room);
        for member in self.members(room).into_iter().chain([c]) {
            self.tell(member, format!("left {room} {seq} {name} {why}"));
        }
    }

    fn send(&mut self, c: usize, to: u8, stated: Option<u8>) {
        let Some(&first) = self.clients[c].names.first() else {
            return self.tell(c, format!("refused not-registered {to}"));
        };
        let from = stated.unwrap_or(first);
        if !self.clients[c].names.contains(&from) {
            return self.tell(c, format!("refused not-your-name {to}"));
        }
        match self.holder(to) {
            None => self.tell(c, format!("refused no-such-peer {to}")),
            Some(receiver) if !self.may_meet(c, receiver) => self.tell(c, format!("refused no-such-peer {to}")),
            Some(receiver) => self.tell(receiver, format!("{from} to {to}: {}", self.sent)),
        }
    }

    fn may_meet(&self, one: usize, other: usize) -> bool {
        let (one, other) = (&self.clients[one].rooms, &self.clients[other].rooms);
        one.is_empty() || other.is_empty() || one.iter().any(|room| other.contains(room))
    }

    fn shout(&mut self, c: usize, room: u8) {
        let Some(&from) = self.clients[c].names.first() else {
            return self.tell(c, "refused not-registered".into());
        };
        if !self.clients[c].rooms.contains(&room) {
            return self.tell(c, "refused not-in-room".into());
        }
        for member in self.members(room) {
            if member != c {
                self.tell(member, format!("{from} to room {room}: {}", self.sent));
            }
        }
    }

    fn lose(&mut self, c: usize) {
        self.clients[c].connected = false;
        if self.clients[c].resumable && !self.clients[c].names.is_empty() {
            self.clients[c].waits_until = Some(self.second + GRACE);
        } else {
            self.end(c, "Gone");
        }
    }

    fn end(&mut self, c: usize, why: &str) {
        self.clients[c].connected = false;
        for room in self.clients[c].rooms.clone() {
            self.exit(c, room, why);
        }
        self.clients[c] = Client { gone: true, ..Client::default() };
    }

    /// The new connection is a client of its own if nothing comes of it.
    fn resume(&mut self, c: usize, missed: usize) {
        let newcomer = self.clients.len();
        self.clients.push(Client { connected: true, ..Client::default() });
        let Some(client) = self.clients.get(c).filter(|client| client.resumable && !client.names.is_empty()) else {
            return self.tell(newcomer, "refused session-gone".into());
        };
        let (name, told) = (client.names[0], client.told.clone());
        let seen = client.reached.saturating_sub(missed).max(client.confirmed);
        self.clients[newcomer].gone = true;
        let client = &mut self.clients[c];
        client.connected = true;
        client.waits_until = None;
        client.told.truncate(seen);
        client.confirmed = seen;
        self.tell(c, format!("registered {name} Whole"));
        for text in told[seen..].iter().filter(|text| !text.starts_with("registered")) {
            self.tell(c, text.clone());
        }
    }
}

/// The hub itself, driven by the same operations.
#[derive(Debug)]
pub struct Real {
    hub: Hub,
    start: Instant,
    second: u64,
    sent: u32,
    clients: Vec<RealClient>,
    /// What the last resumption said.
    asked: u64,
}

#[derive(Debug)]
struct RealClient {
    id: ClientId,
    conn: Option<ConnId>,
    token: Option<Box<str>>,
    told: u64,
    confirmed: u64,
}

impl Default for Real {
    fn default() -> Self {
        let hub = Hub::new(limits(), Secrets::new([3; 32]));
        Real { hub, start: Instant::now(), second: 0, sent: 0, clients: Vec::new(), asked: 0 }
    }
}

impl Real {
    /// Who is told what because of this operation, in order.
    pub fn apply(&mut self, op: Op) -> Vec<Line> {
        let mut fx = Vec::new();
        let name = |n: u8| Name::new(format!("n{n}"));
        let room = |n: u8| Name::new(format!("r{n}"));
        let command = match op {
            Op::Connect => {
                self.connect();
                None
            }
            Op::Register(c, n, resumable) => Some((c, Command::Register { name: Some(name(n)), resumable })),
            Op::Unregister(c, n) => Some((c, Command::Unregister { name: name(n) })),
            Op::Join(c, r) => Some((c, Command::Join { room: room(r), tag: None })),
            Op::Leave(c, r) => Some((c, Command::Leave { room: room(r), tag: None })),
            Op::Send(c, to, from) => Some((c, self.signal(from.map(name), To::Peer(name(to))))),
            Op::Shout(c, r) => Some((c, self.signal(None, To::Room(room(r))))),
            Op::List(c) => Some((c, Command::List { tag: None })),
            Op::Bye(c) => Some((c, Command::Bye)),
            Op::Lose(c) => {
                if let Some(client) = self.clients.get_mut(usize::from(c))
                    && client.conn.take().is_some()
                {
                    let id = client.id;
                    self.hub.detach(self.now(), id, Departure::Gone, &mut fx);
                }
                None
            }
            Op::Resume(c, missed) => {
                self.connect();
                let (newcomer, old) = (self.clients.len() - 1, self.clients.get(usize::from(c)));
                let token = old.and_then(|old| old.token.clone()).unwrap_or_else(|| "none".into());
                let received = old.map_or(0, |old| old.told.saturating_sub(missed.into()).max(old.confirmed));
                self.asked = received;
                Some((newcomer as u8, Command::Resume { token, received }))
            }
            Op::Pass(seconds) => {
                self.second += u64::from(seconds);
                self.hub.timeout(self.now(), &mut fx);
                None
            }
        };
        if let Some((c, command)) = command
            && let Some(client) = self.clients.get_mut(usize::from(c)).filter(|client| client.conn.is_some())
        {
            let id = client.id;
            if command == Command::Bye {
                client.conn = None;
            }
            self.hub.command(self.now(), Duration::ZERO, id, command, &mut fx);
        }
        self.render(fx)
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_secs(self.second)
    }

    fn connect(&mut self) {
        let conn = ConnId(self.clients.len() as u64);
        let id = self.hub.attach(conn).expect("there is room");
        self.clients.push(RealClient { id, conn: Some(conn), token: None, told: 0, confirmed: 0 });
    }

    fn signal(&mut self, from: Option<Name>, to: To) -> Command {
        self.sent += 1;
        let payload = Payload::Text(self.sent.to_string());
        let letter = Letter::Open(Signal::Data { label: String::new(), payload });
        Command::Signal(Envelope { from, to, letter, tag: None, receipt: false })
    }

    fn render(&mut self, fx: Vec<HubEffect>) -> Vec<Line> {
        let mut lines = Vec::new();
        for effect in fx {
            match effect {
                HubEffect::Tell { conn, event, .. } => {
                    let c = self.clients.iter().position(|client| client.conn == Some(conn)).expect("a live client");
                    let client = &mut self.clients[c];
                    client.told += 1;
                    if let Event::Registered { token: Some(token), .. } = &event {
                        let is_new = client.token.replace(token.clone()).is_none_or(|before| before != *token);
                        if is_new && matches!(event, Event::Registered { resumed: Resumed::Fresh, .. }) {
                            // The session begins here.
                            (client.told, client.confirmed) = (1, 0);
                        }
                    }
                    lines.push((c, text(&event)));
                }
                HubEffect::Rebound { conn, client } => {
                    for known in &mut self.clients {
                        if known.conn == Some(conn) {
                            known.conn = None;
                        }
                    }
                    let known = self.clients.iter_mut().find(|known| known.id == client).expect("a known client");
                    known.conn = Some(conn);
                    (known.told, known.confirmed) = (self.asked, self.asked);
                }
                HubEffect::Replaced { .. } | HubEffect::Named { .. } | HubEffect::Freed { .. } => {}
            }
        }
        lines
    }
}

fn text(event: &Event) -> String {
    let number = |name: &Name| name.as_str()[1..].to_owned();
    let list = |names: &[Name]| format!("[{}]", names.iter().map(number).collect::<Vec<_>>().join(", "));
    match event {
        Event::Registered { name, resumed, .. } => {
            let resumed = match resumed {
                Resumed::Fresh => "Fresh",
                Resumed::Whole => "Whole",
                Resumed::WithGap => "WithGap",
            };
            format!("registered {} {resumed}", number(name))
        }
        Event::Unregistered { name } => format!("unregistered {}", number(name)),
        Event::Listed { names, .. } => format!("listed {}", list(names)),
        Event::Roster { room, place, members, .. } => {
            format!("roster {} {} {}", number(room), place.seq, list(members))
        }
        Event::Joined { room, place, name } => format!("joined {} {} {}", number(room), place.seq, number(name)),
        Event::Left { room, place, name, why } => {
            format!("left {} {} {} {why:?}", number(room), place.seq, number(name))
        }
        Event::Signal { from, to, letter: Letter::Open(Signal::Data { payload: Payload::Text(text), .. }) } => match to
        {
            To::Peer(to) => format!("{} to {}: {text}", number(from), number(to)),
            To::Room(room) => format!("{} to room {}: {text}", number(from), number(room)),
        },
        Event::Signal { .. } => "a signal that nobody sent".to_owned(),
        Event::Accepted { .. } => "accepted".to_owned(),
        Event::Refused { refusal, to, .. } => {
            let to = to.as_ref().map(|to| format!(" {}", number(to))).unwrap_or_default();
            format!("refused {}{to}", refusal.code())
        }
    }
}
