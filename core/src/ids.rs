//! Fresh ids and secrets from generators that are seeded once.

use std::time::Duration;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Makes ids in the format of xid: 20 characters of `0-9a-v`, sortable by second.
///
/// 12 bytes: Unix seconds (4, big-endian), a mark of this process (5), a counter (3), as base32hex in lower case
/// without padding. That is what conic's server gives out, so its clients see what they expect.
#[derive(Debug, Clone)]
pub struct Ids {
    process: [u8; 5],
    counter: u32,
}

impl Ids {
    /// A source that differs from others by `seed`.
    pub fn new(seed: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = seed.to_be_bytes();
        Ids { process: [a, b, c, d, e], counter: u32::from_be_bytes([0, f, g, h]) }
    }

    /// An id that this source has not given before (within 2^24 ids of the same second).
    pub fn next(&mut self, unix: Duration) -> String {
        const ALPHABET: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
        self.counter = self.counter.wrapping_add(1);
        let [_, x, y, z] = self.counter.to_be_bytes();
        let [t0, t1, t2, t3] = (unix.as_secs() as u32).to_be_bytes();
        let [p0, p1, p2, p3, p4] = self.process;
        let bits = u128::from_be_bytes([0, 0, 0, 0, t0, t1, t2, t3, p0, p1, p2, p3, p4, x, y, z]);
        // 96 bits in 20 characters of 5 bits: four bits of zero follow the last byte.
        let text: [u8; 20] = std::array::from_fn(|i| ALPHABET[((bits << 4) >> (95 - 5 * i)) as usize % 32]);
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Makes secrets: a ChaCha generator whose seed the driver takes from the operating system.
#[derive(Debug, Clone)]
pub struct Secrets(ChaCha12Rng);

impl Secrets {
    /// A source of secrets that is as good as its seed.
    pub fn new(seed: [u8; 32]) -> Self {
        Secrets(ChaCha12Rng::from_seed(seed))
    }

    /// Another source from the same seed, whose secrets tell nothing about those of [`Secrets::new`].
    pub fn second(seed: [u8; 32]) -> Self {
        let mut generator = ChaCha12Rng::from_seed(seed);
        generator.set_stream(1);
        Secrets(generator)
    }

    /// 128 bits as 32 hexadecimal digits.
    pub fn token(&mut self) -> Box<str> {
        let bits = (u128::from(self.0.next_u64()) << 64) | u128::from(self.0.next_u64());
        format!("{bits:032x}").into()
    }

    /// A number.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }
}

/// Compares secrets: looks at every byte, whatever the first ones say, so that the time tells nothing of how much was
/// right.
pub fn equal_in_constant_time(given: &str, wanted: &str) -> bool {
    let differing = given.bytes().zip(wanted.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
    differing == 0 && given.len() == wanted.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_look_like_xids_and_differ() {
        let mut ids = Ids::new(7);
        let made: std::collections::BTreeSet<String> =
            (0..1000).map(|_| ids.next(Duration::from_secs(1_763_000_000))).collect();
        assert_eq!(made.len(), 1000);
        for id in made {
            assert!(id.len() == 20 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'v').contains(&b)), "{id}");
        }
    }

    #[test]
    fn an_id_starts_with_its_time() {
        // The time part of dc08cq1ksducesknhpqg, an id of conic's server, is 0x6b008668.
        assert!(Ids::new(0).next(Duration::from_secs(0x6b00_8668)).starts_with("dc08cq"));
    }
}
