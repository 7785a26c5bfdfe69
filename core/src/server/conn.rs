//! What the server keeps of one connection.

use std::net::SocketAddr;
use std::time::Instant;

use super::due::Due;
use crate::dialect::Codec;
use crate::hub::ClientId;
use crate::hub::bucket::Bucket;
use crate::hub::outbox::Outbox;
use crate::machine::{ConnId, ListenerId};

/// One TCP connection, or one session of Socket.IO.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) listener: ListenerId,
    pub(super) remote: SocketAddr,
    pub(super) stage: Stage,
    /// Whether it counts among the connections of its address.
    pub(super) counted: bool,
    pub(super) due: Due,
}

/// How far a connection is.
#[derive(Debug)]
pub(super) enum Stage {
    /// It makes HTTP requests.
    Request,
    /// It is a WebSocket. Boxed: many connections never get here.
    Socket(Box<Socket>),
    /// It makes an HTTP request that a session of Socket.IO will answer.
    Waiting(ConnId),
    /// It is a WebSocket that carries a session of Socket.IO, or may soon.
    Carrier(ConnId),
    /// It was told to close.
    Closing,
}

/// An open WebSocket.
#[derive(Debug)]
pub(super) struct Socket {
    /// Known from the path, the subprotocol or the first message.
    pub(super) codec: Option<Codec>,
    /// From the first message on.
    pub(super) client: Option<ClientId>,
    pub(super) bucket: Bucket,
    pub(super) outbox: Outbox,
    pub(super) last_heard: Instant,
    /// When the client last read something, or had nothing to read.
    pub(super) last_progress: Instant,
    pub(super) stall_set: bool,
    /// A message has begun and not ended.
    pub(super) in_message: bool,
    /// Messages in a row that were not understood.
    pub(super) faults: u32,
    /// It sends faster than it may.
    pub(super) paced: bool,
    /// How many slow readers it has to wait for.
    pub(super) holds: usize,
    /// Whether the driver reads from it: neither paced nor held.
    pub(super) reading: bool,
    pub(super) echo: bool,
}

impl Conn {
    pub(super) fn new(listener: ListenerId, remote: SocketAddr) -> Self {
        Conn { listener, remote, stage: Stage::Request, counted: true, due: Due::default() }
    }

    pub(super) fn socket(&self) -> Option<&Socket> {
        if let Stage::Socket(socket) = &self.stage { Some(socket) } else { None }
    }

    pub(super) fn socket_mut(&mut self) -> Option<&mut Socket> {
        if let Stage::Socket(socket) = &mut self.stage { Some(socket) } else { None }
    }
}

impl Socket {
    pub(super) fn new(now: Instant, codec: Option<Codec>, bucket: Bucket, echo: bool) -> Self {
        Socket {
            codec,
            client: None,
            bucket,
            outbox: Outbox::default(),
            last_heard: now,
            last_progress: now,
            stall_set: false,
            in_message: false,
            faults: 0,
            paced: false,
            holds: 0,
            reading: true,
            echo,
        }
    }
}
