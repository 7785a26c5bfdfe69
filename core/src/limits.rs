//! Every bound in one place.
//!
//! What a remote can make the server keep, wait for or do is bounded by a number here. The defaults suit a public
//! server; all of [`Limits`] can be set by flags, the constants cannot.

use std::time::Duration;

/// The bounds that an operator can set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections from one IPv4 address or one IPv6 /64. Loopback is exempt.
    pub connections_per_address: usize,
    /// From the accepted connection, or the last answer on it, to the end of the next request's head.
    pub head: Duration,
    /// From the upgrade to the first message.
    pub first_message: Duration,
    /// From the first byte of a message to its end.
    pub whole_message: Duration,
    /// Between two pings.
    pub ping: Duration,
    /// Without any byte from the client, it is dead.
    pub dead: Duration,
    /// After our close frame, until the connection is dropped.
    pub close: Duration,
    /// The longest WebSocket message, in bytes. 512 KiB is conic's (`protocols.md` 000.2).
    pub message_bytes: usize,
    /// Messages a second, per connection: above it reading pauses, nothing is lost.
    pub messages_per_second: u32,
    /// Messages at once, per connection, before that rate applies.
    pub message_burst: u32,
    /// Payload bytes waiting for one client, above which reading from those who feed it stops.
    pub outbox_soft_bytes: usize,
    /// Messages waiting for one client, above which reading from those who feed it stops.
    pub outbox_soft_messages: usize,
    /// Payload bytes waiting for one client, above which it is closed as slow.
    pub outbox_hard_bytes: usize,
    /// Messages waiting for one client, above which it is closed as slow.
    pub outbox_hard_messages: usize,
    /// With messages waiting and none taken by the client, after this time it is closed as slow.
    pub stall: Duration,
    /// Sessions in all, those waiting to be resumed included.
    pub clients: usize,
    /// Names that one client may have (conic A and B register several on one socket).
    pub names_per_client: usize,
    /// Rooms in all.
    pub rooms: usize,
    /// Members of one room.
    pub room_members: usize,
    /// Rooms that one client is in.
    pub rooms_per_client: usize,
    /// How long a session that lost its connection waits to be resumed.
    pub grace: Duration,
    /// Events kept per resumable session.
    pub replay_events: usize,
    /// Bytes of events kept per resumable session.
    pub replay_bytes: usize,
    /// How long a shutdown waits for clients to go.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 20_000,
            connections_per_address: 50,
            head: Duration::from_secs(5),
            first_message: Duration::from_secs(5),
            whole_message: Duration::from_secs(30),
            ping: Duration::from_secs(15),
            dead: Duration::from_secs(45),
            close: Duration::from_secs(5),
            message_bytes: 512 * 1024,
            messages_per_second: 100,
            message_burst: 200,
            outbox_soft_bytes: 256 * 1024,
            outbox_soft_messages: 256,
            outbox_hard_bytes: 1024 * 1024,
            outbox_hard_messages: 1024,
            stall: Duration::from_secs(5),
            clients: 20_000,
            names_per_client: 8,
            rooms: 10_000,
            room_members: 64,
            rooms_per_client: 10,
            grace: Duration::from_secs(10),
            replay_events: 256,
            replay_bytes: 256 * 1024,
            drain: Duration::from_secs(10),
        }
    }
}

/// A deadline that is met later than this was missed because the program was stopped or the machine slept: that time
/// counts against nobody.
pub const PAUSE: Duration = Duration::from_secs(2);

/// The longest request head, in bytes; more is answered with 431.
pub const HEAD_BYTES: usize = 8 * 1024;

/// The most header lines of a request; more is answered with 431.
pub const HEAD_LINES: usize = 64;

/// The longest request body, in bytes; more is answered with 413.
pub const BODY_BYTES: usize = 1_000_000;

/// The longest name, room or tag in our own protocol, in characters.
pub const NAME_CHARS: usize = 64;

/// Members of a room that a dialect has for all of its clients, whose every message goes to everybody in it.
pub const PRIVATE_ROOM_MEMBERS: usize = 1000;

/// The longest name that a compatible dialect's client may use, in bytes.
pub const FOREIGN_NAME_BYTES: usize = 256;

/// Members of one JSON object in a compatible dialect's message.
pub const JSON_MEMBERS: usize = 64;

/// How deep objects and lists may be nested in a compatible dialect's message. Whoever it is passed on to may recurse.
pub const JSON_DEPTH: usize = 64;

/// Messages in a row that could not be understood, after which a connection is closed with 1008.
pub const FAULTS_IN_A_ROW: u32 = 20;

/// The longest reason in a close frame (RFC 6455, 5.5: a control frame carries 125 bytes, two are the code).
pub const CLOSE_REASON_BYTES: usize = 123;

/// What a driver holds for one connection that does not read, in bytes. [`Limits::outbox_hard_bytes`] closes slow clients
/// long before; this bound holds whatever a machine does.
pub const DRIVER_WAITING_BYTES: usize = 64 * 1024 * 1024;

/// Signals from one remote peer that wait for its description. A candidate may precede the offer
/// (`protocols.md` 000.2), a flood of them must not.
pub const EARLY_SIGNALS: usize = 200;

/// Candidates that a server keeps for whoever answers one client, in bytes; the oldest give way.
pub const KEPT_CANDIDATE_BYTES: usize = 64 * 1024;

/// The longest candidate, its generation's name included, in bytes. Real ones have about 100.
pub const CANDIDATE_BYTES: usize = 1024;

