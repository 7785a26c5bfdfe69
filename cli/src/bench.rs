//! `enishi bench`: how fast a signaling server is, this one or another that speaks one of our dialects.
//!
//! The primary figure is the server's CPU time per message, from the kernel's accounting. Everything is bounded in time
//! and count, and every message is numbered: a run in which one is lost, reordered or doubled has failed.

mod churn;
mod client;
mod crowd;
mod datachannel;
mod link;
mod load;
mod message;
mod pairs;
mod peers;
mod process;
mod progress;
mod report;
mod rooms;
mod server;
mod speech;

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use enishi_core::dialect::Dialect;
use enishi_core::limits::CHANNEL_BUFFER_BYTES;

use crate::args::print;
use crate::failure::{DONE, FAILED, Failure};
use crate::runtime::Runtime;
use crate::url::WsUrl;

use load::Load;
use message::Payload;
use pairs::{Others, Plan, Talk};
use process::Pid;
use progress::Progress;
use report::Report;
use server::OwnServer;
use speech::Tongue;

/// Files that a process needs besides its connections.
const OTHER_FILES: u64 = 64;

/// Members of a mesh: what is between them grows with the square.
const MESH: usize = 2000;

/// What was typed after `enishi bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    workload: Workload,
}

#[derive(Debug, Subcommand)]
enum Workload {
    /// Signals between pairs of clients, as fast as the server can, or at a rate
    Relay(RelayArgs),
    /// Call set-ups between pairs: offer, answer, five candidates each way
    Calls(CallsArgs),
    /// How long a signal takes at a rate, from when it should have been sent
    Latency(LatencyArgs),
    /// One client to all others in its room
    Fanout(FanoutArgs),
    /// Everybody enters one room, and sets up a connection with everybody
    Mesh(MeshArgs),
    /// Connecting, the upgrade and the registration
    Setup(CrowdArgs),
    /// What silent clients cost, and what memory stays when they have left
    Idle(CrowdArgs),
    /// Pairs that come, talk and go all the time; fails if the server's memory or descriptors grow
    Churn(ChurnArgs),
    /// Messages on data channels between peers in this process
    Datachannel(ChannelArgs),
    /// What silent peer connections in this process cost, and what memory stays when they have left
    Peers(PeersArgs),
}

#[derive(Debug, Args)]
struct RelayArgs {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    measure: Measure,

    /// How many clients, in pairs
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = even)]
    clients: usize,

    /// What they send
    #[arg(long, value_enum, default_value_t = Payload::Sdp)]
    payload: Payload,

    /// The length of a session description
    #[arg(long, value_name = "BYTES", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(800..=262_144))]
    bytes: u32,

    /// Messages of each client that are on their way at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    window: u16,

    /// Messages a second in all, at random times that wait for nobody [default: as fast as the server can]
    #[arg(long, value_name = "R", value_parser = rate)]
    rate: Option<f64>,
}

#[derive(Debug, Args)]
struct CallsArgs {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    measure: Measure,

    /// How many clients, in pairs
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = even)]
    clients: usize,
}

#[derive(Debug, Args)]
struct LatencyArgs {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    measure: Measure,

    /// How many clients, in pairs
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = even)]
    clients: usize,

    /// What they send
    #[arg(long, value_enum, default_value_t = Payload::Candidate)]
    payload: Payload,

    /// Messages a second in all
    #[arg(long, value_name = "R", default_value = "5000", value_parser = rate)]
    rate: f64,

    /// So many others who do not read what they are sent
    #[arg(long, value_name = "N", default_value_t = 0)]
    slow_readers: u16,

    /// So many other pairs who send as fast as they can
    #[arg(long, value_name = "N", default_value_t = 0)]
    flooders: u16,

    /// So many others who say nothing
    #[arg(long, value_name = "N", default_value_t = 0)]
    idle: u16,
}

#[derive(Debug, Args)]
struct FanoutArgs {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    window: Window,

