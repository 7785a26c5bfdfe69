//! Network address translation, by the words of RFC 4787.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// What a mapping or a filter looks at (RFC 4787, 4.1 and 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dependence {
    /// At nobody's address: one mapping for all, everybody may enter.
    Endpoint,
    /// At the remote's address.
    Address,
    /// At the remote's address and port; as a mapping this is called symmetric.
    AddressAndPort,
}

/// How a NAT behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behaviour {
    /// Which destinations share a mapping.
    pub mapping: Dependence,
    /// Whom a mapping lets in: everybody, or only whom something was sent to.
    pub filtering: Dependence,
    /// Whether the port outside is the one inside if it is free (4.2.1).
    pub keeps_ports: bool,
    /// For how long a mapping lives after the last datagram outward (4.3).
    pub expiry: Duration,
}

impl Behaviour {
    /// A well-behaved one, as most routers at home.
    pub const HOME: Behaviour = Behaviour {
        mapping: Dependence::Endpoint,
        filtering: Dependence::AddressAndPort,
        keeps_ports: true,
        expiry: Duration::from_secs(120),
    };

    /// A hard one, as in offices and mobile networks.
    pub const SYMMETRIC: Behaviour = Behaviour {
        mapping: Dependence::AddressAndPort,
        filtering: Dependence::AddressAndPort,
        keeps_ports: false,
        expiry: Duration::from_secs(30),
    };
}

/// A NAT with one address outside.
#[derive(Debug)]
pub struct Nat {
    /// The address outside.
    pub outside: IpAddr,
    behaviour: Behaviour,
    /// If it only changes the address, that of the host inside.
    one_to_one: Option<IpAddr>,
    /// By the port outside.
    mappings: BTreeMap<u16, Mapping>,
}

#[derive(Debug)]
struct Mapping {
    inside: SocketAddr,
    /// For whom, as far as the mapping depends on it.
    remote: Option<(IpAddr, Option<u16>)>,
    /// Whom something was sent to, as far as the filter depends on it.
    known: Vec<(IpAddr, Option<u16>)>,
    used: Instant,
}

impl Nat {
    /// A NAT without mappings.
    pub fn new(outside: IpAddr, behaviour: Behaviour) -> Self {
        Nat { outside, behaviour, one_to_one: None, mappings: BTreeMap::new() }
    }

    /// Nothing but another address for a host: every port is mapped to itself and everybody may enter.
    pub fn one_to_one(outside: IpAddr, inside: IpAddr) -> Self {
        Nat { one_to_one: Some(inside), ..Nat::new(outside, Behaviour::HOME) }
    }

    /// The same kind of NAT elsewhere, without mappings.
    pub fn moved_to(self, outside: IpAddr) -> Self {
        Nat { outside, mappings: BTreeMap::new(), ..self }
    }

    /// Something is sent outward: its source as seen from outside.
    pub fn outward(&mut self, rng: &mut fastrand::Rng, now: Instant, from: SocketAddr, to: SocketAddr) -> SocketAddr {
        if self.one_to_one.is_some() {
            return SocketAddr::new(self.outside, from.port());
        }
        self.expire(now);
        let remote = key(self.behaviour.mapping, to);
        let known = self.mappings.iter().find(|(_, mapping)| mapping.inside == from && mapping.remote == remote);
        let port = known.map(|(port, _)| *port).unwrap_or_else(|| self.free_port(rng, from.port()));
        let new = Mapping { inside: from, remote, known: Vec::new(), used: now };
        let mapping = self.mappings.entry(port).or_insert(new);
        mapping.used = now;
        if let Some(remote) = key(self.behaviour.filtering, to).filter(|remote| !mapping.known.contains(remote)) {
            mapping.known.push(remote);
        }
        SocketAddr::new(self.outside, port)
    }

    /// Something arrives from outside: whom it is for, if it may enter.
    pub fn inward(&mut self, now: Instant, from: SocketAddr, to: SocketAddr) -> Option<SocketAddr> {
        if let Some(inside) = self.one_to_one {
            return Some(SocketAddr::new(inside, to.port()));
        }
        self.expire(now);
        let mapping = self.mappings.get(&to.port())?;
        let may_enter = key(self.behaviour.filtering, from).is_none_or(|from| mapping.known.contains(&from));
        may_enter.then_some(mapping.inside)
    }

