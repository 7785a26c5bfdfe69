//! A TURN client: addresses on relays, for where no direct path is (RFC 8656 over UDP).
//!
//! One [`Allocation`] per TURN server and socket that can reach it, shared by all connections. What a connection
//! sends from a relay's address is wrapped and goes to the TURN server; what the server passes on is unwrapped. A
//! permission is asked for when a connection first sends to an address, a channel (four bytes of overhead instead of
//! 36) when more than connectivity checks goes there. The library refreshes all of them. It draws its transaction ids
//! itself: in these bytes, though not in their times and lengths, two runs with one seed differ.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use stun_types::attribute::ErrorCode;
use stun_types::message::{Message, MessageClass};
use turn_client_proto::api::{
    SendError, Transmit, TransmitBuild, TurnClientApi, TurnConfig, TurnEvent, TurnPollRet, TurnRecvRet,
};
use turn_client_proto::prelude::DelayedTransmitBuild;
use turn_client_proto::types::{AddressFamily, TransportType, TurnCredentials};
use turn_client_proto::udp::TurnClientUdp;

use crate::clock::{self, WallClock};
use crate::limits;
use crate::peer::contained;
use crate::turn::TurnServer;

/// The library's time.
type Nanos = turn_client_proto::stun::Instant;

/// The schedule of a request: at 0, 0.5, 1.5, 3.5 and 7.5 s, given up at 15.5 s. Half as patient as RFC 8489, 6.2.1:
/// a person waits for it, and a connection gives up after 30 s.
const RTO: Duration = Duration::from_millis(500);
const RTO_MAX: Duration = Duration::from_secs(8);
const SENDS: u32 = 5;

/// The wake-up of a client is at least so far away: no TURN server can make the machine spin.
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);

/// Permissions of one allocation. Each connection is bounded for itself; this bounds what those before it left behind.
const PERMISSIONS: usize = limits::PEERS * limits::RELAY_PERMISSIONS;

/// How often a client may have something more to do at once.
const ROUNDS: usize = 64;

/// What the relays want done or have found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TurnEffect {
    /// Send to a TURN server.
    Transmit { local: SocketAddr, remote: SocketAddr, bytes: Vec<u8> },
    /// The address `relay` is ours, allocated from `local`.
    Relayed { relay: SocketAddr, local: SocketAddr },
    /// There is no relay there, or no longer one; a sentence for a person.
    Failed(String),
    /// A relay does not let through what goes to somebody; a sentence for who asks for details.
    Denied(String),
    /// Every allocation that was asked for is made or has failed.
    Done,
}

/// Whose a datagram is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Received {
    /// Not of a TURN server of ours.
    NotOurs,
    /// The TURN server meant us.
    Handled,
    /// It passes this on, which `peer` sent to `relay`.
    PassedOn { relay: SocketAddr, peer: SocketAddr, bytes: Vec<u8> },
}

/// All relays of an agent.
#[derive(Debug)]
pub(super) struct Relays {
    servers: Vec<TurnServer>,
    /// Their addresses are being looked up.
    awaited: bool,
    clock: WallClock,
    epoch: Instant,
    allocations: Vec<Allocation>,
    /// [`TurnEffect::Done`] is still to be told.
    owing: bool,
    /// What was told of failures since the last allocation: from each socket the same is no news.
    failures: BTreeSet<String>,
}

/// One address on a TURN server, or the wish for one.
#[derive(Debug)]
struct Allocation {
    server: TurnServer,
    local: SocketAddr,
    client: TurnClientUdp,
    state: State,
    /// The transactions of the first request, which has no credentials yet, and of the last.
    first: Option<TransactionId>,
    last: Option<TransactionId>,
    /// Why the last request of the allocation was refused: STUN's error code.
    refused: Option<u16>,
    /// Addresses that a permission was asked for and not refused.
    permitted: BTreeSet<IpAddr>,
    /// Those that the server does not let through.
    denied: BTreeSet<IpAddr>,
    /// Addresses that a channel was asked for.
    channels: BTreeSet<SocketAddr>,
    wake: Instant,
}

type TransactionId = [u8; 12];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Asking,
    Made(SocketAddr),
    Over,
}

impl Relays {
    /// None yet. The clock is for telling who was refused that his credentials had expired.
    pub(super) fn new(now: Instant, clock: WallClock, servers: Vec<TurnServer>) -> Self {
        Relays {
            servers,
            awaited: false,
            clock,
            epoch: now,
            allocations: Vec::new(),
            owing: false,
            failures: BTreeSet::new(),
        }
    }

    /// Other servers, or the same with fresh credentials, for what is allocated from now on.
    pub(super) fn use_servers(&mut self, servers: Vec<TurnServer>) {
        (self.servers, self.awaited) = (servers, false);
    }

