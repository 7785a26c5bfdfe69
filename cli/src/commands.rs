//! What can be typed at the prompt, written in a script or given to `--exec`. Pure: text in, a [`Command`] out.

use std::time::Duration;

use enishi_core::agent::{AgentCommand, MediaCommand, RecordSpec};
use enishi_core::dialect::Dialect;
use enishi_core::limits::{FOREIGN_NAME_BYTES, LABEL_BYTES, NAME_CHARS};
use enishi_core::media::{Kind, MediaError, SourceSpec};
use enishi_core::peer::ChannelSpec;
use enishi_core::signal::{Name, Payload, Refusal};

use crate::script::Happening;

/// How long `wait` waits if it is not told.
pub const WAIT: Duration = Duration::from_secs(30);

/// A command, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Something for the agent.
    Agent(AgentCommand),
    /// Whom the server knows, and the open channels.
    List,
    /// The open channels.
    Channels,
    /// The peers and their states.
    Peers,
    /// The counters of all peers.
    Stats,
    /// What is published, and what arrives.
    Tracks,
    /// What was received, for the end.
    Summary,
    /// Until something happens.
    Wait { happening: Happening, limit: Duration },
    /// For a while.
    Sleep(Duration),
    /// The list of commands, or about one of them.
    Help(Option<&'static Entry>),
    /// The end.
    Quit,
}

/// Why a line is no command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// There is no such command.
    #[error("unknown command '{}'{}; type help for the list", .name.escape_debug(), suggestion(*.near))]
    Unknown { name: String, near: Option<&'static str> },
    /// Something is missing, or too much.
    #[error("Usage: {0}")]
    Usage(&'static str),
    /// An argument is wrong; a clause says how.
    #[error("{0}")]
    Bad(String),
}

/// A command's words for `help`.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: &'static str,
    pub usage: &'static str,
    pub help: &'static str,
}

/// All commands, in the order of `help`.
pub const ENTRIES: [Entry; 27] = [
    entry("offer", "offer <id>", "connect to somebody"),
    entry("channel", "channel <label> [--unordered] [--max-retransmits N]", "open a further channel to all peers"),
    entry("send", "send [--to <id>] <label> <text>", "to everybody with that channel, or to one peer"),
    entry("sendto", "sendto <id> <label> <text>", "the same as send --to"),
    entry("broadcast", "broadcast <text>", "to everybody, on each one's first channel"),
    entry("relay", "relay <id> <label> <text>", "through the signaling server"),
    entry("join", "join <room>", "enter a room and offer to everybody in it"),
    entry("leave", "leave <room>", "leave a room and close the connections with those in it"),
    entry("list", "list", "whom the server knows, and the open channels"),
    entry("channels", "channels", "the open channels"),
    entry("peers", "peers", "the connections and their states"),
    entry("stats", "stats", "what was sent and received"),
    entry("publish", "publish <kind> <source>", "send audio or video: a tone, a pattern, a file"),
    entry("unpublish", "unpublish <kind>", "send no more audio or video"),
    entry("mute", "mute <kind>", "send silence, or a black picture"),
    entry("unmute", "unmute <kind>", "send the source again"),
    entry("replace", "replace <kind> <source>", "send another source on the same track"),
    entry("record", "record start <path> [--both]", "write what peers send to files, until record stop"),
    entry("tracks", "tracks", "what is published, and what arrives"),
    entry("summary", "summary", "what was received, on one screen"),
    entry("restart", "restart <id>", "restart ICE with a peer"),
    entry("close", "close <id>", "close the connection with a peer"),
    entry("wait", "wait <event> [seconds]", "until something happens: open, message, connected, …"),
    entry("sleep", "sleep <seconds>", "for a while"),
    entry("help", "help [command]", "this list"),
    entry("quit", "quit", "close everything and end"),
    entry("exit", "exit", "the same as quit"),
];

const fn entry(name: &'static str, usage: &'static str, help: &'static str) -> Entry {
    Entry { name, usage, help }
}

