//! Statistics as plain data: one value, copied out whole, never several counters read one after the other.

use std::collections::BTreeMap;
use std::time::Duration;

/// What the hub counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HubStats {
    /// Clients with a connection.
    pub clients: u64,
    /// Sessions that wait to be resumed.
    pub waiting: u64,
    /// Names in use.
    pub names: u64,
    /// Rooms that exist.
    pub rooms: u64,
    /// Commands taken.
    pub messages_in: u64,
    /// Events told.
    pub messages_out: u64,
    /// Names ever registered.
    pub registrations: u64,
    /// Sessions ever resumed.
    pub resumptions: u64,
    /// Refusals by code.
    pub refusals: BTreeMap<&'static str, u64>,
}

/// What the server counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerStats {
    /// Since the start.
    pub uptime: Duration,
    /// Connections now.
    pub connections: u64,
    /// Connections ever accepted.
    pub accepted: u64,
    /// Connections ever closed.
    pub closed: u64,
    /// Connections ever turned away for want of room.
    pub turned_away: u64,
    /// HTTP requests by status code.
    pub answers: BTreeMap<u16, u64>,
    /// WebSocket messages received.
    pub frames_in: u64,
    /// WebSocket messages sent.
    pub frames_out: u64,
    /// Payload bytes received.
    pub bytes_in: u64,
    /// Payload bytes sent.
    pub bytes_out: u64,
    /// Payload bytes that wait to be read by clients.
    pub queued_bytes: u64,
    /// Messages that wait to be read by clients.
    pub queued_messages: u64,
    /// The most payload bytes that wait for one client.
    pub deepest_queue_bytes: u64,
    /// Clients closed because they did not read.
    pub slow: u64,
    /// Clients closed because nothing was heard of them.
    pub dead: u64,
    /// What the hub counts.
    pub hub: HubStats,
}