    /// Servers will be given once their addresses are known.
    pub(super) fn await_servers(&mut self) {
        self.awaited = true;
    }

    /// Whether there are servers to ask, or will be.
    pub(super) fn has_servers(&self) -> bool {
        self.awaited || !self.servers.is_empty()
    }

    /// Asks for an address at each server from each socket that can reach it, unless that was done.
    pub(super) fn allocate(&mut self, now: Instant, hosts: &[SocketAddr], out: &mut Vec<TurnEffect>) {
        self.allocations.retain(|allocation| allocation.state != State::Over);
        for (server, &local) in self.servers.iter().flat_map(|server| hosts.iter().map(move |host| (server, host))) {
            let address = server.address;
            if local.is_ipv4() != address.is_ipv4()
                || local.ip().is_loopback() != address.ip().is_loopback()
                || self.allocations.len() >= limits::RELAYS
                || self.allocations.iter().any(|made| (made.local, made.server.address) == (local, address))
            {
                continue;
            }
            self.allocations.push(Allocation::new(now, server.clone(), local));
        }
        self.owing = true;
        self.failures.clear();
        self.drive(now, out);
    }

    /// Whether an answer is still missing.
    pub(super) fn is_allocating(&self) -> bool {
        self.allocations.iter().any(|allocation| allocation.state == State::Asking)
    }

    /// The addresses that we have, each with the socket that it was allocated from.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (SocketAddr, SocketAddr)> {
        self.allocations.iter().filter_map(|allocation| match allocation.state {
            State::Made(relay) => Some((relay, allocation.local)),
            State::Asking | State::Over => None,
        })
    }

    /// Sends from a relay. `false`: this is the address of none (any more), and nothing was done.
    pub(super) fn send(
        &mut self,
        now: Instant,
        relay: SocketAddr,
        peer: SocketAddr,
        bytes: &[u8],
        out: &mut Vec<TurnEffect>,
    ) -> bool {
        let time = self.time(now);
        let Some(allocation) = self.allocations.iter_mut().find(|of| of.state == State::Made(relay)) else {
            return false;
        };
        allocation.send(time, peer, bytes, out);
        self.drive(now, out);
        true
    }

    /// Takes a datagram, if it is from a TURN server.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        bytes: &[u8],
        out: &mut Vec<TurnEffect>,
    ) -> Received {
        let time = self.time(now);
        let same = |of: &&mut Allocation| (of.local, of.server.address) == (local, remote);
        let Some(allocation) = self.allocations.iter_mut().find(same) else { return Received::NotOurs };
        let mut told = Vec::new();
        let received = allocation.receive(time, bytes, self.clock.unix(now), &mut told);
        self.tell(told, out);
        self.drive(now, out);
        received
    }

    /// Does what is due.
    pub(super) fn timeout(&mut self, now: Instant, out: &mut Vec<TurnEffect>) {
        if self.next_timeout().is_some_and(|at| at <= now) {
            self.drive(now, out);
        }
    }

    /// When [`Relays::timeout`] is due next.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let live = self.allocations.iter().filter(|allocation| allocation.state != State::Over);
        live.map(|allocation| allocation.wake).min()
    }

    /// Gives one address back and asks for another at the same server: that may have been started anew and have
    /// forgotten it, which nothing but silence tells.
    pub(super) fn renew(&mut self, now: Instant, relay: SocketAddr, out: &mut Vec<TurnEffect>) {
        let time = self.time(now);
        let Some(allocation) = self.allocations.iter_mut().find(|of| of.state == State::Made(relay)) else { return };
        allocation.release(time, out);
        let address = allocation.server.address;
        // The credentials may be newer ones.
        let server = self.servers.iter().find(|server| server.address == address).unwrap_or(&allocation.server);
        *allocation = Allocation::new(now, server.clone(), allocation.local);
        self.drive(now, out);
    }

    /// Gives all addresses back. If that is lost they lapse by themselves.
    pub(super) fn release(&mut self, now: Instant, out: &mut Vec<TurnEffect>) {
        let time = self.time(now);
        for mut allocation in std::mem::take(&mut self.allocations) {
            allocation.release(time, out);
        }
    }

    /// Lets each client do what it has to, and tells when the last answer is there.
    fn drive(&mut self, now: Instant, out: &mut Vec<TurnEffect>) {
        let (time, unix) = (self.time(now), self.clock.unix(now));
        let mut told = Vec::new();
        for allocation in self.allocations.iter_mut().filter(|of| of.state != State::Over) {
            match contained(|| allocation.drive(time, unix, &mut told)) {
                Ok(wake) => {
                    let at = self.epoch + Duration::from_nanos(u64::try_from(wake.as_nanos()).unwrap_or(0));
                    allocation.wake = at.max(now + SHORTEST_SLEEP);
                }
                Err(panic) => allocation.fail(&format!("the client failed over what it sent: {panic}"), &mut told),
            }
        }
        self.tell(told, out);
        if !self.is_allocating() && std::mem::take(&mut self.owing) {
            out.push(TurnEffect::Done);
        }
    }

    fn tell(&mut self, told: Vec<TurnEffect>, out: &mut Vec<TurnEffect>) {
        let mut is_news = |effect: &TurnEffect| match effect {
            TurnEffect::Failed(why) => self.failures.insert(why.clone()),
            _ => true,
        };
        out.extend(told.into_iter().filter(|effect| is_news(effect)));
    }

    fn time(&self, now: Instant) -> Nanos {
        let since = now.saturating_duration_since(self.epoch).as_nanos();
        Nanos::from_nanos(i64::try_from(since).unwrap_or(i64::MAX))
    }
}

