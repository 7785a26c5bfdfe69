//! Pairs of clients that talk through the server: relay, calls and latency.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use enishi_core::ids::Secrets;
use enishi_core::machine::Frame;
use enishi_core::signal::{Command, Envelope, Event, Letter, Signal, To};

use super::client::{Client, Surroundings};
use super::load::Load;
use super::message::{self, Mark, Payload, Template};
use super::process::{Look, Pid, Usage};
use super::progress::Progress;
use super::report::Report;
use crate::failure::Failure;

/// Before the window, so that caches, buffers and the server's memory are as in the middle of a long run.
const WARM_UP: Duration = Duration::from_millis(500);

/// After the window, for what is still on its way.
const LAST_ONES: Duration = Duration::from_secs(10);

/// The introduction of one pair.
const INTRODUCTION: Duration = Duration::from_secs(20);

/// Times that are kept: more would be memory and tell nothing more.
const SAMPLES: usize = 4_000_000;

/// Messages of a call that one side sends: a description and five candidates.
const CALL: u64 = 6;

/// Messages that each side of a flooding pair has on its way.
const FLOOD: usize = 64;

/// Messages a second to each who does not read.
const TO_THE_DEAF: f64 = 50.0;

/// What a socket of who does not read may hold, as little as the kernel lets it.
const DEAF_BYTES: usize = 4096;

/// Clients beside those that are measured, which disturb them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Others {
    /// Pairs of whom one sends and the other does not read.
    pub slow: usize,
    /// Pairs that send as fast as they can.
    pub flooding: usize,
    /// Clients that say nothing.
    pub idle: usize,
}

impl Others {
    /// How many clients these are.
    pub fn clients(self) -> usize {
        2 * (self.slow + self.flooding) + self.idle
    }
}

/// What the pairs say, and when.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub talk: Talk,
    /// Bytes of a session description.
    pub bytes: usize,
    /// Messages of each client that are on their way at once, where each waits for its partner's.
    pub window: usize,
    /// Messages a second of all clients together, at random times that do not wait for anybody.
    pub rate: Option<f64>,
    pub window_time: Duration,
    /// Ends the window earlier.
    pub count: u64,
    pub others: Others,
}

/// The messages of a client, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Talk {
    /// All of one kind.
    Only(Payload),
    /// A description, five candidates, and again.
    Calls,
}

impl Talk {
    fn payload(self, number: u64) -> Payload {
        match self {
            // Some dialects carry candidates only between who has exchanged descriptions.
            Talk::Only(_) if number == 0 => Payload::Sdp,
            Talk::Only(payload) => payload,
            Talk::Calls if number.is_multiple_of(CALL) => Payload::Sdp,
            Talk::Calls => Payload::Candidate,
        }
    }

    fn has(self, payload: Payload) -> bool {
        (0..CALL).any(|number| self.payload(number) == payload)
    }
}

/// What arrived, and what did not.
#[derive(Debug, Default)]
pub struct Ledger {
    next: u64,
    missing: BTreeSet<u64>,
    reordered: u64,
    duplicated: u64,
}

impl Ledger {
    /// Message `number` arrived.
    pub fn take(&mut self, number: u64) {
        if number < self.next {
            if self.missing.remove(&number) {
                self.reordered += 1;
            } else {
                self.duplicated += 1;
            }
            return;
        }
        self.missing.extend(self.next..number);
        self.next = number + 1;
    }

    /// How many never came of those that were sent.
    pub fn lost(&self, sent: u64) -> u64 {
        self.missing.len() as u64 + sent.saturating_sub(self.next)
    }
}

/// One client's side of a talk.
#[derive(Debug)]
struct Side {
    /// Description and candidate; `None` where each has to be encoded by itself.
    templates: [Option<Template>; 2],
    sent: u64,
    ledger: Ledger,
    hint: usize,
    /// When those that are on their way should have been sent: the first has the number `on_way_from`.
    on_way: VecDeque<Instant>,
    on_way_from: u64,
}

