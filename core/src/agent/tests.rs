//! What a user of an agent, or the peer on the other side, would notice.

mod media;
mod world;

use super::*;
use crate::dialect::{Context, Said};
use crate::limits::Limits;
use crate::machine::{CloseReason, ConnId, DialId, Frame};
use world::{SECOND, STUN, World, config, is_peer, spec};

#[test]
fn two_agents_talk() {
    let mut world = World::new();
    let bob = world.add("bob", None);
    let alice = world.add("alice", Some("bob"));
    world.connect();
    world.say(alice, "hello");
    world.say(bob, "hello yourself");
    world.until(SECOND, "both have heard", |world| !world.texts(alice).is_empty() && !world.texts(bob).is_empty());
    assert_eq!((world.texts(bob), world.texts(alice)), (vec!["hello"], vec!["hello yourself"]));
    let payload = Payload::Text("hello".to_owned());
    let sent = AgentNotice::Sent { id: "bob".into(), label: "chat".to_owned(), payload };
    assert_eq!(world.count(alice, |notice| *notice == sent), 1);
    assert_eq!(world.count(bob, |notice| is_peer(notice, PeerState::Connected)), 1);
}

#[test]
fn the_memory_of_many_connections_goes_back_when_they_have_ended() {
    let mut world = World::new();
    let host = world.add("host", None);
    let guests: Vec<usize> = (0..CROWD).map(|n| world.add(&format!("guest-{n}"), Some("host"))).collect();
    world.until(SECOND * 20, "all are connected", |world| guests.iter().all(|guest| world.open(*guest)));
    for guest in guests {
        assert!(world.released.is_empty());
        world.command(guest, AgentCommand::Quit);
    }
    world.run(SECOND * 20);
    assert_eq!(world.released, [host]);
}

#[test]
fn glare_gives_one_connection() {
    let mut world = World::new();
    world.add("bob", Some("alice"));
    world.add("alice", Some("bob"));
    world.connect();
    world.say(0, "from bob");
    world.say(1, "from alice");
    world.until(SECOND, "both have heard", |world| !world.texts(0).is_empty() && !world.texts(1).is_empty());
    world.run(SECOND * 60);
    for index in [0, 1] {
        assert_eq!(world.count(index, |notice| is_peer(notice, PeerState::Connected)), 1);
        assert_eq!(world.count(index, |notice| matches!(notice, AgentNotice::PeerFailed { .. })), 0);
        assert_eq!(world.texts(index).len(), 1);
    }
}

#[test]
fn an_offer_waits_for_its_target() {
    let mut world = World::new();
    world.add("alice", Some("bob"));
    // Longer than a connection has patience for: it starts over.
    world.run(SECOND * 75);
    let waiting = AgentNotice::Waiting { target: "bob".into() };
    assert_eq!(world.count(0, |notice| *notice == waiting), 1);
    assert_eq!(world.count(0, |notice| matches!(notice, AgentNotice::Refused { .. })), 0);
    world.say(0, "are you there?");
    world.say(0, "now?");
    world.add("bob", None);
    world.until(SECOND * 5, "the messages arrive", |world| world.texts(1).len() == 2);
    assert_eq!(world.texts(1), ["are you there?", "now?"]);
    assert_eq!(world.count(0, |notice| matches!(notice, AgentNotice::PeerFailed { .. })), 0);
}

#[test]
fn a_lost_offer_is_said_again() {
    let mut world = World::new();
    world.add("bob", None);
    world.relay.swallow = 2;
    world.add("alice", Some("bob"));
    world.until(SECOND * 17, "the channel opens", |world| world.open(0) && world.open(1));
}

#[test]
fn a_message_before_the_channel_opens_arrives_once_and_in_order() {
    let mut world = World::new();
    world.add("bob", None);
    world.add("alice", Some("bob"));
    world.until(SECOND, "registered", |world| world.count(1, |n| matches!(n, AgentNotice::Registered { .. })) == 1);
    for text in ["one", "two", "three"] {
        world.say(1, text);
    }
    assert_eq!(world.count(1, |notice| matches!(notice, AgentNotice::Sent { .. })), 0);
    world.run(SECOND * 20);
    assert_eq!(world.texts(0), ["one", "two", "three"]);
    assert_eq!(world.count(1, |notice| matches!(notice, AgentNotice::Sent { .. })), 3);
}

