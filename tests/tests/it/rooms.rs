//! Rooms of agents, in virtual time: who meets whom, who hears whom, and who notices that somebody is gone.

use std::time::Duration;

use enishi_core::agent::{AgentCommand, AgentNotice};
use enishi_core::dialect::Dialect;
use enishi_core::limits::Limits;
use enishi_core::peer::{PeerState, PeerStats};
use enishi_core::server::ServerConfig;
use enishi_core::signal::{Name, Payload, Refusal};
use enishi_tests::bench_server::{Bench, Got};
use enishi_tests::world::{Path, World};

const SECOND: Duration = Duration::from_secs(1);

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Everybody of one dialect, everybody of the other, and both in one room.
const CASTS: [[Dialect; 4]; 3] =
    [[Dialect::Mesh; 4], [Dialect::Enishi; 4], [Dialect::Mesh, Dialect::Enishi, Dialect::Mesh, Dialect::Enishi]];

fn is_open(notice: &AgentNotice) -> bool {
    matches!(notice, AgentNotice::ChannelOpened { .. })
}

fn is_peer(notice: &AgentNotice, with: &str, is: PeerState) -> bool {
    matches!(notice, AgentNotice::Peer { id, state } if id.as_str() == with && *state == is)
}

fn is_lost(notice: &AgentNotice) -> bool {
    matches!(notice, AgentNotice::Peer { state: PeerState::Disconnected, .. })
}

/// Whether the last that an agent told of each of the other first `count` is that it is connected.
fn are_all_connected(world: &World, index: usize, count: usize) -> bool {
    NAMES.iter().take(count).enumerate().filter(|(other, _)| *other != index).all(|(_, name)| {
        let mut told = world.told(index);
        let last = told.rfind(|notice| matches!(notice, AgentNotice::Peer { id, .. } if id.as_str() == *name));
        last.is_some_and(|notice| is_peer(notice, name, PeerState::Connected))
    })
}

fn has_left(notice: &AgentNotice, who: &str) -> bool {
    matches!(notice, AgentNotice::Presence { id, here: false, .. } if id.as_str() == who)
}

fn is_fault(notice: &AgentNotice) -> bool {
    matches!(notice, AgentNotice::Refused { .. } | AgentNotice::CommandFailed(_) | AgentNotice::PeerFailed { .. })
}

/// Four in one room, who came one after the other, all connected.
fn four(cast: [Dialect; 4], seed: u64) -> World {
    let mut world = World::new(seed);
    for (dialect, name) in cast.into_iter().zip(NAMES) {
        world.add_to_room(dialect, name, "demo");
        world.run(SECOND / 4);
    }
    world.until(SECOND * 5, "everybody has three channels", |world| (0..4).all(|i| world.count(i, is_open) == 3));
    world
}

#[track_caller]
fn assert_no_faults(world: &World) {
    for index in 0..4 {
        assert_eq!(world.count(index, is_fault), 0, "{}", world.story());
    }
}

#[test]
fn r7_four_make_six_connections_and_the_newcomer_offers() {
    for (seed, cast) in CASTS.into_iter().enumerate() {
        let mut world = four(cast, seed as u64);
        world.run(SECOND * 30);
        for (index, _) in NAMES.iter().enumerate() {
            for (other, name) in NAMES.iter().enumerate().filter(|(other, _)| *other != index) {
                let connected = world.count(index, |notice| is_peer(notice, name, PeerState::Connected));
                assert_eq!(connected, 1, "{index} and {other}\n{}", world.story());
            }
            // Whoever came later offers: no glare, nothing twice.
            let offers = world.sent.iter().filter(|(who, text)| *who == index && text.contains("\"type\":\"offer\""));
            let offers = offers.filter(|(_, text)| text.contains("\"target\"") || text.contains("\"to\"")).count();
            assert_eq!(offers, index, "offers of {}", NAMES[index]);
        }
        assert_no_faults(&world);
    }
}