impl Allocation {
    fn new(now: Instant, server: TurnServer, local: SocketAddr) -> Self {
        let credentials = &server.credentials;
        let mut config = TurnConfig::new(TurnCredentials::new(&credentials.username, &credentials.password));
        config.set_address_family(if local.is_ipv4() { AddressFamily::IPV4 } else { AddressFamily::IPV6 });
        config.set_request_retransmits(RTO, RTO_MAX, SENDS, RTO_MAX);
        Allocation {
            local,
            client: TurnClientUdp::allocate(local, server.address, config),
            server,
            state: State::Asking,
            first: None,
            last: None,
            refused: None,
            permitted: BTreeSet::new(),
            denied: BTreeSet::new(),
            channels: BTreeSet::new(),
            wake: now,
        }
    }

    fn send(&mut self, time: Nanos, peer: SocketAddr, bytes: &[u8], out: &mut Vec<TurnEffect>) {
        if self.local.is_ipv4() != peer.is_ipv4() || self.denied.contains(&peer.ip()) {
            return;
        }
        if !self.permitted.contains(&peer.ip()) {
            if self.permitted.len() >= PERMISSIONS {
                return;
            }
            self.permitted.insert(peer.ip());
            // It fails only without an allocation, and then nothing goes out below either.
            let _ = self.client.create_permission(TransportType::Udp, peer.ip(), time);
        }
        let is_check = bytes.first().is_some_and(|first| *first < 4); // STUN (RFC 7983)
        if !is_check
            && self.channels.len() < limits::RELAY_CHANNELS
            && self.client.have_permission(TransportType::Udp, peer.ip())
            && self.channels.insert(peer)
        {
            let _ = self.client.bind_channel(TransportType::Udp, peer, time);
        }
        match self.client.send_to(TransportType::Udp, peer, bytes, time) {
            Ok(Some(wrapped)) => out.push(self.wrapped(wrapped)),
            // The permission is on its way; what it holds up is said again by ICE.
            Ok(None) | Err(SendError::NoPermission) => {}
            Err(_) => {}
        }
    }

    fn release(&mut self, time: Nanos, out: &mut Vec<TurnEffect>) {
        // A second later nothing holds it back that was sent before.
        let later = time + Duration::from_secs(1);
        let released = contained(|| {
            let deleted = self.client.delete(time).is_ok();
            self.client.poll_transmit(later).filter(|_| deleted).map(|transmit| transmit.data.to_vec())
        });
        if let Ok(Some(bytes)) = released {
            out.push(TurnEffect::Transmit { local: self.local, remote: self.server.address, bytes });
        }
    }

    fn wrapped<T: DelayedTransmitBuild + std::fmt::Debug>(&self, wrapped: TransmitBuild<T>) -> TurnEffect {
        TurnEffect::Transmit { local: self.local, remote: self.server.address, bytes: wrapped.build().data }
    }

    fn receive(&mut self, time: Nanos, bytes: &[u8], unix: Duration, out: &mut Vec<TurnEffect>) -> Received {
        if self.state == State::Asking && self.is_refusal(bytes) {
            let why = self.why_refused(unix);
            self.fail(&why, out);
            return Received::Handled;
        }
        let transmit = Transmit::new(bytes, TransportType::Udp, self.server.address, self.local);
        let received = contained(|| match self.client.recv(transmit, time) {
            TurnRecvRet::Handled | TurnRecvRet::PeerIcmp { .. } => Received::Handled,
            TurnRecvRet::Ignored(_) => Received::NotOurs,
            TurnRecvRet::PeerData(data) => match self.state {
                State::Made(relay) => Received::PassedOn { relay, peer: data.peer, bytes: data.data().to_vec() },
                State::Asking | State::Over => Received::Handled,
            },
        });
        received.unwrap_or_else(|panic| {
            self.fail(&format!("the client failed over what it sent: {panic}"), out);
            Received::Handled
        })
    }

