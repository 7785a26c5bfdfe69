//! A network for datagrams, composed of nodes, without sockets or a clock, from a seed.
//!
//! A [`Node`] is told when a datagram comes to it and says when it leaves: never, once or twice. A [`Link`] is a row of
//! nodes. A [`Network`] knows the hosts, each with a link of its own both ways and perhaps behind a [`nat::Nat`], and the
//! partitions between them. WebSockets go through [`pipe::Pipe`]s.

pub mod nat;
pub mod pipe;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::net::nat::Nat;

/// Bytes of the IPv4 and UDP headers: a payload and these make a packet.
pub const HEADER_BYTES: usize = 28;

/// A datagram: from, to, what.
pub type Datagram = (SocketAddr, SocketAddr, Vec<u8>);

/// One thing that can happen to datagrams on their way.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// Takes this long.
    Delay(Duration),
    /// Takes up to this long, each datagram by itself, so they overtake each other.
    Jitter(Duration),
    /// Loses this share, each datagram by itself.
    Loss(f64),
    /// Loses in bursts (Gilbert-Elliott).
    Bursts(Bursts),
    /// Delivers this share twice, the second one up to 10 ms later.
    Duplicate(f64),
    /// Holds this share back for so long, so that later ones overtake it.
    Reorder(f64, Duration),
    /// Sends so many bytes a second, and queues. Comes before nodes that change the order.
    Rate(Rate),
    /// Drops packets of more than so many bytes, headers included.
    Mtu(usize),
}

/// A channel with a good and a bad state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bursts {
    /// From good to bad, for each datagram.
    pub begin: f64,
    /// From bad to good, for each datagram.
    pub end: f64,
    /// The share that is lost in the bad state.
    pub loss: f64,
    /// Whether it is bad now.
    pub bad: bool,
}

/// A queue before a narrow line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Bytes a second.
    pub bytes_per_second: u64,
    /// What would wait longer is dropped.
    pub longest_wait: Duration,
    /// When the line is free again; `None`: it is.
    pub busy_until: Option<Instant>,
}

impl Rate {
    /// A free line.
    pub fn new(bytes_per_second: u64, longest_wait: Duration) -> Self {
        Rate { bytes_per_second, longest_wait, busy_until: None }
    }
}

impl Node {
    /// When a datagram with so many bytes of payload, which comes at `at`, leaves.
    pub fn pass(&mut self, rng: &mut fastrand::Rng, at: Instant, len: usize, leaves: &mut Vec<Instant>) {
        match self {
            Node::Delay(delay) => leaves.push(at + *delay),
            Node::Jitter(most) => leaves.push(at + most.mul_f64(rng.f64())),
            Node::Loss(share) if rng.f64() < *share => {}
            Node::Loss(_) => leaves.push(at),
            Node::Bursts(bursts) => {
                let change = if bursts.bad { bursts.end } else { bursts.begin };
                bursts.bad ^= rng.f64() < change;
                if !(bursts.bad && rng.f64() < bursts.loss) {
                    leaves.push(at);
                }
            }
            Node::Duplicate(share) => {
                leaves.push(at);
                if rng.f64() < *share {
                    leaves.push(at + Duration::from_millis(10).mul_f64(rng.f64()));
                }
            }
            Node::Reorder(share, hold) => leaves.push(if rng.f64() < *share { at + *hold } else { at }),
            Node::Rate(rate) => {
                let begin = rate.busy_until.map_or(at, |busy| busy.max(at));
                if begin - at <= rate.longest_wait {
                    let nanos = (len + HEADER_BYTES) as u64 * 1_000_000_000 / rate.bytes_per_second.max(1);
                    let end = begin + Duration::from_nanos(nanos);
                    rate.busy_until = Some(end);
                    leaves.push(end);
                }
            }
            Node::Mtu(most) if len + HEADER_BYTES > *most => {}
            Node::Mtu(_) => leaves.push(at),
        }
    }
}

/// A row of nodes. An empty one is ideal.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Link(pub Vec<Node>);

impl Link {
    /// When a datagram that comes at `at` arrives at the other end: not at all, once or several times.
    pub fn pass(&mut self, rng: &mut fastrand::Rng, at: Instant, len: usize) -> Vec<Instant> {
        let mut times = vec![at];
        for node in &mut self.0 {
            let mut leaves = Vec::with_capacity(times.len());
            for at in times {
                node.pass(rng, at, len, &mut leaves);
            }
            times = leaves;
        }
        times
    }
}

/// A host's place in the network.
#[derive(Debug, Default)]
struct Host {
    up: Link,
    down: Link,
    nat: Option<Nat>,
    cut_off: bool,
}