#[test]
fn r7_four_who_come_at_once_make_six_connections_too() {
    for (seed, cast) in CASTS.into_iter().enumerate() {
        let mut world = World::new(seed as u64);
        for (dialect, name) in cast.into_iter().zip(NAMES) {
            world.add_to_room(dialect, name, "demo");
        }
        world.until(SECOND * 5, "everybody has three channels", |world| (0..4).all(|i| world.count(i, is_open) == 3));
        world.run(SECOND * 30);
        assert!((0..4).all(|i| world.count(i, is_open) == 3), "and no more");
        assert_no_faults(&world);
    }
}

#[test]
fn r8_broadcast_reaches_three_and_send_to_one() {
    for (seed, cast) in CASTS.into_iter().enumerate() {
        let mut world = four(cast, seed as u64);
        world.say(1, "to all");
        let payload = Payload::Text("to one".to_owned());
        world.command(1, AgentCommand::Send { to: Some("c".into()), label: Some("chat".to_owned()), payload });
        world.run(SECOND);
        let heard: Vec<_> = (0..4).map(|index| world.texts(index)).collect();
        assert_eq!(heard, [vec!["to all"], vec![], vec!["to all", "to one"], vec!["to all"]]);
    }
}

#[test]
fn r8_twenty_a_second_for_ten_seconds_arrive_in_order_and_once() {
    for (seed, cast) in CASTS.into_iter().enumerate() {
        let mut world = four(cast, seed as u64);
        world.path = Path { jitter: Duration::from_millis(15), loss: 0.03, ..Path::default() };
        let texts: Vec<String> = (0..200).map(|n| format!("player_move {n}")).collect();
        for text in &texts {
            world.say(3, text);
            world.run(SECOND / 20);
        }
        world.until(SECOND * 60, "all arrive", |world| (0..3).all(|i| world.texts(i).len() >= texts.len()));
        for (index, name) in NAMES.iter().enumerate().take(3) {
            assert!(world.texts(index).iter().eq(texts.iter()), "{name}");
        }
    }
}

#[test]
fn r2_leaving_is_noticed_by_all() {
    for (seed, cast) in CASTS.into_iter().enumerate() {
        let mut world = four(cast, seed as u64);
        world.command(2, AgentCommand::Quit);
        world.until(SECOND * 3, "all know", |world| {
            [0, 1, 3].into_iter().all(|i| {
                world.count(i, |notice| has_left(notice, "c")) == 1
                    && world.count(i, |notice| is_peer(notice, "c", PeerState::Closed)) == 1
            })
        });
        world.say(0, "without c");
        world.until(SECOND, "the others hear", |world| [1, 3].into_iter().all(|i| world.texts(i) == ["without c"]));
        assert_no_faults(&world);
    }
}

#[test]
fn a_crash_is_noticed_by_all_and_once() {
    for (seed, cast) in CASTS.into_iter().enumerate() {
        let mut world = four(cast, seed as u64);
        world.crash(2);
        let states = |world: &World, i: usize, state| world.count(i, |notice| is_peer(notice, "c", state));
        // Our own protocol gives a lost session 10 s to come back; ICE takes 9 s to call a path lost.
        world.until(SECOND * 15, "all know", |world| {
            [0, 1, 3].into_iter().all(|i| {
                world.count(i, |notice| has_left(notice, "c")) == 1 && states(world, i, PeerState::Closed) == 1
            })
        });
        world.run(SECOND * 60);
        for index in [0, 1, 3] {
            // R15
            let told = [PeerState::Connected, PeerState::Disconnected, PeerState::Closed];
            assert_eq!(told.map(|state| states(&world, index, state)), [1, 1, 1], "{}", world.story());
        }
        world.say(0, "without c");
        world.until(SECOND, "the others hear", |world| [1, 3].into_iter().all(|i| world.texts(i) == ["without c"]));
    }
}

#[test]
fn who_crashed_can_come_back_under_its_id() {
    for (seed, cast) in CASTS.into_iter().enumerate() {
        let mut world = four(cast, seed as u64);
        world.crash(2);
        world.run(SECOND);
        let again = world.add_to_room(cast[2], "c", "demo");
        world.until(SECOND * 10, "three channels again", |world| world.count(again, is_open) == 3);
        world.say(again, "back");
        world.until(SECOND, "all hear", |world| [0, 1, 3].into_iter().all(|i| world.texts(i) == ["back"]));
    }
}

