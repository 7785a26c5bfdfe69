//! A journal played again, one input at a time.

use std::time::{Duration, Instant};

use super::digest::Digest;
use super::{End, Entries, Entry, Header, JournalError, Kind};
use crate::machine::{Input, Machine, Output};
use crate::server::{Server, ServerCommand, ServerNotice};

/// A server that is fed from a journal.
#[derive(Debug)]
pub struct Replay<'a> {
    header: Header,
    entries: Entries<'a>,
    /// Read ahead: the frame after the one last played.
    ahead: Option<Entry>,
    server: Server,
    digest: Digest,
    start: Instant,
    number: u64,
}

/// One input and what came of it.
#[derive(Debug)]
pub struct Step {
    /// Counted from 1.
    pub number: u64,
    /// When, since the start.
    pub at: Duration,
    /// What happened.
    pub input: Input<'static, ServerCommand>,
    /// What the server did now.
    pub outputs: Vec<Output<ServerNotice>>,
    /// Whether that is what was recorded.
    pub verdict: Verdict,
}

/// How a replay compares with what was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The same, byte for byte, from the start up to here.
    Same,
    /// Something else, here or at an earlier step. What was recorded for this step: in a redacted journal by the
    /// server itself, and by its double if that did the same.
    Different(Vec<Kind>),
    /// Nothing was recorded: the server ended while it handled this input, or the journal is cut.
    Unknown,
}

impl<'a> Replay<'a> {
    /// Reads the header of a journal; `start` becomes the moment at which its run begins.
    ///
    /// # Errors
    /// There is no run in it that this program could play.
    pub fn new(start: Instant, journal: &'a [u8]) -> Result<Self, JournalError> {
        let (header, mut entries) = Entries::open(journal)?;
        let server = Server::new(start, header.unix, header.seed, header.config.clone());
        let ahead = entries.next();
        Ok(Replay { header, entries, ahead, server, digest: Digest::new(start), start, number: 0 })
    }

    /// How the run began.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How the journal ended, once there are no more steps.
    pub fn end(&self) -> Option<&End> {
        self.entries.end()
    }

    /// Plays the next input. `None`: there is none, or none that can be read.
    pub fn step(&mut self) -> Option<Step> {
        let (at, input) = loop {
            match self.ahead.take()? {
                Entry::Input { at, input } => break (at, input),
                // Of no input: nothing that a recorder writes.
                Entry::Outputs { .. } => self.ahead = self.entries.next(),
            }
        };
        self.ahead = self.entries.next();
        self.number += 1;
        self.server.handle_input(self.start + at, input.clone());
        let outputs: Vec<_> = std::iter::from_fn(|| self.server.poll_output()).collect();
        outputs.iter().for_each(|output| self.digest.output(output));
        self.digest.deadline(self.server.poll_timeout());
        let verdict = match self.ahead.take() {
            Some(Entry::Outputs { kinds, digest }) => {
                self.ahead = self.entries.next();
                let is_same = digest == self.digest.sum() && outputs.iter().map(Kind::of).eq(kinds.iter().copied());
                if is_same { Verdict::Same } else { Verdict::Different(kinds) }
            }
            other => {
                self.ahead = other;
                Verdict::Unknown
            }
        };
        Some(Step { number: self.number, at, input, outputs, verdict })
    }

    /// The sum of all outputs so far: equal sums, equal runs.
    pub fn digest(&self) -> u64 {
        self.digest.sum()
    }
}
