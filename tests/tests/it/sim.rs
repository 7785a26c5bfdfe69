//! Random stories: all invariants hold, and each of them can be seen to fail.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use enishi_core::dialect::Dialect;
use enishi_tests::sim::mutation::Mutation;
use enishi_tests::sim::plan::{Op, Plan, Weather};
use enishi_tests::sim::{self, run_seed};
use proptest::prelude::*;

/// Seeds that once failed.
const FIXED: [u64; 16] =
    [16, 119, 187, 264, 1107, 1871, 1913, 2030, 3395, 4429, 5536, 7718, 102_657, 105_445, 110_103, 208_184];

#[test]
fn what_once_failed_holds() {
    for seed in FIXED {
        if let Err(violation) = run_seed(seed, false) {
            panic!("seed {seed}: {violation}");
        }
    }
}

/// As many as fit into the time, which is bounded, so that a slow machine tries fewer.
#[test]
fn fresh_seeds_hold() {
    let (begin, first) = (Instant::now(), fastrand::Rng::new().u64(..1 << 40));
    for seed in (first..first + 300).take_while(|_| begin.elapsed() < Duration::from_secs(40)) {
        if let Err(violation) = run_seed(seed, seed % 50 == 0) {
            panic!("seed {seed}: {violation}");
        }
    }
}

/// The same seed is the same story: every notice, and when, from where, where to and how long every datagram was.
#[test]
fn the_same_seed_is_the_same_story() {
    let ours = [Dialect::Enishi, Dialect::Mesh];
    let nets = [Weather::Fair, Weather::Lossy, Weather::Mobile, Weather::Satellite, Weather::Hostile];
    let plans = (0..40).map(Plan::from_seed).chain(nets.map(|net| Plan::scenario(7, 5, net, 1, &ours)));
    for plan in plans {
        let tell = || sim::trace(&plan, true);
        let (one, other) = std::thread::scope(|scope| {
            let (one, other) = (scope.spawn(tell), scope.spawn(tell));
            (one.join().expect("panics are caught"), other.join().expect("panics are caught"))
        });
        let differing = one.0.lines().zip(other.0.lines()).find(|(one, other)| one != other);
        assert_eq!(differing, None, "seed {}, {:?}", plan.seed, plan.weather);
        assert!(one == other, "seed {}: one ends sooner", plan.seed);
    }
}

/// A judge that never finds anything wrong proves nothing.
#[test]
fn each_invariant_can_fail() {
    for (mutation, invariant) in Mutation::ALL {
        let caught = (0..200).find_map(|seed| {
            let run = move || sim::run(&Plan::from_seed(seed), Some(mutation), &mut |_, _| ());
            std::thread::spawn(run).join().expect("panics are caught").err()
        });
        let violation = caught.unwrap_or_else(|| panic!("{mutation:?} is never noticed"));
        let text = violation.to_string();
        assert!(text.contains(invariant), "{mutation:?} is taken for {text}");
    }
}

/// Whatever a judgement can be called in the source has a mutation that leads to it.
#[test]
fn each_invariant_has_a_mutation() {
    let source = concat!(include_str!("../../src/sim.rs"), include_str!("../../src/sim/judge.rs"));
    let begins = ["(\"I", "(\"no", "(\"the hub"];
    let names =
        begins.iter().flat_map(|begin| source.split(begin).skip(1).map(|rest| format!("{}{rest}", &begin[2..])));
    let names: BTreeSet<String> = names.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect();
    let names: BTreeSet<String> = names.into_iter().filter(|name| !name.contains('{')).collect();
    let covered: BTreeSet<String> = Mutation::ALL.iter().map(|(_, invariant)| (*invariant).to_owned()).collect();
    let open: Vec<&String> = names.difference(&covered).collect();
    assert!(open.is_empty() && names.len() >= 14, "without a mutation: {open:?} of {names:?}");
}

#[test]
fn every_operation_comes_up() {
    let mut kinds = BTreeSet::new();
    let mut faults = 0;
    for seed in 0..500 {
        for op in Plan::from_seed(seed).ops {
            faults += usize::from(op.is_fault());
            kinds.insert(format!("{op:?}").split(['(', ' ']).next().unwrap_or_default().to_owned());
            assert!(!matches!(op, Op::Run(millis) if millis > 30_000));
        }
    }
    assert_eq!(kinds.len(), 25, "{kinds:?}");
    assert!(faults > 1_000);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, max_shrink_iters: 200, ..ProptestConfig::default() })]

    /// The same generator as for seeds and fuzzers.
    #[test]
    fn any_bytes_are_a_story_that_holds(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        sim::world(&bytes);
    }
}
