//! The hub against its reference model.

use enishi_tests::hub_model::ops::{Followed, Op};
use proptest::prelude::*;

fn op() -> impl Strategy<Value = Op> {
    let client = 0..6u8;
    let name = 0..4u8;
    let room = 0..2u8;
    prop_oneof![
        4 => Just(Op::Connect),
        8 => (client.clone(), name.clone(), any::<bool>()).prop_map(|(c, n, r)| Op::Register(c, n, r)),
        2 => (client.clone(), name.clone()).prop_map(|(c, n)| Op::Unregister(c, n)),
        6 => (client.clone(), room.clone()).prop_map(|(c, r)| Op::Join(c, r)),
        2 => (client.clone(), room.clone()).prop_map(|(c, r)| Op::Leave(c, r)),
        8 => (client.clone(), name.clone(), proptest::option::weighted(0.2, name)).prop_map(|(c, n, f)| Op::Send(c, n, f)),
        4 => (client.clone(), room).prop_map(|(c, r)| Op::Shout(c, r)),
        1 => client.clone().prop_map(Op::List),
        3 => client.clone().prop_map(Op::Lose),
        1 => client.clone().prop_map(Op::Bye),
        4 => (client, 0..8u8).prop_map(|(c, n)| Op::Resume(c, n)),
        2 => (0..12u8).prop_map(Op::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    /// After each operation everybody was told what the model says, and nothing else.
    #[test]
    fn the_hub_does_what_its_model_does(ops in proptest::collection::vec(op(), 1..60)) {
        let mut followed = Followed::default();
        for (step, op) in ops.iter().enumerate() {
            prop_assert_eq!(followed.apply(*op), Ok(()), "step {}: {:?}", step, op);
        }
    }
}
