//! What the kernel knows about a process: its CPU time, its memory. Linux only; elsewhere nothing is known.

use std::fs;
use std::time::Duration;

/// A process that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pid(pub u32);

impl Pid {
    /// CPU time so far, user and system, of all threads that live.
    pub fn cpu(self) -> Option<Duration> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.0)).ok()?;
        let mut nanos = 0;
        for thread in threads.flatten() {
            // Nanoseconds, where stat has only hundredths of a second.
            let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) else { continue };
            nanos += text.split(' ').next()?.parse::<u64>().ok()?;
        }
        Some(Duration::from_nanos(nanos))
    }

    /// CPU time so far, in the program itself and in the kernel. Coarser than [`Pid::cpu`].
    fn halves(self) -> Option<(Duration, Duration)> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.0)).ok()?;
        // Behind the name, which may have anything in it, utime and stime are the twelfth and the thirteenth (proc(5)).
        let mut ticks = text.rsplit(')').next()?.split_whitespace().skip(11).map_while(|tick| tick.parse().ok());
        Some((time(ticks.next()?), time(ticks.next()?)))
    }

    /// Files that it has open, sockets among them.
    pub fn files(self) -> Option<u64> {
        Some(fs::read_dir(format!("/proc/{}/fd", self.0)).ok()?.count() as u64)
    }

    /// Memory that is really there, in bytes.
    pub fn rss(self) -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0)).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
    }
}

/// CPU time of the whole machine that somebody used, and that a hypervisor took away, since its start.
pub fn machine() -> Option<(Duration, Duration)> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let ticks: Vec<u64> = text.lines().next()?.split_whitespace().skip(1).map_while(|tick| tick.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = ticks[..] else { return None };
    Some((time(user + nice + system + irq + softirq), time(steal)))
}

/// Hundredths of a second, on every Linux there is (proc(5), USER_HZ).
fn time(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 10)
}

/// What happened between two looks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// The server's share.
    pub server: Option<Duration>,
    /// What of that was in the program itself, and what in the kernel.
    pub halves: Option<(Duration, Duration)>,
    /// Our own.
    pub load: Option<Duration>,
    /// What was neither.
    pub foreign: Option<Duration>,
    /// What a hypervisor kept.
    pub stolen: Option<Duration>,
}

impl Usage {
    /// Both together; what is unknown adds nothing.
    pub fn and(self, other: Usage) -> Usage {
        let sum =
            |a: Option<Duration>, b: Option<Duration>| a.or(b).map(|_| a.unwrap_or_default() + b.unwrap_or_default());
        let halves = self.halves.or(other.halves).map(|_| {
            let (a, b) = (self.halves.unwrap_or_default(), other.halves.unwrap_or_default());
            (a.0 + b.0, a.1 + b.1)
        });
        Usage {
            server: sum(self.server, other.server),
            halves,
            load: sum(self.load, other.load),
            foreign: sum(self.foreign, other.foreign),
            stolen: sum(self.stolen, other.stolen),
        }
    }
}

/// A look at the clocks of the server, of ourselves and of the machine.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    pid: Option<Pid>,
    server: Option<Duration>,
    halves: Option<(Duration, Duration)>,
    load: Option<Duration>,
    machine: Option<(Duration, Duration)>,
}

impl Look {
    pub fn now(pid: Option<Pid>) -> Self {
        let load = Pid(std::process::id()).cpu();
        Look { pid, server: pid.and_then(Pid::cpu), halves: pid.and_then(Pid::halves), load, machine: machine() }
    }

    /// What was used since then.
    pub fn since(self) -> Usage {
        let now = Look::now(self.pid);
        let used = |now: Option<Duration>, then: Option<Duration>| Some(now?.saturating_sub(then?));
        let (server, load) = (used(now.server, self.server), used(now.load, self.load));
        let busy = used(now.machine.map(|(busy, _)| busy), self.machine.map(|(busy, _)| busy));
        let ours = server.unwrap_or_default() + load.unwrap_or_default();
        Usage {
            server,
            halves: now
                .halves
                .zip(self.halves)
                .map(|(now, then)| (now.0.saturating_sub(then.0), now.1.saturating_sub(then.1))),
            load,
            foreign: busy.filter(|_| server.is_some()).map(|busy| busy.saturating_sub(ours)),
            stolen: used(now.machine.map(|(_, stolen)| stolen), self.machine.map(|(_, stolen)| stolen)),
        }
    }
}
