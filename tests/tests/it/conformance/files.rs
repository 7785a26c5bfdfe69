//! Files: what is written and read off the loop.

use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::{env, fs, process};

use enishi_core::machine::{FileError, FileOp, Output, WriteAt};

use super::super::scripted::{Command, News};
use super::rig::Rig;

/// A folder that is gone with its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let runtime = module_path!().replace("::", "-");
        let path = env::temp_dir().join(format!("enishi-{runtime}-{name}-{}", process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn writes(op: u64, path: &str, at: WriteAt, bytes: &[u8]) -> Output<News> {
    Output::WriteFile { op: FileOp(op), path: path.to_owned(), at, bytes: bytes.to_vec().into() }
}

fn reads(op: u64, path: &str, offset: u64, len: usize) -> Output<News> {
    Output::ReadFile { op: FileOp(op), path: path.to_owned(), offset, len }
}

fn write(rig: &Rig, op: u64, path: &str, at: WriteAt, bytes: &[u8]) -> Result<(), FileError> {
    rig.act(writes(op, path, at, bytes));
    match rig.next() {
        News::FileWritten(FileOp(id), result) if id == op => result,
        other => panic!("the end of a write is expected, not {other:?}"),
    }
}

fn read(rig: &Rig, op: u64, path: &str, offset: u64, len: usize) -> Result<Vec<u8>, FileError> {
    rig.act(reads(op, path, offset, len));
    match rig.next() {
        News::FileRead(FileOp(id), result) if id == op => result.map(|bytes| bytes.to_vec()),
        other => panic!("the end of a read is expected, not {other:?}"),
    }
}

#[test]
fn a_new_file_is_written_on_and_its_start_is_corrected() {
    let (rig, folder) = (Rig::new(), Folder::new("new"));
    let path = folder.path("a.wav");
    assert_eq!(write(&rig, 1, &path, WriteAt::New, b"head, body"), Ok(()));
    assert_eq!(write(&rig, 2, &path, WriteAt::Offset(10), b", more"), Ok(()));
    assert_eq!(write(&rig, 3, &path, WriteAt::Offset(0), b"HEAD"), Ok(()));
    assert_eq!(fs::read(&path).unwrap(), b"HEAD, body, more");
    assert_eq!(write(&rig, 4, &path, WriteAt::Offset(18), b"far"), Ok(()));
    assert_eq!(fs::read(&path).unwrap(), b"HEAD, body, more\0\0far");
}

#[test]
fn a_file_that_exists_is_never_taken_for_a_new_one() {
    let (rig, folder) = (Rig::new(), Folder::new("exists"));
    let path = folder.path("a.webm");
    fs::write(&path, "precious").unwrap();
    assert_eq!(write(&rig, 1, &path, WriteAt::New, b"other"), Err(FileError::Exists));
    fs::create_dir(folder.path("folder")).unwrap();
    assert_eq!(write(&rig, 2, &folder.path("folder"), WriteAt::New, b"other"), Err(FileError::Exists));
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

#[test]
fn a_file_is_read_in_pieces_and_its_end_is_seen() {
    let (rig, folder) = (Rig::new(), Folder::new("read"));
    let path = folder.path("a.ogg");
    let long: Vec<u8> = (0..300_000_u32).map(|n| (n / 7) as u8).collect();
    fs::write(&path, &long).unwrap();
    assert_eq!(read(&rig, 1, &path, 0, 100_000).unwrap(), long[..100_000]);
    assert_eq!(read(&rig, 2, &path, 299_990, 100).unwrap(), long[299_990..]);
    assert_eq!(read(&rig, 3, &path, 300_000, 100), Ok(Vec::new()));
    assert_eq!(read(&rig, 4, &path, u64::from(u32::MAX), 100), Ok(Vec::new()));
}

#[test]
fn what_is_not_there_is_said_to_be_missing() {
    let (rig, folder) = (Rig::new(), Folder::new("missing"));
    assert_eq!(read(&rig, 1, &folder.path("a.ivf"), 0, 1), Err(FileError::Missing));
    assert_eq!(write(&rig, 2, &folder.path("a.ivf"), WriteAt::Offset(0), b"x"), Err(FileError::Missing));
    assert_eq!(write(&rig, 3, &folder.path("no/a.ivf"), WriteAt::New, b"x"), Err(FileError::Missing));
    assert_eq!(read(&rig, 4, "", 0, 1), Err(FileError::Missing));
    assert!(!Path::new(&folder.path("a.ivf")).exists());
}

#[test]
fn what_is_no_regular_file_is_refused_with_a_reason() {
    let (rig, folder) = (Rig::new(), Folder::new("refused"));
    let is_folder = FileError::Other("it is a folder".into());
    assert_eq!(read(&rig, 1, &folder.path(""), 0, 1), Err(is_folder.clone()));
    assert_eq!(write(&rig, 2, &folder.path(""), WriteAt::Offset(0), b"x"), Err(is_folder));
    fs::write(folder.path("file"), "x").unwrap();
    let no_folder = FileError::Other("a part of its path is no folder".into());
    assert_eq!(read(&rig, 3, &folder.path("file/a.wav"), 0, 1), Err(no_folder.clone()));
    assert_eq!(write(&rig, 4, &folder.path("file/a.wav"), WriteAt::New, b"x"), Err(no_folder));
    let too_long = FileError::Other("its name is too long".into());
    assert_eq!(write(&rig, 5, &folder.path(&"x".repeat(1000)), WriteAt::New, b"x"), Err(too_long));
    assert!(matches!(write(&rig, 6, "\0", WriteAt::New, b"x"), Err(FileError::Other(_))));
    // A pipe that nobody writes to would be waited for in vain.
    let pipe = folder.path("pipe");
    assert!(Process::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!(read(&rig, 7, &pipe, 0, 1), Err(FileError::Other("it is not a regular file".into())));
}

#[test]
fn several_files_are_worked_on_at_once() {
    let (rig, folder) = (Rig::new(), Folder::new("several"));
    let paths: Vec<String> = (0..20).map(|n| folder.path(&format!("{n}"))).collect();
    let all = paths.iter().zip(0..).map(|(path, op)| writes(op, path, WriteAt::New, path.as_bytes())).collect();
    rig.handle.send(Command::Act(all)).unwrap();
    assert_eq!(rig.next(), News::Done);
    let written: Vec<_> = paths.iter().map(|_| rig.next()).collect();
    for op in 0..20 {
        assert!(written.contains(&News::FileWritten(FileOp(op), Ok(()))), "{op} of {written:?}");
    }
    let (one, two) = (&paths[3], &paths[17]);
    rig.handle.send(Command::Act(vec![reads(20, one, 0, 1000), reads(21, two, 0, 1000)])).unwrap();
    assert_eq!(rig.next(), News::Done);
    let read = [rig.next(), rig.next()];
    for (op, path) in [(20, one), (21, two)] {
        assert!(read.contains(&News::FileRead(FileOp(op), Ok(path.clone().into()))), "{op} of {read:?}");
    }
}

#[test]
fn what_is_written_in_the_turn_that_ends_the_run_is_written() {
    let folder = Folder::new("last");
    let mut rig = Rig::new();
    let paths = [folder.path("a"), folder.path("b")];
    let long = vec![7; 3_000_000];
    rig.stop(paths.iter().zip(1..).map(|(path, op)| writes(op, path, WriteAt::New, &long)).collect()).unwrap();
    for path in &paths {
        assert!(fs::read(path).unwrap() == long);
    }
}