/// Parses one line. `None`: an empty line or a comment.
///
/// # Errors
/// It is no command, or its arguments are wrong.
pub fn parse(line: &str, dialect: Dialect) -> Result<Option<Command>, CommandError> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (word, rest) = first_word(line);
    let name = word.strip_prefix('/').unwrap_or(word);
    let Some(entry) = ENTRIES.iter().find(|entry| entry.name == name) else {
        return Err(CommandError::Unknown { name: name.chars().take(40).collect(), near: nearest_command(name) });
    };
    let usage = CommandError::Usage(entry.usage);
    let id = |text: &str| self::name(text, dialect).map_err(CommandError::Bad);
    let one = || if rest.is_empty() || rest.contains(char::is_whitespace) { Err(usage.clone()) } else { Ok(rest) };
    let none = |command| if rest.is_empty() { Ok(command) } else { Err(usage.clone()) };
    let agent = |command| Ok(Some(Command::Agent(command)));
    let send = |to, label, text: &str| {
        if text.is_empty() {
            return Err(usage.clone());
        }
        agent(AgentCommand::Send { to, label, payload: Payload::Text(text.to_owned()) })
    };
    match entry.name {
        "offer" => agent(AgentCommand::Offer(id(one()?)?)),
        "channel" => agent(AgentCommand::Channel { to: None, spec: channel(rest, &usage)? }),
        "send" | "sendto" => {
            let (to, rest) = match first_word(rest) {
                ("--to", rest) => {
                    let (to, rest) = first_word(rest);
                    (Some(to), rest)
                }
                (to, rest) if entry.name == "sendto" => (Some(to), rest),
                _ => (None, rest),
            };
            let (label, text) = first_word(rest);
            let label = self::label(label).map_err(|_| usage.clone())?;
            send(to.map(id).transpose()?, Some(label), text)
        }
        "broadcast" => send(None, None, rest),
        "relay" => {
            let (to, rest) = first_word(rest);
            let (label, text) = first_word(rest);
            if text.is_empty() {
                return Err(usage);
            }
            let label = self::label(label)?;
            agent(AgentCommand::Relay { to: id(to)?, label, payload: Payload::Text(text.to_owned()) })
        }
        "join" => agent(AgentCommand::Join(id(one()?)?)),
        "leave" => agent(AgentCommand::Leave(id(one()?)?)),
        "restart" => agent(AgentCommand::Restart(id(one()?)?)),
        "close" => agent(AgentCommand::Close(id(one()?)?)),
        "list" => none(Some(Command::List)),
        "channels" => none(Some(Command::Channels)),
        "peers" => none(Some(Command::Peers)),
        "stats" => none(Some(Command::Stats)),
        "tracks" => none(Some(Command::Tracks)),
        "summary" => none(Some(Command::Summary)),
        "publish" | "replace" => {
            let (kind, text) = first_word(rest);
            let kind = self::kind(kind).ok_or_else(|| usage.clone())?;
            if text.is_empty() {
                return Err(usage);
            }
            let source = source(text, kind).map_err(CommandError::Bad)?;
            agent(AgentCommand::Media(match entry.name {
                "publish" => MediaCommand::Publish { kind, source },
                _ => MediaCommand::Replace { kind, source },
            }))
        }
        "unpublish" | "mute" | "unmute" => {
            let kind = self::kind(one()?).ok_or_else(|| usage.clone())?;
            agent(AgentCommand::Media(match entry.name {
                "unpublish" => MediaCommand::Unpublish(kind),
                name => MediaCommand::Mute { kind, on: name == "mute" },
            }))
        }
        "record" => agent(record(rest, &usage)?),
        "wait" => wait(rest, &usage).map(Some),
        "sleep" => one().and_then(seconds).map(|time| Some(Command::Sleep(time))),
        "help" => help(rest).map(Some),
        _ => none(Some(Command::Quit)),
    }
}

/// What a source is called, if it has this kind.
///
/// # Errors
/// A sentence that says what there is.
pub fn source(text: &str, kind: Kind) -> Result<SourceSpec, String> {
    let source: SourceSpec = text.parse().map_err(|error: MediaError| error.to_string())?;
    match source.kind() {
        Some(other) if other != kind => Err(match kind {
            Kind::Audio => {
                format!("{source} is no sound; there are tone[:HZ], beep and files .wav, .ogg, .opus, .webm")
            }
            Kind::Video => format!("{source} is no picture; there are pattern[:NAME] and files .ivf, .webm"),
        }),
        _ => Ok(source),
    }
}

fn kind(word: &str) -> Option<Kind> {
    [Kind::Audio, Kind::Video].into_iter().find(|kind| kind.name() == word)
}

