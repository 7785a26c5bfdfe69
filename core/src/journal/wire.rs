//! Numbers and texts as bytes.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::LONGEST;

/// The offset basis and the prime of FNV-1a with 64 bits.
pub(super) const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// Goes on with a sum.
pub(super) fn fnv(sum: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(sum, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(FNV_PRIME))
}

/// What a frame says makes no sense, although its check is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken(pub(super) &'static str);

const SHORT: Broken = Broken("a frame that ends too early");

#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn bytes(self) -> Vec<u8> {
        self.0
    }

    /// LEB128.
    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub(super) fn size(&mut self, size: usize) {
        self.number(size as u64);
    }

    pub(super) fn flag(&mut self, flag: bool) {
        self.number(flag.into());
    }

    /// Nanoseconds; more than 584 years become that.
    pub(super) fn time(&mut self, time: Duration) {
        self.number(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(super) fn fixed(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn bytes_of(&mut self, bytes: &[u8]) {
        self.size(bytes.len());
        self.fixed(bytes);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.bytes_of(text.as_bytes());
    }

    pub(super) fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.size(items.len());
        items.iter().for_each(|item| write(self, item));
    }

    pub(super) fn option<T>(&mut self, item: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.flag(item.is_some());
        if let Some(item) = item {
            write(self, item);
        }
    }

    pub(super) fn address(&mut self, address: SocketAddr) {
        match address.ip() {
            IpAddr::V4(ip) => {
                self.number(4);
                self.fixed(&ip.octets());
            }
            IpAddr::V6(ip) => {
                self.number(6);
                self.fixed(&ip.octets());
            }
        }
        self.number(address.port().into());
    }
}

/// Takes from the front. Nothing is made larger than what is there.
#[derive(Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn finish(&self) -> Result<(), Broken> {
        if self.0.is_empty() { Ok(()) } else { Err(Broken("a frame with something behind it")) }
    }

    pub(super) fn number(&mut self) -> Result<u64, Broken> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(SHORT)?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            number |= bits << shift;
            if byte & 0x80 == 0 {
                // One form for each number, and none that does not fit.
                let fits = (bits << shift) >> shift == bits && (shift == 0 || bits != 0);
                return if fits { Ok(number) } else { Err(Broken("a number out of range")) };
            }
        }
        Err(Broken("a number out of range"))
    }

    pub(super) fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Broken> {
        T::try_from(self.number()?).map_err(|_| Broken("a number out of range"))
    }

    pub(super) fn flag(&mut self) -> Result<bool, Broken> {
        match self.number()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Broken("neither yes nor no")),
        }
    }

    /// At most [`LONGEST`].
    pub(super) fn time(&mut self) -> Result<Duration, Broken> {
        Some(Duration::from_nanos(self.number()?)).filter(|time| *time <= LONGEST).ok_or(Broken("a time out of range"))
    }

    pub(super) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let (bytes, rest) = self.0.split_first_chunk::<N>().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub(super) fn bytes_of(&mut self) -> Result<&'a [u8], Broken> {
        let length = self.small()?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(SHORT)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Broken> {
        std::str::from_utf8(self.bytes_of()?).map_err(|_| Broken("a text that is not UTF-8"))
    }

    pub(super) fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Result<T, Broken>) -> Result<Vec<T>, Broken> {
        let count: usize = self.small()?;
        // Each item has at least one byte.
        if count > self.0.len() {
            return Err(SHORT);
        }
        (0..count).map(|_| read(self)).collect()
    }

    pub(super) fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Broken>) -> Result<Option<T>, Broken> {
        if self.flag()? { read(self).map(Some) } else { Ok(None) }
    }

    pub(super) fn address(&mut self) -> Result<SocketAddr, Broken> {
        let ip = match self.number()? {
            4 => IpAddr::from(self.fixed::<4>()?),
            6 => IpAddr::from(Ipv6Addr::from(self.fixed::<16>()?)),
            _ => return Err(Broken("an address of no known family")),
        };
        Ok(SocketAddr::new(ip, self.small()?))
    }
}
