//! Operations on a hub, as numbers, for property tests and fuzzers.

use std::time::{Duration, Instant};

use enishi_core::hub::{ClientId, Hub, HubEffect};
use enishi_core::ids::Secrets;
use enishi_core::limits::Limits;
use enishi_core::machine::ConnId;
use enishi_core::server::ask::{Asked, HubStep};
use enishi_core::signal::{Command, Departure, Envelope, Event, Letter, Name, Payload, Resumed, Signal, To};

use crate::hub_model::Follower;

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

/// Tight bounds, so that a short story meets them.
pub fn limits() -> Limits {
    Limits {
        names_per_client: 2,
        room_members: 3,
        rooms_per_client: 1,
        rooms: 2,
        clients: 16,
        replay_events: 6,
        grace: Duration::from_secs(10),
        ..Limits::default()
    }
}

/// A hub, and the model that follows it.
#[derive(Debug)]
pub struct Followed {
    hub: Hub,
    follower: Follower,
    now: Instant,
    /// How many letters were written, so that all differ.
    letters: u32,
    conns: u64,
    clients: Vec<Client>,
    /// What the last resumption said.
    asked: u64,
}

/// What a client knows of itself.
#[derive(Debug)]
struct Client {
    id: ClientId,
    conn: Option<ConnId>,
    token: Option<Box<str>>,
    told: u64,
    /// What it said that it had seen: it does not go back behind that.
    confirmed: u64,
}

impl Default for Followed {
    fn default() -> Self {
        let hub = Hub::new(limits(), Secrets::new([3; 32]));
        Followed {
            hub,
            follower: Follower::new(limits()),
            now: Instant::now(),
            letters: 0,
            conns: 0,
            clients: Vec::new(),
            asked: 0,
        }
    }
}

impl Followed {
    /// Carries out an operation.
    ///
    /// # Errors
    /// Somebody was not told what the model says.
    pub fn apply(&mut self, op: Op) -> Result<(), String> {
        let name = |n: u8| Name::new(format!("n{n}"));
        let room = |n: u8| Name::new(format!("r{n}"));
        match op {
            Op::Connect => drop(self.connect()?),
            Op::Register(c, n, resumable) => {
                self.command(c, Command::Register { name: Some(name(n)), resumable })?;
            }
            Op::Unregister(c, n) => self.command(c, Command::Unregister { name: name(n) })?,
            Op::Join(c, r) => self.command(c, Command::Join { room: room(r), tag: None })?,
            Op::Leave(c, r) => self.command(c, Command::Leave { room: room(r), tag: None })?,
            Op::Send(c, to, from) => {
                let command = self.signal(from.map(name), To::Peer(name(to)));
                self.command(c, command)?;
            }
            Op::Shout(c, r) => {
                let command = self.signal(None, To::Room(room(r)));
                self.command(c, command)?;
            }
            Op::List(c) => self.command(c, Command::List { tag: None })?,
            Op::Bye(c) => {
                self.command(c, Command::Bye)?;
                if let Some(client) = self.clients.get_mut(usize::from(c)) {
                    client.conn = None;
                }
            }
            Op::Lose(c) => {
                if let Some(client) = self.clients.get_mut(usize::from(c))
                    && client.conn.take().is_some()
                {
                    let (id, mut fx) = (client.id, Vec::new());
                    self.hub.detach(self.now, id, Departure::Gone, &mut fx);
                    self.follow(Asked::Detach(id, Departure::Gone), fx)?;
                }
            }
            Op::Resume(c, missed) => {
                let old = self.clients.get(usize::from(c));
                let token = old.and_then(|old| old.token.clone()).unwrap_or_else(|| "none".into());
                let received = old.map_or(0, |old| old.told.saturating_sub(missed.into()).max(old.confirmed));
                self.asked = received;
                if let Some(newcomer) = self.connect()? {
                    self.command(newcomer, Command::Resume { token, received })?;
                }
            }
            Op::Pass(seconds) => {
                self.now += Duration::from_secs(seconds.into());
                let mut fx = Vec::new();
                self.hub.timeout(self.now, &mut fx);
                self.follow(Asked::Timeout, fx)?;
            }
        }
        Ok(())
    }

    fn connect(&mut self) -> Result<Option<u8>, String> {
        self.conns += 1;
        let conn = ConnId(self.conns);
        let id = self.hub.attach(conn).ok();
        self.follow(Asked::Attach(conn, id), Vec::new())?;
        let Some(id) = id else { return Ok(None) };
        self.clients.push(Client { id, conn: Some(conn), token: None, told: 0, confirmed: 0 });
        Ok(u8::try_from(self.clients.len() - 1).ok())
    }

    fn command(&mut self, c: u8, command: Command) -> Result<(), String> {
        let Some(client) = self.clients.get(usize::from(c)).filter(|client| client.conn.is_some()) else {
            return Ok(());
        };
        let (id, mut fx) = (client.id, Vec::new());
        self.hub.command(self.now, Duration::ZERO, id, command.clone(), &mut fx);
        self.follow(Asked::Command(id, command), fx)
    }

    fn signal(&mut self, from: Option<Name>, to: To) -> Command {
        self.letters += 1;
        let payload = Payload::Text(self.letters.to_string());
        let letter = Letter::Open(Signal::Data { label: String::new(), payload });
        Command::Signal(Envelope { from, to, letter, tag: None, receipt: self.letters.is_multiple_of(3) })
    }

    fn follow(&mut self, asked: Asked, effects: Vec<HubEffect>) -> Result<(), String> {
        for effect in &effects {
            match effect {
                HubEffect::Tell { conn, event, .. } => self.hear(*conn, event),
                HubEffect::Rebound { conn, client } => self.rebind(*conn, *client),
                HubEffect::Replaced { .. } | HubEffect::Named { .. } | HubEffect::Freed { .. } => {}
            }
        }
        self.follower.follow(self.now, &HubStep { asked, effects })
    }

    fn hear(&mut self, conn: ConnId, event: &Event) {
        let Some(client) = self.clients.iter_mut().find(|client| client.conn == Some(conn)) else { return };
        client.told += 1;
        if let Event::Registered { token: Some(token), resumed, .. } = event {
            let is_new = client.token.replace(token.clone()).is_none_or(|before| before != *token);
            if is_new && *resumed == Resumed::Fresh {
                // The session begins here.
                (client.told, client.confirmed) = (1, 0);
            }
        }
    }

    fn rebind(&mut self, conn: ConnId, id: ClientId) {
        for client in self.clients.iter_mut().filter(|client| client.conn == Some(conn)) {
            client.conn = None;
        }
        if let Some(client) = self.clients.iter_mut().find(|client| client.id == id) {
            client.conn = Some(conn);
            (client.told, client.confirmed) = (self.asked, self.asked);
        }
    }
}
