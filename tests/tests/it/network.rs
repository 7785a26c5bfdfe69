//! The simulated network under real agents: the same every time, and as hard as networks are.

use std::time::Duration;

use enishi_core::agent::AgentNotice;
use enishi_core::dialect::Dialect;
use enishi_core::peer::Crypto;
use enishi_core::turn::Credentials;
use enishi_tests::net::nat::Behaviour;
use enishi_tests::net::{Bursts, Link, Node, Rate};
use enishi_tests::turn_server::{self, VirtualTurn};
use enishi_tests::world::{Path, Who, WireFault, World};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything bad at once.
fn hostile() -> Link {
    Link(vec![
        Node::Rate(Rate::new(200_000, MS * 200)),
        Node::Mtu(1300),
        Node::Bursts(Bursts { begin: 0.02, end: 0.3, loss: 0.5, bad: false }),
        Node::Duplicate(0.05),
        Node::Reorder(0.05, MS * 40),
        Node::Delay(MS * 20),
        Node::Jitter(MS * 30),
    ])
}

/// Two agents behind these links, who talk.
fn talk(seed: u64, crypto: Option<Crypto>) -> World {
    let mut world = World::new(seed);
    world.datagrams = Some(Vec::new());
    world.crypto = crypto.unwrap_or(world.crypto);
    for (agent, name) in ["bob", "alice"].into_iter().enumerate() {
        world.add(Dialect::Enishi, name, (agent == 1).then_some("bob"));
        let host = world.host(agent);
        world.net.set_links(host, hostile(), hostile());
    }
    world.until(PATIENCE, "the channel opens", |world| world.is_open(0) && world.is_open(1));
    let texts: Vec<String> = (0..30).map(|n| format!("message {n}")).collect();
    for text in &texts {
        world.say(0, text);
        world.say(1, text);
        world.run(SECOND / 20);
    }
    world.until(PATIENCE, "all arrive", |world| (0..2).all(|i| world.texts(i).len() == texts.len()));
    assert!((0..2).all(|i| world.texts(i).iter().eq(texts.iter())), "in order and once");
    world
}

#[test]
fn the_same_seed_sends_the_same_datagrams() {
    // Each in its own thread, for ICE and SCTP have generators of the thread.
    let run = |seed| {
        let talk = move || {
            let world = talk(seed, None);
            (world.story(), world.datagrams, world.traffic)
        };
        std::thread::spawn(talk).join().expect("a story")
    };
    for seed in 0..3 {
        let (one, other) = (run(seed), run(seed));
        assert_eq!(one, other, "seed {seed}: when, from, to, how long");
        assert!(one.2.lost > 0 && one.2.datagrams > 100, "{:?}", one.2);
    }
    assert_ne!(run(1).1, run(2).1);
}

#[test]
fn real_dtls_gets_through_as_well() {
    talk(4, Some(Crypto::default()));
}

/// A world with a STUN and TURN server, and agents behind these NATs; whether they meet, and whether by a relay.
fn behind(nats: [Option<Behaviour>; 2], with_turn: bool) -> (World, bool) {
    let mut world = World::new(5);
    let user = Credentials { username: "u".to_owned(), password: "p".to_owned() };
    world.turn = Some(VirtualTurn::new(world.now, &user));
    for (nat, name) in nats.into_iter().zip(["bob", "alice"]) {
        world.next_nat = nat;
        let target = (name == "alice").then_some("bob");
        world.add_with(Dialect::Enishi, name, target, |config| {
            config.stun = vec![turn_server::ADDRESS];
            if with_turn {
                config.turn = vec![turn_server(&user)];
            }
        });
        world.run(SECOND);
    }
    world.run(SECOND * 20);
    let open = world.is_open(0) && world.is_open(1);
    (world, open)
}

fn turn_server(user: &Credentials) -> enishi_core::turn::TurnServer {
    enishi_core::turn::TurnServer { address: turn_server::ADDRESS, credentials: user.clone() }
}

