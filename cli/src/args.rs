//! The command line: what can be typed.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use enishi_core::dialect::Dialect;
use enishi_core::limits::CHANNEL_BUFFER_BYTES;
use enishi_core::media::{Kind, SourceSpec};

use crate::bench::BenchArgs;
use crate::commands;
use crate::config::{self, Setting};
use crate::failure::{DONE, Failure};
use crate::generate::{AudioArgs, VideoArgs};
use crate::limit_flags::LimitFlags;
use crate::log::LogFormat;
use crate::runtime::Runtime;
use crate::sim::SimArgs;
use crate::turn::{CredentialsArgs, IssuerArgs, PathArgs};
use crate::url::WsUrl;
use crate::{bench, generate, peer, replay, signal, sim, turn};

const TEMPLATE: &str = "{about-with-newline}\n{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}";

const EXAMPLES: &str = "\
Three terminals make a call:
  enishi signal
  enishi peer --role answer --id bob
  enishi peer --role offer --id alice --target bob      then type: send chat hello";

const SIGNAL_EXAMPLES: &str = "\
Examples:
  enishi signal                                         on 127.0.0.1:3000
  enishi signal --listen 0.0.0.0:3000 --token-file token --allow-origin https://app.example
  enishi signal --config enishi.toml --check-config";

const PEER_EXAMPLES: &str = "\
Examples:
  enishi peer --role answer --id bob
  enishi peer --role offer --id alice --target bob      then type: send chat hello
  enishi peer --room demo                               in several terminals, then type: broadcast hello
  enishi peer --role offer --target bob --json --exec 'send chat hello; wait message; quit'";

const SIM_EXAMPLES: &str = "\
Examples:
  enishi sim                                            20 peers for 5 virtual minutes
  enishi sim --seed 7 --peers 6 --net hostile --trace   everything that happens, the same every time";

const BENCH_EXAMPLES: &str = "\
Examples:
  enishi bench relay                                    50 pairs through a server of its own
  enishi bench latency --rate 5000 --json
  enishi bench relay --url ws://127.0.0.1:3000/ws --dialect conic-c --pid 4711";

const BENCH_AFTER: &str = "\
Exit codes: 0 done, 1 failed, or a message was lost, reordered or doubled, 2 usage, 3 could not connect.";

const TURN_EXAMPLES: &str = "\
Example:
  enishi turn-credentials --secret-file turn-secret --user alice --uris turn:turn.example:3478?transport=udp";

const AUDIO_EXAMPLES: &str = "\
Examples:
  enishi generate-audio                                 five seconds of 440 Hz in sample.wav
  enishi generate-audio --output a.wav --duration 0.5 --freq 1000 --rate 44100";

const VIDEO_EXAMPLES: &str = "\
Examples:
  enishi generate-video                                 ten seconds of a gradient in sample.ivf
  enishi generate-video --output a.ivf --pattern bounce --width 320 --height 240";

const REPLAY_EXAMPLES: &str = "\
Examples:
  enishi signal --record evening.journal                until it is stopped, then
  enishi replay evening.journal                         does it do the same again?
  enishi replay evening.journal --explain | less        every input and what came of it";

const REPLAY_AFTER: &str = "\
Exit codes: 0 the same outputs, 1 others, 2 usage, or a file that is no journal.";

const PEER_AFTER: &str = "\
Type `help` at the prompt for the commands. Exit codes: 0 done, 1 failed, 2 usage, 3 could not connect.";

