//! A STUN client: what do our sockets look like from outside (RFC 8489, Binding method over UDP)?
//!
//! One round of [`Gathering`] asks each server from each socket. Requests start 50 ms apart (RFC 8445, 14.2) and are
//! repeated on the schedule of RFC 8489, 6.2.1.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use stun_types::attribute::{ErrorCode, XorMappedAddress};
use stun_types::message::{
    BINDING, Message, MessageClass, MessageType, MessageWrite, MessageWriteExt, MessageWriteVec,
};

use crate::ids::Secrets;

/// The first wait for an answer (RFC 8489, 6.2.1).
const RTO: Duration = Duration::from_millis(500);

/// How often a request is sent in all (Rc).
const SENDS: u32 = 7;

/// How many times [`RTO`] the last request waits for an answer (Rm).
const LAST_WAIT: u32 = 16;

/// Between the starts of two transactions (Ta of RFC 8445, 14.2).
const PACE: Duration = Duration::from_millis(50);

/// The fixed bytes 4 to 7 of every message.
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// What a gathering wants done or has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StunEffect {
    /// Send a request.
    Transmit { local: SocketAddr, remote: SocketAddr, bytes: Vec<u8> },
    /// `base` looks like `mapped` from outside.
    Mapped { mapped: SocketAddr, base: SocketAddr },
    /// A server gave no usable answer; a sentence for a person.
    Failed(String),
    /// Every transaction has ended. Told once.
    Done,
}

/// One round of questions.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// Those still without an answer: few, so that a list is searched as fast as a map.
    open: Vec<Transaction>,
}

#[derive(Debug)]
struct Transaction {
    id: u128,
    local: SocketAddr,
    server: SocketAddr,
    sent: u32,
    due: Instant,
}

impl Gathering {
    /// Starts a round. What is due at once is sent by the next [`Gathering::timeout`]; without any pair of a socket
    /// and a server that can reach each other the round is over before it begins, and `Done` is told here.
    pub(super) fn start(
        now: Instant,
        hosts: &[SocketAddr],
        servers: &[SocketAddr],
        secrets: &mut Secrets,
        out: &mut Vec<StunEffect>,
    ) -> Self {
        let mut open = Vec::new();
        let mut due = now;
        for (&local, &server) in hosts.iter().flat_map(|host| servers.iter().map(move |server| (host, server))) {
            if local.is_ipv4() != server.is_ipv4() || (local.ip().is_loopback() && !server.ip().is_loopback()) {
                continue;
            }
            let bits = (u128::from(secrets.number()) << 64) | u128::from(secrets.number());
            open.push(Transaction { id: bits >> 32, local, server, sent: 0, due });
            due += PACE;
        }
        if open.is_empty() {
            out.push(StunEffect::Done);
        }
        Gathering { open }
    }

    /// Whether questions are open.
    pub(super) fn is_running(&self) -> bool {
        !self.open.is_empty()
    }

    /// Takes a datagram. `false`: it is not an answer to one of our questions, and nothing was done.
    pub(super) fn receive(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        bytes: &[u8],
        out: &mut Vec<StunEffect>,
    ) -> bool {
        let Some(id) = transaction_of_response(bytes) else { return false };
        let same = |t: &Transaction| (t.id, t.local, t.server) == (id, local, remote);
        let Some(at) = self.open.iter().position(same) else { return false };
        let transaction = self.open.remove(at);
        match mapped_address(bytes) {
            // The socket is reachable under its own address: the host candidate says so already.
            Ok(mapped) if mapped == local => {}
            Ok(mapped) => out.push(StunEffect::Mapped { mapped, base: local }),
            Err(why) => out.push(StunEffect::Failed(format!("STUN server {}: {why}", transaction.server))),
        }
        if self.open.is_empty() {
            out.push(StunEffect::Done);
        }
        true
    }

    /// Sends what is due and gives up what was in vain.
    pub(super) fn timeout(&mut self, now: Instant, out: &mut Vec<StunEffect>) {
        if self.open.is_empty() {
            return;
        }
        self.open.retain_mut(|transaction| transaction.timeout(now, out));
        if self.open.is_empty() {
            out.push(StunEffect::Done);
        }
    }