#[test]
fn nats_are_crossed_where_that_is_possible() {
    let (home, hard) = (Some(Behaviour::HOME), Some(Behaviour::SYMMETRIC));
    for (nats, direct) in [([None, home], true), ([home, home], true), ([None, hard], true), ([hard, hard], false)] {
        let (world, open) = behind(nats, false);
        assert_eq!(open, direct, "{nats:?} {:?}\n{}", world.candidates, world.story());
        let (world, open) = behind(nats, true);
        assert!(open, "with a relay: {nats:?}\n{}", world.story());
        let relayed = world.turn.as_ref().is_some_and(|turn| turn.passed_on > 10);
        assert!(direct || relayed, "{nats:?}");
    }
}

/// One end of a connection, the other, or both at once are elsewhere all of a sudden.
#[test]
fn who_roams_is_found_again() {
    for (roamers, nats) in [
        (&[0][..], [Some(Behaviour::HOME), None]),
        (&[1], [Some(Behaviour::HOME), None]),
        (&[0, 1], [Some(Behaviour::HOME), None]),
        (&[0, 1], [None, None]),
        (&[0, 1], [Some(Behaviour::HOME), Some(Behaviour::HOME)]),
    ] {
        let (mut world, open) = behind(nats, false);
        assert!(open);
        for &agent in roamers {
            let host = world.host(agent);
            world.net.roam(host, [203, 0, 113, 77 + agent as u8].into());
            world.hurt(Who::Agent(agent), WireFault::Vanish);
        }
        // Where the connection had to be made anew, what was said meanwhile is lost, and both know.
        let heard = (0..20).any(|_| {
            world.say(0, "from elsewhere");
            world.say(1, "to elsewhere");
            world.run(SECOND * 5);
            [0, 1].iter().all(|agent| !world.texts(*agent).is_empty())
        });
        assert!(heard, "{roamers:?} behind {nats:?} are not heard or do not hear\n{}", world.story());
    }
}

#[test]
fn a_websocket_that_vanishes_or_half_closes_is_replaced() {
    for fault in [WireFault::Vanish, WireFault::HalfClose, WireFault::Cut] {
        let mut world = World::new(6);
        world.add_to_room(Dialect::Enishi, "bob", "r");
        world.run(SECOND);
        world.hurt(Who::Agent(0), fault);
        let registered = |notice: &AgentNotice| matches!(notice, AgentNotice::Registered { .. });
        let what = format!("after {fault:?} bob registers again");
        world.until(SECOND * 90, &what, |world| world.count(0, registered) == 2);
    }
}

#[test]
fn a_stalled_websocket_goes_on_where_it_was() {
    let mut world = World::new(7);
    world.path = Path::default();
    world.add(Dialect::Enishi, "bob", None);
    world.run(SECOND);
    world.hurt(Who::Agent(0), WireFault::Stall);
    world.add(Dialect::Enishi, "alice", Some("bob"));
    world.run(SECOND * 3);
    assert!(!world.is_open(1));
    world.resume();
    world.until(SECOND * 5, "the channel opens", |world| world.is_open(0) && world.is_open(1));
    assert_eq!(world.count(0, |notice| matches!(notice, AgentNotice::SignalingLost { .. })), 0);
}

#[test]
fn a_stopped_process_catches_up() {
    let mut world = World::new(8);
    world.add(Dialect::Enishi, "bob", None);
    world.add(Dialect::Enishi, "alice", Some("bob"));
    world.until(SECOND * 5, "the channel opens", |world| world.is_open(0) && world.is_open(1));
    world.stop(Who::Agent(0), SECOND * 3);
    world.say(1, "while you were away");
    world.run(SECOND * 2);
    assert!(world.texts(0).is_empty());
    world.until(SECOND * 5, "it arrives", |world| world.texts(0) == ["while you were away"]);
}
