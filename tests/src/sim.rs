//! One seed, one world: a random story is told to a [`World`] and judged step by step.
//!
//! Bytes become a [`Plan`] (a cast, a network and operations, see [`plan`]); the same bytes come from a seed, from
//! proptest or from a fuzzer. [`run`] carries a plan out; after every step a [`judge::Judge`] compares what was seen with
//! what the invariants I1 to I9 allow. At the end everything is healed, and everybody must find each other again.

pub mod judge;
mod log;
pub mod mutation;
pub mod plan;
pub mod raw;

use std::any::Any;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use enishi_core::agent::{AgentCommand, AgentNotice};
use enishi_core::limits::Limits;
use enishi_core::machine::Frame;
use enishi_core::peer::Crypto;
use enishi_core::server::ServerConfig;
use enishi_core::signal::{Name, Payload, RoomName};
use enishi_core::turn::Credentials;
use tracing::Dispatch;

use crate::net::nat::Behaviour;
use crate::sim::judge::{Judge, Violation};
use crate::sim::mutation::Mutation;
use crate::sim::plan::{Member, Op, Plan, Weather};
use crate::turn_server::{self, VirtualTurn};
use crate::world::{Path, Traffic, Who, WireFault, World};

/// After everything is healed, this much later everybody is connected and knows who is there.
pub const PEACE: Duration = Duration::from_secs(180);

/// What is not heard by then is said again, and again after as long.
const SAY_AGAIN: Duration = Duration::from_secs(45);

/// After that, a text arrives within this time.
const HEARD: Duration = Duration::from_secs(240);

/// What a run came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Operations carried out.
    pub ops: usize,
    /// Of those, faults.
    pub faults: usize,
    /// How often the invariants were checked.
    pub checks: u64,
    /// Virtual time.
    pub time: Duration,
    /// From healing to everybody connected.
    pub healed: Duration,
    /// Each connection: from "connecting" to "connected".
    pub connects: Vec<Duration>,
    /// What went over the network.
    pub traffic: Traffic,
}

/// Carries out a plan.
///
/// # Errors
/// The first invariant that does not hold, or a panic.
pub fn run(
    plan: &Plan,
    mutation: Option<Mutation>,
    watch: &mut impl FnMut(&World, usize),
) -> Result<Report, Violation> {
    Sim::new(plan, mutation).run(watch)
}

/// Runs the plan of a seed, in a thread of its own: ICE and SCTP have generators of the thread.
///
/// # Errors
/// As [`run`].
///
/// # Panics
/// If no thread can be started.
pub fn run_seed(seed: u64, real_dtls: bool) -> Result<Report, Violation> {
    let run = move || {
        let mut plan = Plan::from_seed(seed);
        plan.real_dtls = real_dtls;
        run(&plan, None, &mut |_, _| ())
    };
    std::thread::spawn(run).join().expect("panics are caught")
}

/// The story of a plan, a line for each operation, each notice of an agent and, if wanted, each datagram; and how it
/// ends.
pub fn trace(plan: &Plan, datagrams: bool) -> (String, Result<Report, Violation>) {
    let (mut text, mut told, mut sent) = (format!("{:?}\n", plan.cast), 0, 0);
    let mut sim = Sim::new(plan, None);
    sim.world.datagrams = datagrams.then(Vec::new);
    let outcome = sim.run(&mut |world, number| {
        for (at, agent, notice) in &world.notices[told..] {
            let _ = writeln!(text, "{at:?} agent {agent}: {notice:?}");
        }
        told = world.notices.len();
        for (at, from, to, bytes) in world.datagrams.iter().flatten().skip(sent) {
            let _ = writeln!(text, "{at:?} {from} to {to}: {bytes} bytes");
        }
        sent = world.datagrams.as_ref().map_or(0, Vec::len);
        let op = plan.ops.get(number).map_or_else(|| "healing".to_owned(), |op| format!("{op:?}"));
        let _ = writeln!(text, "{:?} -- {number} {op}", world.elapsed());
    });
    (text, outcome)
}

