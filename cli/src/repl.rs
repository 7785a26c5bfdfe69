//! Where commands come from: a line editor on a terminal, lines on a pipe, or `--exec`.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::io::{self, BufRead, Read};
use std::path::PathBuf;
use std::sync::mpsc::Receiver;

use enishi_core::escape::Escaped;
use enishi_core::limits::CHANNEL_MESSAGE_BYTES;
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, ExternalPrinter, Helper};

use crate::commands::ENTRIES;
use crate::script::Happening;

/// The longest line: the longest message, with room for the command in front of it.
const LINE_BYTES: usize = CHANNEL_MESSAGE_BYTES + 1024;

/// Ids that completion remembers; others can be typed.
const KNOWN_IDS: usize = 1000;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// A line, or several that were pasted.
    Lines(String),
    /// A line that cannot be used; a sentence.
    Unusable(String),
    /// There is no more.
    End,
}

/// A source of lines.
pub enum Input {
    /// A terminal.
    Prompt(Box<Prompt>),
    /// Anything else on stdin.
    Pipe,
    /// The commands of `--exec`.
    List(VecDeque<String>),
}

impl Input {
    /// Waits for the next line.
    pub fn next(&mut self) -> Heard {
        match self {
            Input::Prompt(prompt) => prompt.next(),
            Input::Pipe => read_line(&mut io::stdin().lock()),
            Input::List(commands) => commands.pop_front().map_or(Heard::End, Heard::Lines),
        }
    }
}

/// A line editor with history and completion.
pub struct Prompt {
    editor: Editor<Words, DefaultHistory>,
    history: Option<PathBuf>,
}

impl Prompt {
    /// A prompt on the terminal, and a printer for lines above it. `ids` brings ids for completion. `None` if the
    /// terminal cannot have one.
    pub fn open(ids: Receiver<String>) -> Option<(Prompt, impl ExternalPrinter + Send + 'static)> {
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .auto_add_history(true)
            .max_history_size(1000)
            .ok()?
            .build();
        let mut editor = Editor::with_config(config).ok()?;
        let printer = editor.create_external_printer().ok()?;
        editor.set_helper(Some(Words { ids, known: RefCell::default() }));
        let history = history_file();
        if let Some(file) = &history {
            // There is none yet at the first start.
            let _ = editor.load_history(file);
        }
        Some((Prompt { editor, history }, printer))
    }

    fn next(&mut self) -> Heard {
        match self.editor.readline("> ") {
            Ok(line) => {
                if let Some(file) = &self.history {
                    // A history that cannot be kept is no reason to stop.
                    let _ = self.editor.append_history(file);
                }
                Heard::Lines(line)
            }
            Err(ReadlineError::Interrupted) => {
                // The line editor read Ctrl-C as a key; everything else knows it as a signal.
                let _ = signal_hook::low_level::raise(signal_hook::consts::SIGINT);
                Heard::End
            }
            Err(_) => Heard::End,
        }
    }
}

/// What can be completed.
struct Words {
    ids: Receiver<String>,
    /// The line editor completes through a shared reference, while ids keep coming in.
    known: RefCell<BTreeSet<String>>,
}

impl Completer for Words {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let mut known = self.known.borrow_mut();
        known.extend(self.ids.try_iter());
        while known.len() > KNOWN_IDS {
            known.pop_first();
        }
        let (start, words) = candidates(line.get(..at).unwrap_or(line), &known);
        Ok((start, words.into_iter().map(|word| Pair { display: word.clone(), replacement: word + " " }).collect()))
    }
}

impl Helper for Words {}
impl Highlighter for Words {}
impl Validator for Words {}

impl Hinter for Words {
    type Hint = String;
}

/// Whether an id can be typed as one word, and be shown as it is.
pub fn is_typeable(id: &str) -> bool {
    !id.is_empty() && !id.contains(char::is_whitespace) && Escaped(id).to_string() == id
}