    /// How many clients are in the room
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = some)]
    clients: usize,

    /// What is sent
    #[arg(long, value_enum, default_value_t = Payload::Sdp)]
    payload: Payload,
}

#[derive(Debug, Args)]
struct MeshArgs {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    window: Window,

    /// How many clients are in the room
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = some)]
    clients: usize,
}

#[derive(Debug, Args)]
struct CrowdArgs {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    window: Window,

    /// How many clients there are at once
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = even)]
    clients: usize,
}

#[derive(Debug, Args)]
struct ChurnArgs {
    #[command(flatten)]
    target: Target,

    /// How many clients there are at once, in pairs
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = even)]
    clients: usize,

    /// Connections a second that replace the oldest
    #[arg(long, value_name = "R", default_value = "200", value_parser = rate)]
    rate: f64,

    /// Go on for so long
    #[arg(long, value_name = "S", default_value = "600", value_parser = crate::limit_flags::seconds)]
    seconds: Duration,
}

#[derive(Debug, Args)]
struct ChannelArgs {
    /// What lies between the peers [default: memory, or simulated if --rtt, --loss or --mbit is given]
    #[arg(long, value_enum)]
    path: Option<PathKind>,

    /// The round-trip time of a simulated path, in milliseconds
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u16).range(0..=10_000))]
    rtt: Option<u16>,

    /// The share of datagrams that a simulated path loses in each direction
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    loss: Option<f64>,

    /// The rate of a simulated path in each direction, in megabits a second [default: unlimited]
    #[arg(long, value_name = "RATE", value_parser = rate)]
    mbit: Option<f64>,

    /// The length of a message
    #[arg(long, value_name = "BYTES", default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(8..=262_144))]
    bytes: u32,

    /// Ports on 127.0.0.1 of a link between the peers, two for each connection [with: --path loopback]
    #[arg(long, value_name = "PORT", value_delimiter = ',')]
    through: Vec<u16>,

    /// Bytes that a sender holds
    #[arg(long, value_name = "BYTES", default_value_t = CHANNEL_BUFFER_BYTES)]
    buffer: usize,

    /// Peer connections that send at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,

    /// Send for so long before measuring, of the path's time [default: until the rate has not risen for 2 s, 30 at most]
    #[arg(long, value_name = "S", value_parser = crate::limit_flags::seconds)]
    warm_up: Option<Duration>,

    /// Measure for so long, of the path's time
    #[arg(long, value_name = "S", default_value = "5", value_parser = crate::limit_flags::seconds)]
    seconds: Duration,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct PeersArgs {
    /// How many peers there are at once, each connected with one other
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = peers)]
    peers: usize,

    #[command(flatten)]
    window: Window,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PathKind {
    /// No network: datagrams are handed over
    Memory,
    /// UDP on 127.0.0.1
    Loopback,
    /// A link in virtual time
    Simulated,
}

/// Which server, and in which language.
#[derive(Debug, Args)]
struct Target {
    /// The server [default: one of its own, as a child process on a core of its own]
    #[arg(long, value_name = "URL")]
    url: Option<WsUrl>,

    /// The protocol to speak [default: conic-c; in rooms: enishi]
    #[arg(long, value_parser = tongues())]
    dialect: Option<Tongue>,

    /// The driver of a server of its own
    #[arg(long, value_enum, default_value_t = Runtime::Mio, conflicts_with = "url")]
    runtime: Runtime,

    /// Leave limits and log of a server of its own as they are [default: limits raised, so that they do not decide, no log]
    #[arg(long, conflicts_with = "url")]
    usual_limits: bool,

    /// The process of the server at --url, to tell its CPU time and memory
    #[arg(long, value_name = "PID", requires = "url")]
    pid: Option<u32>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// For how long.
#[derive(Debug, Args)]
struct Window {
    /// Measure for so long
    #[arg(long, value_name = "S", default_value = "5", value_parser = crate::limit_flags::seconds)]
    seconds: Duration,
}

/// For how long, and how much.
#[derive(Debug, Args)]
struct Measure {
    #[command(flatten)]
    window: Window,

