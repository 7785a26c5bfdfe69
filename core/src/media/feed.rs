//! What a reader has of its file.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes of a file: pushed at the back in any pieces, taken at the front in whole ones.
#[derive(Debug, Default)]
pub(super) struct Feed {
    held: BytesMut,
    /// Where in the file what is held begins.
    at: u64,
    /// How much of what comes next nobody wants.
    unwanted: u64,
    ended: bool,
}

impl Feed {
    /// The next bytes of the file.
    pub fn push(&mut self, bytes: &[u8]) {
        let skipped = usize::try_from(self.unwanted).unwrap_or(usize::MAX).min(bytes.len());
        self.unwanted -= skipped as u64;
        self.at += skipped as u64;
        self.held.extend_from_slice(bytes.get(skipped..).unwrap_or_default());
    }

    /// The file ends here.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Whether the file ends with what is held.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// All that is held.
    pub fn held(&self) -> &[u8] {
        &self.held
    }

    /// Where in the file the first byte held is.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The first `len` bytes, which stay. `None`: they are not there yet.
    pub fn peek(&self, len: usize) -> Option<&[u8]> {
        self.held.get(..len)
    }

    /// The first `len` bytes. `None`: they are not there yet.
    pub fn take(&mut self, len: usize) -> Option<Bytes> {
        if self.held.len() < len {
            return None;
        }
        self.at += len as u64;
        Some(self.held.split_to(len).freeze())
    }

    /// Drops so many bytes, those that are still to come included.
    pub fn skip(&mut self, len: u64) {
        let here = usize::try_from(len).unwrap_or(usize::MAX).min(self.held.len());
        self.held.advance(here);
        self.at += here as u64;
        self.unwanted += len - here as u64;
    }
}

/// What a reader answers when it is asked for its next frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read<T> {
    /// Here it is.
    Frame(T),
    /// It needs more of the file.
    Hungry,
    /// There are no more.
    Ended,
}