    /// When [`Gathering::timeout`] is due next.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.open.iter().map(|transaction| transaction.due).min()
    }
}

impl Transaction {
    /// Sends if that is due; whether the transaction goes on.
    fn timeout(&mut self, now: Instant, out: &mut Vec<StunEffect>) -> bool {
        if now < self.due {
            return true;
        }
        if self.sent == SENDS {
            let server = self.server;
            out.push(StunEffect::Failed(format!("STUN server {server}: no answer to {} after 39.5 s", self.local)));
            return false;
        }
        out.push(StunEffect::Transmit { local: self.local, remote: self.server, bytes: request(self.id) });
        self.sent += 1;
        // From the deadline, not from `now`: a late driver does not stretch the schedule. But never into the past.
        let wait = if self.sent == SENDS { RTO * LAST_WAIT } else { RTO * (1 << (self.sent - 1)) };
        self.due = (self.due + wait).max(now + PACE);
        true
    }
}

/// A Binding request without attributes: all that RFC 8489 asks of one.
fn request(id: u128) -> Vec<u8> {
    let kind = MessageType::from_class_method(MessageClass::Request, BINDING);
    let mut message = Message::builder(kind, id.into(), MessageWriteVec::new());
    // Fails only if there is a fingerprint already. It tells STUN from other protocols for certain (section 7).
    let _ = message.add_fingerprint();
    message.finish()
}

/// The transaction id, if these bytes look like a STUN response. Cheap: it is asked for every datagram of a gathering.
fn transaction_of_response(bytes: &[u8]) -> Option<u128> {
    let header = bytes.first_chunk::<20>()?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    // The two top bits are zero; of the class bits 0x0110 the upper one is set in both kinds of response.
    let is_response = header[0] & 0xc1 == 0x01;
    let is_whole = header[4..8] == MAGIC_COOKIE && length + header.len() == bytes.len() && length % 4 == 0;
    let id = header[8..].iter().fold(0, |id, byte| (id << 8) | u128::from(*byte));
    (is_response && is_whole).then_some(id)
}