#[test]
fn more_than_the_buffer_holds_arrives_in_order() {
    let mut world = World::new();
    world.add("bob", None);
    world.add("alice", Some("bob"));
    world.connect();
    let texts: Vec<String> = (0..40).map(|n| format!("{n}:{}", "x".repeat(30_000))).collect();
    for text in &texts {
        world.say(1, text);
    }
    world.until(SECOND * 30, "all arrive", |world| world.texts(0).len() == texts.len());
    assert!(world.texts(0).iter().eq(texts.iter()));
}

#[test]
fn a_restarted_remote_is_met_anew() {
    let mut world = World::new();
    world.add("bob", None);
    let alice = world.add("alice", Some("bob"));
    world.connect();
    // Alice's program dies without a word; its socket is found dead; it is started again on another port.
    let (&conn, _) = world.relay.conns.iter().find(|(_, (index, _, _))| *index == alice).unwrap();
    world.relay.conns.remove(&conn);
    world.agents[alice] =
        Agent::new(world.now, Duration::ZERO, [99; 32], config("alice", "192.0.2.9:5000".parse().unwrap()));
    world.agents[alice].ended = true;
    let host = "192.0.2.10:5000".parse().unwrap();
    let config = AgentConfig { role: Role::Offer, target: Some("bob".into()), ..config("alice", host) };
    let again = world.add_with(config, host);
    world.until(SECOND * 5, "the channel opens", |world| world.open(again));
    world.say(again, "me again");
    world.until(SECOND, "it arrives", |world| world.texts(0) == ["me again"]);
}

#[test]
fn live_connections_outlive_the_server_and_the_session_resumes() {
    let mut world = World::new();
    world.add("bob", None);
    world.add("alice", Some("bob"));
    world.connect();
    let heard_by_alice = 3; // the welcome, bob's answer, its end of candidates
    world.kill_relay();
    world.run(SECOND * 100);
    world.say(1, "still here");
    world.until(SECOND, "it arrives", |world| world.texts(0) == ["still here"]);
    for index in [0, 1] {
        let lost = |notice: &AgentNotice| matches!(notice, AgentNotice::SignalingLost { was_up: true, .. });
        assert!(world.count(index, lost) > 3);
        let waits: Vec<Duration> = world
            .told(index)
            .filter_map(|notice| match notice {
                AgentNotice::SignalingLost { retry, .. } => *retry,
                _ => None,
            })
            .collect();
        for (n, wait) in waits.iter().enumerate() {
            let longest = SECOND.saturating_mul(1 << n.min(10)).min(SECOND * 30);
            assert!(*wait >= longest / 2 && *wait <= longest, "{waits:?}");
        }
    }
    world.relay.listens = true;
    let resumed = |notice: &AgentNotice| matches!(notice, AgentNotice::Registered { resumed: true, .. });
    world.until(SECOND * 31, "both resume", |world| (0..2).all(|i| world.count(i, resumed) == 1));
    assert!(world.relay.resumed_after.contains(&heard_by_alice), "{:?}", world.relay.resumed_after);
    assert_eq!(world.count(0, |notice| is_peer(notice, PeerState::Closed)), 0);
}

#[test]
fn a_forgotten_session_registers_anew_under_the_same_id() {
    let mut world = World::new();
    world.add("bob", None);
    world.run(SECOND);
    world.relay.resumes = false;
    world.kill_relay();
    world.relay.listens = true;
    let registered = AgentNotice::Registered { id: "bob".into(), resumed: false };
    world.until(SECOND * 5, "registered again", |world| world.count(0, |notice| *notice == registered) == 2);
}

#[test]
fn a_negotiation_that_the_server_interrupts_goes_on() {
    for millis in [2, 7, 12, 18, 24, 30, 40, 50] {
        let mut world = World::new();
        world.add("bob", None);
        world.run(SECOND);
        world.add("alice", Some("bob"));
        world.run(Duration::from_millis(millis + 10));
        world.relay.resumes = millis % 4 == 0;
        world.kill_relay();
        world.run(Duration::from_millis(200));
        world.relay.listens = true;
        if millis == 2 {
            // It never worked for alice: she gave up.
            assert_eq!(world.count(1, |notice| matches!(notice, AgentNotice::SignalingLost { retry: None, .. })), 1);
            continue;
        }
        world.until(SECOND * 40, "the channel opens", |world| world.open(0) && world.open(1));
    }
}