/// All pairs: clients 0 and 1, 2 and 3, and so on. First those that are measured, then those of whom one does not read,
/// then those that flood.
struct Pairs {
    plan: Plan,
    sides: Vec<Side>,
    /// Clients that are measured.
    measured: usize,
    received: u64,
    strangers: u64,
    /// Whether an arrival is answered by the next message.
    ponging: bool,
    /// Whether those who flood go on.
    flooding: bool,
    /// Arrivals of messages scheduled from here on are timed.
    timed_from: Option<Instant>,
    latencies: Vec<Duration>,
    lateness: Vec<Duration>,
}

/// Runs the plan and reports.
///
/// # Errors
/// A connection failed, or the server does not relay at all.
pub fn run(load: &mut Load, plan: Plan, pid: Option<Pid>, progress: &Progress) -> Result<Report, Failure> {
    let mut pairs = Pairs::new(load, plan)?;
    pairs.introduce(load, progress)?;
    let (usage, window, received) = match plan.rate {
        None => pairs.closed(load, pid, progress)?,
        Some(rate) => pairs.open(load, rate, pid, progress)?,
    };
    pairs.drain(load)?;
    Ok(pairs.report(&usage, window, received))
}

impl Pairs {
    fn new(load: &mut Load, plan: Plan) -> Result<Self, Failure> {
        let talking = load.clients.len() - plan.others.idle;
        let measured = load.clients.len() - plan.others.clients();
        let mut sides = Vec::with_capacity(talking);
        for index in 0..talking {
            let mut template = |payload| {
                if !plan.talk.has(payload) {
                    return Ok(None);
                }
                let signal = message::signal(payload, offers(index), Mark { sender: index, number: 0 }, plan.bytes);
                let to = To::Peer(load.clients[index ^ 1].name.clone());
                let client = &mut load.clients[index];
                let mut frames = Vec::new();
                let command = Command::Signal(envelope(to, signal));
                match client.speech.encode(&mut load.around.context(), &command, &mut frames) {
                    Ok(()) => Ok(frames.first().and_then(Template::new)),
                    Err(refusal) => Err(anyhow!("{} cannot say this: {refusal}", load.tongue.name())),
                }
            };
            let templates = [template(Payload::Sdp)?, template(Payload::Candidate)?];
            let (ledger, on_way) = (Ledger::default(), VecDeque::new());
            sides.push(Side { templates, sent: 0, ledger, hint: 0, on_way, on_way_from: 0 });
        }
        let (latencies, lateness) = (Vec::new(), Vec::new());
        Ok(Pairs {
            plan,
            sides,
            measured,
            received: 0,
            strangers: 0,
            ponging: false,
            flooding: false,
            timed_from: None,
            latencies,
            lateness,
        })
    }

    /// Every pair exchanges an offer and an answer, which are compared with what was sent.
    fn introduce(&mut self, load: &mut Load, progress: &Progress) -> Result<(), Failure> {
        let begin = Instant::now();
        let mut introduced = 0;
        let pairs = self.sides.len() / 2;
        // Not all at once: no server has to hold them.
        for first in 0..pairs {
            self.send(&mut load.clients, &mut load.around, 2 * first).map_err(|error| anyhow!(error))?;
            while introduced + 64 < first || (first + 1 == pairs && introduced < pairs) {
                progress.set(introduced as f64 / pairs as f64, "introducing");
                if begin.elapsed() > INTRODUCTION {
                    let what = "does not carry an offer and an answer; is it this dialect?";
                    return Err(anyhow!("the server {what} ({introduced} of {pairs} pairs)").into());
                }
                load.turn(&mut |clients, around, index, frame| {
                    introduced += usize::from(self.introduced(clients, around, index, &frame)?);
                    Ok(())
                })
                .map_err(|error| anyhow!(error))?;
            }
        }
        Ok(())
    }