/// The address in a response, or why there is none.
fn mapped_address(bytes: &[u8]) -> Result<SocketAddr, String> {
    let message = Message::from_bytes(bytes).map_err(|e| format!("the answer cannot be read: {e}"))?;
    if message.has_class(MessageClass::Error) {
        let code = message
            .attribute::<ErrorCode>()
            .map_or_else(|_| "without a code".to_owned(), |error| format!("{} {}", error.code(), error.reason()));
        return Err(format!("it answered with error {code}"));
    }
    let mapped = message
        .attribute::<XorMappedAddress>()
        .map_err(|e| format!("the answer has no usable mapped address: {e}"))?
        .addr(message.transaction_id());
    let ip = mapped.ip();
    if ip.is_unspecified() || ip.is_multicast() || mapped.port() == 0 {
        return Err(format!("the answer names {mapped}, which cannot be an address of ours"));
    }
    Ok(mapped)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const HOST: &str = "192.0.2.7:4000";
    const SERVER: &str = "198.51.100.1:3478";
    const MAPPED: &str = "203.0.113.5:62000";

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn start(now: Instant, hosts: &[&str], servers: &[&str]) -> (Gathering, Vec<StunEffect>) {
        let addresses = |texts: &[&str]| texts.iter().map(|text| address(text)).collect::<Vec<_>>();
        let mut out = Vec::new();
        let mut secrets = Secrets::new([3; 32]);
        let mut gathering = Gathering::start(now, &addresses(hosts), &addresses(servers), &mut secrets, &mut out);
        gathering.timeout(now, &mut out);
        (gathering, out)
    }

    fn sent(effects: &[StunEffect]) -> Vec<(SocketAddr, SocketAddr, Vec<u8>)> {
        effects
            .iter()
            .filter_map(|effect| match effect {
                StunEffect::Transmit { local, remote, bytes } => Some((*local, *remote, bytes.clone())),
                _ => None,
            })
            .collect()
    }

    /// What a server answers whose client looks like `mapped`.
    pub(in crate::agent) fn success(request: &[u8], mapped: &str) -> Vec<u8> {
        let request = Message::from_bytes(request).unwrap();
        let mut answer = Message::builder_success(&request, MessageWriteVec::new());
        let mapped = XorMappedAddress::new(address(mapped), request.transaction_id());
        answer.add_attribute(&mapped).unwrap();
        answer.add_fingerprint().unwrap();
        answer.finish()
    }

    #[test]
    fn an_answer_gives_the_mapped_address_and_ends_the_round() {
        let now = Instant::now();
        let (mut gathering, effects) = start(now, &[HOST], &[SERVER]);
        let [(local, remote, request)] = sent(&effects).try_into().unwrap();
        assert_eq!((local, remote), (address(HOST), address(SERVER)));
        let message = Message::from_bytes(&request).unwrap();
        assert!(message.has_class(MessageClass::Request) && message.has_method(BINDING));

        let mut out = Vec::new();
        assert!(gathering.receive(local, remote, &success(&request, MAPPED), &mut out));
        assert_eq!(out, [StunEffect::Mapped { mapped: address(MAPPED), base: address(HOST) }, StunEffect::Done]);
        assert!(!gathering.receive(local, remote, &success(&request, MAPPED), &mut out), "a duplicate is nobody's");
        assert_eq!(gathering.next_timeout(), None);
    }

    /// The sample response of RFC 5769, section 2.2, for an IPv4 address: 192.0.2.1:32853.
    #[test]
    fn reads_the_response_of_rfc_5769() {
        let hex = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643\
                   000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
        assert_eq!(transaction_of_response(&bytes), Some(0xb7e7_a701_bc34_d686_fa87_dfae));
        assert_eq!(mapped_address(&bytes), Ok(address("192.0.2.1:32853")));
    }

    #[test]
    fn repeats_on_the_schedule_of_rfc_8489_and_gives_up() {
        let begin = Instant::now();
        let (mut gathering, effects) = start(begin, &[HOST], &[SERVER]);
        let first = sent(&effects);
        let mut times = vec![0];
        let mut out = Vec::new();
        while let Some(at) = gathering.next_timeout() {
            gathering.timeout(at, &mut out);
            assert!(gathering.next_timeout().is_none_or(|next| next > at));
            for request in sent(&std::mem::take(&mut out)) {
                assert_eq!(request, first[0], "the same transaction");
                times.push((at - begin).as_millis());
            }
            if !gathering.is_running() {
                assert_eq!((at - begin).as_millis(), 39_500);
            }
        }
        assert_eq!(times, [0, 500, 1500, 3500, 7500, 15_500, 31_500]);
    }

    #[test]
    fn a_late_answer_to_a_lost_request_counts() {
        let now = Instant::now();
        let (mut gathering, effects) = start(now, &[HOST], &[SERVER]);
        let (local, remote, request) = sent(&effects).remove(0);
        let mut out = Vec::new();
        gathering.timeout(now + Duration::from_millis(500), &mut out);
        out.clear();
        assert!(gathering.receive(local, remote, &success(&request, MAPPED), &mut out));
        assert_eq!(out.len(), 2);
    }

    #[test]
    fn answers_to_other_questions_or_from_elsewhere_are_ignored() {
        let now = Instant::now();
        let (mut gathering, effects) = start(now, &[HOST], &[SERVER]);
        let (local, remote, request) = sent(&effects).remove(0);
        let answer = success(&request, MAPPED);
        let mut wrong_id = answer.clone();
        wrong_id[19] ^= 1;
        let mut out = Vec::new();
        assert!(!gathering.receive(local, remote, &wrong_id, &mut out));
        assert!(!gathering.receive(local, address("198.51.100.9:3478"), &answer, &mut out));
        assert!(!gathering.receive(address("192.0.2.8:4000"), remote, &answer, &mut out));
        assert!(!gathering.receive(local, remote, &request, &mut out), "a request is no answer");
        for cut in 0..answer.len() {
            assert!(!gathering.receive(local, remote, &answer[..cut], &mut out));
        }
        assert_eq!(out, []);
        assert!(gathering.receive(local, remote, &answer, &mut out), "the right one still counts");
    }

    #[test]
    fn hostile_answers_end_a_question_without_a_candidate() {
        let now = Instant::now();
        let error = |request: &[u8]| {
            let mut answer = Message::builder_error(&Message::from_bytes(request).unwrap(), MessageWriteVec::new());
            answer.add_attribute(&ErrorCode::builder(420).build().unwrap()).unwrap();
            answer.finish()
        };
        let empty = |request: &[u8]| {
            Message::builder_success(&Message::from_bytes(request).unwrap(), MessageWriteVec::new()).finish()
        };
        let broken = |request: &[u8]| {
            let mut bytes = success(request, MAPPED);
            let last = bytes.len() - 1;
            bytes[last] ^= 0xff;
            bytes
        };
        type Make = fn(&[u8]) -> Vec<u8>;
        let cases: [Make; 5] =
            [error, empty, broken, |request| success(request, "0.0.0.0:1"), |request| success(request, "224.0.0.1:9")];
        for make in cases {
            let (mut gathering, effects) = start(now, &[HOST], &[SERVER]);
            let (local, remote, request) = sent(&effects).remove(0);
            let mut out = Vec::new();
            assert!(gathering.receive(local, remote, &make(&request), &mut out));
            assert!(matches!(out.as_slice(), [StunEffect::Failed(_), StunEffect::Done]), "{out:?}");
        }
    }

    #[test]
    fn asks_each_server_from_each_socket_that_can_reach_it() {
        let now = Instant::now();
        let hosts = [HOST, "127.0.0.1:4001", "[2001:db8::7]:4002"];
        let servers = [SERVER, "[2001:db8::1]:3478", "127.0.0.1:3478"];
        let (mut gathering, mut effects) = start(now, &hosts, &servers);
        for step in 1..10 {
            gathering.timeout(now + PACE * step, &mut effects);
        }
        let pairs: Vec<_> = sent(&effects).into_iter().map(|(local, remote, _)| (local, remote)).collect();
        let expected = [
            (HOST, SERVER),
            (HOST, "127.0.0.1:3478"),
            ("127.0.0.1:4001", "127.0.0.1:3478"),
            ("[2001:db8::7]:4002", "[2001:db8::1]:3478"),
        ];
        assert_eq!(pairs, expected.map(|(local, remote)| (address(local), address(remote))));

        let (gathering, effects) = start(now, &["127.0.0.1:4001"], &[SERVER]);
        assert_eq!((effects, gathering.next_timeout()), (vec![StunEffect::Done], None));
    }

    #[test]
    fn no_bytes_of_a_server_do_harm() {
        let mut rng = fastrand::Rng::with_seed(1);
        let (mut gathering, effects) = start(Instant::now(), &[HOST], &[SERVER]);
        let (local, remote, request) = sent(&effects).remove(0);
        let answer = success(&request, MAPPED);
        for _ in 0..20_000 {
            let mut bytes = answer.clone();
            bytes.truncate(20 + 4 * rng.usize(0..=(bytes.len() - 20) / 4));
            bytes.extend((0..4 * rng.usize(0..4)).map(|_| rng.u8(..)));
            let length = (bytes.len() - 20) as u16;
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
            for _ in 0..rng.usize(0..4) {
                let at = rng.usize(0..bytes.len());
                bytes[at] = rng.u8(..);
            }
            let mut out = Vec::new();
            if gathering.receive(local, remote, &bytes, &mut out) {
                assert!(!out.is_empty());
                gathering = start(Instant::now(), &[HOST], &[SERVER]).0;
            }
        }
    }

    #[test]
    fn a_socket_that_is_not_behind_a_nat_needs_no_candidate() {
        let (mut gathering, effects) = start(Instant::now(), &[HOST], &[SERVER]);
        let (local, remote, request) = sent(&effects).remove(0);
        let mut out = Vec::new();
        assert!(gathering.receive(local, remote, &success(&request, HOST), &mut out));
        assert_eq!(out, [StunEffect::Done]);
    }
}
