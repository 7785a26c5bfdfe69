//! Where a setting comes from: flag, `ENISHI_*` environment, configuration file, default, in this order.
//!
//! clap knows the first two. The values of the configuration file are given to clap as defaults, and the arguments
//! are parsed once more: so a value in the file is checked exactly as one on the command line, and comes last.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, FromArgMatches};
use toml::de::{DeTable, DeValue};

use crate::args::Cli;
use crate::failure::Failure;

/// A key of the file for none of which there is a meaning.
const NOT_IN_FILE: [&str; 7] = ["config", "check-config", "test-echo", "verbose", "quiet", "help", "version"];

/// A configuration file is read into memory; more than this is something else.
const FILE_BYTES: u64 = 1 << 20;

/// One setting in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The name of its flag.
    pub name: String,
    /// Its value or values.
    pub values: Vec<String>,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Flag,
    Environment,
    File(String),
    Default,
}

/// One key of the configuration file.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    key: String,
    values: Vec<String>,
    line: usize,
}

/// Parses the arguments, with the configuration file if they name one.
///
/// # Errors
/// clap's; or the file cannot be read or has something that is no setting.
pub fn parse(command: Command, arguments: Vec<OsString>) -> Result<(Cli, Vec<Setting>), Failure> {
    let matches = command.clone().try_get_matches_from(&arguments)?;
    let Some(("signal", signal)) = matches.subcommand() else {
        return Ok((Cli::from_arg_matches(&matches)?, Vec::new()));
    };
    let Some(path) = signal.get_one::<std::path::PathBuf>("config").cloned() else {
        let settings = settings(&command, signal, &[], Path::new(""));
        return Ok((Cli::from_arg_matches(&matches)?, settings));
    };
    let shown = path.display();
    let text =
        read(&path).map_err(|why| Failure::Usage(format!("cannot read the configuration file {shown}: {why}")))?;
    let entries = entries(&command, &text).map_err(|why| Failure::Usage(format!("{shown}: {why}")))?;
    let with_file = command.clone().mut_subcommand("signal", |signal| {
        entries.iter().fold(signal, |signal, entry| {
            signal.mut_arg(id(&entry.key), |arg| arg.default_values(entry.values.clone()))
        })
    });
    let matches = with_file.try_get_matches_from(&arguments).map_err(|error| blame(error, &entries, &path))?;
    let settings =
        matches.subcommand_matches("signal").map_or_else(Vec::new, |s| settings(&command, s, &entries, &path));
    Ok((Cli::from_arg_matches(&matches)?, settings))
}

/// The environment variable of a flag.
pub fn variable(flag: &str) -> String {
    format!("ENISHI_{}", flag.replace('-', "_").to_uppercase())
}

/// The configuration in force, as `--check-config` prints it.
pub fn report(settings: &[Setting]) -> String {
    let width = settings.iter().map(|setting| setting.name.len()).max().unwrap_or(0);
    settings.iter().fold(String::new(), |mut report, setting| {
        let values = if setting.values.is_empty() { "(none)".to_owned() } else { setting.values.join(", ") };
        let origin = match &setting.origin {
            Origin::Flag => "flag".to_owned(),
            Origin::Environment => format!("environment, {}", variable(&setting.name)),
            Origin::File(place) => format!("file, {place}"),
            Origin::Default => "default".to_owned(),
        };
        let _ = writeln!(report, "{:width$} = {}  ({origin})", setting.name, values.escape_debug());
        report
    })
}