fn record(rest: &str, usage: &CommandError) -> Result<AgentCommand, CommandError> {
    let (word, rest) = first_word(rest);
    let (path, ours_too) = match rest.strip_suffix("--both").map(str::trim_end) {
        Some(path) => (path, true),
        None => (rest, false),
    };
    match word {
        "start" if !path.is_empty() => Ok(AgentCommand::RecordStart(RecordSpec { path: path.to_owned(), ours_too })),
        "stop" if rest.is_empty() => Ok(AgentCommand::RecordStop),
        _ => Err(usage.clone()),
    }
}

/// Splits a list of commands at semicolons; `\;` is a semicolon in a text.
pub fn split(list: &str) -> Vec<String> {
    let mut commands = vec![String::new()];
    let mut chars = list.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, commands.last_mut()) {
            ('\\', Some(command)) if chars.peek() == Some(&';') => command.extend(chars.next()),
            (';' | '\n', _) => commands.push(String::new()),
            (c, Some(command)) => command.push(c),
            (_, None) => {}
        }
    }
    commands.retain(|command| !command.trim().is_empty());
    commands
}

/// Checks an id or the name of a room as far as the dialect limits them.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn name(text: &str, dialect: Dialect) -> Result<Name, String> {
    let ours = |c: char| c.is_ascii_alphanumeric() || "._~@:+-".contains(c);
    let fine = match dialect {
        Dialect::Enishi => text.chars().count() <= NAME_CHARS && text.chars().all(ours),
        _ => text.len() <= FOREIGN_NAME_BYTES && !text.contains(char::is_control),
    };
    if fine && !text.is_empty() {
        return Ok(Name::from(text));
    }
    Err(match dialect {
        Dialect::Enishi => format!("'{}' is no id: {}", text.escape_debug(), Refusal::BadName),
        _ => format!(
            "'{}' is no id: they are 1 to {FOREIGN_NAME_BYTES} bytes without control characters",
            text.escape_debug()
        ),
    })
}

/// Checks the label of a channel.
///
/// # Errors
/// It is empty or too long.
pub fn label(text: &str) -> Result<String, CommandError> {
    if text.is_empty() || text.len() > LABEL_BYTES {
        return Err(CommandError::Bad(format!("a label is 1 to {LABEL_BYTES} bytes long, such as chat")));
    }
    Ok(text.to_owned())
}

/// The known word that was probably meant: at most two letters changed, added, left out or swapped.
pub fn nearest<'a>(typed: &str, known: &[&'a str]) -> Option<&'a str> {
    if typed.is_empty() || typed.len() > 64 {
        return None;
    }
    let begins = known.iter().find(|word| typed.len() > 1 && word.starts_with(typed));
    let most = if typed.chars().count() <= 4 { 1 } else { 2 };
    let near = known
        .iter()
        .map(|word| (strsim::osa_distance(typed, word), *word))
        .min()
        .filter(|(distance, _)| *distance <= most);
    begins.copied().or(near.map(|(_, word)| word))
}