/// What stands between hosts.
#[derive(Debug, Default)]
pub struct Network {
    hosts: BTreeMap<IpAddr, Host>,
    /// Whose address on the outside this is.
    outside: BTreeMap<IpAddr, IpAddr>,
    /// Pairs of hosts that do not reach each other directly.
    parted: BTreeSet<(IpAddr, IpAddr)>,
    /// Datagrams that a node, a NAT or a partition swallowed.
    pub swallowed: u64,
}

impl Network {
    /// A host with an address of its own.
    pub fn add(&mut self, host: IpAddr) {
        self.hosts.entry(host).or_default();
        self.outside.insert(host, host);
    }

    /// Changes a host's links, up and down.
    pub fn set_links(&mut self, host: IpAddr, up: Link, down: Link) {
        let host = self.hosts.entry(host).or_default();
        (host.up, host.down) = (up, down);
    }

    /// Puts a host behind a NAT: from outside it has the NAT's address only.
    pub fn put_behind(&mut self, host: IpAddr, nat: Nat) {
        self.outside.retain(|_, inside| *inside != host);
        self.outside.insert(nat.outside, host);
        self.hosts.entry(host).or_default().nat = Some(nat);
    }

    /// The host is elsewhere now: what it sends comes from `address`, and what was sent to where it was is lost.
    /// Its own socket does not notice.
    pub fn roam(&mut self, host: IpAddr, address: IpAddr) {
        let nat = match self.hosts.get_mut(&host).and_then(|host| host.nat.take()) {
            Some(nat) => nat.moved_to(address),
            None => Nat::one_to_one(address, host),
        };
        self.put_behind(host, nat);
    }

    /// Parts two hosts, or joins them again.
    pub fn part(&mut self, one: IpAddr, other: IpAddr, parted: bool) {
        let pair = (one.min(other), one.max(other));
        if parted {
            self.parted.insert(pair);
        } else {
            self.parted.remove(&pair);
        }
    }

    /// Cuts a host off from everybody, or lets it in again.
    pub fn cut_off(&mut self, host: IpAddr, cut_off: bool) {
        self.hosts.entry(host).or_default().cut_off = cut_off;
    }

    /// Ends every partition and makes every link ideal. NATs stay.
    pub fn heal(&mut self) {
        self.parted.clear();
        for host in self.hosts.values_mut() {
            (host.up, host.down, host.cut_off) = (Link::default(), Link::default(), false);
        }
    }

    /// A host sends: the source that others see, and when it is at the far end of the host's own link.
    pub fn leave(
        &mut self,
        rng: &mut fastrand::Rng,
        now: Instant,
        from: SocketAddr,
        to: SocketAddr,
        len: usize,
    ) -> (SocketAddr, Vec<Instant>) {
        let Some(host) = self.hosts.get_mut(&from.ip()) else { return (from, vec![now]) };
        let seen = match &mut host.nat {
            Some(nat) => nat.outward(rng, now, from, to),
            None => from,
        };
        let times = if host.cut_off { Vec::new() } else { host.up.pass(rng, now, len) };
        self.swallowed += u64::from(times.is_empty());
        (seen, times)
    }

    /// A datagram comes to where `to` is: the host's own address of it, and when it is there.
    pub fn enter(
        &mut self,
        rng: &mut fastrand::Rng,
        now: Instant,
        from: SocketAddr,
        to: SocketAddr,
        len: usize,
    ) -> Option<(SocketAddr, Vec<Instant>)> {
        let arrived = self.find(rng, now, from, to, len);
        self.swallowed += u64::from(arrived.as_ref().is_none_or(|(_, times)| times.is_empty()));
        arrived
    }

