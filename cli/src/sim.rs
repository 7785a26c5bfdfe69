//! `enishi sim`: peers, a server and a bad network, all simulated, from one seed.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use enishi_core::dialect::Dialect;
use enishi_core::escape::Escaped;
use enishi_tests::sim::judge::Violation;
use enishi_tests::sim::plan::{Plan, Weather};
use enishi_tests::sim::{self, Report};
use enishi_tests::world::World;
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::print;
use crate::failure::{DONE, FAILED, Failure};

/// The network between the peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Net {
    /// Some loss and jitter, as a bad Wi-Fi
    Lossy,
    /// Bursts of loss and long queues, as on a train
    Mobile,
    /// Far away
    Satellite,
    /// Everything at once
    Hostile,
}

/// What was typed after `enishi sim`.
#[derive(Debug, clap::Args)]
pub struct SimArgs {
    /// The seed; the same one is the same story [default: another one each time]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// How many peers meet in one room
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u8).range(2..=60))]
    pub peers: u8,

    /// The network between them
    #[arg(long, value_enum, default_value_t = Net::Lossy)]
    pub net: Net,

    /// For how long they talk, in virtual minutes
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1440))]
    pub minutes: u64,

    /// The protocols that they speak, in turn; those with rooms are enishi and mesh
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "enishi", value_parser = crate::args::dialects())]
    pub dialects: Vec<Dialect>,

    /// Print everything that happens
    #[arg(long)]
    pub trace: bool,
}

/// Tells the story and how it ended.
///
/// # Errors
/// Stdout cannot be written, or there is no randomness for a seed.
pub fn run(args: &SimArgs) -> Result<u8, Failure> {
    let seed = match args.seed {
        Some(seed) => seed,
        None => u64::from(getrandom::u32().map_err(|error| anyhow::anyhow!("no seed from the system: {error}"))?),
    };
    let weather = match args.net {
        Net::Lossy => Weather::Lossy,
        Net::Mobile => Weather::Mobile,
        Net::Satellite => Weather::Satellite,
        Net::Hostile => Weather::Hostile,
    };
    let plan = Plan::scenario(seed, args.peers.into(), weather, args.minutes, &args.dialects);
    let bar = if io::stderr().is_terminal() { ProgressBar::new(plan.ops.len() as u64) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent}% {msg}") {
        bar.set_style(style);
    }
    let (mut told, mut story, begin) = (0, String::new(), Instant::now());
    let outcome = sim::run(&plan, None, &mut |world, op| {
        bar.set_position(op as u64);
        bar.set_message(format!("{:.0} s", world.elapsed().as_secs_f64()));
        if args.trace {
            tell(world, &plan, op, &mut told, &mut story);
        }
    });
    bar.finish_and_clear();
    print(story.as_bytes())?;
    print(summary(args, seed, &outcome, begin.elapsed()).as_bytes())?;
    Ok(if outcome.is_ok() { DONE } else { FAILED })
}

/// What happened since the last operation, a line each.
fn tell(world: &World, plan: &Plan, op: usize, told: &mut usize, story: &mut String) {
    for (at, agent, notice) in world.notices.iter().skip(*told) {
        let text = format!("{notice:?}");
        let _ = writeln!(story, "{:>9.3} a{agent}: {}", at.as_secs_f64(), Escaped(&text));
    }
    *told = world.notices.len();
    let done = plan.ops.get(op).map_or_else(|| "everything is healed".to_owned(), |op| format!("{op:?}"));
    let _ = writeln!(story, "{:>9.3} -- {op} {done}", world.elapsed().as_secs_f64());
}

fn summary(args: &SimArgs, seed: u64, outcome: &Result<Report, Violation>, real: Duration) -> String {
    let mut text = String::new();
    match outcome {
        Ok(report) => {
            let mut connects = report.connects.clone();
            connects.sort_unstable();
            let percentile = |share: usize| connects.get(connects.len().saturating_sub(1) * share / 100);
            let shown = |time: Option<&Duration>| time.map_or_else(|| "-".to_owned(), |time| format!("{time:.0?}"));
            let traffic = &report.traffic;
            let rows = [
                ("virtual time", format!("{:.0} s, in {real:.2?}", report.time.as_secs_f64())),
                ("connections made", (connects.len() / 2).to_string()),
                ("time to connect", format!("p50 {}, p99 {}", shown(percentile(50)), shown(percentile(99)))),
                ("datagrams", format!("{}, {} bytes", traffic.datagrams, traffic.datagram_bytes)),
                ("datagrams lost", traffic.lost.to_string()),
                ("signaling messages", format!("{}, {} bytes", traffic.messages, traffic.message_bytes)),
                ("faults injected", report.faults.to_string()),
                ("connected after healing", format!("{:.0} s", report.healed.as_secs_f64())),
                ("invariants checked", format!("{} times, all hold", report.checks)),
            ];
            for (name, value) in rows {
                let _ = writeln!(text, "{name:24} {value}");
            }
        }
        Err(violation) => {
            let _ = writeln!(text, "invariant broken: {violation}");
        }
    }
    let net = match args.net {
        Net::Lossy => "lossy",
        Net::Mobile => "mobile",
        Net::Satellite => "satellite",
        Net::Hostile => "hostile",
    };
    let dialects: Vec<&str> = args.dialects.iter().map(|dialect| dialect.name()).collect();
    let (peers, minutes, dialects) = (args.peers, args.minutes, dialects.join(","));
    let _ = writeln!(
        text,
        "again: enishi sim --seed {seed} --peers {peers} --net {net} --minutes {minutes} --dialects {dialects}"
    );
    text
}
