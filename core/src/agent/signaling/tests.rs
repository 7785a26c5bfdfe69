//! A server that says anything, and a driver that reports anything in any order.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::dialect::{Codec, Door, Said, socketio};
use crate::signal::{Letter, Place, Signal, To};

/// What happens to the session.
#[derive(Debug, Clone)]
enum Step {
    /// The attempt so many before the last one succeeded.
    Dialed(u64),
    DialFailed(u64),
    Got(u64, String),
    /// A server of ours tells this on the latest connection.
    Tell(Event),
    /// A frame on the connection so many before the last one.
    Frame(u64, Frame),
    Heard(u64),
    Fault(u64, FrameFault),
    Closed(u64, CloseReason),
    Ask(Command),
    HangUp,
    /// The next deadline is met.
    Due,
    /// Time passes, and nothing is due as far as the driver knows.
    Pass(u64),
}

/// A session, and what a driver knows of it.
struct Bench {
    signaling: Signaling,
    now: Instant,
    /// The dial that is under way, and how many there were.
    dialing: Option<DialId>,
    dials: u64,
    /// The connection that is open, as we were told, and how many there were.
    open: Option<ConnId>,
    /// The connection that is being closed.
    closing: Option<ConnId>,
    conns: u64,
    /// The server's side of the latest connection, from the first word on.
    server: Option<Codec>,
    up: bool,
    over: bool,
}

