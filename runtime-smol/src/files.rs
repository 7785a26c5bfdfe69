//! Files, read and written by smol's threads for what blocks: the main task never waits for a disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::time::Duration;

use bytes::Bytes;
use enishi_core::machine::{FileError, FileOp, Input, WriteAt};
use smol::Timer;
use smol::channel::{Receiver, Sender};
use smol::future::or;

use crate::driver::Event;

/// How long the end of a run waits for what was asked of the disk.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The main task's end of it. What waits is bounded by the machine, which has one op under way per file.
pub(crate) struct Files {
    events: Sender<Event>,
    /// Each job holds a clone until it is done.
    running: Sender<()>,
    ended: Receiver<()>,
}

/// What is asked of the disk.
#[derive(Debug)]
pub(crate) enum Job {
    /// As [`Output::ReadFile`](enishi_core::machine::Output::ReadFile).
    Read { path: String, offset: u64, len: usize },
    /// As [`Output::WriteFile`](enishi_core::machine::Output::WriteFile).
    Write { path: String, at: WriteAt, bytes: Bytes },
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Done {
    Read(FileOp, Result<Bytes, FileError>),
    Written(FileOp, Result<(), FileError>),
}

impl Files {
    pub(crate) fn new(events: Sender<Event>) -> Self {
        let (running, ended) = smol::channel::bounded(1);
        Files { events, running, ended }
    }

    /// Asks; the answer comes as [`Event::File`].
    pub(crate) fn ask(&mut self, op: FileOp, job: Job) {
        let (events, running) = (self.events.clone(), self.running.clone());
        let work = move || {
            // If the run has ended, nobody needs to know; what it asked for is done all the same.
            let _ = events.send_blocking(Event::File(job.run(op)));
            drop(running);
        };
        smol::unblock(work).detach();
    }

    /// Lets what was asked be done, as far as the disk is quick enough.
    pub(crate) fn finish(self) {
        drop(self.running);
        let done = async { _ = self.ended.recv().await };
        smol::block_on(or(done, async { _ = Timer::after(LAST_WORDS).await }));
    }
}

impl Job {
    /// Does it; waits for the disk.
    fn run(self, op: FileOp) -> Done {
        match self {
            Job::Read { path, offset, len } => Done::Read(op, read(&path, offset, len).map_err(explain)),
            Job::Write { path, at, bytes } => Done::Written(op, write(&path, at, &bytes).map_err(explain)),
        }
    }
}

impl Done {
    /// What the machine is told.
    pub(crate) fn input<C>(self) -> Input<'static, C> {
        match self {
            Done::Read(op, result) => Input::FileRead { op, result },
            Done::Written(op, result) => Input::FileWritten { op, result },
        }
    }
}

fn read(path: &str, offset: u64, len: usize) -> io::Result<Bytes> {
    let mut file = open(path, OpenOptions::new().read(true))?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(len as u64).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

fn write(path: &str, at: WriteAt, bytes: &[u8]) -> io::Result<()> {
    let mut file = match at {
        WriteAt::New => OpenOptions::new().write(true).create_new(true).open(path)?,
        WriteAt::Offset(offset) => {
            let mut file = open(path, OpenOptions::new().write(true))?;
            file.seek(SeekFrom::Start(offset))?;
            file
        }
    };
    file.write_all(bytes)
}

/// Opens a file that exists. Never a pipe, whose opening may wait for ever, or a device, which may have no end.
fn open(path: &str, options: &OpenOptions) -> io::Result<File> {
    match fs::metadata(path)?.file_type() {
        kind if kind.is_dir() => Err(ErrorKind::IsADirectory.into()),
        kind if kind.is_file() => options.open(path),
        _ => Err(io::Error::other("it is not a regular file")),
    }
}

fn explain(error: io::Error) -> FileError {
    FileError::Other(match error.kind() {
        ErrorKind::AlreadyExists => return FileError::Exists,
        ErrorKind::NotFound => return FileError::Missing,
        ErrorKind::PermissionDenied => "permission denied".into(),
        ErrorKind::StorageFull => "the disk is full".into(),
        ErrorKind::QuotaExceeded => "the disk quota is used up".into(),
        ErrorKind::ReadOnlyFilesystem => "the file system is read-only".into(),
        ErrorKind::FileTooLarge => "the file would be too large".into(),
        ErrorKind::IsADirectory => "it is a folder".into(),
        ErrorKind::NotADirectory => "a part of its path is no folder".into(),
        ErrorKind::InvalidFilename => "its name is too long".into(),
        _ => error.to_string(),
    })
}