/// WebRTC signaling server and command-line peer
#[derive(Debug, Parser)]
#[command(name = "enishi", version, before_help = EXAMPLES, help_template = TEMPLATE)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the signaling server
    #[command(before_help = SIGNAL_EXAMPLES, help_template = TEMPLATE)]
    Signal(Box<SignalArgs>),
    /// Run a peer: data channels from a terminal or a script
    #[command(before_help = PEER_EXAMPLES, after_help = PEER_AFTER, help_template = TEMPLATE)]
    Peer(Box<PeerArgs>),
    /// Run a journal of `enishi signal --record` through the server again, without sockets
    #[command(before_help = REPLAY_EXAMPLES, after_help = REPLAY_AFTER, help_template = TEMPLATE)]
    Replay(ReplayArgs),
    /// Simulate peers, a server and a bad network from one seed, and check that all holds
    #[command(before_help = SIM_EXAMPLES, help_template = TEMPLATE)]
    Sim(SimArgs),
    /// Write a tone to a WAV file: 16 bits, stereo; a file that exists is overwritten
    #[command(before_help = AUDIO_EXAMPLES, help_template = TEMPLATE)]
    GenerateAudio(AudioArgs),
    /// Write a moving picture to an IVF file, in VP8; a file that exists is overwritten
    #[command(before_help = VIDEO_EXAMPLES, help_template = TEMPLATE)]
    GenerateVideo(VideoArgs),
    /// Measure a signaling server, this one or another, or data channels
    #[command(before_help = BENCH_EXAMPLES, after_help = BENCH_AFTER, help_template = TEMPLATE)]
    Bench(BenchArgs),
    /// Print credentials for a TURN server that shares a secret with you
    #[command(before_help = TURN_EXAMPLES, help_template = TEMPLATE)]
    TurnCredentials(CredentialsArgs),
    /// Print a script that completes enishi's arguments
    #[command(after_help = "Example: enishi completions bash > ~/.local/share/bash-completion/completions/enishi")]
    Completions {
        /// For which shell
        shell: Shell,
    },
    /// Print a man page
    #[command(after_help = "Example: enishi man peer | man -l -")]
    Man {
        /// Of which command; of enishi itself if none is given
        subcommand: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
pub struct SignalArgs {
    /// Address to listen on; may be repeated
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000", env = "ENISHI_LISTEN", value_delimiter = ',')]
    pub listen: Vec<SocketAddr>,

    /// Also listen on the ports that other systems' clients have built in, each for its own: 3000 conic, 8080 zenn,
    /// 8765 room mesh, 18080 Tony Bai, 9001 Socket.IO
    #[arg(long, env = "ENISHI_COMPAT")]
    pub compat: bool,

    /// Which driver runs the server
    #[arg(long, value_enum, default_value_t = Runtime::Mio, env = "ENISHI_RUNTIME")]
    pub runtime: Runtime,

    /// Origin that web pages may connect from, besides this host and loopback, or '*'; may be repeated
    #[arg(long, value_name = "ORIGIN", env = "ENISHI_ALLOW_ORIGIN", value_delimiter = ',', value_parser = config::origin)]
    pub allow_origin: Vec<String>,

    /// ICE server to tell to clients: a stun: or turn: URL, or a JSON object; may be repeated
    #[arg(long, value_name = "SERVER", env = "ENISHI_ICE_SERVER", value_parser = config::ice_server)]
    pub ice_server: Vec<String>,

    /// File with the token that clients have to present (or set ENISHI_TOKEN)
    #[arg(long, value_name = "FILE", env = "ENISHI_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,

    #[command(flatten)]
    pub turn: IssuerArgs,

    /// Write all inputs to a new file, for `enishi replay`, with pseudonyms for what is said
    #[arg(long, value_name = "FILE", env = "ENISHI_RECORD")]
    pub record: Option<PathBuf>,

    /// Record as it is: addresses, SDP, tokens, secrets
    #[arg(long, env = "ENISHI_RECORD_SECRETS", requires = "record", hide_short_help = true)]
    pub record_secrets: bool,

    /// TOML file with any of these flags as keys; flags and the environment come first
    #[arg(long, value_name = "FILE", env = "ENISHI_CONFIG")]
    pub config: Option<PathBuf>,

    /// Print the configuration in force and where each value comes from, then exit
    #[arg(long)]
    pub check_config: bool,

    /// Serve a WebSocket echo at /echo, for conformance tests
    #[arg(long, hide = true)]
    pub test_echo: bool,

    #[command(flatten)]
    pub logging: Logging,

    #[command(flatten)]
    pub limits: LimitFlags,
}

#[derive(Debug, clap::Args)]
pub struct ReplayArgs {
    /// The journal
    #[arg(value_name = "FILE")]
    pub journal: PathBuf,

    /// Stop after this many inputs
    #[arg(long, value_name = "N")]
    pub until: Option<u64>,

    /// Print each input and the outputs that it caused
    #[arg(long)]
    pub explain: bool,
}

#[derive(Debug, clap::Args)]
pub struct Logging {
    /// How log lines on stderr look
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text, env = "ENISHI_LOG_FORMAT")]
    pub log_format: LogFormat,

    /// Say more; twice for everything
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Say only what is wrong
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
}

#[derive(Debug, clap::Args)]
pub struct PeerArgs {
    /// The signaling server
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:3000/ws", env = "ENISHI_SIGNAL")]
    pub signal: WsUrl,

    /// Offer to the target, or wait for offers
    #[arg(long, value_enum, default_value_t = Role::Answer, env = "ENISHI_ROLE")]
    pub role: Role,

    /// The id to be reached under [default: the server or the dialect chooses]
    #[arg(long, env = "ENISHI_ID")]
    pub id: Option<String>,

    /// Whom to offer to
    #[arg(long, value_name = "ID", env = "ENISHI_TARGET")]
    pub target: Option<String>,