#[test]
fn without_a_server_there_is_no_second_attempt() {
    let mut world = World::new();
    world.relay.listens = false;
    world.add("alice", Some("bob"));
    world.run(SECOND * 60);
    assert_eq!(world.dials.len(), 1);
    let why = "connection refused".to_owned();
    let lost = AgentNotice::SignalingLost { why, retry: None, was_up: false };
    assert_eq!(world.told(0).collect::<Vec<_>>(), [&lost]);
    assert_eq!(world.agents[0].poll_timeout(), None);
}

#[test]
fn a_taken_id_ends_the_first_attempt_but_not_a_later_one() {
    let mut world = World::new();
    world.add("alice", None);
    world.run(SECOND);
    let second = world.add("alice", None);
    world.run(SECOND * 5);
    let refused = AgentNotice::Refused { refusal: Refusal::NameTaken, to: None };
    assert_eq!(world.told(second).collect::<Vec<_>>(), [&refused, &AgentNotice::Ended]);

    world.kill_relay();
    (world.relay.listens, world.relay.resumes, world.relay.refuses) = (true, false, Some(Refusal::NameTaken));
    world.run(SECOND * 10);
    world.relay.refuses = None;
    let registered = |notice: &AgentNotice| matches!(notice, AgentNotice::Registered { .. });
    world.until(SECOND * 31, "registered again", |world| world.count(0, registered) == 2);
}

#[test]
fn a_silent_server_is_asked_and_then_left() {
    let mut world = World::new();
    world.add("alice", None);
    world.run(SECOND * 120);
    assert_eq!(world.dials.len(), 1, "pongs are signs of life");
    world.relay.mute = true;
    let lost = |notice: &AgentNotice| matches!(notice, AgentNotice::SignalingLost { .. });
    let before = world.now;
    world.until(SECOND * 46, "given up", |world| world.count(0, lost) == 1);
    assert!(world.now - before > SECOND * 24);
}

#[test]
fn quitting_says_goodbye_to_all() {
    let mut world = World::new();
    world.add("bob", None);
    world.add("alice", Some("bob"));
    world.connect();
    world.say(1, "last words");
    world.command(1, AgentCommand::Quit);
    world.until(SECOND * 2, "alice ends", |world| world.told(1).next_back() == Some(&AgentNotice::Ended));
    world.until(SECOND * 2, "bob notices", |world| world.count(0, |n| is_peer(n, PeerState::Closed)) == 1);
    assert_eq!(world.texts(0), ["last words"]);
    assert_eq!(world.closes, [(1, 1000)]);
    assert_eq!(world.agents[1].poll_timeout(), None);
}

#[test]
fn quitting_ends_within_two_seconds_whatever_is_broken() {
    for broken in 0..4 {
        let mut world = World::new();
        world.add("bob", None);
        world.add("alice", Some("bob"));
        world.connect();
        match broken {
            0 => world.relay.mute = true,
            1 => drop(world.hosts.remove(&"192.0.2.1:5000".parse().unwrap())),
            2 => world.kill_relay(),
            _ => {
                world.relay.mute = true;
                world.hosts.clear();
            }
        }
        world.say(1, "x");
        world.command(1, AgentCommand::Quit);
        world.until(SECOND * 2, "alice ends", |world| world.told(1).next_back() == Some(&AgentNotice::Ended));
    }
}