impl Bench {
    fn new(dialect: Dialect, named: bool, room: bool) -> Self {
        let now = start();
        let settings = Settings {
            url: "ws://127.0.0.1:3000/ws".to_owned(),
            dialect,
            name: named.then(|| Name::from("alice")),
            token: None,
            offers: true,
            room: room.then(|| RoomName::from("room")),
        };
        let signaling = Signaling::new(now, WallClock::new(now, Duration::from_secs(1)), 1, settings);
        let (dialing, open, closing) = (None, None, None);
        let mut bench =
            Bench { signaling, now, dialing, dials: 0, open, closing, conns: 0, server: None, up: false, over: false };
        bench.act(|signaling, now, out| signaling.start(now, out));
        bench
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Dialed(back) => {
                let dial = DialId(self.dials.saturating_sub(back + 1));
                self.conns += 1;
                let conn = ConnId(self.conns);
                if self.dialing == Some(dial) && matches!(self.signaling.state, State::Dialing { .. }) {
                    (self.dialing, self.open, self.server) = (None, Some(conn), None);
                    return self.act(|signaling, now, out| signaling.dialed(now, dial, conn, out));
                }
                let mut out = Vec::new();
                self.signaling.dialed(self.now, dial, conn, &mut out);
                let [SignalingEffect::Do(Output::Drop { conn: late })] = out.as_slice() else { panic!("{out:?}") };
                assert_eq!(*late, conn, "an attempt that was given up is dropped");
            }
            Step::DialFailed(back) => {
                let dial = DialId(self.dials.saturating_sub(back + 1));
                if self.dialing == Some(dial) {
                    self.dialing = None;
                }
                self.act(|signaling, now, out| signaling.dial_failed(now, dial, "refused".to_owned(), out));
            }
            Step::Got(back, answer) => {
                let dial = DialId(self.dials.saturating_sub(back + 1));
                if self.dialing == Some(dial) {
                    self.dialing = None;
                }
                self.act(|signaling, now, out| signaling.got(now, dial, &answer, out));
            }
            Step::Tell(event) => {
                let conn = self.conn(0);
                for frame in self.say(&event) {
                    self.act(|signaling, now, out| signaling.receive(now, conn, &frame, out));
                }
            }
            Step::Frame(back, frame) => {
                let conn = self.conn(back);
                self.act(|signaling, now, out| signaling.receive(now, conn, &frame, out));
            }
            Step::Heard(back) => self.signaling.heard(self.now, self.conn(back)),
            Step::Fault(back, fault) => {
                let conn = self.conn(back);
                self.act(|signaling, now, out| signaling.fault(now, conn, fault, out));
            }
            Step::Closed(back, reason) => {
                let conn = self.conn(back);
                self.open = self.open.filter(|open| *open != conn);
                self.closing = self.closing.filter(|closing| *closing != conn);
                self.act(|signaling, now, out| signaling.closed(now, conn, &reason, out));
            }
            Step::Ask(command) => {
                let was_up = self.signaling.is_up();
                let mut result = Ok(());
                self.act(|signaling, now, out| result = signaling.ask(now, &command, out));
                assert!(was_up || result == Err(Refusal::NotRegistered));
            }
            Step::HangUp => {
                if !self.over && !self.signaling.is_leaving() {
                    self.act(|signaling, now, out| signaling.hang_up(now, out));
                }
            }
            Step::Due => {
                if let Some((at, why)) = self.signaling.next_timeout() {
                    self.now = self.now.max(at);
                    self.act(|signaling, now, out| signaling.timeout(now, out));
                    let next = self.signaling.next_timeout();
                    assert!(next.is_none_or(|(next, _)| next > self.now), "no progress: {why}, then {next:?}");
                }
            }
            Step::Pass(ms) => self.now += Duration::from_millis(ms),
        }
    }

    fn conn(&self, back: u64) -> ConnId {
        ConnId(self.conns.saturating_sub(back))
    }

    /// What a server of ours says of an event.
    fn say(&mut self, event: &Event) -> Vec<Frame> {
        let (mut ids, limits) = (Ids::new(1), Limits::default());
        let mut cx = Context { unix: Duration::ZERO, ids: &mut ids, limits: &limits, ice_servers: &[] };
        let mut said = Vec::new();
        if self.signaling.dialect() == Dialect::SocketIo09 && self.server.is_none() {
            // This client waits for the server's first word.
            self.server = Some(Codec::SocketIo(Box::new(socketio::Server::new(socketio::Version::Legacy, None, None))));
        }
        if let Some(server) = &mut self.server {
            let _ = server.encode(&mut cx, event, &mut said);
        }
        said.into_iter().filter_map(|said| if let Said::Frame(frame) = said { Some(frame) } else { None }).collect()
    }

    /// A server of ours takes what the client says.
    fn hear(&mut self, frame: &Frame) {
        let (mut ids, limits) = (Ids::new(1), Limits::default());
        let mut cx = Context { unix: Duration::ZERO, ids: &mut ids, limits: &limits, ice_servers: &[] };
        if self.server.is_none() {
            self.server = match self.signaling.dialect() {
                Dialect::TonyBai => Codec::enter(Door::Offer, None),
                Dialect::SocketIo => {
                    Some(Codec::SocketIo(Box::new(socketio::Server::new(socketio::Version::Four, None, None))))
                }
                _ => Codec::detect(frame, None, None),
            };
        }
        if let Some(server) = &mut self.server {
            server.receive(&mut cx, frame, &mut Vec::new());
        }
    }

    /// Looks at everything that is wanted, as a driver and the agent would.
    fn act(&mut self, call: impl FnOnce(&mut Signaling, Instant, &mut Vec<SignalingEffect>)) {
        let mut out = Vec::new();
        call(&mut self.signaling, self.now, &mut out);
        for effect in out {
            assert!(!self.over, "after the end: {effect:?}");
            match effect {
                SignalingEffect::Do(Output::Dial { dial, .. } | Output::Get { dial, .. }) => {
                    assert_eq!(dial, DialId(self.dials), "dials count up");
                    assert_eq!(self.open, None, "a second connection");
                    self.dials += 1;
                    self.dialing = Some(dial);
                }
                SignalingEffect::Do(Output::Send { conn, frame }) => {
                    assert_eq!(self.open, Some(conn));
                    self.hear(&frame);
                }
                SignalingEffect::Do(Output::Close { conn, .. }) => {
                    assert_eq!(self.open, Some(conn), "closed twice, or never opened");
                    (self.open, self.closing) = (None, Some(conn));
                }
                SignalingEffect::Do(Output::Drop { conn }) => {
                    assert!([self.open, self.closing].contains(&Some(conn)), "dropped twice, or never opened");
                    (self.open, self.closing) = (self.open.filter(|open| *open != conn), None);
                }
                SignalingEffect::Do(Output::Notice(_)) => {}
                SignalingEffect::Do(other) => panic!("{other:?}"),
                SignalingEffect::Up { .. } => self.up = true,
                SignalingEffect::Event(event) => assert!(self.up, "not registered, but told {event:?}"),
                SignalingEffect::Down => self.up = false,
                SignalingEffect::Over => self.over = true,
            }
        }
        assert!(!self.signaling.is_up() || (self.up && self.open.is_some()));
        assert!(!self.over || self.signaling.next_timeout().is_none());
    }
}

fn frames() -> impl Strategy<Value = Frame> {
    let texts = proptest::sample::select(vec![
        r#"{"type":"welcome","id":"alice","resumeToken":"t","resumed":"no"}"#,
        r#"{"type":"welcome","id":"bob","resumed":"whole"}"#,
        r#"{"type":"error","code":"session-gone","message":""}"#,
        r#"{"type":"error","code":"name-taken","message":""}"#,
        r#"{"type":"error","code":"draining","message":""}"#,
        r#"{"type":"roster","room":"room","epoch":1,"seq":1,"peers":["bob"]}"#,
        r#"{"type":"offer","from":"bob","to":"alice","sdp":"v=0"}"#,
        r#"{"Type":"register","Raw":{"ID":"A1"}}"#,
        r#"{"Type":"register","Raw":"A1"}"#,
        r#"{"type":"register","raw":"eyJpZCI6IkExIn0="}"#,
        r#"{"type":"register_response","data":{"client_id":"alice","success":true}}"#,
        r#"{"type":"room_peers","room_id":"room","peers":["bob"]}"#,
        r#"{"type":"offer"}"#,
        r#"{"command":101,"payload":"eyJjb2RlIjowLCJtc2ciOiJvayJ9"}"#,
        r#"40{"sid":"x"}"#,
        r#"44{"message":"no"}"#,
        r#"42["message",{"type":"offer","sdp":"v=0"}]"#,
        "1::",
        "7:::1+0",
        "2::",
        "2",
    ]);
    prop_oneof![
        6 => texts.clone().prop_map(Frame::text),
        1 => texts.prop_map(|text| Frame::Binary(Bytes::from_static(text.as_bytes()))),
        1 => any::<String>().prop_map(Frame::text),
        1 => any::<Vec<u8>>().prop_map(|bytes| Frame::Binary(bytes.into())),
        1 => Just(Frame::Ping),
        1 => Just(Frame::Pong),
    ]
}