#[test]
fn r4_rooms_are_apart() {
    for (seed, (one, other)) in
        [(Dialect::Mesh, Dialect::Mesh), (Dialect::Mesh, Dialect::Enishi), (Dialect::Enishi, Dialect::Enishi)]
            .into_iter()
            .enumerate()
    {
        let mut world = World::new(seed as u64);
        world.add_to_room(one, "a", "one");
        world.add_to_room(other, "b", "other");
        world.run(SECOND);
        world.command(0, AgentCommand::Offer("b".into()));
        world.command(1, AgentCommand::Offer("a".into()));
        world.run(SECOND * 20);
        for index in [0, 1] {
            assert_eq!(world.count(index, is_open), 0, "{}", world.story());
            let met = |notice: &AgentNotice| matches!(notice, AgentNotice::Presence { .. });
            assert_eq!(world.count(index, met), 0, "{}", world.story());
        }
    }
}

#[test]
fn r5_a_change_of_room_ends_the_connections_of_the_old_and_makes_those_of_the_new() {
    for dialect in [Dialect::Mesh, Dialect::Enishi] {
        let mut world = World::new(5);
        world.add_to_room(dialect, "a", "one");
        world.add_to_room(dialect, "b", "other");
        let mover = world.add_to_room(dialect, "m", "one");
        world.until(SECOND * 5, "m meets a", |world| world.is_open(0) && world.is_open(mover));
        if dialect == Dialect::Enishi {
            world.command(mover, AgentCommand::Leave("one".into()));
        }
        world.command(mover, AgentCommand::Join("other".into()));
        world.until(SECOND * 5, "m meets b", |world| world.is_open(1) && world.count(mover, is_open) == 2);
        assert_eq!(world.count(0, |notice| has_left(notice, "m")), 1);
        assert_eq!(world.count(0, |notice| is_peer(notice, "m", PeerState::Closed)), 1);
        world.say(mover, "hello");
        world.run(SECOND);
        assert_eq!((world.texts(0), world.texts(1)), (vec![], vec!["hello"]));
    }
}

#[test]
fn who_shares_a_second_room_stays_connected() {
    let mut world = World::new(6);
    for name in ["a", "b"] {
        world.add_to_room(Dialect::Enishi, name, "one");
    }
    world.run(SECOND);
    for index in [0, 1] {
        world.command(index, AgentCommand::Join("two".into()));
        world.run(SECOND);
    }
    world.command(1, AgentCommand::Leave("one".into()));
    world.run(SECOND);
    world.say(1, "still here");
    world.until(SECOND, "it arrives", |world| world.texts(0) == ["still here"]);
    world.command(1, AgentCommand::Leave("two".into()));
    world.until(SECOND, "both parted", |world| {
        world.count(0, |notice| is_peer(notice, "b", PeerState::Closed)) == 1
            && world.count(1, |notice| is_peer(notice, "a", PeerState::Closed)) == 1
    });
}

#[test]
fn r5_a_duplicate_id_is_refused_and_the_first_stays() {
    for (first, second) in [(Dialect::Mesh, Dialect::Mesh), (Dialect::Enishi, Dialect::Mesh)] {
        let mut world = World::new(7);
        world.add_to_room(first, "a", "demo");
        world.add_to_room(first, "b", "demo");
        world.until(SECOND * 5, "they meet", |world| world.is_open(0) && world.is_open(1));
        let late = world.add_to_room(second, "a", "demo");
        let taken = |notice: &AgentNotice| matches!(notice, AgentNotice::Refused { refusal: Refusal::NameTaken, .. });
        world.until(SECOND, "it is told why", |world| world.count(late, taken) == 1);
        world.run(SECOND * 5);
        let ended = world.count(late, |notice| *notice == AgentNotice::Ended);
        assert_eq!((ended, world.count(late, is_open)), (1, 0), "{}", world.story());
        assert_eq!(world.count(1, |notice| has_left(notice, "a")), 0);
        world.say(1, "still you");
        world.until(SECOND, "it arrives", |world| world.texts(0) == ["still you"]);
    }
}