    /// Whether this answers our last request with an error that asking again cannot cure. The library does not take an
    /// answer without a signature, as servers give to credentials that they do not know; but to have seen our
    /// transaction is all the proof that there can be then.
    fn is_refusal(&mut self, bytes: &[u8]) -> bool {
        if transaction(bytes) != self.last || self.last.is_none() {
            return false;
        }
        let Ok(message) = Message::from_bytes(bytes) else { return false };
        if !message.has_class(MessageClass::Error) {
            return false;
        }
        let Ok(error) = message.attribute::<ErrorCode>() else { return false };
        self.refused = Some(error.code());
        match error.code() {
            // To the first request, that is the invitation to show credentials.
            ErrorCode::UNAUTHORIZED => self.last != self.first,
            ErrorCode::STALE_NONCE => false,
            _ => true,
        }
    }

    fn why_refused(&self, unix: Duration) -> String {
        let user = &self.server.credentials.username;
        match self.refused {
            Some(ErrorCode::UNAUTHORIZED | ErrorCode::FORBIDDEN) => {
                let expired = self.server.credentials.expires().filter(|at| *at <= unix.as_secs());
                match expired {
                    Some(at) => {
                        let at = clock::rfc3339(Duration::from_secs(at));
                        let at = at.split('.').next().unwrap_or_default();
                        format!("the credentials of {user} expired at {at}Z; ask for new ones")
                    }
                    None => format!("it does not take the credentials of {user}; check user and password"),
                }
            }
            Some(ErrorCode::ALLOCATION_QUOTA_REACHED) => {
                format!("{user} has as many relay addresses there as it may; close others first")
            }
            Some(ErrorCode::INSUFFICIENT_CAPACITY) => "it has no relay address left; try again later".to_owned(),
            Some(ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED) => {
                let family = if self.local.is_ipv4() { "IPv4" } else { "IPv6" };
                format!("it has no relay addresses of {family}")
            }
            Some(code) => format!("it refused with error {code}"),
            None => "it does not answer; check its address, and that UDP reaches it".to_owned(),
        }
    }

    /// Does what the client has to, until it sleeps; until when.
    fn drive(&mut self, time: Nanos, unix: Duration, out: &mut Vec<TurnEffect>) -> Nanos {
        for _ in 0..ROUNDS {
            let wake = match self.client.poll(time) {
                TurnPollRet::WaitUntil(wake) => Some(wake),
                TurnPollRet::Closed => None,
                TurnPollRet::AllocateTcpSocket { .. } | TurnPollRet::TcpClose { .. } => Some(time), // not over UDP
            };
            let mut busy = false;
            while let Some(transmit) = self.client.poll_transmit(time) {
                busy = true;
                let bytes = transmit.data.to_vec();
                if self.state == State::Asking {
                    self.last = transaction(&bytes);
                    self.first = self.first.or(self.last);
                }
                out.push(TurnEffect::Transmit { local: self.local, remote: self.server.address, bytes });
            }
            while let Some(event) = self.client.poll_event() {
                busy = true;
                self.event(event, unix, out);
            }
            match wake {
                _ if busy => {}
                Some(wake) => return wake,
                None => {
                    let why = match self.state {
                        State::Made(_) => "it no longer keeps our relay address".to_owned(),
                        State::Asking | State::Over => self.why_refused(unix),
                    };
                    self.fail(&why, out);
                    return time;
                }
            }
        }
        time
    }

    fn event(&mut self, event: TurnEvent, unix: Duration, out: &mut Vec<TurnEffect>) {
        match event {
            TurnEvent::AllocationCreated(_, relay) => {
                self.state = State::Made(relay);
                out.push(TurnEffect::Relayed { relay, local: self.local });
            }
            TurnEvent::AllocationCreateFailed(_) => {
                let why = self.why_refused(unix);
                self.fail(&why, out);
            }
            TurnEvent::PermissionCreateFailed(_, peer) => {
                self.permitted.remove(&peer);
                if self.denied.len() < PERMISSIONS && self.denied.insert(peer) {
                    let server = self.server.address;
                    out.push(TurnEffect::Denied(format!("TURN server {server} lets nothing through to {peer}")));
                }
            }
            TurnEvent::ChannelCreateFailed(_, peer) => {
                self.channels.remove(&peer);
            }
            TurnEvent::PermissionCreated(..)
            | TurnEvent::ChannelCreated(..)
            | TurnEvent::TcpConnected(_)
            | TurnEvent::TcpConnectFailed(_) => {}
        }
    }

    fn fail(&mut self, why: &str, out: &mut Vec<TurnEffect>) {
        if std::mem::replace(&mut self.state, State::Over) != State::Over {
            out.push(TurnEffect::Failed(format!("TURN server {}: {why}", self.server.address)));
        }
    }
}

/// The transaction that a STUN message belongs to.
fn transaction(bytes: &[u8]) -> Option<TransactionId> {
    bytes.get(8..20)?.try_into().ok()
}