    /// The room to enter, and to offer to everybody in it
    #[arg(long, env = "ENISHI_ROOM")]
    pub room: Option<String>,

    /// The signaling protocol to speak
    #[arg(long, default_value = "enishi", env = "ENISHI_DIALECT", value_parser = dialects())]
    pub dialect: Dialect,

    /// Label of the data channel that an offer opens [default: chat; with tonybai: data; with mesh: messages]
    #[arg(long, value_name = "LABEL", env = "ENISHI_CHANNEL", value_parser = label)]
    pub channel: Option<String>,

    /// Messages on that channel may arrive out of order
    #[arg(long, hide_short_help = true)]
    pub unordered: bool,

    /// How often a lost message on that channel is sent again [default: until it arrives]
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub max_retransmits: Option<u16>,

    /// Bytes held for sending per connection, at most; a short path is given less
    #[arg(long, value_name = "BYTES", default_value_t = CHANNEL_BUFFER_BYTES, env = "ENISHI_CHANNEL_BUFFER")]
    #[arg(value_parser = channel_buffer, hide_short_help = true)]
    pub channel_buffer: usize,

    /// Send three greetings on the first channel, as conic's own peers do
    #[arg(long, hide_short_help = true)]
    pub greet: bool,

    /// Send a random text on the first channel every so often, such as 5s, as Tony Bai's own peers do
    #[arg(long, value_name = "TIME", value_parser = period, hide_short_help = true)]
    pub chatter: Option<Duration>,

    /// Sound to send: tone, tone:HZ, beep, or a file .wav, .ogg, .opus, .webm
    #[arg(long, value_name = "SOURCE", env = "ENISHI_AUDIO", value_parser = audio)]
    pub audio: Option<SourceSpec>,

    /// Picture to send: pattern, pattern:NAME, or a file .ivf, .webm
    #[arg(long, value_name = "SOURCE", env = "ENISHI_VIDEO", value_parser = video)]
    pub video: Option<SourceSpec>,

    /// Send files once instead of over and over
    #[arg(long, hide_short_help = true)]
    pub once: bool,

    /// Record what peers send, in a folder or to a file .webm, .ogg, .opus, .wav, .ivf
    #[arg(long, value_name = "PATH", env = "ENISHI_RECORD")]
    pub record: Option<String>,

    /// Record what we send too
    #[arg(long, requires = "record", hide_short_help = true)]
    pub record_both: bool,

    /// Show off for a few seconds, say what was received, and quit
    #[arg(long, value_enum, conflicts_with = "exec")]
    pub demo: Option<Show>,

    /// STUN server to ask for the address seen from outside; may be repeated
    #[arg(long, value_name = "HOST:PORT", env = "ENISHI_STUN", value_delimiter = ',')]
    pub stun: Vec<String>,

    #[command(flatten)]
    pub path: PathArgs,

    /// Which driver runs the peer
    #[arg(long, value_enum, default_value_t = Runtime::Mio, env = "ENISHI_RUNTIME")]
    pub runtime: Runtime,

    /// Carry out these commands, separated by semicolons, instead of reading them, then quit
    #[arg(long, value_name = "COMMANDS")]
    pub exec: Option<String>,

    /// Print events as JSON, one a line (docs/peer.md)
    #[arg(long)]
    pub json: bool,

    /// File with the token that the server wants (or set ENISHI_TOKEN)
    #[arg(long, value_name = "FILE", env = "ENISHI_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,

    #[command(flatten)]
    pub logging: Logging,
}

/// What a peer does by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Offer to the target
    Offer,
    /// Wait for offers
    Answer,
}

/// What `--demo` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Show {
    /// A tone of 440 Hz to the other side, one of 880 Hz back
    Audio,
    /// A flashing picture to the other side, a moving one back
    Video,
    /// Three greetings each way
    Datachannel,
}

/// What was typed, with the settings of `enishi signal` and where they come from.
#[derive(Debug)]
pub struct Typed {
    pub cli: Cli,
    pub settings: Vec<Setting>,
}

/// Parses arguments, environment and configuration file.
///
/// # Errors
/// clap's, help and version among them; or the configuration file cannot be used.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Typed, Failure> {
    let (cli, settings) = config::parse(Cli::command(), arguments.into_iter().collect())?;
    Ok(Typed { cli, settings })
}