#[test]
fn commands_that_cannot_be_done_say_so() {
    let mut world = World::new();
    world.add("bob", None);
    world.add("alice", Some("bob"));
    let text = |text: &str| Payload::Text(text.to_owned());
    let to = |name: &str| Some(Name::from(name));
    world.connect();
    let long = ChannelSpec { label: "l".repeat(300), ..spec("") };
    let failing = [
        AgentCommand::Offer("alice".into()),
        AgentCommand::Offer("bob".into()),
        AgentCommand::Close("carol".into()),
        AgentCommand::Restart("carol".into()),
        AgentCommand::Send { to: to("carol"), label: None, payload: text("x") },
        AgentCommand::Send { to: to("bob"), label: Some("nope".to_owned()), payload: text("x") },
        AgentCommand::Send { to: None, label: Some("nope".to_owned()), payload: text("x") },
        AgentCommand::Send { to: None, label: None, payload: text("") },
        AgentCommand::Send { to: None, label: None, payload: text(&"x".repeat(300_000)) },
        AgentCommand::Channel { to: None, spec: spec("chat") },
        AgentCommand::Channel { to: None, spec: long },
    ];
    let failed = |world: &World| world.count(1, |notice| matches!(notice, AgentNotice::CommandFailed(_)));
    for command in failing {
        let before = failed(&world);
        let shown = format!("{command:?}");
        world.command(1, command);
        assert_eq!(failed(&world), before + 1, "{shown}");
    }
    world.say(1, "after all that");
    world.until(SECOND, "the channel still works", |world| world.texts(0) == ["after all that"]);
}

#[test]
fn further_channels_restarts_lists_and_relays_work() {
    let mut world = World::new();
    world.add("bob", None);
    world.add("alice", Some("bob"));
    world.connect();
    world.command(1, AgentCommand::Channel { to: None, spec: spec("more") });
    let payload = Payload::Text("on more".to_owned());
    world.command(1, AgentCommand::Send { to: None, label: Some("more".to_owned()), payload });
    world.until(SECOND, "it arrives", |world| {
        world.told(0).any(|notice| matches!(notice, AgentNotice::Message { label, .. } if label == "more"))
    });
    world.command(1, AgentCommand::Restart("bob".into()));
    world.run(SECOND * 5);
    world.say(0, "after the restart");
    world.until(SECOND, "it arrives", |world| world.texts(1) == ["after the restart"]);
    let payload = Payload::Text("by the server".to_owned());
    world.command(1, AgentCommand::Relay { to: "bob".into(), label: "chat".to_owned(), payload: payload.clone() });
    let relayed = AgentNotice::Relayed { from: "alice".into(), label: "chat".to_owned(), payload };
    world.until(SECOND, "relayed", |world| world.told(0).any(|notice| *notice == relayed));
    world.command(0, AgentCommand::Who);
    let listed = AgentNotice::Listed(vec!["bob".into(), "alice".into()]);
    world.until(SECOND, "listed", |world| world.told(0).any(|notice| *notice == listed));
    world.command(0, AgentCommand::Peers);
    let peers = world.told(0).find_map(|notice| match notice {
        AgentNotice::Peers(peers) => Some(peers),
        _ => None,
    });
    let [(name, state, stats)] = peers.unwrap().as_slice() else { panic!() };
    assert_eq!((name.as_str(), *state), ("alice", PeerState::Connected));
    let labels: Vec<&str> = stats.channels.iter().map(|channel| channel.label.as_str()).collect();
    assert_eq!(labels, ["chat", "more"]);
    world.command(0, AgentCommand::Close("alice".into()));
    for index in [0, 1] {
        world.until(SECOND * 5, "closed", |world| world.count(index, |n| is_peer(n, PeerState::Closed)) == 1);
    }
}