    fn find(
        &mut self,
        rng: &mut fastrand::Rng,
        now: Instant,
        from: SocketAddr,
        to: SocketAddr,
        len: usize,
    ) -> Option<(SocketAddr, Vec<Instant>)> {
        let inside = *self.outside.get(&to.ip())?;
        let sender = self.outside.get(&from.ip()).copied().unwrap_or(from.ip());
        let host = self.hosts.get_mut(&inside)?;
        if host.cut_off || self.parted.contains(&(sender.min(inside), sender.max(inside))) {
            return None;
        }
        let own = match &mut host.nat {
            Some(nat) => nat.inward(now, from, to)?,
            None => to,
        };
        Some((own, host.down.pass(rng, now, len)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// When datagrams that come a millisecond after each other leave a node, in milliseconds after each came.
    fn through(mut node: Node, count: usize, len: usize) -> Vec<Vec<f64>> {
        let (mut rng, start) = (fastrand::Rng::with_seed(1), Instant::now());
        let pass = |n: usize| {
            let (at, mut leaves) = (start + MS * n as u32, Vec::new());
            node.pass(&mut rng, at, len, &mut leaves);
            leaves.iter().map(|leaves| (*leaves - at).as_secs_f64() * 1e3).collect()
        };
        (0..count).map(pass).collect()
    }

    fn lost(node: Node) -> usize {
        through(node, 10_000, 100).iter().filter(|leaves| leaves.is_empty()).count()
    }

    #[test]
    fn delay_and_jitter_take_their_time() {
        assert_eq!(through(Node::Delay(MS * 5), 2, 100), [[5.0], [5.0]]);
        let jittered: Vec<f64> = through(Node::Jitter(MS * 10), 1000, 100).concat();
        assert!(jittered.iter().all(|ms| (0.0..=10.0).contains(ms)));
        assert!(jittered.windows(2).any(|pair| pair[0] > pair[1] + 1.0), "one overtakes another");
    }

    #[test]
    fn loss_is_a_share_and_bursts_are_clustered() {
        assert!((900..1100).contains(&lost(Node::Loss(0.1))));
        // Bad a fifth of the time, and then half is lost.
        let bursts = Bursts { begin: 0.01, end: 0.04, loss: 0.5, bad: false };
        let leaves = through(Node::Bursts(bursts), 10_000, 100);
        let lost: Vec<bool> = leaves.iter().map(Vec::is_empty).collect();
        let all = lost.iter().filter(|lost| **lost).count();
        assert!((700..1300).contains(&all), "{all}");
        let after_another = lost.windows(2).filter(|pair| pair[0] && pair[1]).count();
        assert!(
            after_another * 3 > all,
            "{after_another} of {all} follow another: independent loss would give a tenth"
        );
    }

    #[test]
    fn duplicates_and_stragglers_are_a_share() {
        let twice = through(Node::Duplicate(0.1), 10_000, 100).iter().filter(|leaves| leaves.len() == 2).count();
        assert!((900..1100).contains(&twice));
        let held = through(Node::Reorder(0.1, MS * 20), 10_000, 100).concat();
        assert!((900..1100).contains(&held.iter().filter(|ms| **ms == 20.0).count()));
    }

    #[test]
    fn a_narrow_line_queues_and_then_drops() {
        // 72 and 28 bytes take 2 ms on 50 kB/s; one more comes every millisecond.
        let leaves = through(Node::Rate(Rate::new(50_000, MS * 10)), 100, 72);
        let waits: Vec<f64> = leaves.concat();
        assert_eq!(waits[..4], [2.0, 3.0, 4.0, 5.0]);
        assert!(waits.iter().all(|ms| *ms <= 12.0));
        let arrived = leaves.iter().filter(|leaves| !leaves.is_empty()).count();
        assert!((50..60).contains(&arrived), "{arrived}");
    }

    #[test]
    fn what_is_longer_than_the_mtu_is_dropped() {
        assert_eq!(through(Node::Mtu(128), 1, 100), [[0.0]]);
        assert_eq!(through(Node::Mtu(127), 1, 100), [[0.0; 0]]);
    }

    #[test]
    fn a_link_is_its_nodes_one_after_the_other() {
        let (mut rng, now) = (fastrand::Rng::with_seed(1), Instant::now());
        let mut link = Link(vec![Node::Delay(MS), Node::Duplicate(1.0), Node::Delay(MS * 2)]);
        let times = link.pass(&mut rng, now, 10);
        assert_eq!((times.len(), times[0]), (2, now + MS * 3));
        assert!(Link(vec![Node::Loss(1.0), Node::Delay(MS)]).pass(&mut rng, now, 10).is_empty());
    }

    #[test]
    fn partitions_and_roaming() {
        let address = |ip: [u8; 4]| SocketAddr::from((ip, 5000));
        let (one, two, new) = (address([192, 0, 2, 1]), address([192, 0, 2, 2]), address([203, 0, 113, 9]));
        let (mut rng, now) = (fastrand::Rng::with_seed(1), Instant::now());
        let mut net = Network::default();
        net.add(one.ip());
        net.add(two.ip());
        let mut reaches = |net: &mut Network, from, to| net.enter(&mut rng, now, from, to, 10).map(|(own, _)| own);
        assert_eq!(reaches(&mut net, one, two), Some(two));
        net.part(two.ip(), one.ip(), true);
        assert_eq!((reaches(&mut net, one, two), reaches(&mut net, two, one)), (None, None));
        net.heal();
        assert_eq!(reaches(&mut net, one, two), Some(two));
        net.cut_off(two.ip(), true);
        assert_eq!(reaches(&mut net, one, two), None);
        net.cut_off(two.ip(), false);
        net.roam(two.ip(), new.ip());
        assert_eq!((reaches(&mut net, one, two), reaches(&mut net, one, new)), (None, Some(two)));
        assert_eq!(net.leave(&mut fastrand::Rng::with_seed(1), now, two, one, 10), (new, vec![now]));
    }
}
