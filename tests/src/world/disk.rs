//! The disks of a world: files in memory, with the faults of real ones.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use enishi_core::agent::AgentCommand;
use enishi_core::machine::{FileError, FileOp, Input, WriteAt};

use crate::world::{Packet, Who, World};

/// An agent's disk.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    /// What is in each file.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The folders, beside the one that paths without a slash are in.
    pub folders: BTreeSet<String>,
    /// How many bytes it has room for, of all files together; `None`: for as many as come.
    pub room: Option<usize>,
    /// How long everything takes.
    pub delay: Duration,
    /// All that was asked to be written, in order: what a machine that died had written by then is a part of it.
    pub written: Vec<Written>,
    /// Files that something is under way for.
    busy: BTreeMap<FileOp, String>,
}

/// Something that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// When it was there, since the beginning.
    pub time: Duration,
    /// To which file.
    pub path: String,
    /// Where.
    pub at: WriteAt,
    /// What.
    pub bytes: Vec<u8>,
}

impl Disk {
    /// Reads as a driver does.
    ///
    /// # Errors
    /// There is no such file.
    pub fn read(&self, path: &str, offset: u64, len: usize) -> Result<Vec<u8>, FileError> {
        let file = self.file(path)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(file.len());
        Ok(file[start..start.saturating_add(len).min(file.len())].to_vec())
    }

    /// Writes as a driver does.
    ///
    /// # Errors
    /// The file exists or does not, against what is asked, or the disk is full; then what fits is written.
    pub fn write(&mut self, path: &str, at: WriteAt, bytes: &[u8]) -> Result<(), FileError> {
        let start = match at {
            WriteAt::New => {
                if self.files.contains_key(path) || self.folders.contains(path) {
                    return Err(FileError::Exists);
                }
                if path.rsplit_once('/').is_some_and(|(folder, _)| !self.folders.contains(folder)) {
                    return Err(FileError::Missing);
                }
                self.files.insert(path.to_owned(), Vec::new());
                0
            }
            WriteAt::Offset(offset) => {
                self.file(path)?;
                usize::try_from(offset).unwrap_or(usize::MAX)
            }
        };
        let used: usize = self.files.values().map(Vec::len).sum();
        let file = self.files.entry(path.to_owned()).or_default();
        let most = self.room.map_or(usize::MAX, |room| file.len() + room.saturating_sub(used));
        let fits = bytes.len().min(most.saturating_sub(start));
        if fits > 0 {
            file.resize(file.len().max(start + fits), 0);
            file[start..start + fits].copy_from_slice(&bytes[..fits]);
        }
        if fits < bytes.len() { Err(FileError::Other("the disk is full".to_owned())) } else { Ok(()) }
    }

    fn file(&self, path: &str) -> Result<&Vec<u8>, FileError> {
        if self.folders.contains(path) {
            return Err(FileError::Other("it is a folder".to_owned()));
        }
        self.files.get(path).ok_or(FileError::Missing)
    }

    /// The process that used it has died.
    pub(super) fn forget(&mut self) {
        self.busy.clear();
    }

    /// # Panics
    /// If something is under way for that file: drivers promise no order.
    fn begin(&mut self, op: FileOp, path: &str) {
        assert!(!self.busy.values().any(|busy| busy == path), "{op} is asked of {path}, which is busy");
        assert!(self.busy.insert(op, path.to_owned()).is_none(), "{op} is used twice");
    }
}

impl World {
    /// An agent's disk.
    pub fn disk(&mut self, agent: usize) -> &mut Disk {
        self.disks.entry(agent).or_default()
    }

    pub(super) fn read_file(&mut self, agent: usize, op: FileOp, path: &str, offset: u64, len: usize) {
        let disk = self.disk(agent);
        disk.begin(op, path);
        let result = disk.read(path, offset, len).map(Into::into);
        self.answer_for_disk(agent, Input::FileRead { op, result });
    }

    pub(super) fn write_file(&mut self, agent: usize, op: FileOp, path: String, at: WriteAt, bytes: &[u8]) {
        let elapsed = self.elapsed();
        let disk = self.disk(agent);
        disk.begin(op, &path);
        let result = disk.write(&path, at, bytes);
        let time = elapsed + disk.delay;
        disk.written.push(Written { time, path, at, bytes: bytes.to_vec() });
        self.answer_for_disk(agent, Input::FileWritten { op, result });
    }

    fn answer_for_disk(&mut self, agent: usize, input: Input<'static, AgentCommand>) {
        let delay = self.disk(agent).delay;
        self.send(delay, Packet::ClientTold(Who::Agent(agent), input));
    }

    /// An agent is about to hear from its disk.
    pub(super) fn disk_answers(&mut self, agent: usize, input: &Input<'_, AgentCommand>) {
        if let Input::FileRead { op, .. } | Input::FileWritten { op, .. } = input {
            self.disk(agent).busy.remove(op);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_does_as_a_driver_does() {
        let mut disk = Disk::default();
        disk.folders.insert("out".to_owned());
        assert_eq!(disk.write("out/a", WriteAt::New, b"head, body"), Ok(()));
        assert_eq!(disk.write("out/a", WriteAt::New, b""), Err(FileError::Exists));
        assert_eq!(disk.write("out/a", WriteAt::Offset(0), b"HEAD"), Ok(()));
        assert_eq!(disk.write("out/a", WriteAt::Offset(12), b"far"), Ok(()));
        assert_eq!(disk.read("out/a", 0, 100).unwrap(), b"HEAD, body\0\0far");
        assert_eq!(disk.read("out/a", 14, 100).unwrap(), b"r");
        assert_eq!(disk.read("out/a", 99, 100).unwrap(), b"");
        assert_eq!(disk.write("no/a", WriteAt::New, b""), Err(FileError::Missing));
        assert_eq!(disk.write("b", WriteAt::Offset(0), b""), Err(FileError::Missing));
        assert_eq!(disk.read("b", 0, 1), Err(FileError::Missing));
        assert!(matches!(disk.read("out", 0, 1), Err(FileError::Other(_))));
    }

    #[test]
    fn a_full_disk_takes_what_fits() {
        let mut disk = Disk { room: Some(5), ..Disk::default() };
        assert_eq!(disk.write("a", WriteAt::New, b"123"), Ok(()));
        assert!(matches!(disk.write("b", WriteAt::New, b"456"), Err(FileError::Other(_))));
        assert_eq!(disk.files["b"], b"45");
        // What is there already can be changed.
        assert_eq!(disk.write("a", WriteAt::Offset(1), b"xx"), Ok(()));
        assert!(matches!(disk.write("a", WriteAt::Offset(3), b"y"), Err(FileError::Other(_))));
        assert_eq!(disk.files["a"], b"1xx");
    }
}