/// Peer connections of one agent.
pub const PEERS: usize = 64;

/// Data channels of one peer connection that the remote side may open.
pub const CHANNELS: usize = 64;

/// Media sections of one description. Each that was ever used stays in those that follow (RFC 9429, 5.2.2).
pub const MEDIA_SECTIONS: usize = 64;

/// Between two key frames of a track that are sent on request, and between two requests for one.
pub const KEY_FRAME_EVERY: Duration = Duration::from_millis(500);

/// The longest label of a data channel, in bytes.
pub const LABEL_BYTES: usize = 256;

/// The longest data-channel message that we take, in bytes; advertised as `a=max-message-size` (RFC 8841).
pub const CHANNEL_MESSAGE_BYTES: usize = 256 * 1024;

/// Bytes that one peer connection holds at most for sending on data channels, unless told otherwise. How many it takes
/// on a given path follows the round trip, see [`CHANNEL_ROOM_BYTES`].
pub const CHANNEL_BUFFER_BYTES: usize = 1024 * 1024;

/// Bytes that it takes at least. The cost of a packet in sctp-proto 0.10.8 grows with the bytes in flight, so more than
/// the path needs is slower, not faster.
pub const CHANNEL_ROOM_LEAST_BYTES: usize = 32 * 1024;

/// Bytes that it takes before the round trip is known, and at most for [`CHANNEL_SHORT_BYTES_PER_SECOND`].
pub const CHANNEL_ROOM_BYTES: usize = 128 * 1024;

/// Bytes per second that the room for sending is to sustain over a short path, where it costs little: 500 Mbit/s. Less
/// than a loopback carries, or what waits there would itself make the round trip that the room follows.
pub const CHANNEL_SHORT_BYTES_PER_SECOND: u64 = 62_500_000;

/// Bytes per second that it is to sustain over a long path: 100 Mbit/s, and a quarter more.
pub const CHANNEL_LONG_BYTES_PER_SECOND: u64 = 15_625_000;

/// Messages that an agent holds per channel while that buffer is full.
pub const CHANNEL_QUEUE_MESSAGES: usize = 1024;

/// The longest message that an agent takes from its signaling server, in bytes: a list of everybody on a full server.
pub const SIGNALING_MESSAGE_BYTES: usize = 8 * 1024 * 1024;

/// The longest answer that an agent takes to a plain request to its signaling server, in bytes.
pub const SIGNALING_ANSWER_BYTES: usize = 64 * 1024;

/// Signals that an agent holds in all while its signaling connection is down.
pub const HELD_SIGNALS: usize = 1024;

/// Pairs of addresses whose peer an agent remembers. More are looked up anew.
pub const ROUTES: usize = 1024;

/// Relay addresses that an agent allocates at once: each costs its TURN server a port.
pub const RELAYS: usize = 8;

/// Addresses that TURN servers are asked to let through for one peer connection: what its remote can make us ask for by
/// candidates, at the cost of no other connection.
pub const RELAY_PERMISSIONS: usize = 64;

/// Channels that are bound on one relay address. What has none travels with 32 bytes more.
pub const RELAY_CHANNELS: usize = 256;

/// Files that an agent records to at once.
pub const RECORDINGS: usize = 2 * PEERS;

/// Files of one recording from its start to its end: a remote that adds and removes tracks without end fills no folder.
pub const RECORDED_FILES: usize = 1024;

/// Bytes of a recorded file that wait for the disk; beyond that frames are dropped. Half a minute of a good picture.
pub const RECORDING_WAITING_BYTES: usize = 8 * 1024 * 1024;

/// ICE servers that an agent takes from its signaling server.
pub const ICE_SERVERS: usize = 16;

/// Packets in one body that a polling Socket.IO client posts. The messages' rate bounds them as well, but not the
/// work of one request.
pub const PAYLOAD_PACKETS: usize = 256;

/// The longest encoded frame that is taken from a file, in bytes; a key frame of a large noisy picture stays below.
pub const MEDIA_FRAME_BYTES: usize = 4 * 1024 * 1024;

/// What comes before the first sound or picture of a file, in bytes; a WAV file may have a cover there.
pub const MEDIA_HEADER_BYTES: usize = 4 * 1024 * 1024;

/// What a source asks for of its file at once, in bytes.
pub const MEDIA_READ_BYTES: usize = 64 * 1024;

/// Pixels of one picture that is decoded, 4096 x 2304: a header of ten bytes could ask for 268 million.
pub const MEDIA_PIXELS: u64 = 4096 * 2304;

/// The longest pause between two frames of a file. More is a clock that lies: a track would stand still.
pub const MEDIA_PAUSE: Duration = Duration::from_secs(60);

/// Sample rates of sound that is resampled, in Hz.
pub const SAMPLE_RATES: std::ops::RangeInclusive<u32> = 1_000..=768_000;

/// How long received frames wait for those before them.
pub const JITTER_DEPTH: Duration = Duration::from_millis(200);

/// Frames that wait there in all; beyond that the first ones go on.
pub const JITTER_FRAMES: usize = 256;

/// The longest hole in sound that is filled when it is written to a file; a longer one is a break.
pub const SOUND_HOLE: Duration = Duration::from_secs(5);

/// Packets of sound that an agent keeps of each remote track, for the case that somebody asks what it sounds like.
pub const HEARD_PACKETS: usize = 100;

/// The largest picture, encoded, that an agent keeps of each remote track, for the case that somebody asks how it looks.
pub const HEARD_PICTURE_BYTES: usize = 512 * 1024;