/// Where the word before the cursor begins, and what it can become.
fn candidates(line: &str, ids: &BTreeSet<String>) -> (usize, Vec<String>) {
    let start = line.rfind(char::is_whitespace).map_or(0, |at| at + 1);
    let typed = &line[start..];
    let before: Vec<&str> = line[..start].split_whitespace().collect();
    let fitting = |words: Vec<String>| words.into_iter().filter(|word| word.starts_with(typed)).collect();
    let commands = |slash: &str| ENTRIES.iter().map(|entry| format!("{slash}{}", entry.name)).collect();
    let command = before.first().map(|word| word.trim_start_matches('/'));
    let words = match (command, before.len()) {
        (None, _) => commands(if typed.starts_with('/') { "/" } else { "" }),
        (Some("help"), 1) => commands(""),
        (Some("wait"), 1) => Happening::ALL.map(|happening| happening.name().to_owned()).to_vec(),
        (Some("send"), 1) => vec!["--to".to_owned()],
        (Some("send"), 2) if before.get(1) == Some(&"--to") => ids.iter().cloned().collect(),
        (Some("offer" | "sendto" | "relay" | "restart" | "close"), 1) => ids.iter().cloned().collect(),
        _ => Vec::new(),
    };
    (start, fitting(words))
}

/// Reads a line, of which no more than the longest usable one is kept.
fn read_line(input: &mut impl BufRead) -> Heard {
    let mut bytes = Vec::new();
    match input.take(LINE_BYTES as u64 + 1).read_until(b'\n', &mut bytes) {
        Ok(0) => return Heard::End,
        Ok(_) => {}
        Err(error) => return Heard::Unusable(format!("cannot read stdin: {error}")),
    }
    if bytes.len() > LINE_BYTES && bytes.last() != Some(&b'\n') {
        return match input.skip_until(b'\n') {
            Ok(_) => Heard::Unusable(format!("a line longer than {LINE_BYTES} bytes was skipped")),
            Err(_) => Heard::End,
        };
    }
    match String::from_utf8(bytes) {
        Ok(line) => Heard::Lines(line.trim_end_matches(['\n', '\r']).to_owned()),
        Err(_) => Heard::Unusable("a line that is not UTF-8 was skipped".into()),
    }
}

/// The history's place by the XDG base directory specification; its directory is made if need be.
fn history_file() -> Option<PathBuf> {
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).and_then(absolute).or_else(|| {
        std::env::var_os("HOME").map(PathBuf::from).and_then(absolute).map(|home| home.join(".local/state"))
    })?;
    let directory = state.join("enishi");
    std::fs::create_dir_all(&directory).ok()?;
    Some(directory.join("history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completes_commands_then_ids_then_nothing() {
        let ids = BTreeSet::from(["alice".to_owned(), "bob".to_owned()]);
        let complete = |line: &str| candidates(line, &ids);
        assert_eq!(complete("off"), (0, vec!["offer".into()]));
        assert_eq!(complete("/off"), (0, vec!["/offer".into()]));
        assert_eq!(complete("offer "), (6, vec!["alice".into(), "bob".into()]));
        assert_eq!(complete("sendto b"), (7, vec!["bob".into()]));
        assert_eq!(complete("send --to b"), (10, vec!["bob".into()]));
        assert_eq!(complete("wait op"), (5, vec!["open".into()]));
        assert_eq!(complete("send chat hel"), (10, Vec::new()));
        assert_eq!(complete("").1.len(), ENTRIES.len());
    }

    #[test]
    fn reads_lines_as_they_come() {
        let mut input = &b"one\r\n\xff\xfe\ntwo\n\nlast"[..];
        let read: Vec<Heard> = (0..6).map(|_| read_line(&mut input)).collect();
        let lines = |text: &str| Heard::Lines(text.into());
        assert_eq!(read[0], lines("one"));
        assert!(matches!(&read[1], Heard::Unusable(why) if why.contains("not UTF-8")));
        assert_eq!(read[2..], [lines("two"), lines(""), lines("last"), Heard::End]);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_whole() {
        let mut input = vec![b'x'; LINE_BYTES * 2];
        input.extend(b"\nnext\n");
        let mut input = &input[..];
        assert!(matches!(read_line(&mut input), Heard::Unusable(why) if why.contains("longer than")));
        assert_eq!(read_line(&mut input), Heard::Lines("next".into()));
        let longest = [&vec![b'x'; LINE_BYTES - 1][..], b"\n"].concat();
        assert_eq!(read_line(&mut &longest[..]), Heard::Lines("x".repeat(LINE_BYTES - 1)));
    }

    #[test]
    fn only_plain_ids_are_completed() {
        assert!(is_typeable("bob") && is_typeable("日本"));
        assert!(!is_typeable("") && !is_typeable("a b") && !is_typeable("a\u{1b}[2J"));
    }
}
