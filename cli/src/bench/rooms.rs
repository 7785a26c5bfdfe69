//! Everybody in one room: fan-out and mesh.

use std::time::{Duration, Instant};

use anyhow::anyhow;
use enishi_core::dialect::{Dialect, Rooms};
use enishi_core::machine::Frame;
use enishi_core::signal::Payload::Text;
use enishi_core::signal::{Candidate, Command, Event, Letter, Name, Signal, To};

use super::client::{Client, Surroundings};
use super::load::Load;
use super::message::{self, Mark, Payload, Template};
use super::pairs::{Ledger, envelope};
use super::process::{Look, Pid};
use super::progress::Progress;
use super::report::{Report, round};
use super::speech::Tongue;
use crate::failure::Failure;

const ROOM: &str = "bench-room-0";

/// Messages to the room that are on their way at once: while the last members hear one, the first hear the next.
const AHEAD: u64 = 2;

/// Pairs of a mesh that are setting up at once.
const SETTING_UP: usize = 256;

/// Without a single arrival, what is missing is lost.
const SILENCE: Duration = Duration::from_secs(10);

/// Bytes of a session description.
const SDP_BYTES: usize = 2048;

/// One client sends to all others in its room, and again when all have it.
///
/// # Errors
/// The dialect has no word for it, or a connection failed.
pub fn fanout(
    load: &mut Load,
    payload: Payload,
    time: Duration,
    pid: Option<Pid>,
    progress: &Progress,
) -> Result<Report, Failure> {
    join(load, progress)?;
    let others = load.clients.len() - 1;
    let everybody = || match load.tongue.is_broadcast() {
        true => To::Peer(load.clients[0].name.clone()),
        false => To::Room(Name::from(ROOM)),
    };
    let signal = message::signal(payload, true, Mark { sender: 0, number: 0 }, SDP_BYTES);
    let signal = match (load.tongue, signal) {
        // What is for a whole room is no negotiation there.
        (
            Tongue::Ours(Dialect::Enishi),
            Signal::Offer { sdp: text } | Signal::Candidate(Candidate { candidate: text, .. }),
        ) => Signal::Data { label: "bench".into(), payload: Text(text) },
        (_, signal) => signal,
    };
    let command = Command::Signal(envelope(everybody(), signal));
    let mut frames = Vec::new();
    let encoded = load.clients[0].speech.encode(&mut load.around.context(), &command, &mut frames);
    let template = frames.first().and_then(Template::new).filter(|_| encoded.is_ok());
    let mut template = template.ok_or_else(|| {
        let name = load.tongue.name();
        Failure::Usage(format!(
            "{name} has no word for a message to all in a room: choose --dialect enishi or socketio"
        ))
    })?;

    let mut ledgers: Vec<Ledger> = (0..=others).map(|_| Ledger::default()).collect();
    let (mut sent, mut deliveries, mut hint) = (0_u64, 0_u64, 0);
    let begin = Instant::now();
    // Half a second to warm up, then the window, then the last ones.
    let warm = Duration::from_millis(500);
    let (mut measured, mut found, mut last) = (None, None, Instant::now());
    loop {
        let elapsed = begin.elapsed();
        if measured.is_none() && elapsed >= warm {
            measured = Some((Look::now(pid), Instant::now(), deliveries));
        }
        if found.is_none()
            && elapsed >= warm + time
            && let Some((look, since, before)) = measured
        {
            found = Some((look.since(), since.elapsed(), deliveries - before));
        }
        let complete = deliveries == sent * others as u64;
        if found.is_some() && (complete || last.elapsed() > SILENCE) || last.elapsed() > 4 * SILENCE {
            break;
        }
        if found.is_none() && sent * (others as u64) < deliveries + AHEAD * others as u64 {
            let sending = load.clients[0].send(template.stamp(sent));
            sending.map_err(|error| anyhow!("the sender's connection failed: {error}"))?;
            sent += 1;
        }
        progress.set(elapsed.as_secs_f64() / (warm + time).as_secs_f64(), "measuring");
        load.turn(&mut |clients, around, index, frame| {
            if let Some(mark) = mark(&frame, &mut hint) {
                ledgers[index].take(mark.number);
                deliveries += 1;
                last = Instant::now();
                return Ok(());
            }
            let refusal = clients[index].events(&frame, around).into_iter().find_map(refusal);
            refusal.map_or(Ok(()), Err)
        })
        .map_err(|error| anyhow!(error))?;
    }
    let (usage, window, count) = found.ok_or_else(|| anyhow!("the server delivers nothing to the room"))?;

    let mut report = Report::default();
    report.put("clients", "members", Some(others + 1), "");
    report.put("seconds", "measured for", Some(round(window.as_secs_f64())), "s");
    report.put("messages", "messages", Some(sent), "");
    report.put("deliveries", "deliveries", Some(count), "");
    let rate = count as f64 / window.as_secs_f64();
    report.put("deliveries_per_second", "throughput", Some(rate.round() as u64), "deliveries/s");
    report.usage(&usage, window, count, "cpu_us_per_delivery", "CPU per delivery");
    super::pairs::faults(&mut report, &ledgers[1..], |_| sent, 0);
    Ok(report)
}