/// Reads the token from a file, or from `ENISHI_TOKEN` if there is none. Never from the arguments, which everybody
/// on the machine can see. The second value is a warning.
///
/// # Errors
/// The file cannot be read, or there is no usable token in it.
pub fn token(file: Option<&Path>) -> Result<(Option<String>, Option<String>), Failure> {
    let Some(path) = file else {
        return match std::env::var("ENISHI_TOKEN") {
            Ok(token) => checked(&token, "ENISHI_TOKEN").map(|token| (Some(token), None)),
            Err(std::env::VarError::NotPresent) => Ok((None, None)),
            Err(_) => Err(Failure::Usage("ENISHI_TOKEN is not UTF-8".into())),
        };
    };
    let shown = path.display();
    let text = read(path).map_err(|why| Failure::Usage(format!("cannot read the token file {shown}: {why}")))?;
    let token = checked(&text, &shown.to_string())?;
    Ok((Some(token), readable_by_others(path).then(|| format!("others can read {shown}; try: chmod 600 {shown}"))))
}

/// Checks an origin as browsers send it (RFC 6454, section 7), or `*`.
pub fn origin(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let fine = |host: &str| !host.is_empty() && !host.contains(|c: char| "/?#@ ".contains(c) || c.is_control());
    if text == "*" || host.is_some_and(fine) {
        Ok(text.to_lowercase())
    } else {
        Err("an origin is a scheme, a host and perhaps a port, such as https://app.example, or '*'".into())
    }
}

/// Checks an ICE server, and makes a JSON object of the form of `RTCIceServer` of it.
pub fn ice_server(text: &str) -> Result<String, String> {
    const HINT: &str = "an ICE server is a URL such as stun:host:3478, or a JSON object such as \
                        {\"urls\":\"turn:host:3478\",\"username\":\"u\",\"credential\":\"c\"}";
    let is_ice = |url: &str| {
        let rest = ["stun:", "stuns:", "turn:", "turns:"].iter().find_map(|scheme| url.strip_prefix(scheme));
        rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace))
    };
    if is_ice(text) {
        return Ok(serde_json::json!({ "urls": text }).to_string());
    }
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).map_err(|_| HINT.to_owned())?;
    let fine = match object.get("urls") {
        Some(serde_json::Value::String(url)) => is_ice(url),
        Some(serde_json::Value::Array(urls)) => {
            !urls.is_empty() && urls.iter().all(|url| url.as_str().is_some_and(is_ice))
        }
        _ => false,
    };
    if fine { Ok(serde_json::Value::Object(object).to_string()) } else { Err(HINT.to_owned()) }
}

fn checked(text: &str, place: &str) -> Result<String, Failure> {
    let token = text.trim();
    if token.is_empty() || token.len() > 1024 || token.contains(char::is_control) {
        return Err(Failure::Usage(format!("{place} holds no token: it should be one line of 1 to 1024 characters")));
    }
    Ok(token.to_owned())
}

/// Reads a small text file.
///
/// # Errors
/// A clause for a person.
pub fn read(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(format!("it is longer than {FILE_BYTES} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
}

#[cfg(unix)]
fn readable_by_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn readable_by_others(_path: &Path) -> bool {
    false
}

fn entries(command: &Command, text: &str) -> Result<Vec<Entry>, String> {
    let line_at = |offset: usize| text.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 1;
    let table = DeTable::parse(text)
        .map_err(|error| format!("line {}: {}", error.span().map_or(1, |span| line_at(span.start)), error.message()))?;
    let known: Vec<&str> = command
        .find_subcommand("signal")
        .into_iter()
        .flat_map(Command::get_arguments)
        .filter_map(clap::Arg::get_long)
        .filter(|name| !NOT_IN_FILE.contains(name))
        .collect();
    let mut entries = Vec::new();
    for (key, value) in table.get_ref() {
        let line = line_at(key.span().start);
        let name = key.get_ref().as_ref();
        if !known.contains(&name) {
            let tip = crate::commands::nearest(name, &known).map_or_else(
                || "; the keys are the flags of `enishi signal --help`".to_owned(),
                |tip| format!("; did you mean '{tip}'?"),
            );
            return Err(format!("line {line}: there is no setting '{}'{tip}", name.escape_debug()));
        }
        let values = match value.get_ref() {
            DeValue::Array(values) => values.iter().map(|value| plain(value.get_ref())).collect(),
            value => plain(value).map(|value| vec![value]),
        };
        let values = values.ok_or_else(|| {
            format!("line {line}: '{name}' is a text, a number, or a list of those, as the flag --{name} would take")
        })?;
        if !values.is_empty() {
            entries.push(Entry { key: name.to_owned(), values, line });
        }
    }
    Ok(entries)
}

fn plain(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().replace('_', "")),
        DeValue::Float(number) => Some(number.as_str().replace('_', "")),
        _ => None,
    }
}