    /// End after so many messages
    #[arg(long, value_name = "N", default_value_t = 1_000_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
}

/// Runs a workload, and gives the exit code.
///
/// # Errors
/// It could not be run.
pub fn run(args: &BenchArgs) -> Result<u8, Failure> {
    match &args.workload {
        Workload::Relay(args) => {
            let plan = Plan {
                talk: Talk::Only(args.payload),
                bytes: args.bytes as usize,
                window: args.window.into(),
                rate: args.rate,
                window_time: args.measure.window.seconds,
                count: args.measure.count,
                others: Others::default(),
            };
            in_pairs("relay", &args.target, args.clients, plan)
        }
        Workload::Calls(args) => in_pairs("calls", &args.target, args.clients, args.measure.plan(Talk::Calls, None)),
        Workload::Latency(args) => {
            let others =
                Others { slow: args.slow_readers.into(), flooding: args.flooders.into(), idle: args.idle.into() };
            let plan = Plan { others, ..args.measure.plan(Talk::Only(args.payload), Some(args.rate)) };
            in_pairs("latency", &args.target, args.clients, plan)
        }
        Workload::Fanout(FanoutArgs { target, window, clients, payload }) => {
            let dialect = target.dialect.unwrap_or(Tongue::Ours(Dialect::Enishi));
            measured("fanout", target, dialect, *clients, |load, pid, progress| {
                load.connect(*clients, |_| 0, progress)?;
                rooms::fanout(load, *payload, window.seconds, pid, progress)
            })
        }
        Workload::Mesh(MeshArgs { target, window, clients }) => {
            if *clients > MESH {
                return Err(Failure::Usage(format!(
                    "a mesh of {clients} is too much: choose --clients {MESH} or less"
                )));
            }
            let dialect = target.dialect.unwrap_or(Tongue::Ours(Dialect::Enishi));
            measured("mesh", target, dialect, *clients, |load, pid, progress| {
                rooms::mesh(load, *clients, window.seconds, pid, progress)
            })
        }
        Workload::Datachannel(args) => channels(args),
        Workload::Peers(args) => {
            alone("peers", args.json, |progress| peers::run(args.peers, args.window.seconds, progress))
        }
        Workload::Setup(CrowdArgs { target, window, clients }) => {
            let dialect = target.dialect.unwrap_or(Tongue::Ours(Dialect::ConicC));
            measured("setup", target, dialect, *clients, |load, pid, progress| {
                crowd::setup(load, *clients, window.seconds, pid, progress)
            })
        }
        Workload::Idle(CrowdArgs { target, window, clients }) => {
            let dialect = target.dialect.unwrap_or(Tongue::Ours(Dialect::ConicC));
            measured("idle", target, dialect, *clients, |load, pid, progress| {
                crowd::idle(load, *clients, window.seconds, pid, progress)
            })
        }
        Workload::Churn(ChurnArgs { target, clients, rate, seconds }) => {
            let dialect = target.dialect.unwrap_or(Tongue::Ours(Dialect::ConicC));
            check_pairs(dialect, *clients)?;
            measured("churn", target, dialect, *clients, |load, pid, progress| {
                churn::churn(load, *clients, *rate, *seconds, pid, progress)
            })
        }
    }
}

fn channels(args: &ChannelArgs) -> Result<u8, Failure> {
    let shaped = args.rtt.is_some() || args.loss.is_some() || args.mbit.is_some();
    let path = match args.path {
        Some(PathKind::Memory | PathKind::Loopback) if shaped => {
            return Err(Failure::Usage("--rtt, --loss and --mbit are for --path simulated".into()));
        }
        Some(PathKind::Loopback) if ![0, 2 * usize::from(args.connections)].contains(&args.through.len()) => {
            return Err(Failure::Usage("--through wants two ports for each connection".into()));
        }
        Some(PathKind::Loopback) => link::Path::Loopback { through: args.through.clone() },
        _ if !args.through.is_empty() => return Err(Failure::Usage("--through is for --path loopback".into())),
        None if !shaped => link::Path::Memory,
        Some(PathKind::Memory) => link::Path::Memory,
        Some(PathKind::Simulated) | None => link::Path::Simulated {
            rtt: Duration::from_millis(args.rtt.unwrap_or(0).into()),
            loss: args.loss.unwrap_or(0.0) / 100.0,
            megabits: args.mbit,
        },
    };
    server::raise_files();
    let plan = datachannel::Plan {
        path,
        bytes: args.bytes as usize,
        connections: args.connections.into(),
        buffer: args.buffer,
        warm_up: args.warm_up,
        window: args.seconds,
    };
    alone("datachannel", args.json, |progress| datachannel::run(&plan, progress))
}

/// Runs a workload that needs no server, and prints what it found.
fn alone(
    workload: &'static str,
    json: bool,
    run: impl FnOnce(&Progress) -> Result<Report, Failure>,
) -> Result<u8, Failure> {
    let progress = Progress::new();
    let mut report = Report::default();
    report.put("workload", "workload", Some(workload), "");
    report.extend(run(&progress)?);
    drop(progress);
    if cfg!(debug_assertions) {
        report.remark("this is a debug build: its figures mean nothing".into());
    }
    print(if json { report.json() } else { report.text() }.as_bytes())?;
    Ok(if report.failed() { FAILED } else { DONE })
}

impl Measure {
    fn plan(&self, talk: Talk, rate: Option<f64>) -> Plan {
        Plan {
            talk,
            bytes: 2048,
            window: 1,
            rate,
            window_time: self.window.seconds,
            count: self.count,
            others: Others::default(),
        }
    }
}

fn in_pairs(workload: &'static str, target: &Target, clients: usize, plan: Plan) -> Result<u8, Failure> {
    let dialect = target.dialect.unwrap_or(Tongue::Ours(Dialect::ConicC));
    check_pairs(dialect, clients)?;
    let clients = clients + plan.others.clients();
    measured(workload, target, dialect, clients, |load, pid, progress| {
        let before = pid.and_then(Pid::rss);
        load.connect(clients, |index| index / 2, progress)?;
        let idle = pid.and_then(Pid::rss);
        let mut report = pairs::run(load, plan, pid, progress)?;
        let grown = |now: Option<u64>| Some(now?.saturating_sub(before?) / clients as u64);
        let after = pid.and_then(Pid::rss);
        report.put("rss_bytes", "memory", after, "bytes");
        report.put("idle_bytes_per_connection", "per connection, idle", grown(idle), "bytes");
        report.put("bytes_per_connection", "after traffic", grown(after), "bytes");
        Ok(report)
    })
}

fn check_pairs(dialect: Tongue, clients: usize) -> Result<(), Failure> {
    if dialect.is_broadcast() && clients > 2 {
        let name = dialect.name();
        return Err(Failure::Usage(format!("{name} has no pairs, all hear each other: choose --clients 2, or fanout")));
    }
    Ok(())
}

/// Starts what a workload needs, runs it, and prints what it found.
fn measured(
    workload: &'static str,
    target: &Target,
    dialect: Tongue,
    clients: usize,
    run: impl FnOnce(&mut Load, Option<Pid>, &Progress) -> Result<Report, Failure>,
) -> Result<u8, Failure> {
    let bench = Bench::start(workload, target, dialect, clients)?;
    let mut load = Load::new(&bench.url, dialect)?;
    let report = run(&mut load, bench.pid, &bench.progress)?;
    load.disconnect();
    bench.end(report)
}

/// What every workload against a server needs.
struct Bench<'a> {
    workload: &'static str,
    target: &'a Target,
    dialect: Tongue,
    server: Option<OwnServer>,
    url: String,
    pid: Option<Pid>,
    pinned: bool,
    progress: Progress,
}