/// All enter one room, at once; then each offers to all who are after it in the room, and is answered.
///
/// # Errors
/// The dialect has no rooms, or a connection failed.
pub fn mesh(
    load: &mut Load,
    clients: usize,
    time: Duration,
    pid: Option<Pid>,
    progress: &Progress,
) -> Result<Report, Failure> {
    let mut report = Report::default();
    // Who registers by entering a room pays both at once.
    if load.tongue.rooms() != Rooms::One {
        load.connect(clients, |_| 0, progress)?;
    }
    let notices = (clients * (clients - 1) / 2) as u64;
    let (look, begin) = (Look::now(pid), Instant::now());
    load.connect(clients, |_| 0, progress)?;
    let heard = join(load, progress)?;
    let (usage, window) = (look.since(), begin.elapsed());
    report.put("clients", "members", Some(clients), "");
    report.put("join_seconds", "all joined after", Some(round(window.as_secs_f64())), "s");
    report.put("notices", "notices", Some(heard), "");
    let each = |count: u64| usage.server.map(|time| round(time.as_secs_f64() * 1e6 / count.max(1) as f64));
    report.put("join_cpu_us", "CPU per join", each(clients as u64), "µs");
    report.put("cpu_us_per_notice", "CPU per notice", each(notices), "µs");

    let (look, begin) = (Look::now(pid), Instant::now());
    let mut mesh = Mesh { members: clients, arrived: vec![0; clients * clients], complete: 0, received: 0, hint: 0 };
    let last = mesh.set_up(load, time, progress)?;
    report.usage(&look.since(), begin.elapsed(), mesh.received, "cpu_us_per_message", "CPU per message");
    report.put("pairs", "pairs set up", Some(mesh.complete), "");
    report.put("messages", "messages", Some(mesh.received), "");
    let (lost, doubled) = mesh.faults(last);
    for (what, count) in [("lost", lost), ("duplicated", doubled)] {
        report.put(what, what, Some(count), "messages");
        if count > 0 {
            report.fail(format!("{count} messages {what}"));
        }
    }
    Ok(report)
}

/// Brings everybody into the room, and waits until everybody knows. How many notices of others' coming were heard.
fn join(load: &mut Load, progress: &Progress) -> Result<u64, Failure> {
    let count = load.clients.len() as u64;
    match load.tongue.rooms() {
        Rooms::None if load.tongue.is_broadcast() => return Ok(0),
        Rooms::None => {
            let name = load.tongue.name();
            return Err(Failure::Usage(format!("{name} has no rooms: choose --dialect enishi or mesh")));
        }
        // Done by registering.
        Rooms::One => {}
        Rooms::Many => {
            let command = Command::Join { room: Name::from(ROOM), tag: None };
            let Load { clients, around, .. } = load;
            for client in clients {
                client.command(&command, around).map_err(|error| anyhow!(error))?;
            }
        }
    }
    let (wanted, mut last) = (count * (count - 1) / 2, Instant::now());
    while load.notices < wanted {
        progress.set(load.notices as f64 / wanted.max(1) as f64, "joining");
        let before = load.notices;
        load.turn(&mut |_, _, _, _| Ok(())).map_err(|error| anyhow!(error))?;
        if load.notices > before {
            last = Instant::now();
        } else if last.elapsed() > SILENCE {
            let heard = load.notices;
            return Err(
                anyhow!("only {heard} of {wanted} notices of who joined arrived; is the room big enough?").into()
            );
        }
    }
    Ok(load.notices)
}

