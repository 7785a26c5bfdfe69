//! Datagrams that cross the boundary to the kernel in one call (on Linux by UDP GSO): a call costs more than the rest of
//! a datagram's way.

use std::net::SocketAddr;

/// Bytes of a burst at most: what UDP can say the length of, rounded down.
const BURST_BYTES: usize = 60_000;

/// Datagrams in a row to one address: all of one length, but the last, which may be shorter.
#[derive(Debug, Default)]
pub struct Burst {
    remote: Option<SocketAddr>,
    bytes: Vec<u8>,
    each: usize,
    count: usize,
}

impl Burst {
    /// Whether a datagram of `len` bytes can join, if there may be `most` of them. One that is alone always can.
    pub fn takes(&self, remote: SocketAddr, len: usize, most: usize) -> bool {
        // No shorter one has come yet.
        let even = self.bytes.len() == self.each * self.count;
        let room = self.count < most && self.bytes.len() + len <= BURST_BYTES;
        self.count == 0 || (self.remote == Some(remote) && (1..=self.each).contains(&len) && even && room)
    }

    /// Adds a datagram that the burst [takes](Burst::takes).
    pub fn add(&mut self, remote: SocketAddr, bytes: &[u8]) {
        if self.count == 0 {
            (self.remote, self.each) = (Some(remote), bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
        self.count += 1;
    }

    /// To whom, what, and the length of each but the last if there are several. `None`: there is nothing.
    pub fn get(&self) -> Option<(SocketAddr, &[u8], Option<usize>)> {
        Some((self.remote?, &self.bytes, (self.count > 1).then_some(self.each)))
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
        self.remote = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_of_a_burst_is_shorter() {
        let [to, other] = ["192.0.2.1:1", "192.0.2.1:2"].map(|address| address.parse().unwrap());
        let mut burst = Burst::default();
        assert!(burst.get().is_none() && burst.takes(to, 0, 1));
        burst.add(to, &[1; 10]);
        assert_eq!(burst.get(), Some((to, &[1; 10][..], None)));
        let lengths = [0, 9, 10, 11].map(|len| burst.takes(to, len, 3));
        assert_eq!(
            (lengths, burst.takes(other, 10, 3), burst.takes(to, 10, 1)),
            ([false, true, true, false], false, false)
        );
        burst.add(to, &[2; 9]);
        assert!(
            !burst.takes(to, 9, 3) && burst.get().is_some_and(|(_, bytes, each)| (bytes.len(), each) == (19, Some(10)))
        );
        burst.clear();
        assert!(burst.get().is_none() && burst.takes(other, 70_000, 1));
    }
}
