use super::*;
use crate::turn::Credentials;

use turn_client_proto::types::attribute::Lifetime;
use turn_server_proto::api::{TurnServerApi, TurnServerPollRet};
use turn_server_proto::server::TurnServer as Responder;

const HOST: &str = "192.0.2.7:4000";
const SERVER: &str = "198.51.100.1:3478";
const RELAY: &str = "198.51.100.1:50000";
const PEER: &str = "203.0.113.5:6000";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn server() -> TurnServer {
    let credentials = Credentials { username: "1700000000:alice".to_owned(), password: "secret".to_owned() };
    TurnServer { address: address(SERVER), credentials }
}

/// Relays and a TURN server with nothing between them.
struct Pair {
    now: Instant,
    begin: Instant,
    relays: Relays,
    responder: Responder,
    told: Vec<TurnEffect>,
    /// What the server sent, last of all.
    answers: Vec<Vec<u8>>,
}

impl Pair {
    fn new() -> Self {
        let now = Instant::now();
        let mut responder = Responder::new(TransportType::Udp, address(SERVER), "realm".to_owned());
        responder.add_user(server().credentials.username, server().credentials.password);
        let clock = WallClock::new(now, Duration::from_secs(1_700_000_000));
        let relays = Relays::new(now, clock, vec![server()]);
        Pair { now, begin: now, relays, responder, told: Vec::new(), answers: Vec::new() }
    }

    fn allocated() -> Self {
        let mut pair = Pair::new();
        let mut out = Vec::new();
        pair.relays.allocate(pair.now, &[address(HOST)], &mut out);
        pair.carry(out);
        pair.pass(Duration::from_secs(1));
        assert_eq!(pair.relays.addresses().collect::<Vec<_>>(), [(address(RELAY), address(HOST))]);
        pair
    }

    /// Lets time pass; what the relays send is answered at once.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.relays.next_timeout().filter(|at| *at <= end) {
            assert!(at > self.now || at == self.begin, "no progress");
            self.now = self.now.max(at);
            let mut out = Vec::new();
            self.relays.timeout(self.now, &mut out);
            self.carry(out);
        }
        self.now = end;
    }

    fn carry(&mut self, mut effects: Vec<TurnEffect>) {
        while !effects.is_empty() {
            let mut more = Vec::new();
            for effect in effects {
                let TurnEffect::Transmit { local, remote, bytes } = effect else {
                    self.told.push(effect);
                    continue;
                };
                assert_eq!((local, remote), (address(HOST), address(SERVER)));
                for answer in self.answer(bytes) {
                    let received = self.relays.receive(self.now, local, remote, &answer, &mut more);
                    assert_eq!(received, Received::Handled);
                    self.answers.push(answer);
                }
            }
            effects = more;
        }
    }

    /// What the server sends to its client because of this.
    fn answer(&mut self, bytes: Vec<u8>) -> Vec<Vec<u8>> {
        let time = self.relays.time(self.now);
        let request = Transmit::new(bytes, TransportType::Udp, address(HOST), address(SERVER));
        let answer = self.responder.recv(request, time).map(|answer| answer.build());
        let mut sent: Vec<_> = answer.into_iter().map(|answer| (answer.to, answer.data)).collect();
        while let TurnServerPollRet::AllocateSocket {
            transport,
            listen_addr,
            client_addr,
            allocation_transport,
            family,
        } = self.responder.poll(time)
        {
            let (server, client, made) = (listen_addr, client_addr, Ok(address(RELAY)));
            self.responder.allocated_socket(transport, server, client, allocation_transport, family, made, time);
        }
        sent.extend(std::iter::from_fn(|| self.responder.poll_transmit(time)).map(|sent| (sent.to, sent.data)));
        sent.into_iter().filter(|(to, _)| *to == address(HOST)).map(|(_, bytes)| bytes).collect()
    }

    fn send(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        assert!(self.relays.send(self.now, address(RELAY), address(PEER), bytes, &mut out));
        let (data, rest): (Vec<_>, Vec<_>) = out.into_iter().partition(|effect| match effect {
            TurnEffect::Transmit { bytes: sent, .. } => sent.windows(bytes.len()).any(|part| part == bytes),
            _ => false,
        });
        self.carry(rest);
        let bytes = data.into_iter().map(|effect| match effect {
            TurnEffect::Transmit { bytes, .. } => bytes,
            other => panic!("{other:?}"),
        });
        bytes.collect()
    }
}

const CHECK: &[u8] = b"\x00\x01check it";
const DTLS: &[u8] = b"\x16\xfe\xfdhello";

#[test]
fn a_path_gets_a_permission_first_and_a_channel_when_it_carries_more_than_checks() {
    let mut pair = Pair::allocated();
    assert!(matches!(pair.told[..], [TurnEffect::Relayed { .. }, TurnEffect::Done]), "{:?}", pair.told);
    assert_eq!(pair.send(CHECK), [[0; 0]; 0], "not yet permitted");
    pair.pass(Duration::from_secs(1));
    let [wrapped] = &pair.send(CHECK)[..] else { panic!("not sent") };
    assert_eq!(wrapped.len(), CHECK.len() + 2 + 36, "in a Send indication");
    pair.send(DTLS);
    pair.pass(Duration::from_secs(1));
    let [wrapped] = &pair.send(DTLS)[..] else { panic!("not sent") };
    assert_eq!(wrapped[..4], [0x40, 0, 0, 8], "in a channel");
}