impl<'a> Bench<'a> {
    fn start(workload: &'static str, target: &'a Target, dialect: Tongue, clients: usize) -> Result<Self, Failure> {
        let files = server::raise_files();
        if clients as u64 + OTHER_FILES > files {
            let most = files.saturating_sub(OTHER_FILES);
            return Err(Failure::Usage(format!(
                "{clients} clients need more files than the system allows: choose --clients {most} or less, or raise `ulimit -n`"
            )));
        }
        if target.url.is_none() && !dialect.is_ours() {
            let name = dialect.name();
            return Err(Failure::Usage(format!("our own server does not speak {name}: choose another's with --url")));
        }
        let server = match target.url {
            Some(_) => None,
            None => {
                server::pin(0);
                Some(OwnServer::start(target.runtime, !target.usual_limits)?)
            }
        };
        let url = match (&target.url, &server) {
            (Some(url), _) => url.to_string(),
            (None, Some(server)) => server.url.clone(),
            (None, None) => String::new(),
        };
        let pid = server.as_ref().map(OwnServer::pid).or(target.pid.map(Pid));
        if let Some(pid) = pid
            && pid.rss().is_none()
        {
            return Err(Failure::Usage(format!("there is no process {} here to look at; check --pid", pid.0)));
        }
        // Who starts the server says where it runs; we take the second core, as the servers of our own have the first.
        let pinned = server::pin(1);
        Ok(Bench { workload, target, dialect, server, url, pid, pinned, progress: Progress::new() })
    }

