//! Agents that speak zenn or Tony Bai's dialect, together and with those of others, in virtual time.

use std::time::Duration;

use enishi_core::agent::{AgentCommand, AgentNotice};
use enishi_core::dialect::Dialect;
use enishi_core::signal::Name;
use enishi_tests::world::World;

const SECOND: Duration = Duration::from_secs(1);

const OTHERS: [Dialect; 6] =
    [Dialect::Enishi, Dialect::ConicA, Dialect::ConicB, Dialect::ConicC, Dialect::Zenn, Dialect::TonyBai];

fn id_of(world: &World, agent: usize) -> Name {
    let id = world.told(agent).find_map(|notice| match notice {
        AgentNotice::Registered { id, .. } => Some(id.clone()),
        _ => None,
    });
    id.expect("an id")
}

fn is_trouble(notice: &AgentNotice) -> bool {
    matches!(notice, AgentNotice::Refused { .. } | AgentNotice::CommandFailed(_) | AgentNotice::PeerFailed { .. })
}

fn both_talk(world: &mut World, what: &str) {
    world.until(SECOND * 8, &format!("{what}: the channel opens"), |world| world.is_open(0) && world.is_open(1));
    world.say(0, "from one");
    world.say(1, "from the other");
    world.until(SECOND, &format!("{what}: both hear"), |world| {
        world.texts(0) == ["from the other"] && world.texts(1) == ["from one"]
    });
    world.run(SECOND * 40);
    assert_eq!(world.count(0, is_trouble) + world.count(1, is_trouble), 0, "{what}\n{}", world.story());
}

#[test]
fn who_waits_is_called_by_id_from_every_dialect_and_calls_back() {
    for dialect in [Dialect::Zenn, Dialect::TonyBai] {
        for (n, other) in OTHERS.into_iter().enumerate() {
            for (one, other) in [(dialect, other), (other, dialect)] {
                let mut world = World::new(n as u64);
                world.add(one, "bob", None);
                world.add(other, "alice", None);
                world.run(SECOND);
                let bob = id_of(&world, 0);
                world.command(1, AgentCommand::Offer(bob));
                let what = format!("{} called by {}", one.name(), other.name());
                both_talk(&mut world, &what);
                let alice = id_of(&world, 1);
                world.command(0, AgentCommand::Restart(alice));
                world.run(SECOND * 5);
                world.say(0, "after a restart");
                world.until(SECOND, &what, |world| world.texts(1).len() == 2);
            }
        }
    }
}

#[test]
fn an_offering_and_an_answering_peer_meet_whoever_comes_first() {
    for dialect in [Dialect::Zenn, Dialect::TonyBai] {
        for (offerer, answerer) in [("a", "b"), ("z", "b")] {
            for offerer_first in [false, true] {
                let mut world = World::new(1);
                let offers = |world: &mut World| world.add(dialect, offerer, Some(answerer));
                if offerer_first {
                    offers(&mut world);
                    world.run(SECOND * 7);
                }
                world.add(dialect, answerer, None);
                if !offerer_first {
                    world.run(SECOND);
                    offers(&mut world);
                }
                let what = format!("{}, {offerer} first: {offerer_first}", dialect.name());
                both_talk(&mut world, &what);
            }
        }
    }
}

#[test]
fn two_offering_peers_reach_one_that_answers() {
    for dialect in [Dialect::Zenn, Dialect::TonyBai] {
        let mut world = World::new(2);
        world.add(dialect, "b", None);
        world.run(SECOND);
        world.add(dialect, "a", Some("b"));
        world.run(SECOND);
        world.add(dialect, "c", Some("b"));
        world.until(SECOND * 8, dialect.name(), |world| world.is_open(1) && world.is_open(2));
        world.run(SECOND);
        world.say(1, "from a");
        world.say(2, "from c");
        world.say(0, "from b");
        world.until(SECOND, dialect.name(), |world| {
            world.texts(0).len() == 2 && world.texts(1) == ["from b"] && world.texts(2) == ["from b"]
        });
    }
}

#[test]
fn who_comes_to_zenn_while_somebody_offers_is_offered_to_as_well() {
    let mut world = World::new(5);
    world.add(Dialect::Zenn, "b", None);
    world.add(Dialect::Zenn, "a", Some("b"));
    world.until(SECOND * 8, "a and b", |world| world.is_open(0) && world.is_open(1));
    world.add(Dialect::Zenn, "c", None);
    world.until(SECOND, "a and c", |world| world.is_open(2));
    world.run(SECOND);
    world.say(1, "from a");
    world.until(SECOND, "both hear", |world| world.texts(0) == ["from a"] && world.texts(2) == ["from a"]);
}

#[test]
fn an_id_that_is_taken_is_told() {
    for dialect in [Dialect::Zenn, Dialect::TonyBai] {
        let mut world = World::new(3);
        world.add(dialect, "b", None);
        world.run(SECOND);
        world.add(dialect, "b", None);
        let refused = |notice: &AgentNotice| matches!(notice, AgentNotice::Refused { .. });
        world.until(SECOND, dialect.name(), |world| world.count(1, refused) == 1);
        assert_eq!(world.count(0, refused), 0);
    }
}

#[test]
fn a_server_that_forgot_everybody_finds_them_again() {
    for dialect in [Dialect::Zenn, Dialect::TonyBai] {
        let mut world = World::new(4);
        world.add(dialect, "b", None);
        world.run(SECOND);
        world.kill_server();
        world.run(SECOND * 5);
        world.start_server();
        world.run(SECOND * 31);
        world.add(dialect, "a", Some("b"));
        world.until(SECOND * 8, dialect.name(), |world| world.is_open(0) && world.is_open(1));
    }
}
