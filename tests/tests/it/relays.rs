//! Paths through a TURN server, in virtual time.

use std::time::Duration;

use enishi_core::agent::{AgentCommand, AgentConfig, AgentNotice};
use enishi_core::dialect::Dialect;
use enishi_core::peer::{PeerState, PeerStats};
use enishi_core::server::ServerConfig;
use enishi_core::turn::{Credentials, Issuer, Secret, TurnServer};
use enishi_tests::turn_server::{ADDRESS, VirtualTurn};
use enishi_tests::world::World;

const SECOND: Duration = Duration::from_secs(1);

/// Allocation, permissions, ICE and DTLS, each of several round trips through the relay.
const CONNECT: Duration = Duration::from_secs(5);

fn user() -> Credentials {
    Credentials { username: "1795200000:alice".to_owned(), password: "secret".to_owned() }
}

fn relayed(config: &mut AgentConfig) {
    config.turn = vec![TurnServer { address: ADDRESS, credentials: user() }];
}

fn relay_only(config: &mut AgentConfig) {
    relayed(config);
    config.relay_only = true;
}

/// A world with a TURN server that knows [`user`].
fn world(seed: u64) -> World {
    let mut world = World::new(seed);
    world.turn = Some(VirtualTurn::new(world.now, &user()));
    world
}

/// Bob waits, alice offers; both have their channel.
fn connected(mut world: World, bob: fn(&mut AgentConfig), alice: fn(&mut AgentConfig)) -> World {
    world.add_with(Dialect::Enishi, "bob", None, bob);
    world.run(SECOND);
    world.add_with(Dialect::Enishi, "alice", Some("bob"), alice);
    world.until(CONNECT, "the channel opens", |world| world.is_open(0) && world.is_open(1));
    world
}

fn exchange(world: &mut World, text: &str) {
    world.say(0, text);
    world.say(1, text);
    world.until(SECOND, "both hear it", |world| (0..2).all(|i| world.texts(i).last() == Some(&text)));
}

fn stats(world: &mut World, agent: usize) -> PeerStats {
    world.command(agent, AgentCommand::Peers);
    let peers = world.told(agent).rev().find_map(|notice| match notice {
        AgentNotice::Peers(peers) => Some(peers.clone()),
        _ => None,
    });
    peers.expect("an answer").remove(0).2
}

fn warnings(world: &World, agent: usize) -> Vec<&str> {
    world
        .told(agent)
        .filter_map(|notice| match notice {
            AgentNotice::Warning(why) => Some(why.as_str()),
            _ => None,
        })
        .collect()
}

#[test]
fn relay_only_peers_talk_through_the_relay_and_tell_nothing_else() {
    let mut world = connected(world(1), relay_only, relay_only);
    exchange(&mut world, "hello");
    assert_eq!(world.direct, 0, "not one datagram went directly");
    let kinds: Vec<_> = world.candidates.iter().map(|(agent, kind)| (*agent, kind.as_str())).collect();
    assert_eq!(kinds, [(0, "relay"), (1, "relay")]);
    for agent in [0, 1] {
        let stats = stats(&mut world, agent);
        assert!(stats.relayed && stats.path.is_some_and(|(local, _)| local.ip() == ADDRESS.ip()), "{stats:?}");
    }
}

/// faults.md, case 90: both behind symmetric NAT.
#[test]
fn without_a_direct_path_the_relay_serves() {
    let mut blocked = world(2);
    blocked.no_direct_path = true;
    let mut world = connected(blocked, relayed, relayed);
    exchange(&mut world, "hello");
    assert!(stats(&mut world, 0).relayed || stats(&mut world, 1).relayed);
}

#[test]
fn a_direct_path_is_preferred() {
    let mut world = connected(world(3), relayed, relayed);
    world.run(SECOND * 10);
    exchange(&mut world, "hello");
    assert!(!stats(&mut world, 0).relayed && !stats(&mut world, 1).relayed);
}

#[test]
fn a_relay_only_peer_talks_to_one_that_knows_no_relay() {
    for (bob, alice) in [(relay_only as fn(&mut AgentConfig), (|_| ()) as fn(&mut AgentConfig)), (|_| (), relay_only)] {
        let mut world = connected(world(4), bob, alice);
        exchange(&mut world, "hello");
        assert_eq!(world.direct, 0);
    }
}

/// Allocations lapse after half an hour, permissions after five minutes, channels after ten.
#[test]
fn a_call_outlives_the_first_allocation() {
    let mut world = connected(world(5), relay_only, relay_only);
    for minute in 0..90 {
        world.run(SECOND * 60);
        exchange(&mut world, &format!("minute {minute}"));
    }
    let lost = |n: &AgentNotice| matches!(n, AgentNotice::Peer { state: PeerState::Disconnected, .. });
    assert_eq!(world.count(0, lost) + world.count(1, lost), 0);
    // Most of it is permissions and channels that are refreshed: the relays stay the two.
    assert_eq!(world.turn.as_ref().map(VirtualTurn::relays), Some(2));
}