/// The text of `help`.
pub fn help_text() -> String {
    let width = ENTRIES.iter().map(|entry| entry.usage.len()).max().unwrap_or(0).min(28);
    let lines = ENTRIES.iter().filter(|entry| entry.name != "exit").map(|entry| {
        if entry.usage.len() > width {
            format!("  {}\n  {:width$}  {}", entry.usage, "", entry.help)
        } else {
            format!("  {:width$}  {}", entry.usage, entry.help)
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn first_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_once(char::is_whitespace).map_or((text, ""), |(word, rest)| (word, rest.trim_start()))
}

fn channel(rest: &str, usage: &CommandError) -> Result<ChannelSpec, CommandError> {
    let mut spec = ChannelSpec { label: String::new(), ordered: true, max_retransmits: None, max_lifetime: None };
    let mut words = rest.split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "--unordered" => spec.ordered = false,
            "--max-retransmits" => {
                let number = words.next().ok_or_else(|| usage.clone())?;
                let number = number.parse().map_err(|_| {
                    CommandError::Bad(format!("--max-retransmits takes a number from 0 to {}", u16::MAX))
                })?;
                spec.max_retransmits = Some(number);
            }
            flag if flag.starts_with("--") => return Err(usage.clone()),
            word if spec.label.is_empty() => spec.label = label(word)?,
            _ => return Err(usage.clone()),
        }
    }
    if spec.label.is_empty() { Err(usage.clone()) } else { Ok(spec) }
}

fn wait(rest: &str, usage: &CommandError) -> Result<Command, CommandError> {
    let mut words: Vec<&str> = rest.split_whitespace().collect();
    let limit = match words.last() {
        Some(last) if last.starts_with(|c: char| c.is_ascii_digit()) => {
            let limit = seconds(last)?;
            words.pop();
            limit
        }
        _ => WAIT,
    };
    if words.is_empty() {
        return Err(usage.clone());
    }
    let name = words.join("-");
    let name = name.strip_prefix("peer-").unwrap_or(&name);
    let known = Happening::ALL.map(Happening::name);
    let happening = Happening::ALL.into_iter().find(|happening| happening.name() == name).ok_or_else(|| {
        let near = suggestion(nearest(name, &known));
        CommandError::Bad(format!("no event is called '{}'{near}; there are {}", name.escape_debug(), known.join(", ")))
    })?;
    Ok(Command::Wait { happening, limit })
}

fn help(rest: &str) -> Result<Command, CommandError> {
    let name = rest.strip_prefix('/').unwrap_or(rest);
    if name.is_empty() {
        return Ok(Command::Help(None));
    }
    let entry = ENTRIES.iter().find(|entry| entry.name == name);
    let unknown = || CommandError::Unknown { name: name.chars().take(40).collect(), near: nearest_command(name) };
    entry.map(|entry| Command::Help(Some(entry))).ok_or_else(unknown)
}

fn seconds(text: &str) -> Result<Duration, CommandError> {
    crate::limit_flags::seconds(text).map_err(CommandError::Bad)
}

fn nearest_command(name: &str) -> Option<&'static str> {
    nearest(name, &ENTRIES.each_ref().map(|entry| entry.name))
}