    fn expire(&mut self, now: Instant) {
        let expiry = self.behaviour.expiry;
        self.mappings.retain(|_, mapping| now.saturating_duration_since(mapping.used) < expiry);
    }

    fn free_port(&self, rng: &mut fastrand::Rng, wanted: u16) -> u16 {
        if self.behaviour.keeps_ports && !self.mappings.contains_key(&wanted) {
            return wanted;
        }
        loop {
            let port = rng.u16(1024..);
            if !self.mappings.contains_key(&port) {
                return port;
            }
        }
    }
}

fn key(dependence: Dependence, remote: SocketAddr) -> Option<(IpAddr, Option<u16>)> {
    match dependence {
        Dependence::Endpoint => None,
        Dependence::Address => Some((remote.ip(), None)),
        Dependence::AddressAndPort => Some((remote.ip(), Some(remote.port()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], port))
    }

    fn inside() -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], 5000))
    }

    fn nat(mapping: Dependence, filtering: Dependence) -> Nat {
        Nat::new("203.0.113.1".parse().expect("an address"), Behaviour { mapping, filtering, ..Behaviour::HOME })
    }

    #[test]
    fn mappings_are_shared_as_far_as_they_depend() {
        use Dependence::{Address, AddressAndPort, Endpoint};
        for (mapping, other_port_shares, other_address_shares) in
            [(Endpoint, true, true), (Address, true, false), (AddressAndPort, false, false)]
        {
            let (mut nat, now, mut rng) = (nat(mapping, Endpoint), Instant::now(), fastrand::Rng::with_seed(1));
            let first = nat.outward(&mut rng, now, inside(), address(1, 1));
            assert_eq!(first, nat.outward(&mut rng, now, inside(), address(1, 1)));
            assert_eq!(first.port(), 5000, "kept");
            assert_eq!(first == nat.outward(&mut rng, now, inside(), address(1, 2)), other_port_shares, "{mapping:?}");
            assert_eq!(
                first == nat.outward(&mut rng, now, inside(), address(2, 1)),
                other_address_shares,
                "{mapping:?}"
            );
        }
    }

    #[test]
    fn filters_let_in_as_far_as_they_depend() {
        use Dependence::{Address, AddressAndPort, Endpoint};
        for (filtering, same_address, stranger) in
            [(Endpoint, true, true), (Address, true, false), (AddressAndPort, false, false)]
        {
            let (mut nat, now, mut rng) = (nat(Endpoint, filtering), Instant::now(), fastrand::Rng::with_seed(1));
            assert_eq!(nat.inward(now, address(1, 1), SocketAddr::new(nat.outside, 5000)), None, "nothing was sent");
            let seen = nat.outward(&mut rng, now, inside(), address(1, 1));
            assert_eq!(nat.inward(now, address(1, 1), seen), Some(inside()));
            assert_eq!(nat.inward(now, address(1, 2), seen).is_some(), same_address, "{filtering:?}");
            assert_eq!(nat.inward(now, address(2, 1), seen).is_some(), stranger, "{filtering:?}");
        }
    }

    #[test]
    fn mappings_expire_unless_they_are_used() {
        let (mut nat, now, mut rng) =
            (nat(Dependence::Endpoint, Dependence::Endpoint), Instant::now(), fastrand::Rng::with_seed(1));
        let seen = nat.outward(&mut rng, now, inside(), address(1, 1));
        let later = now + Duration::from_secs(100);
        assert_eq!(nat.outward(&mut rng, later, inside(), address(1, 1)), seen);
        assert!(nat.inward(later + Duration::from_secs(119), address(1, 1), seen).is_some());
        assert!(nat.inward(later + Duration::from_secs(120), address(1, 1), seen).is_none());
        let mut symmetric = Nat::new(nat.outside, Behaviour::SYMMETRIC);
        assert_ne!(symmetric.outward(&mut rng, now, inside(), address(1, 1)).port(), 5000, "not kept");
    }

    #[test]
    fn another_address_and_nothing_else() {
        let (now, mut rng) = (Instant::now(), fastrand::Rng::with_seed(1));
        let mut nat = Nat::one_to_one([203, 0, 113, 1].into(), inside().ip());
        let to = SocketAddr::new(nat.outside, 5000);
        assert_eq!(nat.inward(now, address(9, 9), to), Some(inside()));
        assert_eq!(nat.outward(&mut rng, now, inside(), address(9, 9)), to);
    }
}