/// clap's id of a flag: derived ones have underscores.
fn id(flag: &str) -> String {
    let derived = [
        "allow-origin",
        "ice-server",
        "token-file",
        "log-format",
        "record-secrets",
        "turn-secret-file",
        "turn-uri",
        "turn-ttl",
    ];
    if derived.contains(&flag) { flag.replace('-', "_") } else { flag.to_owned() }
}

/// An error about a value from the file names the file and the line.
fn blame(error: clap::Error, entries: &[Entry], path: &Path) -> Failure {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let (arg, value) = (context(ContextKind::InvalidArg), context(ContextKind::InvalidValue));
    let flag = arg.trim_start_matches("--").split(' ').next().unwrap_or_default();
    let entry = entries.iter().find(|entry| entry.key == flag && entry.values.contains(&value));
    let Some(entry) = entry.filter(|_| matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue))
    else {
        return error.into();
    };
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    let what = first.trim_start_matches("error: ");
    let options = text.lines().find_map(|line| line.trim().strip_prefix("[possible values: "));
    let options = options.map_or_else(String::new, |options| format!(" (one of {})", options.trim_end_matches(']')));
    Failure::Usage(format!("{}: line {}: {what}{options}", path.display(), entry.line))
}

fn settings(command: &Command, matches: &ArgMatches, entries: &[Entry], path: &Path) -> Vec<Setting> {
    let arguments = command.find_subcommand("signal").into_iter().flat_map(Command::get_arguments);
    arguments
        .filter_map(|arg| arg.get_long().map(|name| (arg.get_id().as_str(), name)))
        .filter(|(_, name)| !NOT_IN_FILE.contains(name))
        .map(|(id, name)| {
            let values = matches.get_raw(id).into_iter().flatten();
            let origin = match matches.value_source(id) {
                Some(ValueSource::CommandLine) => Origin::Flag,
                Some(ValueSource::EnvVariable) => Origin::Environment,
                _ => entries
                    .iter()
                    .find(|entry| entry.key == name)
                    .map_or(Origin::Default, |entry| Origin::File(format!("{}:{}", path.display(), entry.line))),
            };
            let values = values.map(|value| hide_secret(name, &value.to_string_lossy())).collect();
            Setting { name: name.to_owned(), values, origin }
        })
        .collect()
}

