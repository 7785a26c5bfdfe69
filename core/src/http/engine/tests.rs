//! Sessions under any order of requests, frames and time.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Poll,
    Post(String),
    Socket,
    Frame(u64, String),
    Forget(u64),
    Deliver(String),
    Settle,
    Read(bool),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let packet = || prop_oneof!["2probe", "5", "2", "3", "2::", "40", "1", "0::", "42\\[1\\]", ".{0,8}"];
    prop_oneof![
        Just(Step::Poll),
        packet().prop_map(Step::Post),
        Just(Step::Socket),
        (0..20_u64, packet()).prop_map(|(conn, text)| Step::Frame(conn, text)),
        (0..20_u64).prop_map(Step::Forget),
        ".{1,8}".prop_map(Step::Deliver),
        Just(Step::Settle),
        any::<bool>().prop_map(Step::Read),
        (1..30_u64).prop_map(Step::Pass),
    ]
}

/// Takes the answered requests from those that wait.
fn answered(fx: &[Effect], asked: &mut BTreeSet<ConnId>) -> Result<(), TestCaseError> {
    for effect in fx {
        if let Effect::Answer(conn, response) = effect {
            prop_assert!(asked.remove(conn), "{conn} is answered a second time, or after it went: {response:?}");
        }
    }
    Ok(())
}

proptest! {
    /// Each request is answered once, however the session ends, and a timeout that was handled is not due again.
    #[test]
    fn every_request_is_answered_once(steps in prop::collection::vec(step(), 0..40), version in 0..3_usize) {
        let version = [Version::Legacy, Version::Three, Version::Four][version];
        let mut now = Instant::now();
        let mut session = Session::new(now, version);
        let mut asked = BTreeSet::new();
        for (number, step) in steps.into_iter().enumerate() {
            let (conn, mut fx) = (ConnId(number as u64), Vec::new());
            match step {
                Step::Poll => {
                    asked.insert(conn);
                    session.poll(now, conn, text(""), Some(Frame::text("hi")), &mut fx);
                }
                Step::Post(body) => {
                    asked.insert(conn);
                    session.post(now, conn, text(""), &Bytes::from(body), None, &mut fx);
                }
                Step::Socket => _ = session.socket(now, conn, None, &mut fx),
                Step::Frame(conn, text) => session.frame(now, ConnId(conn), Frame::text(text), &mut fx),
                Step::Forget(conn) => {
                    asked.remove(&ConnId(conn));
                    session.forget(ConnId(conn), &mut fx);
                }
                Step::Deliver(text) => session.deliver(Frame::text(text), &mut fx),
                Step::Settle => session.settle(&mut fx),
                Step::Read(on) => session.read(on, &mut fx),
                Step::Pass(seconds) => {
                    now += Duration::from_secs(seconds);
                    if session.next_timeout() <= now {
                        session.timeout(now, &mut fx);
                        prop_assert!(session.next_timeout() > now);
                    }
                }
            }
            answered(&fx, &mut asked)?;
            if fx.iter().any(|effect| matches!(effect, Effect::Over { .. })) {
                break;
            }
        }
        let mut fx = Vec::new();
        session.close(Some((1000, String::new())), &mut fx);
        answered(&fx, &mut asked)?;
        prop_assert!(asked.is_empty(), "unanswered: {asked:?}");
    }
}

#[test]
fn an_answer_takes_no_more_than_a_body_and_the_rest_waits() {
    let now = Instant::now();
    let mut session = Session::new(now, Version::Four);
    let mut fx = Vec::new();
    for _ in 0..3 {
        session.deliver(Frame::text("4".repeat(BODY_BYTES / 2)), &mut fx);
    }
    for (number, expected) in [(1, 2), (2, 1)] {
        session.poll(now, ConnId(number), text(""), None, &mut fx);
        let left = fx
            .drain(..)
            .find_map(|effect| if let Effect::Left { messages, .. } = effect { Some(messages) } else { None });
        assert_eq!(left, Some(expected));
    }
}