#[test]
fn what_is_no_relay_of_ours_is_left_alone() {
    let mut pair = Pair::allocated();
    let mut out = Vec::new();
    assert!(!pair.relays.send(pair.now, address(HOST), address(PEER), CHECK, &mut out));
    assert_eq!(pair.relays.receive(pair.now, address(HOST), address(PEER), CHECK, &mut out), Received::NotOurs);
    // The other family cannot be relayed to.
    assert!(pair.relays.send(pair.now, address(RELAY), address("[2001:db8::1]:1"), CHECK, &mut out));
    assert_eq!(out, []);
}

#[test]
fn candidates_of_a_remote_cannot_make_it_ask_without_end() {
    let mut pair = Pair::allocated();
    for n in 0..6000_u16 {
        let [high, low] = n.to_be_bytes();
        let mut out = Vec::new();
        pair.relays.send(pair.now, address(RELAY), SocketAddr::from(([203, 0, high, low], 9)), CHECK, &mut out);
    }
    assert_eq!(pair.relays.allocations[0].permitted.len(), PERMISSIONS);
}

#[test]
fn allocations_are_bounded_and_only_from_sockets_that_reach_the_server() {
    let mut pair = Pair::new();
    let mut out = Vec::new();
    let wrong = [address("127.0.0.1:1"), address("[2001:db8::7]:1")];
    pair.relays.allocate(pair.now, &wrong, &mut out);
    assert_eq!((out, pair.relays.next_timeout()), (vec![TurnEffect::Done], None));
    let many: Vec<_> = (1..100).map(|n| SocketAddr::from(([192, 0, 2, n], 1))).collect();
    pair.relays.allocate(pair.now, &many, &mut Vec::new());
    assert_eq!(pair.relays.allocations.len(), limits::RELAYS);

    // None answers, which is told once.
    let mut told = Vec::new();
    while let Some(at) = pair.relays.next_timeout() {
        pair.relays.timeout(at, &mut told);
    }
    told.retain(|effect| !matches!(effect, TurnEffect::Transmit { .. }));
    let [TurnEffect::Failed(why), TurnEffect::Done] = &told[..] else { panic!("{told:?}") };
    assert!(why.contains("it does not answer"), "{why}");
}

#[test]
fn only_the_answer_to_our_last_request_can_refuse_us() {
    let mut pair = Pair::new();
    let mut out = Vec::new();
    pair.relays.allocate(pair.now, &[address(HOST)], &mut out);
    let [TurnEffect::Transmit { bytes: request, .. }] = &out[..] else { panic!("{out:?}") };
    let refusal = |request: &[u8]| {
        use stun_types::message::{MessageWrite, MessageWriteExt, MessageWriteVec};
        let mut answer = Message::builder_error(&Message::from_bytes(request).unwrap(), MessageWriteVec::new());
        answer.add_attribute(&ErrorCode::builder(ErrorCode::INSUFFICIENT_CAPACITY).build().unwrap()).unwrap();
        answer.add_attribute(&Lifetime::new(1)).unwrap();
        answer.finish()
    };
    let mut other = request.clone();
    other[19] ^= 1;
    let mut told = Vec::new();
    pair.relays.receive(pair.now, address(HOST), address(SERVER), &refusal(&other), &mut told);
    assert_eq!(told, [], "somebody else's transaction");
    pair.relays.receive(pair.now, address(HOST), address(SERVER), &refusal(request), &mut told);
    let [TurnEffect::Failed(why), TurnEffect::Done] = &told[..] else { panic!("{told:?}") };
    assert!(why.ends_with("it has no relay address left; try again later"), "{why}");
}

#[test]
fn no_bytes_of_a_server_do_harm() {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut real = Pair::allocated();
    real.send(CHECK);
    real.pass(Duration::from_secs(1));
    real.send(DTLS);
    real.pass(Duration::from_secs(1));
    let answers = real.answers;
    assert!(answers.len() >= 4, "two for the allocation, a permission, a channel");
    for round in 0..200 {
        // In turn a client that waits for its allocation, and one that has it.
        let mut pair = if round % 2 == 0 { Pair::new() } else { Pair::allocated() };
        pair.relays.allocate(pair.now, &[address(HOST)], &mut Vec::new());
        for _ in 0..100 {
            let mut bytes = answers[rng.usize(..answers.len())].clone();
            if let Some(last) = pair.relays.allocations.first().and_then(|allocation| allocation.last) {
                bytes[8..20].copy_from_slice(&last);
            }
            for _ in 0..rng.usize(0..5) {
                let at = rng.usize(..bytes.len());
                bytes[at] = rng.u8(..);
            }
            bytes.truncate(rng.usize(0..=bytes.len() * 2));
            let mut out = Vec::new();
            pair.relays.receive(pair.now, address(HOST), address(SERVER), &bytes, &mut out);
            let panicked =
                |effect: &TurnEffect| matches!(effect, TurnEffect::Failed(why) if why.contains("the client failed"));
            assert!(!out.iter().any(panicked), "{out:?} by {bytes:?}");
        }
    }
}