#[test]
fn r13_a_restart_changes_the_credentials_and_keeps_the_channel() {
    let ufrags = |world: &World| {
        let lines = world.sent.iter().filter_map(|(who, text)| Some((*who, text.split_once("a=ice-ufrag:")?.1)));
        lines.map(|(who, rest)| (who, rest.split('\\').next().unwrap_or_default().to_owned())).collect::<Vec<_>>()
    };
    for (seed, cast) in CASTS.into_iter().enumerate() {
        let mut world = four(cast, seed as u64);
        let before = ufrags(&world);
        world.path.loss = 1.0;
        world.run(SECOND * 12);
        assert!((0..4).all(|i| world.count(i, is_lost) > 0), "the path is lost\n{}", world.story());
        world.path = Path::default();
        world.until(SECOND * 20, "the path is back", |world| (0..4).all(|i| are_all_connected(world, i, 4)));
        world.run(SECOND * 5);
        world.say(0, "resumed");
        world.until(SECOND, "it arrives", |world| (1..4).all(|i| world.texts(i) == ["resumed"]));
        let closed = |notice: &AgentNotice| matches!(notice, AgentNotice::ChannelClosed { .. });
        assert!((0..4).all(|i| world.count(i, closed) == 0 && world.count(i, is_open) == 3), "the same channels");
        let after = ufrags(&world);
        assert!(after.len() > before.len() && after[before.len()..].iter().all(|new| !before.contains(new)));
        assert_no_faults(&world);
    }
}

#[test]
fn joining_again_connects_those_who_lost_each_other() {
    for (seed, cast) in CASTS.into_iter().enumerate() {
        let mut world = four(cast, seed as u64);
        world.path.loss = 1.0;
        // They try again meanwhile, so that some are told more than once.
        let closed = |notice: &AgentNotice, id: &str| matches!(notice, AgentNotice::Peer { id: of, state: PeerState::Closed } if of.as_str() == id);
        let parted = |world: &World, i: usize, id: &str| world.count(i, |notice| closed(notice, id)) > 0;
        world.until(SECOND * 60, "all are apart", |world| {
            (0..4)
                .all(|i| (0..4).filter(|&other| other != i).all(|other| parted(world, i, ["a", "b", "c", "d"][other])))
        });
        world.path = Path::default();
        for index in [0, 2] {
            world.command(index, AgentCommand::Join("demo".into()));
        }
        world.until(SECOND * 10, "c has found all", |world| are_all_connected(world, 2, 4));
        world.until(SECOND * 10, "a has found all", |world| are_all_connected(world, 0, 4));
        world.run(SECOND * 30);
        for index in [1, 3] {
            world.say(index, "found");
        }
        world.until(SECOND, "both hear both", |world| [0, 2].into_iter().all(|i| world.texts(i) == ["found"; 2]));
    }
}

#[test]
fn r14_counters_match_the_traffic() {
    let mut world = four(CASTS[0], 8);
    for n in 0..10 {
        world.say(0, &format!("text {n}"));
    }
    world.run(SECOND);
    let stats = |world: &mut World, index: usize| {
        world.command(index, AgentCommand::Peers);
        match world.told(index).next_back() {
            Some(AgentNotice::Peers(peers)) => peers.clone(),
            other => panic!("{other:?}"),
        }
    };
    let of = |peers: &[(Name, PeerState, PeerStats)], id: &str| {
        peers.iter().find(|(name, _, _)| name.as_str() == id).expect("a peer").2.channels[0].clone()
    };
    let a = stats(&mut world, 0);
    assert_eq!(a.len(), 3);
    for (index, name) in NAMES.iter().enumerate().skip(1) {
        let sent = of(&a, name);
        let received = of(&stats(&mut world, index), "a");
        assert_eq!((sent.messages_sent, sent.bytes_sent), (10, 60), "{sent:?}");
        assert_eq!((received.messages_received, received.bytes_received), (10, 60), "{received:?}");
    }
}

