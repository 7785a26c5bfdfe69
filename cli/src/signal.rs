//! `enishi signal`: the server.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use enishi_core::dialect::Family;
use enishi_core::journal::{Recorded, Secrecy};
use enishi_core::machine::Machine;
use enishi_core::server::{Listener, Server, ServerCommand, ServerConfig, ServerNotice};

use crate::args::{self, Logging, SignalArgs};
use crate::config::{self, Setting};
use crate::ending::{self, Terminal};
use crate::failure::{DONE, Failure};
use crate::log::{self, LogFormat};
use crate::output::{self, Lines};
use crate::record;
use crate::runtime::{self, Driver, Runtime};
use crate::sockets;
use crate::turn;
use crate::web;

/// Where `enishi peer` looks for a server by itself.
const USUAL: &str = "127.0.0.1:3000";

/// How long the last log lines may take at the end.
const FLUSH: Duration = Duration::from_secs(1);

/// Runs the server until a signal ends it.
///
/// # Errors
/// The configuration contradicts itself, or it cannot listen.
pub fn run(args: SignalArgs, settings: &[Setting]) -> Result<u8, Failure> {
    if let Some(contradiction) = args.limits.contradiction() {
        return Err(Failure::Usage(contradiction));
    }
    let (token, warning) = config::token(args.token_file.as_deref())?;
    let public = args.listen.iter().any(|address| !address.ip().is_loopback());
    let turn = turn::issuer(&args.turn, public, token.is_some())?;
    if args.check_config {
        let set = |is_set| if is_set { "set" } else { "not set" };
        let (token, secret) = (set(token.is_some()), set(turn.is_some()));
        let report = format!("{}token is {token}\nTURN secret is {secret}\n", config::report(settings));
        return args::print(report.as_bytes());
    }

    let wanted = wanted(&args);
    let listeners = wanted.iter().map(|listener| listen(listener.address)).collect::<Result<Vec<_>, _>>()?;
    // A port of 0 becomes a real one.
    let bound =
        listeners.iter().zip(&wanted).map(|(socket, wanted)| Ok(Listener { address: socket.local_addr()?, ..*wanted }));
    let bound: Vec<Listener> = bound.collect::<io::Result<_>>().context("cannot listen")?;
    // A closed stderr is no reason to stop serving.
    let lines = Lines::start(output::stderr, || ()).context("cannot start a thread")?;
    log::start(&args.logging, lines.clone());
    if let Some(warning) = warning {
        tracing::warn!("{warning}");
    }
    if token.is_none() {
        for address in bound.iter().map(|listener| listener.address).filter(|address| !address.ip().is_loopback()) {
            tracing::warn!(
                "listening on {address} without a token: whoever can reach it can use it; set one with --token-file"
            );
        }
    }

    let (now, unix, seed) = runtime::start()?;
    let addresses = bound.clone();
    let config = ServerConfig {
        limits: args.limits.0,
        allow_origins: args.allow_origin,
        ice_servers: args.ice_server,
        turn,
        listeners: bound,
        token,
        assets: web::assets(),
        test_echo: args.test_echo,
    };
    let serving = Serving { runtime: args.runtime, logging: args.logging, listeners, addresses, lines: lines.clone() };
    let ran = match &args.record {
        None => serve(Server::new(now, unix, seed, config), serving),
        Some(path) => {
            let (tape, recording) = record::start(path)?;
            let secrecy = secrecy(args.record_secrets, path)?;
            let ran = serve(Recorded::new(now, unix, seed, config, secrecy, tape), serving);
            recording.finish(FLUSH);
            ran
        }
    };
    lines.flush(FLUSH);
    ran.map(|()| DONE)
}

/// What a server needs besides itself.
struct Serving {
    runtime: Runtime,
    logging: Logging,
    listeners: Vec<TcpListener>,
    addresses: Vec<Listener>,
    lines: Lines,
}

fn serve<M>(server: M, serving: Serving) -> Result<(), Failure>
where
    M: Machine<Command = ServerCommand, Notice = ServerNotice>,
{
    let Serving { runtime, logging, listeners, addresses, lines } = serving;
    let (driver, handle) = Driver::new(runtime, server, listeners, Vec::new()).context("cannot start the driver")?;
    ending::on_signal(Terminal::save(), move || {
        tracing::info!("stopping: clients are told to come back; a second signal ends at once");
        handle.send(ServerCommand::Drain);
    })
    .context("cannot watch for signals")?;
    let format = logging.log_format;
    // Who reads this may send a signal at once, and it has to be a graceful end already.
    announce(runtime, &logging, &addresses, &lines);
    let ran = driver.run(|notice| match notice {
        ServerNotice::Trace(trace) => {
            log::trace(format, &trace);
            ControlFlow::Continue(())
        }
        ServerNotice::Drained => ControlFlow::Break(()),
    });
    Ok(ran.context("the driver failed")?)
}

/// What of a run is written to its journal.
fn secrecy(open: bool, path: &Path) -> anyhow::Result<Secrecy> {
    if open {
        let shown = path.display();
        tracing::warn!("{shown} will hold addresses, SDP, tokens and secrets: give it to nobody");
        return Ok(Secrecy::Open);
    }
    let key = [u64::from_ne_bytes(runtime::random()?), u64::from_ne_bytes(runtime::random()?)];
    Ok(Secrecy::Redacted { key, seed: runtime::random()? })
}