/// The story that these bytes are: for fuzzers.
///
/// # Panics
/// If an invariant does not hold.
pub fn world(data: &[u8]) {
    let plan = Plan::from_bytes(0, data);
    if let Err(violation) = run(&plan, None, &mut |_, _| ()) {
        panic!("{violation}\n{plan:#?}");
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

/// A world and its judge.
struct Sim<'a> {
    plan: &'a Plan,
    world: World,
    judge: Judge,
    /// Where to log.
    log: Dispatch,
    report: Report,
    next_address: u8,
    /// The ids that raw clients last said they have.
    raw_names: Vec<String>,
}

impl<'a> Sim<'a> {
    fn new(plan: &'a Plan, mutation: Option<Mutation>) -> Self {
        let mut world = World::new(plan.seed);
        if plan.real_dtls {
            world.crypto = Crypto::default();
        }
        let user = Credentials { username: "u".to_owned(), password: "p".to_owned() };
        world.turn = plan.nats.then(|| VirtualTurn::new(world.now, &user));
        world.path = path(plan.weather);
        world.hub_steps = Some(Vec::new());
        world.start_server_with(server_config(plan));
        let (log, errors) = log::errors();
        Sim {
            plan,
            world,
            judge: Judge::new(mutation, errors),
            log,
            report: Report::default(),
            next_address: 1,
            raw_names: vec![String::new(); plan::RAWS],
        }
    }

    fn run(mut self, watch: &mut impl FnMut(&World, usize)) -> Result<Report, Violation> {
        let log = self.log.clone();
        let tell = || tracing::dispatcher::with_default(&log, || self.tell(watch));
        match catch_unwind(AssertUnwindSafe(tell)) {
            Ok(Ok(())) => Ok(self.report()),
            Ok(Err(violation)) => Err(violation),
            Err(panic) => Err(self.judge.violation("no panic", message(&*panic), &self.world)),
        }
    }

    fn tell(&mut self, watch: &mut impl FnMut(&World, usize)) -> Result<(), Violation> {
        for _ in 0..plan::RAWS {
            self.world.add_raw();
        }
        for member in &self.plan.cast {
            self.add(member);
            self.go_on(Duration::from_millis(member.later))?;
        }
        for (number, op) in self.plan.ops.iter().enumerate() {
            self.judge.op = number;
            self.report.ops += 1;
            self.report.faults += usize::from(op.is_fault());
            self.carry_out(op)?;
            self.look()?;
            watch(&self.world, number);
        }
        self.make_peace(watch)
    }

    fn report(self) -> Report {
        Report {
            checks: self.judge.checks,
            time: self.world.elapsed(),
            connects: self.judge.connects,
            traffic: self.world.traffic,
            ..self.report
        }
    }

    fn add(&mut self, member: &Member) {
        let index = self.world.agents();
        let (name, nats) = (plan::agent_name(index), self.plan.nats);
        self.world.next_nat = (nats && member.behind_nat).then_some(Behaviour::HOME);
        self.judge.add(index, &name, member);
        self.world.add_with(member.dialect, &name, None, |config| {
            config.room = member.room.map(|room| RoomName::from(plan::room_name(room).as_str()));
            if nats {
                config.stun = vec![turn_server::ADDRESS];
            }
        });
        let host = self.world.host(index);
        let (up, down) = (self.plan.weather.link(), self.plan.weather.link());
        self.world.net.set_links(host, up, down);
    }

    /// Lets time pass, and looks at every step.
    fn go_on(&mut self, time: Duration) -> Result<(), Violation> {
        let end = self.world.now + time;
        while self.world.step(end) {
            self.look()?;
        }
        self.world.now = end;
        self.look()
    }

    fn look(&mut self) -> Result<(), Violation> {
        for ended in self.judge.look(&self.world)? {
            self.world.crash(ended);
        }
        Ok(())
    }

    fn carry_out(&mut self, op: &Op) -> Result<(), Violation> {
        let agents = self.world.agents();
        let agent = |number: u8| usize::from(number) % agents.max(1);
        let other = |one: u8, other: u8| {
            Name::from(plan::agent_name(agent(other.wrapping_add(u8::from(agent(one) == agent(other))))).as_str())
        };
        match *op {
            Op::Run(millis) => self.go_on(Duration::from_millis(millis.into()))?,
            Op::Add(ref member) if agents < plan::AGENTS => self.add(member),
            Op::Add(_) => {}
            Op::Join(one, room) => self.join(agent(one), room),
            Op::Leave(one, room) => self.leave(agent(one), room),
            Op::Offer(one, to) => self.world.command(agent(one), AgentCommand::Offer(other(one, to))),
            Op::Send(one, to) => {
                let payload = self.judge.text(agent(one), 'm');
                let to = Some(other(one, to));
                self.world.command(agent(one), AgentCommand::Send { to, label: None, payload });
            }
            Op::Broadcast(one) => {
                let payload = self.judge.text(agent(one), 'm');
                self.world.command(agent(one), AgentCommand::Send { to: None, label: None, payload });
            }
            Op::Relay(one, to) => {
                let payload = self.judge.text(agent(one), 'r');
                let (to, label) = (other(one, to), "chat".to_owned());
                self.world.command(agent(one), AgentCommand::Relay { to, label, payload });
            }
            Op::RestartIce(one, to) => self.world.command(agent(one), AgentCommand::Restart(other(one, to))),
            Op::Quit(one) => {
                self.judge.quits(agent(one));
                self.world.command(agent(one), AgentCommand::Quit);
            }
            Op::Crash(one) => {
                self.judge.crashed(agent(one));
                self.world.crash(agent(one));
            }
            Op::Restart(one) => self.restart(agent(one)),
            Op::Raw(raw, word) => self.raw(usize::from(raw) % plan::RAWS, word),
            Op::Hurt(one, fault) => self.world.hurt(Who::Agent(agent(one)), fault),
            Op::HurtRaw(raw, fault) => self.world.hurt(Who::Raw(usize::from(raw) % plan::RAWS), fault),
            Op::Resume => self.world.resume(),
            Op::KillServer => self.world.kill_server(),
            Op::StartServer => self.start_server(),
            Op::Stop(one, millis) => self.world.stop(Who::Agent(agent(one)), Duration::from_millis(millis.into())),
            Op::StopServer(millis) => self.world.stop(Who::Server, Duration::from_millis(millis.into())),
            Op::Wall(hours) => self.world.wall_offset = Duration::from_secs(u64::from(hours) * 3600),
            Op::Weather(one, weather) => {
                let host = self.world.host(agent(one));
                self.world.net.set_links(host, weather.link(), weather.link());
            }
            Op::Part(one, two, parted) => {
                let (one, two) = (self.world.host(agent(one)), self.world.host(agent(two)));
                self.world.net.part(one, two, parted);
            }
            Op::CutOff(one, cut_off) => {
                let host = self.world.host(agent(one));
                self.world.net.cut_off(host, cut_off);
            }
            Op::Roam(one) => {
                let host = self.world.host(agent(one));
                self.next_address = self.next_address.wrapping_add(1);
                self.world.net.roam(host, [198, 18, 0, self.next_address].into());
                self.world.hurt(Who::Agent(agent(one)), WireFault::Vanish);
            }
        }
        Ok(())
    }

    fn join(&mut self, agent: usize, room: u8) {
        if !self.world.is_crashed(agent) && self.judge.joins(agent, &plan::room_name(room)) {
            self.world.command(agent, AgentCommand::Join(plan::room_name(room).as_str().into()));
        }
    }

    fn leave(&mut self, agent: usize, room: u8) {
        if !self.world.is_crashed(agent) && self.judge.leaves(agent, &plan::room_name(room)) {
            self.world.command(agent, AgentCommand::Leave(plan::room_name(room).as_str().into()));
        }
    }

    fn restart(&mut self, agent: usize) {
        if self.world.is_crashed(agent) {
            self.judge.restarted(agent);
            self.world.restart(agent);
        }
    }

    fn start_server(&mut self) {
        if self.world.server().is_none() {
            self.world.start_server_with(server_config(self.plan));
        }
    }

    fn raw(&mut self, raw: usize, word: raw::Word) {
        match word {
            raw::Word::Hello(_) => self.raw_names[raw] = format!("x{raw}"),
            raw::Word::Impostor(agent) => self.raw_names[raw] = plan::agent_name(usize::from(agent) % plan::AGENTS),
            _ => {}
        }
        let words = raw::words(&self.raw_names[raw], word);
        if let Some(path) = words.path {
            self.world.raw_connect(raw, &path);
        }
        if let Some(head) = words.head {
            self.world.raw_request(raw, &head);
        }
        if let Some((room, name)) = words.joins {
            self.judge.somebody_joins(&room, &name);
        }
        for frame in words.frames {
            self.world.raw_send(raw, frame);
        }
    }

    /// Everything is healed; and everybody finds each other.
    fn make_peace(&mut self, watch: &mut impl FnMut(&World, usize)) -> Result<(), Violation> {
        let healing = self.plan.ops.len();
        self.judge.op = healing;
        self.world.path = Path::default();
        self.world.net.heal();
        self.world.resume();
        self.start_server();
        for raw in 0..self.world.raws() {
            self.world.hurt(Who::Raw(raw), WireFault::Cut);
        }
        self.look()?;
        let begin = self.world.now;
        while let Some(missing) = self.judge.missing(&self.world, self.plan) {
            if self.world.now - begin > PEACE {
                watch(&self.world, healing);
                return Err(self.judge.violation("I7: all who have a path are connected", missing, &self.world));
            }
            self.go_on(Duration::from_secs(1))?;
        }
        self.report.healed = self.world.now - begin;
        if self.plan.is_peaceable() {
            self.talk(watch)?;
            self.judge.settle(&self.world)?;
        }
        Ok(())
    }

    /// Everybody says something, and all who share a room hear it. What an address that changed broke unnoticed comes
    /// to light only now: who is not heard says it again.
    fn talk(&mut self, watch: &mut impl FnMut(&World, usize)) -> Result<(), Violation> {
        let begin: Instant = self.world.now;
        let mut said: Option<Instant> = None;
        while let Some(missing) = self.judge.unheard(&self.world) {
            if self.world.now - begin > HEARD {
                watch(&self.world, self.plan.ops.len());
                return Err(self.judge.violation("I7: who is connected is heard", missing, &self.world));
            }
            if said.is_none_or(|at| self.world.now - at > SAY_AGAIN) {
                said = Some(self.world.now);
                for agent in 0..self.world.agents() {
                    if !self.world.is_crashed(agent) {
                        self.world.say(agent, &format!("p/{agent}"));
                        self.look()?;
                    }
                }
            }
            self.go_on(Duration::from_millis(500))?;
        }
        self.go_on(Duration::from_secs(2))
    }
}

fn server_config(plan: &Plan) -> ServerConfig {
    let mut limits = Limits::default();
    if plan.tiny {
        limits = Limits {
            connections: 12,
            message_bytes: 16 * 1024,
            messages_per_second: 5,
            message_burst: 10,
            outbox_soft_bytes: 8 * 1024,
            outbox_soft_messages: 8,
            outbox_hard_bytes: 32 * 1024,
            outbox_hard_messages: 32,
            clients: 8,
            names_per_client: 2,
            rooms: 2,
            room_members: 3,
            rooms_per_client: 1,
            grace: Duration::from_secs(2),
            replay_events: 4,
            replay_bytes: 4 * 1024,
            ..limits
        };
    }
    ServerConfig { limits, ..ServerConfig::default() }
}

fn path(weather: Weather) -> Path {
    match weather {
        Weather::Fair => Path::default(),
        _ => Path { jitter: Duration::from_millis(10), ..Path::default() },
    }
}

impl Plan {
    /// Whether all who share a room must be able to meet in the end: not where bounds are so tight that some are
    /// refused.
    pub fn is_peaceable(&self) -> bool {
        !self.tiny
    }
}

/// A frame with a text.
pub(crate) fn text_frame(text: impl Into<String>) -> Frame {
    Frame::text(text.into())
}

/// Whether a notice says that a peer connection is new.
pub(crate) fn payload_text(payload: &Payload) -> Option<&str> {
    match payload {
        Payload::Text(text) => Some(text),
        Payload::Binary(_) => None,
    }
}

/// The message of a notice: from whom, what, and whether the server relayed it.
pub(crate) fn heard(notice: &AgentNotice) -> Option<(&Name, &str, bool)> {
    match notice {
        AgentNotice::Message { id, payload, .. } => Some((id, payload_text(payload)?, false)),
        AgentNotice::Relayed { from, payload, .. } => Some((from, payload_text(payload)?, true)),
        _ => None,
    }
}