#[test]
fn a_room_outlives_its_server() {
    for (seed, cast) in CASTS.into_iter().enumerate() {
        let mut world = four(cast, seed as u64);
        world.kill_server();
        world.run(SECOND * 5);
        world.start_server();
        let registered = |notice: &AgentNotice| matches!(notice, AgentNotice::Registered { .. });
        world.until(SECOND * 31, "all are back", |world| (0..4).all(|i| world.count(i, registered) == 2));
        world.run(SECOND * 5);
        assert!((0..4).all(|i| world.count(i, is_open) == 3), "no connection was made anew\n{}", world.story());
        let late = world.add_to_room(cast[0], "e", "demo");
        world.until(SECOND * 5, "all four are in it", |world| world.count(late, is_open) == 4);
        world.say(late, "hello all");
        world.until(SECOND, "all hear", |world| (0..4).all(|i| world.texts(i) == ["hello all"]));
    }
}

#[test]
fn a_newcomer_whose_signaling_is_cut_at_any_moment_still_meets_everybody() {
    for (seed, millis) in (0..90).step_by(6).enumerate() {
        for (cast, victim) in CASTS.into_iter().flat_map(|cast| [(cast, 1), (cast, 2)]) {
            let mut world = World::new(seed as u64);
            world.add_to_room(cast[0], "a", "demo");
            world.add_to_room(cast[1], "b", "demo");
            world.run(SECOND);
            world.add_to_room(cast[2], "c", "demo");
            let registered = |notice: &AgentNotice| matches!(notice, AgentNotice::Registered { .. });
            world.until(SECOND, "c is registered", |world| world.count(2, registered) == 1);
            world.run(Duration::from_millis(millis));
            world.cut(victim);
            let what = format!("{cast:?}: cut {victim} after {millis} ms");
            world.until(SECOND * 60, &what, |world| (0..3).all(|i| are_all_connected(world, i, 3)));
            world.run(SECOND * 60);
            world.say(2, "hello");
            world.until(SECOND, &what, |world| [0, 1].into_iter().all(|i| world.texts(i) == ["hello"]));
        }
    }
}

/// The dialects that a client without a room can meet.
#[test]
fn without_a_room_a_mesh_client_is_met_by_its_id() {
    for (n, other) in [Dialect::Mesh, Dialect::Enishi, Dialect::ConicA, Dialect::ConicB, Dialect::ConicC]
        .into_iter()
        .flat_map(|dialect| [(Dialect::Mesh, dialect), (dialect, Dialect::Mesh)])
        .enumerate()
    {
        let mut world = World::new(n as u64);
        world.add(other.0, "bob", None);
        world.add(other.1, "alice", None);
        world.run(SECOND);
        assert!(!world.is_open(0) && !world.is_open(1), "nobody offers unasked");
        let id_of = |world: &World, index: usize| {
            world.told(index).find_map(|notice| match notice {
                AgentNotice::Registered { id, .. } => Some(id.clone()),
                _ => None,
            })
        };
        let (bob, alice) = (id_of(&world, 0).expect("an id"), id_of(&world, 1).expect("an id"));
        world.command(1, AgentCommand::Offer(bob));
        world.until(SECOND * 5, "the channel opens", |world| world.is_open(0) && world.is_open(1));
        world.command(0, AgentCommand::Restart(alice));
        world.run(SECOND * 5);
        world.say(0, "from one");
        world.say(1, "from the other");
        let what = format!("{other:?}: both hear");
        world.until(SECOND, &what, |world| world.texts(0) == ["from the other"] && world.texts(1) == ["from one"]);
        assert_eq!(world.count(0, is_fault) + world.count(1, is_fault), 0, "{}", world.story());
    }
}