    /// Prints the report, and gives the exit code.
    fn end(self, mut figures: Report) -> Result<u8, Failure> {
        let mut report = Report::default();
        report.put("workload", "workload", Some(self.workload), "");
        report.put("server", "server", Some(self.name()), "");
        report.put("dialect", "dialect", Some(self.dialect.name()), "");
        if self.pid.is_none() {
            figures.remark("without --pid nothing is known of the server's CPU time and memory".into());
        }
        if !self.pinned {
            figures.remark("server and load could not be given different cores: they take time from each other".into());
        }
        if cfg!(debug_assertions) && self.server.is_some() {
            figures.remark("this is a debug build: its figures mean nothing".into());
        }
        report.extend(figures);
        drop(self.progress);
        print(if self.target.json { report.json() } else { report.text() }.as_bytes())?;
        Ok(if report.failed() { FAILED } else { DONE })
    }

    fn name(&self) -> String {
        match &self.server {
            Some(_) => format!("enishi {}, {:?}", env!("CARGO_PKG_VERSION"), self.target.runtime).to_lowercase(),
            None => self.url.clone(),
        }
    }
}

fn tongues() -> impl TypedValueParser<Value = Tongue> {
    PossibleValuesParser::new(Tongue::all().map(Tongue::name))
        .try_map(|name| Tongue::all().find(|tongue| tongue.name() == name).ok_or("no such dialect"))
}

fn even(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number: &usize| number.is_multiple_of(2));
    number.filter(|number| (2..=100_000).contains(number)).ok_or_else(|| "an even number from 2 to 100000".into())
}

fn some(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (2..=100_000).contains(number));
    number.ok_or_else(|| "a number from 2 to 100000".into())
}

fn peers(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number: &usize| number.is_multiple_of(2));
    number.filter(|number| (2..=10_000).contains(number)).ok_or_else(|| "an even number from 2 to 10000".into())
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|percent| (0.0..=50.0).contains(percent));
    number.ok_or_else(|| "a percentage from 0 to 50".into())
}

fn rate(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|rate| (0.1..=10_000_000.0).contains(rate));
    number.ok_or_else(|| "a rate from 0.1 to 10000000, such as 5000".into())
}