/// TURN credentials are settings, but no reading matter.
fn hide_secret(name: &str, value: &str) -> String {
    let object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(value);
    match object {
        Ok(mut object) if name == "ice-server" => {
            if let Some(credential) = object.get_mut("credential") {
                *credential = "(hidden)".into();
            }
            serde_json::Value::Object(object).to_string()
        }
        _ => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn file(text: &str) -> Result<Vec<Entry>, String> {
        entries(&Cli::command(), text)
    }

    #[test]
    fn every_key_finds_its_flag() {
        let command = Cli::command();
        let signal = command.find_subcommand("signal").unwrap();
        for arg in signal.get_arguments() {
            let name = arg.get_long().unwrap();
            if !NOT_IN_FILE.contains(&name) {
                assert_eq!(id(name), arg.get_id().as_str());
            }
        }
    }

    #[test]
    fn a_file_is_read_as_flags() {
        let entries =
            file("listen = [\"127.0.0.1:1\", \"[::1]:1\"]\nmax-clients = 1_000\nping-seconds = 0.5\n").unwrap();
        let found: Vec<(&str, String, usize)> =
            entries.iter().map(|e| (e.key.as_str(), e.values.join("|"), e.line)).collect();
        assert!(found.contains(&("listen", "127.0.0.1:1|[::1]:1".into(), 1)), "{found:?}");
        assert!(found.contains(&("max-clients", "1000".into(), 2)), "{found:?}");
        assert!(found.contains(&("ping-seconds", "0.5".into(), 3)), "{found:?}");
    }

    #[test]
    fn what_is_no_setting_is_named_with_its_line() {
        for (text, wanted) in [
            ("\nmax-client = 3", "line 2: there is no setting 'max-client'; did you mean 'max-clients'?"),
            ("zzz = 3", "line 1: there is no setting 'zzz'; the keys are the flags"),
            ("config = 'x'", "line 1: there is no setting 'config'"),
            ("[signal]\nlisten = 1", "line 1: there is no setting 'signal'"),
            ("# x\nlisten = { a = 1 }", "line 2: 'listen' is a text"),
            ("listen = 'a'\nlisten = 'b'", "line 2: duplicate key"),
            ("listen = ", "line 1: "),
        ] {
            let error = file(text).unwrap_err();
            assert!(error.starts_with(wanted), "{text:?}: {error}");
        }
    }

    #[test]
    fn flags_come_before_the_file_and_the_file_before_defaults() {
        let directory = std::env::temp_dir().join(format!("enishi-config-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("enishi.toml");
        std::fs::write(&path, "max-clients = 7\nmax-rooms = 8\nruntime = 'smol'\n").unwrap();
        let typed = |more: &[&str]| {
            let mut arguments: Vec<OsString> = ["enishi", "signal", "--config"].map(OsString::from).to_vec();
            arguments.push(path.clone().into());
            arguments.extend(more.iter().map(OsString::from));
            parse(Cli::command(), arguments)
        };
        let (cli, settings) = typed(&["--max-rooms", "9"]).unwrap();
        let crate::args::Command::Signal(args) = cli.command else { panic!("not signal") };
        assert_eq!((args.limits.0.clients, args.limits.0.rooms), (7, 9));
        assert_eq!(args.runtime, crate::runtime::Runtime::Smol);
        let report = report(&settings);
        for line in ["max-rooms = 9  (flag)", "enishi.toml:1)", "ping-seconds = 15  (default)"] {
            let squeezed = report.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
            assert!(squeezed.contains(&line.replace("  ", " ")), "{line} in\n{report}");
        }

        std::fs::write(&path, "\nmax-rooms = 0\n").unwrap();
        let Err(Failure::Usage(why)) = typed(&[]) else { panic!("0 rooms accepted") };
        assert!(why.contains("enishi.toml: line 2: invalid value '0' for '--max-rooms"), "{why}");
        std::fs::write(&path, "runtime = 'tokio'\n").unwrap();
        let Err(Failure::Usage(why)) = typed(&[]) else { panic!("tokio accepted") };
        assert!(why.contains("one of mio, smol"), "{why}");
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn ice_servers_are_urls_or_objects() {
        assert_eq!(ice_server("stun:a:3478").unwrap(), r#"{"urls":"stun:a:3478"}"#);
        let turn = r#"{"credential":"c","urls":["turn:a"],"username":"u"}"#;
        assert_eq!(ice_server(turn).unwrap(), turn);
        assert!(!hide_secret("ice-server", turn).contains(r#""c""#));
        for bad in ["", "stun:", "http://a", "{}", r#"{"urls":[]}"#, r#"{"urls":"http://a"}"#, "[1]"] {
            assert!(ice_server(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn origins_have_no_path() {
        assert_eq!(origin("https://App.example:8443").unwrap(), "https://app.example:8443");
        assert!(origin("*").is_ok());
        for bad in ["app.example", "https://", "https://a/b", "https://a b", "null"] {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }
}
