//! Files, read and written by one thread of their own: the loop never waits for a disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use enishi_core::machine::{FileError, FileOp, Input, WriteAt};
use mio::Waker;

/// How long the end of a run waits for what was asked of the disk.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The loop's end of it. What waits is bounded by the machine, which has one op under way per file.
pub(crate) struct Files {
    waker: Arc<Waker>,
    /// Once something was asked.
    worker: Option<Worker>,
}

struct Worker {
    jobs: Sender<(FileOp, Job)>,
    done: Receiver<Done>,
    thread: JoinHandle<()>,
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
    pub(crate) fn new(waker: Arc<Waker>) -> Self {
        Files { waker, worker: None }
    }

    /// Asks; the answer comes by [`Files::done`], or at once if there is nobody to ask.
    pub(crate) fn ask(&mut self, op: FileOp, job: Job) -> Option<Done> {
        let worker = match self.worker.take().map_or_else(|| Worker::start(self.waker.clone()), Ok) {
            Ok(worker) => self.worker.insert(worker),
            Err(error) => return Some(job.failed(op, error)),
        };
        match worker.jobs.send((op, job)) {
            Ok(()) => None,
            Err(mpsc::SendError((op, job))) => Some(job.failed(op, io::Error::other("the thread for files has ended"))),
        }
    }

    /// The next answer.
    pub(crate) fn done(&self) -> Option<Done> {
        self.worker.as_ref()?.done.try_recv().ok()
    }

    /// Lets what was asked be done, as far as the disk is quick enough.
    pub(crate) fn finish(&mut self) {
        let Some(Worker { jobs, done, thread }) = self.worker.take() else { return };
        drop(jobs);
        let until = Instant::now() + LAST_WORDS;
        while done.recv_timeout(until.saturating_duration_since(Instant::now())).is_ok() {}
        if Instant::now() < until {
            let _ = thread.join();
        }
    }
}

impl Worker {
    fn start(waker: Arc<Waker>) -> io::Result<Self> {
        let (jobs, orders) = mpsc::channel::<(FileOp, Job)>();
        let (tell, done) = mpsc::channel();
        let work = move || {
            for (op, job) in orders {
                // If the loop has ended, nobody needs to know; what it asked for is done all the same.
                let _ = tell.send(job.run(op));
                let _ = waker.wake();
            }
        };
        let thread = thread::Builder::new().name("files".into()).spawn(work)?;
        Ok(Worker { jobs, done, thread })
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

    /// What it comes to if it cannot be done.
    fn failed(&self, op: FileOp, error: io::Error) -> Done {
        match self {
            Job::Read { .. } => Done::Read(op, Err(explain(error))),
            Job::Write { .. } => Done::Written(op, Err(explain(error))),
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