fn suggestion(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!(", did you mean '{near}'?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(line: &str) -> Result<Option<Command>, CommandError> {
        parse(line, Dialect::Enishi)
    }

    fn send(to: Option<&str>, label: Option<&str>, text: &str) -> Command {
        Command::Agent(AgentCommand::Send {
            to: to.map(Name::from),
            label: label.map(str::to_owned),
            payload: Payload::Text(text.into()),
        })
    }

    #[test]
    fn lines_become_commands() {
        for (line, command) in [
            ("offer bob", Command::Agent(AgentCommand::Offer("bob".into()))),
            ("  /offer   bob  ", Command::Agent(AgentCommand::Offer("bob".into()))),
            ("send chat hello  world", send(None, Some("chat"), "hello  world")),
            ("sendto bob chat hi", send(Some("bob"), Some("chat"), "hi")),
            ("send --to bob chat hi", send(Some("bob"), Some("chat"), "hi")),
            ("send chat --to bob", send(None, Some("chat"), "--to bob")),
            ("broadcast hi all", send(None, None, "hi all")),
            ("join lobby", Command::Agent(AgentCommand::Join("lobby".into()))),
            ("list", Command::List),
            ("stats", Command::Stats),
            ("tracks", Command::Tracks),
            ("summary", Command::Summary),
            ("quit", Command::Quit),
            ("exit", Command::Quit),
            ("sleep 0.5", Command::Sleep(Duration::from_millis(500))),
            ("wait open", Command::Wait { happening: Happening::Open, limit: WAIT }),
            ("wait peer connected 5", Command::Wait { happening: Happening::Connected, limit: Duration::from_secs(5) }),
            ("wait channel closed", Command::Wait { happening: Happening::ChannelClosed, limit: WAIT }),
            ("help", Command::Help(None)),
        ] {
            assert_eq!(ours(line), Ok(Some(command)), "{line}");
        }
        assert_eq!(ours("  "), Ok(None));
        assert_eq!(ours("# a comment"), Ok(None));
    }

    #[test]
    fn sound_and_picture_have_their_commands() {
        let media = |command| Ok(Some(Command::Agent(AgentCommand::Media(command))));
        let source = |text: &str| text.parse::<SourceSpec>().unwrap();
        let record = |path: &str, ours_too| RecordSpec { path: path.into(), ours_too };
        for (line, command) in [
            ("publish audio tone:880", MediaCommand::Publish { kind: Kind::Audio, source: source("tone:880") }),
            ("publish audio my song.wav", MediaCommand::Publish { kind: Kind::Audio, source: source("my song.wav") }),
            ("replace video pattern", MediaCommand::Replace { kind: Kind::Video, source: source("pattern") }),
            ("unpublish video", MediaCommand::Unpublish(Kind::Video)),
            ("mute audio", MediaCommand::Mute { kind: Kind::Audio, on: true }),
            ("unmute audio", MediaCommand::Mute { kind: Kind::Audio, on: false }),
        ] {
            assert_eq!(ours(line), media(command), "{line}");
        }
        for (line, command) in [
            ("record start out", AgentCommand::RecordStart(record("out", false))),
            ("record start my call.webm --both", AgentCommand::RecordStart(record("my call.webm", true))),
            ("record stop", AgentCommand::RecordStop),
        ] {
            assert_eq!(ours(line), Ok(Some(Command::Agent(command))), "{line}");
        }
        for (line, hint) in [
            ("publish", "Usage: publish <kind> <source>"),
            ("publish sound tone", "Usage: publish <kind> <source>"),
            ("publish audio tone:0", "1 to"),
            ("publish video tone", "is no picture"),
            ("publish audio pattern", "is no sound"),
            ("publish audio song.mp3", "files that end in"),
            ("mute", "Usage: mute <kind>"),
            ("record start", "Usage: record start"),
            ("record start --both", "Usage: record start"),
            ("record stop now", "Usage: record start"),
        ] {
            let error = ours(line).unwrap_err().to_string();
            assert!(error.contains(hint), "{line}: {error}");
        }
    }

    #[test]
    fn a_channel_takes_its_flags_in_any_order() {
        let Ok(Some(Command::Agent(AgentCommand::Channel { to: None, spec }))) =
            ours("channel --max-retransmits 0 data --unordered")
        else {
            panic!("not a channel")
        };
        assert_eq!(
            spec,
            ChannelSpec { label: "data".into(), ordered: false, max_retransmits: Some(0), max_lifetime: None }
        );
    }

    #[test]
    fn what_is_missing_is_shown() {
        for (line, usage) in [
            ("offer", "Usage: offer <id>"),
            ("offer a b", "Usage: offer <id>"),
            ("send", "Usage: send [--to <id>] <label> <text>"),
            ("send chat", "Usage: send [--to <id>] <label> <text>"),
            ("send --to bob chat", "Usage: send [--to <id>] <label> <text>"),
            ("sendto bob chat", "Usage: sendto <id> <label> <text>"),
            ("relay bob", "Usage: relay <id> <label> <text>"),
            ("channel", "Usage: channel <label> [--unordered] [--max-retransmits N]"),
            ("channel a b", "Usage: channel <label> [--unordered] [--max-retransmits N]"),
            ("broadcast", "Usage: broadcast <text>"),
            ("wait", "Usage: wait <event> [seconds]"),
            ("wait 3", "Usage: wait <event> [seconds]"),
            ("quit now", "Usage: quit"),
        ] {
            assert_eq!(ours(line).unwrap_err().to_string(), usage, "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_try() {
        for (line, hint) in [
            ("sned chat hi", "unknown command 'sned', did you mean 'send'?; type help for the list"),
            ("xyzzy", "unknown command 'xyzzy'; type help for the list"),
            ("off\u{1b}[2J", "\\u{1b}"),
            ("offer b\u{f6}b", "1 to 64 characters"),
            ("wait mesage", "did you mean 'message'?"),
            ("channel a --max-retransmits x", "a number from 0"),
            ("help quti", "did you mean 'quit'?"),
        ] {
            let error = ours(line).unwrap_err().to_string();
            assert!(error.contains(hint), "{line}: {error}");
        }
    }

    #[test]
    fn compatible_dialects_have_their_own_names() {
        assert!(name("日本", Dialect::ConicC).is_ok());
        assert!(name("日本", Dialect::Enishi).is_err());
        assert!(name("a\nb", Dialect::ConicC).is_err());
        assert!(name(&"x".repeat(257), Dialect::ConicC).is_err());
        assert!(name("", Dialect::ConicC).is_err());
    }

    #[test]
    fn lists_are_split_at_semicolons() {
        assert_eq!(split(" send chat a\\;b ;; quit ; "), [" send chat a;b ", " quit "]);
        assert_eq!(split("send chat c:\\x"), ["send chat c:\\x"]);
        assert!(split("").is_empty());
    }

    #[test]
    fn help_names_every_command() {
        let help = help_text();
        for entry in ENTRIES.iter().filter(|entry| entry.name != "exit") {
            assert!(help.contains(entry.usage) && help.contains(entry.help));
            assert!(entry.usage.starts_with(entry.name));
        }
    }
}