/// The set-up of a whole mesh.
struct Mesh {
    members: usize,
    /// How often what one sent to another arrived.
    arrived: Vec<u8>,
    complete: u64,
    received: u64,
    hint: usize,
}

impl Mesh {
    /// Sets up pairs, for so long at most. The number of pairs that were begun.
    fn set_up(&mut self, load: &mut Load, time: Duration, progress: &Progress) -> Result<usize, Failure> {
        let members = self.members;
        let mut pairs = (0..members).flat_map(|a| (a + 1..members).map(move |b| (a, b)));
        let (mut begun, begin, mut last) = (0, Instant::now(), Instant::now());
        let mut more = true;
        while more || (self.complete as usize) < begun {
            while more && begun - (self.complete as usize) < SETTING_UP {
                let Some((a, b)) = pairs.next().filter(|_| begin.elapsed() < time) else {
                    more = false;
                    break;
                };
                say(&mut load.clients, &mut load.around, a, b, true).map_err(|error| anyhow!(error))?;
                begun += 1;
            }
            progress.set(begin.elapsed().as_secs_f64() / time.as_secs_f64(), "setting up");
            let before = self.received;
            load.turn(&mut |clients, around, index, frame| self.heard(clients, around, index, &frame))
                .map_err(|error| anyhow!(error))?;
            if self.received > before {
                last = Instant::now();
            } else if last.elapsed() > SILENCE {
                break;
            }
        }
        Ok(begun)
    }

    fn heard(
        &mut self,
        clients: &mut [Client],
        around: &mut Surroundings,
        index: usize,
        frame: &Frame,
    ) -> Result<(), String> {
        let mut found = mark(frame, &mut self.hint);
        if found.is_none() {
            for event in clients[index].events(frame, around) {
                match event {
                    Event::Signal { letter: Letter::Open(signal), .. } => found = Mark::of(&signal),
                    event => refusal(event).map_or(Ok(()), Err)?,
                }
            }
        }
        let Some(Mark { sender, .. }) = found else { return Ok(()) };
        let Some(count) = self.arrived.get_mut(sender * self.members + index) else { return Ok(()) };
        *count = count.saturating_add(1);
        self.received += 1;
        if sender < index {
            return say(clients, around, index, sender, false);
        }
        self.complete += 1;
        Ok(())
    }

    /// Messages that never came, and those that came more than once.
    fn faults(&self, begun: usize) -> (u64, u64) {
        let doubled = self.arrived.iter().map(|count| u64::from(count.saturating_sub(1))).sum();
        let came = self.arrived.iter().filter(|count| **count > 0).count();
        ((2 * begun).saturating_sub(came) as u64, doubled)
    }
}

/// Offers to somebody, or answers.
fn say(clients: &mut [Client], around: &mut Surroundings, from: usize, to: usize, offers: bool) -> Result<(), String> {
    let signal = message::signal(Payload::Sdp, offers, Mark { sender: from, number: to as u64 }, SDP_BYTES);
    let to = To::Peer(clients[to].name.clone());
    clients[from].command(&Command::Signal(envelope(to, signal)), around)
}

fn mark(frame: &Frame, hint: &mut usize) -> Option<Mark> {
    match frame {
        Frame::Text(text) => Mark::find(text.as_bytes(), hint),
        Frame::Binary(bytes) => Mark::find(bytes, hint),
        Frame::Ping | Frame::Pong => None,
    }
}

/// What a refusal means for a run.
fn refusal(event: Event) -> Option<String> {
    let Event::Refused { refusal, .. } = event else { return None };
    Some(format!("the server refused a signal: {refusal}"))
}
