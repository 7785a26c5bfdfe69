//! What happened, as data: drivers and the command line make log lines of it, tests compare it.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;

use crate::escape::Escaped;
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
        why: Cow<'static, str>,
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