    /// Takes a frame of an introduction. Whether a pair's is complete.
    fn introduced(
        &mut self,
        clients: &mut [Client],
        around: &mut Surroundings,
        index: usize,
        frame: &Frame,
    ) -> Result<bool, String> {
        let mut complete = false;
        for event in clients[index].events(frame, around) {
            match event {
                Event::Signal { letter: Letter::Open(heard), .. } if Mark::of(&heard).is_some() => {
                    if heard != signal(&self.plan, index ^ 1, 0) {
                        return Err("the server delivers another description than was sent".into());
                    }
                    self.sides[index].ledger.take(0);
                    if index.is_multiple_of(2) {
                        complete = true;
                    } else {
                        self.send(clients, around, index)?;
                    }
                }
                Event::Refused { refusal, .. } => return Err(format!("the server refused a signal: {refusal}")),
                _ => {}
            }
        }
        Ok(complete)
    }

    /// Each client sends its next message when its partner's arrives: as fast as the server can.
    fn closed(
        &mut self,
        load: &mut Load,
        pid: Option<Pid>,
        progress: &Progress,
    ) -> Result<(Usage, Duration, u64), Failure> {
        self.ponging = true;
        for _ in 0..self.plan.window {
            for index in 0..self.measured {
                self.send(&mut load.clients, &mut load.around, index).map_err(|error| anyhow!(error))?;
            }
        }
        let warm = Instant::now();
        while warm.elapsed() < WARM_UP {
            self.turn(load)?;
        }
        let (look, begin, before) = (Look::now(pid), Instant::now(), self.received);
        while begin.elapsed() < self.plan.window_time && self.received - before < self.plan.count {
            progress.set(begin.elapsed().as_secs_f64() / self.plan.window_time.as_secs_f64(), "measuring");
            self.turn(load)?;
        }
        self.ponging = false;
        Ok((look.since(), begin.elapsed(), self.received - before))
    }