#[test]
fn hostile_signals_are_bounded_and_skipped() {
    let mut world = World::new();
    let agent = world.add("bob", None);
    world.run(SECOND);
    let conn = *world.relay.conns.keys().next().unwrap();
    let say = |world: &mut World, from: &str, letter: Signal| {
        let (index, codec, _) = world.relay.conns.get_mut(&conn).unwrap();
        assert_eq!(*index, agent);
        let limits = Limits::default();
        let ids = &mut world.relay.ids;
        let mut cx = Context { unix: Duration::ZERO, ids, limits: &limits, ice_servers: &[] };
        let mut said = Vec::new();
        let event = Event::Signal { from: from.into(), to: To::Peer("bob".into()), letter: Letter::Open(letter) };
        codec.encode(&mut cx, &event, &mut said).unwrap();
        for said in said {
            let Said::Frame(frame) = said else { continue };
            world.give(agent, Input::Frame { conn, frame });
        }
    };
    for n in 0..1000 {
        let candidate = crate::signal::Candidate { candidate: "candidate:junk".to_owned(), ..Default::default() };
        say(&mut world, &format!("flood{}", n % 7), Signal::Candidate(candidate));
        say(&mut world, &format!("x{n}"), Signal::Answer { sdp: "v=0".to_owned() });
        say(&mut world, &format!("x{n}"), Signal::Offer { sdp: "not an offer".to_owned() });
        say(&mut world, &format!("x{n}"), Signal::Restart);
        say(&mut world, "bob", Signal::Restart);
    }
    let early = |world: &World| world.agents[agent].peers.early_count();
    assert!(early(&world) <= crate::limits::EARLY_SIGNALS);
    let before = early(&world);
    let huge = crate::signal::Candidate { candidate: "c".repeat(5_000), ..Default::default() };
    say(&mut world, "giant", Signal::Candidate(huge));
    assert_eq!(early(&world), before);
    for text in ["", "{", "null", "[]", "{\"type\":\"welcome\"}", "{\"type\":\"offer\",\"from\":\"x\"}"] {
        world.give(agent, Input::Frame { conn, frame: Frame::text(text) });
    }
    let (local, remote) = ("192.0.2.1:5000".parse().unwrap(), "198.51.100.1:1".parse().unwrap());
    for bytes in [&[][..], &[0; 20], &[0x16; 100], &[0x80; 12]] {
        world.give(agent, Input::Datagram { local, remote, bytes });
    }
    world.run(SECOND * 60);
    let alice = world.add("alice", Some("bob"));
    world.until(SECOND * 5, "an honest peer connects", |world| world.open(alice));
}

#[test]
fn stale_inputs_are_ignored() {
    let mut world = World::new();
    world.add("bob", None);
    world.run(SECOND);
    let before = world.notices.len();
    let (dial, conn) = (DialId(77), ConnId(9_999));
    world.give(0, Input::Dialed { dial, conn, protocol: None });
    world.give(0, Input::DialFailed { dial, error: "late".to_owned() });
    world.give(0, Input::Closed { conn, reason: CloseReason::Eof });
    world.give(0, Input::Frame { conn, frame: Frame::text("{}") });
    world.give(0, Input::Timeout);
    assert_eq!(world.notices.len(), before);
}

#[test]
fn a_script_need_not_wait_for_anything() {
    let mut world = World::new();
    world.add("bob", None);
    world.run(SECOND);
    let alice = world.add("alice", Some("bob"));
    world.say(alice, "in one go");
    world.command(alice, AgentCommand::Who);
    world.command(alice, AgentCommand::Quit);
    world.until(SECOND * 2, "alice ends", |world| world.told(1).next_back() == Some(&AgentNotice::Ended));
    assert_eq!(world.texts(0), ["in one go"], "{:#?}", world.notices);
    assert_eq!(world.count(alice, |notice| matches!(notice, AgentNotice::Listed(_))), 1);
    assert_eq!(world.count(alice, |notice| matches!(notice, AgentNotice::CommandFailed(_))), 0);
}

#[test]
fn what_was_not_sent_before_the_end_is_told() {
    let mut world = World::new();
    world.add("alice", Some("bob"));
    world.say(0, "nobody reads this");
    world.command(0, AgentCommand::Quit);
    world.until(SECOND * 2, "alice ends", |world| world.told(0).next_back() == Some(&AgentNotice::Ended));
    let unsent = |notice: &AgentNotice| matches!(notice, AgentNotice::CommandFailed(why) if why.contains("1 message"));
    assert_eq!(world.count(0, unsent), 1);
}

#[test]
fn candidates_that_overtake_their_offer_are_used() {
    let mut world = World::new();
    world.relay.hasty = true;
    world.add("bob", None);
    world.add("alice", Some("bob"));
    world.connect();
}

