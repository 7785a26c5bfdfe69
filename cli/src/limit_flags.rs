//! The flags for [`Limits`]: one table row a field gives the flag, its environment variable, its key in the
//! configuration file, its help and its default.

use std::time::Duration;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, value_parser};
use enishi_core::limits::Limits;

/// The limits as the command line sets them.
#[derive(Debug, Clone)]
pub struct LimitFlags(pub Limits);

struct LimitFlag {
    name: &'static str,
    help: &'static str,
    field: fn(&mut Limits) -> Field<'_>,
}

enum Field<'a> {
    Size(&'a mut usize),
    Rate(&'a mut u32),
    Time(&'a mut Duration),
}

const fn row(name: &'static str, field: fn(&mut Limits) -> Field<'_>, help: &'static str) -> LimitFlag {
    LimitFlag { name, help, field }
}

const FLAGS: [LimitFlag; 25] = [
    row("max-connections", |l| Field::Size(&mut l.connections), "Connections in all"),
    row(
        "max-connections-per-address",
        |l| Field::Size(&mut l.connections_per_address),
        "Connections from one IPv4 address or one IPv6 /64; loopback is exempt",
    ),
    row("max-clients", |l| Field::Size(&mut l.clients), "Sessions in all, those waiting to be resumed included"),
    row("max-names-per-client", |l| Field::Size(&mut l.names_per_client), "Ids that one connection may register"),
    row("max-rooms", |l| Field::Size(&mut l.rooms), "Rooms in all"),
    row("max-room-members", |l| Field::Size(&mut l.room_members), "Members of one room"),
    row("max-rooms-per-client", |l| Field::Size(&mut l.rooms_per_client), "Rooms that one client is in"),
    row("max-message-bytes", |l| Field::Size(&mut l.message_bytes), "The longest WebSocket message"),
    row(
        "max-messages-per-second",
        |l| Field::Rate(&mut l.messages_per_second),
        "Messages a second per connection; above it reading pauses, nothing is lost",
    ),
    row(
        "max-message-burst",
        |l| Field::Rate(&mut l.message_burst),
        "Messages at once per connection before that rate applies",
    ),
    row(
        "outbox-soft-bytes",
        |l| Field::Size(&mut l.outbox_soft_bytes),
        "Bytes waiting for one client above which those who feed it are slowed down",
    ),
    row("outbox-soft-messages", |l| Field::Size(&mut l.outbox_soft_messages), "The same in messages"),
    row(
        "outbox-hard-bytes",
        |l| Field::Size(&mut l.outbox_hard_bytes),
        "Bytes waiting for one client above which it is closed as slow",
    ),
    row("outbox-hard-messages", |l| Field::Size(&mut l.outbox_hard_messages), "The same in messages"),
    row("max-replay-events", |l| Field::Size(&mut l.replay_events), "Events kept for a session that may be resumed"),
    row("max-replay-bytes", |l| Field::Size(&mut l.replay_bytes), "The same in bytes"),
    row("head-seconds", |l| Field::Time(&mut l.head), "From the connection to the end of the request's head"),
    row("first-message-seconds", |l| Field::Time(&mut l.first_message), "From the upgrade to the first message"),
    row("whole-message-seconds", |l| Field::Time(&mut l.whole_message), "From a message's first byte to its last"),
    row("ping-seconds", |l| Field::Time(&mut l.ping), "Between two pings"),
    row("dead-seconds", |l| Field::Time(&mut l.dead), "Without any byte, a client is dead"),
    row(
        "stall-seconds",
        |l| Field::Time(&mut l.stall),
        "A client that takes none of the messages waiting for it is closed as slow",
    ),
    row("close-seconds", |l| Field::Time(&mut l.close), "From our close frame until the connection is dropped"),
    row("grace-seconds", |l| Field::Time(&mut l.grace), "A lost session waits this long to be resumed"),
    row("drain-seconds", |l| Field::Time(&mut l.drain), "A shutdown waits this long for clients to go"),
];

impl LimitFlags {
    /// Limits that contradict each other, as a sentence.
    pub fn contradiction(&self) -> Option<String> {
        let limits = &self.0;
        for (small, large, names) in [
            (limits.outbox_soft_bytes, limits.outbox_hard_bytes, ["outbox-soft-bytes", "outbox-hard-bytes"]),
            (
                limits.outbox_soft_messages,
                limits.outbox_hard_messages,
                ["outbox-soft-messages", "outbox-hard-messages"],
            ),
            (limits.message_bytes, limits.outbox_hard_bytes, ["max-message-bytes", "outbox-hard-bytes"]),
        ] {
            if small > large {
                let [a, b] = names;
                return Some(format!("--{a} ({small}) is above --{b} ({large}): lower the first or raise the second"));
            }
        }
        let (ping, dead) = (limits.ping.as_secs_f64(), limits.dead.as_secs_f64());
        (ping >= dead).then(|| {
            format!("--ping-seconds ({ping}) is not below --dead-seconds ({dead}): every quiet client would be closed")
        })
    }
}

impl Args for LimitFlags {
    fn augment_args(command: Command) -> Command {
        let mut defaults = Limits::default();
        FLAGS.iter().fold(command.next_help_heading("Limits (shown by --help)"), |command, flag| {
            let arg = Arg::new(flag.name)
                .long(flag.name)
                .env(crate::config::variable(flag.name))
                .help(flag.help)
                .hide_short_help(true)
                .value_name(unit(flag.name));
            command.arg(match (flag.field)(&mut defaults) {
                Field::Size(size) => {
                    arg.value_parser(value_parser!(u64).range(1..=1 << 40)).default_value(size.to_string())
                }
                Field::Rate(rate) => {
                    arg.value_parser(value_parser!(u64).range(1..=u64::from(u32::MAX))).default_value(rate.to_string())
                }
                Field::Time(time) => arg.value_parser(seconds).default_value(time.as_secs_f64().to_string()),
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for LimitFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut limits = LimitFlags(Limits::default());
        limits.update_from_arg_matches(matches)?;
        Ok(limits)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for flag in &FLAGS {
            let number = || matches.get_one::<u64>(flag.name).copied();
            match (flag.field)(&mut self.0) {
                Field::Size(size) => {
                    *size = number().and_then(|n| usize::try_from(n).ok()).unwrap_or(*size);
                }
                Field::Rate(rate) => {
                    *rate = number().and_then(|n| u32::try_from(n).ok()).unwrap_or(*rate);
                }
                Field::Time(time) => *time = matches.get_one(flag.name).copied().unwrap_or(*time),
            }
        }
        Ok(())
    }
}

/// Parses a time in seconds, at most a day, with fractions.
pub fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .filter(|seconds| (0.001..=86_400.0).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "seconds from 0.001 to 86400, such as 5 or 0.5".to_owned())
}

fn unit(flag: &str) -> &'static str {
    match flag.rsplit('-').next() {
        Some("seconds") => "SECONDS",
        Some("bytes") => "BYTES",
        _ => "COUNT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> LimitFlags {
        let command = LimitFlags::augment_args(Command::new("test").no_binary_name(true));
        LimitFlags::from_arg_matches(&command.try_get_matches_from(arguments).unwrap()).unwrap()
    }

    #[test]
    fn nothing_given_leaves_the_defaults() {
        assert_eq!(parse(&[]).0, Limits::default());
        assert_eq!(parse(&[]).contradiction(), None);
    }

    /// Prints the limits field by field: a field that no flag reaches keeps its default and is found here.
    #[test]
    fn every_limit_has_a_flag() {
        let given: Vec<String> =
            FLAGS.iter().enumerate().map(|(i, flag)| format!("--{}={}", flag.name, 7001 + i)).collect();
        let set = format!("{:?}", parse(&given.iter().map(String::as_str).collect::<Vec<_>>()).0);
        for number in 7001..7001 + FLAGS.len() {
            assert!(set.contains(&number.to_string()), "{number} is missing in {set}");
        }
        assert_eq!(set.matches(": ").count(), FLAGS.len(), "a field has no flag: {set}");
    }

    #[test]
    fn limits_that_contradict_each_other_are_named() {
        for arguments in [
            ["--outbox-soft-bytes=2", "--outbox-hard-bytes=1"],
            ["--max-message-bytes=600000", "--outbox-hard-bytes=500000"],
            ["--ping-seconds=45", "--dead-seconds=45"],
        ] {
            assert!(parse(&arguments).contradiction().is_some(), "{arguments:?}");
        }
    }

    #[test]
    fn a_time_may_have_a_fraction_but_must_be_one() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["", "-1", "0", "NaN", "inf", "1e9", "5s"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