#[test]
fn a_mesh_client_says_what_it_has_no_word_for() {
    let mut world = World::new(9);
    world.add_to_room(Dialect::Mesh, "a", "demo");
    world.add_to_room(Dialect::Enishi, "b", "demo");
    world.until(SECOND * 5, "they meet", |world| world.is_open(0) && world.is_open(1));
    let payload = Payload::Text("hi".to_owned());
    world.command(0, AgentCommand::Relay { to: "b".into(), label: "chat".to_owned(), payload: payload.clone() });
    world.command(0, AgentCommand::Leave("demo".into()));
    world.command(0, AgentCommand::Who);
    let failed =
        |notice: &AgentNotice| matches!(notice, AgentNotice::CommandFailed(why) if why.contains("mesh has no word"));
    assert_eq!(world.count(0, failed), 3, "{}", world.story());
    world.command(1, AgentCommand::Relay { to: "a".into(), label: "chat".to_owned(), payload });
    let refused = |notice: &AgentNotice| matches!(notice, AgentNotice::Refused { refusal: Refusal::NoWordForThis, .. });
    world.until(SECOND, "the sender is told", |world| world.count(1, refused) == 1);
    world.say(0, "still here");
    world.until(SECOND, "it arrives", |world| world.texts(1) == ["still here"]);
}

/// `protocols.md` 002.3, row 5: the original's set changes while it tells the others.
#[test]
fn defect_5_two_leave_at_once() {
    for (seed, cast) in CASTS.into_iter().enumerate() {
        let mut world = four(cast, seed as u64);
        world.crash(1);
        world.crash(3);
        world.until(SECOND * 15, "both are missed", |world| {
            [0, 2]
                .into_iter()
                .all(|i| ["b", "d"].iter().all(|name| world.count(i, |notice| has_left(notice, name)) == 1))
        });
        world.say(0, "two of us");
        world.until(SECOND, "it arrives", |world| world.texts(2) == ["two of us"]);
    }
}

/// Row 7: the original keeps empty rooms for ever.
#[test]
fn defect_7_empty_rooms_are_freed() {
    let mut bench = Bench::new(ServerConfig::default());
    let clients: Vec<_> = (0..3).map(|_| bench.ws()).collect();
    for (n, client) in clients.iter().enumerate() {
        for room in 0..50 {
            bench.text(*client, &format!(r#"{{"type":"join","peer_id":"p{n}","room_id":"room {n} {room}"}}"#));
        }
    }
    assert_eq!(bench.server.stats().hub.rooms, 3, "one for each");
    for client in clients {
        bench.hang_up(client);
    }
    let stats = bench.server.stats().hub;
    assert_eq!((stats.rooms, stats.names, stats.clients), (0, 0, 0));
}

/// Row 9: with the original's client both sides open a channel, and the last one that opens counts.
#[test]
fn defect_9_one_channel_for_a_pair() {
    let world = four(CASTS[0], 10);
    for index in 0..4 {
        for name in NAMES.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, name)| name) {
            let with =
                |notice: &AgentNotice| matches!(notice, AgentNotice::ChannelOpened { id, .. } if id.as_str() == *name);
            assert_eq!(world.count(index, with), 1);
        }
    }
}

#[test]
fn a_full_room_is_refused_with_a_reason() {
    let limits = Limits { room_members: 2, ..Limits::default() };
    let mut bench = Bench::new(ServerConfig { limits, ..ServerConfig::default() });
    let clients: Vec<_> = (0..3).map(|_| bench.ws()).collect();
    for (n, client) in clients.iter().enumerate() {
        bench.text(*client, &format!(r#"{{"type":"join","peer_id":"p{n}","room_id":"r"}}"#));
    }
    let got = bench.take(clients[2]);
    assert!(
        got.iter().any(|got| matches!(got, Got::Close(1013, reason) if reason.contains("room is full"))),
        "{got:?}"
    );
    assert_eq!(bench.server.stats().hub.clients, 2);
}

/// The original's client says `new WebSocket("ws://localhost:8765")`.
#[test]
fn r1_any_path_will_do() {
    let mut bench = Bench::new(ServerConfig::default());
    for (n, path) in ["/", "/signaling", "/a/b?c"].into_iter().enumerate() {
        let client = bench.open(path, "");
        assert_eq!(bench.take(client), [Got::Upgraded(None)], "{path}");
        bench.text(client, &format!(r#"{{"type":"join","peer_id":"p{n}","room_id":"{path}"}}"#));
        assert_eq!(bench.take_texts(client), [r#"{"type":"room_peers","peers":[]}"#], "{path}");
    }
}
