//! One file being written: its name, what waits for the disk, and the one op that is under way.

use std::collections::{BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};

use crate::agent::recording::RecorderEffect;
use crate::agent::recording::names::Naming;
use crate::limits;
use crate::machine::{FileError, FileOp, WriteAt};
use crate::media::Write;

/// What all files of a recorder share.
#[derive(Debug, Default)]
pub(super) struct Desk {
    ops: u64,
    /// The names in use, so that no two files try the same one at once.
    paths: BTreeSet<String>,
}

/// A file.
#[derive(Debug)]
pub(super) struct Sink {
    naming: Naming,
    /// Whether it is there, so that its name is ours.
    created: bool,
    under_way: Option<(FileOp, Piece<Bytes>)>,
    waiting: VecDeque<Piece<BytesMut>>,
    waiting_bytes: usize,
    /// How long the file is once all that waits is written.
    end: u64,
}

/// Bytes and where they go.
#[derive(Debug, Clone)]
struct Piece<B> {
    offset: u64,
    bytes: B,
}

impl Desk {
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.paths.is_empty()
    }

    fn op(&mut self) -> FileOp {
        // Reads of sources have the even numbers.
        self.ops += 1;
        FileOp(self.ops * 2 - 1)
    }
}

impl Piece<BytesMut> {
    fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    /// Whether it has some of these bytes of the file.
    fn touches(&self, offset: u64, len: usize) -> bool {
        offset < self.end() && self.offset < offset + len as u64
    }

    /// These bytes of the file, if it has them all.
    fn part(&mut self, offset: u64, len: usize) -> Option<&mut [u8]> {
        let start = usize::try_from(offset.checked_sub(self.offset)?).ok()?;
        self.bytes.get_mut(start..start.checked_add(len)?)
    }
}

impl Sink {
    /// A file that does not exist yet, under the first of these names that is free.
    pub(super) fn new(naming: Naming) -> Self {
        Sink { naming, created: false, under_way: None, waiting: VecDeque::new(), waiting_bytes: 0, end: 0 }
    }

    /// Its name, as far as that is known.
    pub(super) fn path(&self) -> String {
        self.naming.path()
    }

    /// Whether the disk has all of it.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_none() && self.waiting.is_empty()
    }

    /// Whether the disk is too slow for more.
    pub(super) fn is_full(&self) -> bool {
        self.waiting_bytes > limits::RECORDING_WAITING_BYTES
    }

    /// Takes what is to be written. What corrects something that waits is put right there, so that a file is never on
    /// the disk with nothing but half a head.
    pub(super) fn push(&mut self, writes: Vec<Write>) {
        for Write { at, bytes } in writes {
            let offset = at.unwrap_or(self.end);
            self.end = self.end.max(offset + bytes.len() as u64);
            let behind = self.waiting.iter_mut().rfind(|piece| piece.touches(offset, bytes.len()));
            if let Some(place) = behind.and_then(|piece| piece.part(offset, bytes.len())) {
                place.copy_from_slice(&bytes);
                continue;
            }
            self.waiting_bytes += bytes.len();
            match self.waiting.back_mut() {
                Some(last) if last.end() == offset => last.bytes.extend_from_slice(&bytes),
                _ => self.waiting.push_back(Piece { offset, bytes: bytes.as_slice().into() }),
            }
        }
    }

    /// Asks for the next thing, if nothing is under way.
    ///
    /// # Errors
    /// All names are taken; a clause for a person.
    pub(super) fn write(&mut self, desk: &mut Desk, out: &mut Vec<RecorderEffect>) -> Result<(), String> {
        if self.under_way.is_some() {
            return Ok(());
        }
        let Some(Piece { offset, bytes }) = self.waiting.pop_front() else { return Ok(()) };
        self.waiting_bytes -= bytes.len();
        let piece = Piece { offset, bytes: bytes.freeze() };
        if !self.created {
            self.claim(desk)?;
        }
        self.ask(piece, desk, out);
        Ok(())
    }

    /// An op was done, if it is of this file. Whether the file is there by that.
    ///
    /// # Errors
    /// It failed for good; a clause for a person.
    pub(super) fn written(
        &mut self,
        op: FileOp,
        result: Result<(), FileError>,
        desk: &mut Desk,
        out: &mut Vec<RecorderEffect>,
    ) -> Result<bool, String> {
        let Some((_, piece)) = self.under_way.take_if(|(id, _)| *id == op) else { return Ok(false) };
        match result {
            Ok(()) => {
                let is_new = !std::mem::replace(&mut self.created, true);
                self.write(desk, out)?;
                Ok(is_new)
            }
            Err(FileError::Exists) if !self.created => {
                desk.paths.remove(&self.path());
                if !self.naming.next() {
                    return Err("all names for it are taken".to_owned());
                }
                self.claim(desk)?;
                self.ask(piece, desk, out);
                Ok(false)
            }
            Err(FileError::Missing) if !self.created => Err("there is no such folder; make it first".to_owned()),
            Err(FileError::Missing) => Err("the file was taken away".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Whether the file is there.
    pub(super) fn is_created(&self) -> bool {
        self.created
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting_bytes
    }

    /// Writes no more.
    pub(super) fn give_up(&mut self) {
        self.waiting.clear();
        self.waiting_bytes = 0;
    }

    /// Nothing is done with it any more.
    pub(super) fn release(&self, desk: &mut Desk) {
        desk.paths.remove(&self.path());
    }

    /// Takes the next name that no other file of ours has or tries.
    fn claim(&mut self, desk: &mut Desk) -> Result<(), String> {
        while !desk.paths.insert(self.path()) {
            if !self.naming.next() {
                return Err("all names for it are taken".to_owned());
            }
        }
        Ok(())
    }

    fn ask(&mut self, piece: Piece<Bytes>, desk: &mut Desk, out: &mut Vec<RecorderEffect>) {
        let op = desk.op();
        let at = if self.created { WriteAt::Offset(piece.offset) } else { WriteAt::New };
        out.push(RecorderEffect::Write { op, path: self.path(), at, bytes: piece.bytes.clone() });
        self.under_way = Some((op, piece));
    }
}
