//! The hub and its reference model.

use enishi_tests::hub_model::ops::{Followed, Op};

/// Operations on the hub, three bytes each (what, who, with what), against the reference model.
///
/// # Panics
/// On a defect.
pub fn hub(data: &[u8]) {
    let mut followed = Followed::default();
    for step in data.chunks_exact(3).take(200) {
        let op = op([step[0], step[1], step[2]]);
        assert_eq!(followed.apply(op), Ok(()), "{op:?}");
    }
}

fn op([kind, client, what]: [u8; 3]) -> Op {
    let (c, name, room) = (client % 6, what % 4, what % 2);
    match kind % 12 {
        0 => Op::Connect,
        1 => Op::Register(c, name, what & 4 != 0),
        2 => Op::Unregister(c, name),
        3 => Op::Join(c, room),
        4 => Op::Leave(c, room),
        5 => Op::Send(c, name, (what & 4 != 0).then_some(what / 8 % 4)),
        6 => Op::Shout(c, room),
        7 => Op::List(c),
        8 => Op::Lose(c),
        9 => Op::Bye(c),
        10 => Op::Resume(c, what % 8),
        _ => Op::Pass(what % 12),
    }
}