    /// Messages leave at random times, whatever became of those before.
    fn open(
        &mut self,
        load: &mut Load,
        rate: f64,
        pid: Option<Pid>,
        progress: &Progress,
    ) -> Result<(Usage, Duration, u64), Failure> {
        self.disturb(load)?;
        let mut to_the_deaf = Instant::now();
        // Always the same arrivals.
        let mut dice = Secrets::new([7; 32]);
        let mut at = Instant::now();
        let begin = at + WARM_UP;
        let end = begin + self.plan.window_time;
        self.timed_from = Some(begin);
        let mut measured = None;
        while Instant::now() < end {
            let now = Instant::now();
            if measured.is_none() && now >= begin {
                measured = Some((Look::now(pid), now, self.received));
            }
            if to_the_deaf <= now {
                to_the_deaf += Duration::from_secs_f64(1.0 / TO_THE_DEAF);
                for index in self.slow().step_by(2) {
                    self.send(&mut load.clients, &mut load.around, index).map_err(|error| anyhow!(error))?;
                }
            }
            while at <= now {
                let index = (dice.number() % self.measured as u64) as usize;
                if at >= begin && self.lateness.len() < SAMPLES {
                    self.lateness.push(Instant::now() - at);
                }
                self.sides[index].on_way.push_back(at);
                self.send(&mut load.clients, &mut load.around, index).map_err(|error| anyhow!(error))?;
                // Uniform in (0, 1], so that its logarithm is finite.
                let share = ((dice.number() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
                at += Duration::from_secs_f64(-share.ln() / rate);
            }
            progress.set((now - (begin - WARM_UP)).as_secs_f64() / self.plan.window_time.as_secs_f64(), "measuring");
            self.turn(load)?;
        }
        let (look, since, before) = measured.ok_or_else(|| anyhow!("the window was over before it began"))?;
        Ok((look.since(), since.elapsed(), self.received - before))
    }

    /// Who does not read stops reading, who floods begins.
    fn disturb(&mut self, load: &mut Load) -> Result<(), Failure> {
        for index in self.slow().skip(1).step_by(2) {
            load.clients[index].deafen(DEAF_BYTES);
        }
        self.flooding = true;
        for _ in 0..FLOOD {
            for index in self.slow().end..self.sides.len() {
                self.send(&mut load.clients, &mut load.around, index).map_err(|error| anyhow!(error))?;
            }
        }
        Ok(())
    }

    /// Pairs of whom one does not read.
    fn slow(&self) -> Range<usize> {
        self.measured..self.measured + 2 * self.plan.others.slow
    }

    /// Waits for what is still on its way.
    fn drain(&mut self, load: &mut Load) -> Result<(), Failure> {
        self.flooding = false;
        let begin = Instant::now();
        while self.lost() > 0 && begin.elapsed() < LAST_ONES {
            self.turn(load)?;
        }
        Ok(())
    }

    fn turn(&mut self, load: &mut Load) -> Result<(), Failure> {
        load.turn(&mut |clients, around, index, frame| self.heard(clients, around, index, &frame))
            .map_err(|error| anyhow!(error).into())
    }

    fn heard(
        &mut self,
        clients: &mut [Client],
        around: &mut Surroundings,
        index: usize,
        frame: &Frame,
    ) -> Result<(), String> {
        let bytes = match frame {
            Frame::Text(text) => text.as_bytes(),
            Frame::Binary(bytes) => bytes,
            Frame::Ping | Frame::Pong => return Ok(()),
        };
        if let Some(mark) = Mark::find(bytes, &mut self.sides[index].hint) {
            return self.arrived(clients, around, index, mark);
        }
        for event in clients[index].events(frame, around) {
            match event {
                Event::Signal { letter: Letter::Open(signal), .. } => {
                    if let Some(mark) = Mark::of(&signal) {
                        self.arrived(clients, around, index, mark)?;
                    }
                }
                // Who talks to somebody that does not read may be told so.
                Event::Refused { refusal, .. } if !self.slow().contains(&index) => {
                    return Err(format!("the server refused a signal: {refusal}"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn arrived(
        &mut self,
        clients: &mut [Client],
        around: &mut Surroundings,
        index: usize,
        mark: Mark,
    ) -> Result<(), String> {
        if mark.sender != index ^ 1 {
            self.strangers += 1;
            return Ok(());
        }
        self.sides[index].ledger.take(mark.number);
        if index >= self.measured {
            return if self.flooding && index >= self.slow().end { self.send(clients, around, index) } else { Ok(()) };
        }
        self.received += 1;
        if let Some(from) = self.timed_from {
            let sender = &mut self.sides[index ^ 1];
            let place = mark.number.checked_sub(sender.on_way_from);
            if let Some(&at) = place.and_then(|place| sender.on_way.get(place as usize)) {
                if at >= from && self.latencies.len() < SAMPLES {
                    self.latencies.push(Instant::now() - at);
                }
                // One that is overtaken is a fault that the ledger tells of.
                sender.on_way.drain(..=(mark.number - sender.on_way_from) as usize);
                sender.on_way_from = mark.number + 1;
            }
        }
        if self.ponging { self.send(clients, around, index) } else { Ok(()) }
    }

    /// Sends a client's next message to its partner.
    fn send(&mut self, clients: &mut [Client], around: &mut Surroundings, index: usize) -> Result<(), String> {
        let number = self.sides[index].sent;
        let side = &mut self.sides[index];
        side.sent += 1;
        if self.timed_from.is_none() {
            side.on_way_from = side.sent;
        }
        let template = match self.plan.talk.payload(number) {
            Payload::Sdp => &mut side.templates[0],
            Payload::Candidate => &mut side.templates[1],
        };
        if let Some(template) = template {
            return clients[index].send(template.stamp(number)).map_err(|error| error.to_string());
        }
        let to = To::Peer(clients[index ^ 1].name.clone());
        let command = Command::Signal(envelope(to, signal(&self.plan, index, number)));
        clients[index].command(&command, around)
    }

    fn lost(&self) -> u64 {
        let slow = self.slow();
        let heard = (0..self.sides.len()).filter(|index| !slow.contains(index));
        heard.map(|index| self.sides[index].ledger.lost(self.sides[index ^ 1].sent)).sum()
    }

    fn report(mut self, usage: &Usage, window: Duration, received: u64) -> Report {
        let mut report = Report::default();
        let seconds = window.as_secs_f64();
        report.put("clients", "clients", Some(self.measured), "");
        report.put("seconds", "measured for", Some(super::report::round(seconds)), "s");
        report.put("messages", "messages", Some(received), "");
        report.put("messages_per_second", "throughput", Some((received as f64 / seconds).round() as u64), "messages/s");
        if self.plan.talk == Talk::Calls {
            let calls = received as f64 / (2 * CALL) as f64 / seconds;
            report.put("calls_per_second", "calls", Some(calls.round() as u64), "calls/s");
        }
        report.usage(usage, window, received, "cpu_us_per_message", "CPU per message");
        let full = usage.server.is_none_or(|server| server.as_secs_f64() > 0.9 * seconds);
        if self.plan.rate.is_none() && !full {
            report.remark("the server was not busy all the time: the throughput is not its own limit".into());
        }
        let latency = ["p50_us", "p90_us", "p99_us", "p99_9_us", "max_us"];
        report.times(latency, ["p50", "p90", "p99", "p99.9", "longest"], &mut self.latencies);
        let late = ["late_p50_us", "late_p90_us", "late_p99_us", "late_p99_9_us", "late_max_us"];
        let late_labels = ["sender late, p50", "p90", "p99", "p99.9", "longest"];
        report.times(late, late_labels, &mut self.lateness);
        let slow = self.slow();
        // Nothing is known of what was sent to who does not read.
        let sent: Vec<u64> = (0..self.sides.len())
            .map(|index| if slow.contains(&index) { 0 } else { self.sides[index ^ 1].sent })
            .collect();
        let ledgers: Vec<Ledger> = self.sides.iter_mut().map(|side| std::mem::take(&mut side.ledger)).collect();
        faults(&mut report, &ledgers, |index| sent[index], self.strangers);
        if received == 0 {
            report.fail("no message arrived in the window".into());
        }
        report
    }
}

/// Reports what did not arrive as it should. `sent` says how many were for whom.
pub fn faults(report: &mut Report, ledgers: &[Ledger], sent: impl Fn(usize) -> u64, strangers: u64) {
    let sum = |count: fn(&Ledger) -> u64| ledgers.iter().map(count).sum::<u64>();
    let lost = ledgers.iter().enumerate().map(|(index, ledger)| ledger.lost(sent(index))).sum::<u64>();
    let faults = [
        ("lost", lost),
        ("reordered", sum(|ledger| ledger.reordered)),
        ("duplicated", sum(|ledger| ledger.duplicated)),
        ("misdelivered", strangers),
    ];
    for (what, count) in faults {
        report.put(what, what, Some(count), "messages");
        if count > 0 {
            report.fail(format!("{count} messages {what}"));
        }
    }
}

/// What client `index` sends as its message `number`.
fn signal(plan: &Plan, index: usize, number: u64) -> Signal {
    let mark = Mark { sender: index, number };
    message::signal(plan.talk.payload(number), offers(index), mark, plan.bytes)
}

/// Of a pair, one offers and one answers.
fn offers(index: usize) -> bool {
    index.is_multiple_of(2)
}

/// A letter to somebody.
pub fn envelope(to: To, signal: Signal) -> Envelope {
    Envelope { from: None, to, letter: Letter::Open(signal), tag: None, receipt: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_tells_what_is_wrong() {
        let mut ledger = Ledger::default();
        for number in [0, 1, 4, 3, 4, 5] {
            ledger.take(number);
        }
        assert_eq!((ledger.reordered, ledger.duplicated, ledger.lost(8)), (1, 1, 3));
    }
}