#[test]
fn a_stun_servers_answer_becomes_a_candidate_and_then_comes_the_end() {
    let mut world = World::new();
    world.add("bob", None);
    let host = "192.0.2.77:5000".parse().unwrap();
    let stun = vec![STUN.parse().unwrap()];
    let alice = world.add_with(AgentConfig { stun, ..config("alice", host) }, host);
    world.run(SECOND);
    for round in 0..2 {
        // The second time the answer is known already.
        world.relay.signals.clear();
        world.command(alice, AgentCommand::Offer("bob".into()));
        world.until(SECOND * 5, "the channel opens", |world| world.count(1, opened) > round);
        let from_alice = world.relay.signals.iter().filter(|(from, _)| from.as_str() == "alice");
        let said: Vec<&str> = from_alice
            .map(|(_, signal)| match signal {
                Signal::Offer { sdp } if sdp.contains("typ srflx") => "offer with srflx",
                Signal::Offer { .. } => "offer",
                Signal::Candidate(c) if c.candidate.contains("203.0.113.9 6000 typ srflx") => "srflx",
                Signal::EndOfCandidates { .. } => "end",
                _ => "other",
            })
            .collect();
        let expected = if round == 0 { vec!["offer", "srflx", "end"] } else { vec!["offer with srflx", "end"] };
        assert_eq!(said, expected);
        world.command(alice, AgentCommand::Close("bob".into()));
        world.until(SECOND * 5, "closed", |world| world.count(1, |n| is_peer(n, PeerState::Closed)) > round);
    }
}

#[test]
fn a_connection_that_starts_over_closes_its_channels_first() {
    let mut world = World::new();
    let bob = world.add("bob", None);
    let alice = world.add("alice", Some("bob"));
    world.connect();
    // Bob's program dies without a word.
    let (&conn, _) = world.relay.conns.iter().find(|(_, (index, _, _))| *index == bob).unwrap();
    world.relay.conns.remove(&conn);
    world.agents[bob].ended = true;
    world.say(alice, "lost");
    let closed = |n: &AgentNotice| matches!(n, AgentNotice::ChannelClosed { .. });
    world.until(SECOND * 60, "it is told", |world| world.count(alice, closed) == 1);
    world.until(SECOND, "it starts over", |world| world.count(alice, |n| is_peer(n, PeerState::Connecting)) == 2);
    assert_eq!(world.count(alice, |n| is_peer(n, PeerState::Closed)), 0);
    assert_eq!(world.count(alice, opened), 1);
}

fn opened(notice: &AgentNotice) -> bool {
    matches!(notice, AgentNotice::ChannelOpened { .. })
}

#[test]
fn a_connection_takes_a_few_round_trips() {
    let mut world = World::new();
    world.add("bob", None);
    world.run(SECOND);
    world.add("alice", Some("bob"));
    // Registration, offer and answer, ICE, DTLS, SCTP, the channel; no timer is waited for.
    world.until(SECOND / 4, "the channel opens", |world| world.open(0) && world.open(1));
}

/// conic's original server loses a client that it has not answered for 10 s.
#[test]
fn an_agent_of_conics_registers_again_and_says_so_once() {
    let start = Instant::now();
    let config = AgentConfig { dialect: Dialect::ConicC, ..config("bob", "192.0.2.1:5000".parse().unwrap()) };
    let mut agent = Agent::new(start, Duration::from_secs(1_790_000_000), [1; 32], config);
    agent.handle_input(start, Input::Timeout);
    let conn = ConnId(1);
    let (mut asked, mut told) = (Vec::new(), 0);
    let mut now = start;
    while now < start + SECOND * 60 {
        while let Some(output) = agent.poll_output() {
            match output {
                Output::Dial { dial, .. } => agent.handle_input(now, Input::Dialed { dial, conn, protocol: None }),
                Output::Send { frame: Frame::Text(text), .. } if text.as_str().contains(r#""register_request""#) => {
                    asked.push(now);
                    let answer = r#"{"type":"register_response","data":{"client_id":"bob","success":true}}"#;
                    agent.handle_input(now, Input::Frame { conn, frame: Frame::text(answer) });
                }
                Output::Notice(AgentNotice::Registered { .. }) => told += 1,
                Output::Notice(_) => {}
                other => panic!("{other:?}"),
            }
        }
        now = agent.poll_timeout().expect("the next renewal").at;
        agent.handle_input(now, Input::Timeout);
    }
    assert_eq!(told, 1);
    assert!(asked.len() >= 12, "{}", asked.len());
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] < SECOND * 10), "{asked:?}");
}