fn events() -> impl Strategy<Value = Event> {
    let resumed = prop_oneof![2 => Just(Resumed::Fresh), 1 => Just(Resumed::Whole), 1 => Just(Resumed::WithGap)];
    let token = proptest::option::of(Just(Box::from("token")));
    let refusal = proptest::sample::select(vec![
        Refusal::SessionGone,
        Refusal::NameTaken,
        Refusal::Draining,
        Refusal::TooFast,
        Refusal::Unauthorized,
        Refusal::NoSuchPeer,
    ]);
    let place = Place { epoch: 1, seq: 1 };
    let letter = Letter::Open(Signal::Offer { sdp: "v=0\r\n".to_owned() });
    prop_oneof![
        6 => (token, resumed).prop_map(|(token, resumed)| Event::Registered { name: "alice".into(), token, resumed }),
        2 => refusal.prop_map(|refusal| Event::Refused { refusal, to: None, tag: None }),
        1 => Just(Event::Roster { room: "room".into(), place, members: vec!["bob".into()], tag: None }),
        1 => Just(Event::Joined { room: "room".into(), place, name: "bob".into() }),
        2 => Just(Event::Signal { from: "bob".into(), to: To::Peer("alice".into()), letter }),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    // Mostly the latest, sometimes one that is gone.
    let back = || prop_oneof![8 => Just(0_u64), 1 => 1..4_u64];
    let fault = prop_oneof![Just(FrameFault::TooBig), Just(FrameFault::NotUtf8), Just(FrameFault::Protocol)];
    let reason = prop_oneof![
        any::<u16>().prop_map(CloseReason::Remote),
        Just(CloseReason::Remote(1008)),
        Just(CloseReason::Eof),
        Just(CloseReason::Local),
        Just(CloseReason::Error("broken pipe".into())),
    ];
    let answer = prop_oneof![3 => Just("x1:60:60:websocket,xhr-polling".to_owned()), 1 => any::<String>()];
    let command = prop_oneof![
        Just(Command::List { tag: None }),
        Just(Command::Join { room: "room".into(), tag: None }),
        Just(Command::Bye),
    ];
    prop_oneof![
        8 => back().prop_map(Step::Dialed),
        2 => back().prop_map(Step::DialFailed),
        4 => (back(), answer).prop_map(|(back, answer)| Step::Got(back, answer)),
        12 => events().prop_map(Step::Tell),
        6 => (back(), frames()).prop_map(|(back, frame)| Step::Frame(back, frame)),
        2 => back().prop_map(Step::Heard),
        1 => (back(), fault).prop_map(|(back, fault)| Step::Fault(back, fault)),
        4 => (back(), reason).prop_map(|(back, reason)| Step::Closed(back, reason)),
        2 => command.prop_map(Step::Ask),
        1 => Just(Step::HangUp),
        6 => Just(Step::Due),
        2 => (0..60_000_u64).prop_map(Step::Pass),
    ]
}

#[allow(clippy::disallowed_methods, reason = "virtual time starts at a real instant")]
fn start() -> Instant {
    Instant::now()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_session_stays_whole_whatever_comes(
        which in 0..Dialect::ALL.len(),
        begun in any::<bool>(),
        named in any::<bool>(),
        room in any::<bool>(),
        steps in proptest::collection::vec(steps(), 0..60),
    ) {
        let mut bench = Bench::new(Dialect::ALL[which], named, room);
        let answer = "x1:60:60:websocket,xhr-polling".to_owned();
        let asks = Dialect::ALL[which] == Dialect::SocketIo09;
        let registered = Event::Registered { name: "alice".into(), token: Some("token".into()), resumed: Resumed::Fresh };
        // Some servers confirm with the list of who is in the room.
        let roster = Event::Roster { room: "room".into(), place: Place { epoch: 1, seq: 1 }, members: vec![], tag: None };
        let beginning = [Step::Dialed(0), Step::Tell(registered), Step::Tell(roster)].into_iter().filter(|_| begun);
        for step in asks.then_some(Step::Got(0, answer)).into_iter().chain(beginning).chain(steps) {
            bench.step(step);
        }
        // Left alone, it comes to rest or goes on trying; it never stands still.
        for _ in 0..20 {
            bench.step(Step::Due);
        }
        prop_assert!(!bench.signaling.is_up(), "up, though nobody was heard for minutes");
        bench.step(Step::HangUp);
        bench.step(Step::Due);
        prop_assert!(bench.over && !bench.signaling.is_leaving());
    }
}