#[test]
fn a_call_outlives_the_turn_server() {
    let mut world = connected(world(11), relay_only, relay_only);
    for time in 0..3 {
        world.turn.as_mut().expect("a TURN server").restart();
        let text = format!("after {time}");
        world.say(0, &text);
        world.say(1, &text);
        let both = |world: &World| (0..2).all(|i| world.texts(i).last() == Some(&text.as_str()));
        world.until(SECOND * 25, "both hear it on the same channel", both);
        world.run(SECOND * 20);
    }
    let opened = |n: &AgentNotice| matches!(n, AgentNotice::ChannelOpened { .. });
    assert_eq!((world.count(0, opened), world.count(1, opened)), (1, 1));
    assert_eq!(world.turn.as_ref().map(VirtualTurn::relays), Some(2));
}

#[test]
fn relays_are_given_back_with_the_last_connection() {
    let mut world = connected(world(6), relay_only, relay_only);
    assert_eq!(world.turn.as_ref().map(VirtualTurn::relays), Some(2));
    world.command(1, AgentCommand::Close("bob".into()));
    world.run(SECOND * 5);
    assert_eq!(world.turn.as_ref().map(VirtualTurn::relays), Some(0));
    world.command(1, AgentCommand::Offer("bob".into()));
    let opened = |n: &AgentNotice| matches!(n, AgentNotice::ChannelOpened { .. });
    world.until(CONNECT, "a second call", |world| world.count(0, opened) == 2);
    exchange(&mut world, "again");
}

#[test]
fn refused_credentials_are_told_with_the_reason() {
    let expired = |config: &mut AgentConfig| {
        relay_only(config);
        config.turn[0].credentials.username = "1700000000:alice".to_owned();
    };
    let wrong = |config: &mut AgentConfig| {
        relay_only(config);
        config.turn[0].credentials.password = "guess".to_owned();
    };
    for (change, wanted) in [
        (
            expired as fn(&mut AgentConfig),
            "credentials of 1700000000:alice expired at 2023-11-14T22:13:20Z; ask for new",
        ),
        (wrong, "does not take the credentials of 1795200000:alice; check user and password"),
    ] {
        let mut world = world(7);
        world.add_with(Dialect::Enishi, "bob", None, |_| ());
        world.add_with(Dialect::Enishi, "alice", Some("bob"), change);
        world.until(SECOND * 2, wanted, |world| warnings(world, 1).iter().any(|why| why.contains(wanted)));
        assert_eq!(warnings(&world, 1).len(), 1, "told once");
    }
}

#[test]
fn a_silent_turn_server_is_told_and_direct_paths_serve() {
    let mut world = World::new(8);
    world.add_with(Dialect::Enishi, "bob", None, |_| ());
    world.add_with(Dialect::Enishi, "alice", Some("bob"), relayed);
    world.until(CONNECT, "the channel opens", |world| world.is_open(0) && world.is_open(1));
    world.run(SECOND * 16);
    let [why] = warnings(&world, 1)[..] else { panic!("{}", world.story()) };
    assert!(why.contains("198.51.100.1:3478: it does not answer"), "{why}");
}

#[test]
fn relay_only_without_a_relay_is_told() {
    let mut world = World::new(9);
    world.add_with(Dialect::Enishi, "bob", None, |config| config.relay_only = true);
    world.add(Dialect::Enishi, "alice", Some("bob"));
    world.run(SECOND * 2);
    assert!(warnings(&world, 0)[0].contains("there is no TURN server"), "{}", world.story());
    assert!(!world.candidates.iter().any(|(agent, _)| *agent == 0), "{:?}", world.candidates);
}

/// The signaling server mints credentials for each client, and the clients use them.
#[test]
fn relays_come_with_the_welcome() {
    let mut world = World::new(10);
    let issuer = Issuer {
        secret: Secret::new("north"),
        uris: vec![format!("turn:{ADDRESS}?transport=udp"), format!("turn:{ADDRESS}?transport=tcp")],
        ttl: SECOND * 600,
    };
    let minted = issuer.secret.mint("bob", world.unix().as_secs() + 600);
    world.start_server_with(ServerConfig { turn: Some(issuer), ..ServerConfig::default() });
    world.turn = Some(VirtualTurn::new(world.now, &minted));
    world.add_with(Dialect::Enishi, "bob", None, |config| config.relay_only = true);
    world.run(SECOND);
    world.add(Dialect::Enishi, "alice", Some("bob"));
    world.until(CONNECT, "the channel opens", |world| world.is_open(0) && world.is_open(1));
    exchange(&mut world, "hello");
    assert!(stats(&mut world, 0).relayed);
    assert_eq!(warnings(&world, 0), [""; 0]);
}