/// Where to listen: for everybody where the flags say so, and with `--compat` for each system where its clients look.
fn wanted(args: &SignalArgs) -> Vec<Listener> {
    let mut wanted: Vec<_> = args.listen.iter().map(|&address| Listener { address, only: None }).collect();
    if let (true, Some(first)) = (args.compat, args.listen.first()) {
        for (family, port, _) in Family::DEFAULTS {
            let address = SocketAddr::new(first.ip(), port);
            if !args.listen.contains(&address) {
                wanted.push(Listener { address, only: Some(family) });
            }
        }
    }
    wanted
}

fn listen(address: SocketAddr) -> anyhow::Result<std::net::TcpListener> {
    sockets::listen(address).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "something else has this port; stop it, or choose another with --listen, such as --listen 127.0.0.1:3001"
            }
            io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege; choose another with --listen",
            io::ErrorKind::AddrNotAvailable => "this machine has no such address; try --listen 127.0.0.1:3000",
            _ => "try --listen 127.0.0.1:3000",
        };
        anyhow!("cannot listen on {address}: {}: {hint}", reason(&error))
    })
}

/// The operating system's words without its number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    words.to_lowercase()
}

fn announce(runtime: Runtime, logging: &Logging, bound: &[Listener], lines: &Lines) {
    if logging.quiet {
        return;
    }
    let (for_all, compat): (Vec<Listener>, Vec<Listener>) = bound.iter().partition(|listener| listener.only.is_none());
    let reachable = reachable(&for_all.iter().map(|listener| listener.address).collect::<Vec<_>>());
    if logging.log_format == LogFormat::Json {
        let urls = reachable.iter().map(|address| format!("ws://{address}/ws")).collect::<Vec<_>>().join(" ");
        tracing::info!(event = "listening", urls, "listening");
        return;
    }
    for line in banner(runtime, &reachable, &compat) {
        lines.line(line);
    }
}

/// The addresses to type: a wildcard stands for all addresses of this machine.
fn reachable(bound: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut reachable = Vec::new();
    for address in bound {
        if address.ip().is_unspecified() {
            let loopback =
                if address.is_ipv4() { IpAddr::from([127, 0, 0, 1]) } else { IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]) };
            let others = sockets::addresses().unwrap_or_default();
            let same_family = others.into_iter().filter(|other| other.is_ipv4() == address.is_ipv4()).take(3);
            let all = std::iter::once(loopback).chain(same_family);
            reachable.extend(all.map(|ip| SocketAddr::new(ip, address.port())));
        } else {
            reachable.push(*address);
        }
    }
    reachable
}

fn banner(runtime: Runtime, reachable: &[SocketAddr], compat: &[Listener]) -> Vec<String> {
    let mut lines = vec![format!("enishi {} is listening ({runtime:?})", env!("CARGO_PKG_VERSION")).to_lowercase()];
    for address in reachable {
        lines.push(format!("  ws://{address}/ws    every protocol"));
        lines.push(format!("  ws://{address}/v1    enishi.v1"));
        lines.push(format!("  http://{address}/    calls from a browser"));
    }
    for listener in compat {
        let known = Family::DEFAULTS.into_iter().find(|(family, _, _)| Some(*family) == listener.only);
        if let Some((family, _, url)) = known {
            let url = url.replace("HOST", &listener.address.to_string());
            lines.push(format!("  {url}    {} only", family.name()));
        }
    }
    let Some(first) = reachable.first() else { return lines };
    let usual = reachable.iter().any(|address| address.to_string() == USUAL);
    let flag = if usual { String::new() } else { format!(" --signal ws://{first}/ws") };
    let url = if usual { USUAL.to_owned() } else { first.to_string() };
    lines.push("next, in other terminals (in a checkout: cargo cli instead of enishi):".into());
    lines.push(format!("  enishi peer --role answer --id bob{flag}"));
    lines.push(format!("  enishi peer --role offer --id alice --target bob{flag}"));
    lines.push(format!("  curl http://{url}/stats"));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_says_what_to_type() {
        let usual = banner(Runtime::Mio, &[USUAL.parse().unwrap()], &[]).join("\n");
        assert!(usual.contains("is listening (mio)\n  ws://127.0.0.1:3000/ws"), "{usual}");
        assert!(usual.contains("enishi peer --role answer --id bob\n"), "{usual}");
        let other = banner(Runtime::Smol, &["[::1]:9".parse().unwrap()], &[]).join("\n");
        assert!(other.contains("--target bob --signal ws://[::1]:9/ws\n"), "{other}");
    }

    #[test]
    fn a_wildcard_is_announced_as_what_can_be_typed() {
        let addresses = reachable(&["0.0.0.0:7".parse().unwrap()]);
        assert_eq!(addresses[0], "127.0.0.1:7".parse().unwrap());
        assert!(addresses.iter().all(|address| address.is_ipv4() && !address.ip().is_unspecified()));
    }
}