/// Does what was typed, and gives the exit code.
///
/// # Errors
/// It could not be done.
pub fn run(typed: Typed) -> Result<u8, Failure> {
    match typed.cli.command {
        Command::Signal(args) => signal::run(*args, &typed.settings),
        Command::Peer(args) => peer::run(*args),
        Command::Replay(args) => replay::run(&args),
        Command::Sim(args) => sim::run(&args),
        Command::GenerateAudio(args) => generate::audio(&args),
        Command::GenerateVideo(args) => generate::video(&args),
        Command::Bench(args) => bench::run(&args),
        Command::TurnCredentials(args) => turn::run(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "enishi", &mut script);
            print(&script)
        }
        Command::Man { subcommand } => man(subcommand.as_deref()),
    }
}

/// Writes to stdout. Whoever closed it has seen enough.
pub fn print(bytes: &[u8]) -> Result<u8, Failure> {
    match io::stdout().write_all(bytes) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::from(error).context("cannot write to stdout").into())
        }
        _ => Ok(DONE),
    }
}

fn man(subcommand: Option<&str>) -> Result<u8, Failure> {
    let mut root = Cli::command();
    root.build();
    let command = match subcommand {
        None => root,
        Some(name) => {
            let found = root.find_subcommand(name).cloned();
            let known: Vec<&str> = root.get_subcommands().map(clap::Command::get_name).collect();
            let found = found.ok_or_else(|| {
                Failure::Usage(format!("there is no command '{}'; there are {}", name.escape_debug(), known.join(", ")))
            })?;
            let title = format!("enishi-{name}");
            found.name(title.clone()).display_name(title)
        }
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).context("cannot render the man page")?;
    print(&page)
}

pub fn dialects() -> impl TypedValueParser<Value = Dialect> {
    PossibleValuesParser::new(Dialect::ALL.map(Dialect::name))
        .try_map(|name| Dialect::ALL.into_iter().find(|dialect| dialect.name() == name).ok_or("no such dialect"))
}

fn label(text: &str) -> Result<String, String> {
    crate::commands::label(text).map_err(|error| error.to_string())
}

fn audio(text: &str) -> Result<SourceSpec, String> {
    commands::source(text, Kind::Audio)
}

fn video(text: &str) -> Result<SourceSpec, String> {
    commands::source(text, Kind::Video)
}

/// A time from 10 ms on: `5s`, `500ms`, or seconds alone.
fn period(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    let seconds = number.parse::<f64>().ok().map(|number| number * unit);
    seconds
        .filter(|seconds| (0.01..=86_400.0).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "a time from 10ms to 86400s, such as 5s".into())
}

fn channel_buffer(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|bytes| (1024..=64 << 20).contains(bytes))
        .ok_or_else(|| "bytes from 1024 to 67108864, such as 131072".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn periods_have_a_unit_or_are_seconds() {
        for (text, millis) in [("5s", 5000), ("500ms", 500), ("2", 2000), ("0.5", 500)] {
            assert_eq!(period(text), Ok(Duration::from_millis(millis)));
        }
        for text in ["", "s", "-1s", "0", "1ms", "NaN", "inf", "5m"] {
            assert!(period(text).is_err(), "{text}");
        }
    }

    /// A screen is 24 lines of 80; the short help of a server with 25 limits has to leave them out.
    #[test]
    fn the_short_help_fits_a_screen_or_two() {
        for (name, lines) in [("signal", 48), ("peer", 60)] {
            let mut root = Cli::command().term_width(100);
            let help = root.find_subcommand_mut(name).unwrap().render_help().to_string();
            assert!(help.lines().count() <= lines, "{} lines:\n{help}", help.lines().count());
        }
    }

    #[test]
    fn every_flag_of_a_server_has_a_variable() {
        let root = Cli::command();
        for arg in root.find_subcommand("signal").unwrap().get_arguments() {
            let name = arg.get_long().unwrap();
            if !matches!(name, "check-config" | "test-echo" | "verbose" | "quiet" | "help") {
                assert_eq!(arg.get_env().unwrap().to_str().unwrap(), config::variable(name));
            }
        }
    }

    #[test]
    fn the_documents_know_every_flag_and_command() {
        let operations = include_str!("../../docs/operations.md");
        let root = Cli::command();
        for arg in root.find_subcommand("signal").unwrap().get_arguments().filter(|arg| !arg.is_hide_set()) {
            let name = arg.get_long().unwrap();
            let short = matches!(name, "verbose" | "quiet");
            assert!(short || operations.contains(&format!("`--{name}")), "--{name} is not in docs/operations.md");
        }
        let peer = include_str!("../../docs/peer.md");
        for entry in &crate::commands::ENTRIES {
            assert!(peer.contains(&format!("`{}`", entry.usage)), "{} is not in docs/peer.md", entry.usage);
        }
        for happening in crate::script::Happening::ALL {
            assert!(peer.contains(&format!("`{}`", happening.name())), "{happening:?} is not in docs/peer.md");
        }
    }
}
