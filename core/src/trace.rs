//! What happened, as data: drivers and the command line make log lines of it, tests compare it.

use std::fmt;
use std::net::SocketAddr;

use crate::machine::{ConnId, ListenerId};
use crate::signal::{Kind, Name, Refusal};

/// Something worth a line in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trace {
    /// A connection was accepted.
    Accepted {
        /// The connection.
        conn: ConnId,
        /// Where.
        listener: ListenerId,
        /// Who.
        remote: SocketAddr,
    },
    /// An HTTP request was answered.
    Answered {
        /// The connection.
        conn: ConnId,
        /// Such as `GET`.
        method: String,
        /// The path without the query, which may hold a secret.
        path: String,
        /// The status code.
        status: u16,
    },
    /// A connection speaks WebSocket now.
    Upgraded {
        /// The connection.
        conn: ConnId,
    },
    /// A client has a name.
    Registered {
        /// The connection.
        conn: ConnId,
        /// The name.
        name: Name,
        /// The dialect.
        dialect: &'static str,
        /// How many clients there are now.
        clients: usize,
    },
    /// A name is free again.
    Unregistered {
        /// The name.
        name: Name,
        /// How many clients are left.
        clients: usize,
    },
    /// A signal was passed on.
    Routed {
        /// From whom.
        from: Name,
        /// To whom.
        to: Name,
        /// What.
        kind: Kind,
        /// How long, in bytes.
        bytes: usize,
    },
    /// Something was refused.
    Refused {
        /// The connection.
        conn: ConnId,
        /// Why.
        refusal: Refusal,
    },
    /// A connection ended.
    Closed {
        /// The connection.
        conn: ConnId,
        /// A clause for a person.
        why: String,
    },
}

impl Trace {
    /// Whether a person who runs the server wants to see it without asking for details.
    pub fn is_notable(&self) -> bool {
        matches!(self, Trace::Registered { .. } | Trace::Unregistered { .. } | Trace::Refused { .. })
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trace::Accepted { conn, remote, listener } => write!(f, "{conn} accepted from {remote} on {listener}"),
            Trace::Answered { conn, method, path, status } => {
                write!(f, "{conn} {} {} answered with {status}", Escaped(method), Escaped(path))
            }
            Trace::Upgraded { conn } => write!(f, "{conn} speaks WebSocket"),
            Trace::Registered { conn, name, dialect, clients } => {
                write!(f, "{conn} registered as {name} ({dialect}), {clients} clients")
            }
            Trace::Unregistered { name, clients } => write!(f, "{name} unregistered, {clients} clients"),
            Trace::Routed { from, to, kind, bytes } => write!(f, "{from} to {to}: {kind:?}, {bytes} bytes"),
            Trace::Refused { conn, refusal } => write!(f, "{conn} refused ({}): {refusal}", refusal.code()),
            Trace::Closed { conn, why } => write!(f, "{conn} closed: {}", Escaped(why)),
        }
    }
}

/// Text from a remote, shown so that it can do nothing to a terminal or a log.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(self.0, f)
    }
}

/// Writes text with everything escaped that is not a plain visible character or a space: control characters (ANSI
/// sequences begin with one), line and paragraph separators, bidirectional overrides, invisible and private ones.
pub fn escape(text: &str, out: &mut impl fmt::Write) -> fmt::Result {
    for c in text.chars() {
        match c {
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            '\\' => out.write_str("\\\\")?,
            c if is_plain(c) => out.write_char(c)?,
            c => write!(out, "\\u{{{:x}}}", u32::from(c))?,
        }
    }
    Ok(())
}

fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e000}'..='\u{f8ff}'
            | '\u{e0000}'..='\u{e0fff}' | '\u{f0000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_text_cannot_reach_the_terminal() {
        for (text, shown) in [
            ("héllo 世界 🎉", "héllo 世界 🎉"),
            ("x\n2026 INFO admin\x1b[2J", "x\\n2026 INFO admin\\u{1b}[2J"),
            ("\u{202e}gpj.exe", "\\u{202e}gpj.exe"),
            ("a\u{2028}b\u{0}\u{9b}31m", "a\\u{2028}b\\u{0}\\u{9b}31m"),
            ("back\\slash", "back\\\\slash"),
        ] {
            assert_eq!(Escaped(text).to_string(), shown);
        }
    }
}
