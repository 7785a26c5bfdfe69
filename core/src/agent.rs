//! A command-line peer: a signaling client, its peer connections and their channels, one [`Machine`].
//!
//! Skeleton: signatures that the rest compiles against.

mod stun;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::dialect::Dialect;
use crate::machine::{Deadline, Input, Machine, Output};
use crate::peer::{ChannelSpec, PeerFault, PeerState, PeerStats};
use crate::signal::{Name, Payload, Refusal, RoomName};

/// What the agent does by itself once it is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Offers to the target.
    Offer,
    /// Waits for offers.
    Answer,
}

/// How an agent is set up.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// The signaling server, `ws://host:port/path`.
    pub signal_url: String,
    /// The dialect to speak with it.
    pub dialect: Dialect,
    /// The wanted id; the server or the agent invents one otherwise.
    pub id: Option<Name>,
    /// The token for [`Dialect::Enishi`]'s hello, if the server wants one.
    pub token: Option<String>,
    /// What to do once registered.
    pub role: Role,
    /// Whom to offer to.
    pub target: Option<Name>,
    /// The channel that an offer opens.
    pub channel: ChannelSpec,
    /// Addresses of the UDP sockets that the driver has bound: the host candidates.
    pub hosts: Vec<SocketAddr>,
    /// STUN servers to ask for server-reflexive candidates.
    pub stun: Vec<SocketAddr>,
    /// As [`crate::peer::PeerConfig::channel_buffer_bytes`].
    pub channel_buffer_bytes: usize,
}

/// What the embedding program asks of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentCommand {
    /// Connect to somebody: open a peer connection with the configured channel and offer.
    Offer(Name),
    /// Open a further data channel to one peer, or to all connected ones.
    Channel {
        /// To whom; `None`: to all.
        to: Option<Name>,
        /// What to open.
        spec: ChannelSpec,
    },
    /// Send on the channel of this label to one peer, or to everybody who has one.
    Send {
        /// To whom; `None`: to all who have the channel.
        to: Option<Name>,
        /// The label; `None`: each peer's first channel.
        label: Option<String>,
        /// The message.
        payload: Payload,
    },
    /// Send through the signaling server.
    Relay {
        /// To whom.
        to: Name,
        /// The label.
        label: String,
        /// The message.
        payload: Payload,
    },
    /// Enter a room.
    Join(RoomName),
    /// Leave a room.
    Leave(RoomName),
    /// Whom does the server know? Answered by [`AgentNotice::Listed`].
    Who,
    /// Which peers and channels are there? Answered by [`AgentNotice::Peers`].
    Peers,
    /// Restart ICE with a peer.
    Restart(Name),
    /// Close the connection with a peer.
    Close(Name),
    /// Close everything, then [`AgentNotice::Ended`].
    Quit,
}

/// What the embedding program is told.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentNotice {
    /// Registered with the signaling server under this id, for the first time or again.
    Registered {
        /// The id.
        id: Name,
        /// Whether an earlier session was resumed.
        resumed: bool,
    },
    /// The signaling connection is lost or could not be made; live peers stay.
    SignalingLost {
        /// A clause for a person.
        why: String,
        /// When it is tried again; `None`: it is not.
        retry: Option<Duration>,
        /// Whether it ever worked.
        was_up: bool,
    },
    /// The target is not there; the offer is tried again when it may be.
    Waiting {
        /// For whom.
        target: Name,
    },
    /// The server refused something.
    Refused {
        /// Why.
        refusal: Refusal,
        /// Whom it was about.
        to: Option<Name>,
    },
    /// A command could not be carried out; a sentence for a person.
    CommandFailed(String),
    /// A peer connection changed state.
    Peer {
        /// Which.
        id: Name,
        /// The new state.
        state: PeerState,
    },
    /// A peer connection failed.
    PeerFailed {
        /// Which.
        id: Name,
        /// Why.
        fault: PeerFault,
    },
    /// A data channel is open.
    ChannelOpened {
        /// With whom.
        id: Name,
        /// What it promises.
        spec: ChannelSpec,
    },
    /// A data channel is closed.
    ChannelClosed {
        /// With whom.
        id: Name,
        /// Its label.
        label: String,
    },
    /// A message arrived on a data channel.
    Message {
        /// From whom.
        id: Name,
        /// On which channel.
        label: String,
        /// The message.
        payload: Payload,
    },
    /// A message of ours was accepted for sending on a data channel.
    Sent {
        /// To whom.
        id: Name,
        /// On which channel.
        label: String,
        /// Its length in bytes.
        bytes: usize,
    },
    /// A message arrived through the signaling server.
    Relayed {
        /// From whom.
        from: Name,
        /// The label.
        label: String,
        /// The message.
        payload: Payload,
    },
    /// Who is in a room, after joining it.
    Roster {
        /// The room.
        room: RoomName,
        /// Everybody else.
        members: Vec<Name>,
    },
    /// Somebody entered or left a room.
    Presence {
        /// The room.
        room: RoomName,
        /// Who.
        id: Name,
        /// Whether they are there now.
        here: bool,
    },
    /// Whom the server knows.
    Listed(Vec<Name>),
    /// The peers and their counters.
    Peers(Vec<(Name, PeerState, PeerStats)>),
    /// Something for who asks for details.
    Detail(String),
    /// Everything is closed: the program can end.
    Ended,
}

/// A command-line peer.
#[derive(Debug)]
pub struct Agent {
    outputs: VecDeque<Output<AgentNotice>>,
}

impl Agent {
    /// An agent that starts at `now`, when Unix time is `unix`. `seed` comes from the operating system.
    /// It dials with its first input, which may be a [`Input::Timeout`].
    pub fn new(_now: Instant, _unix: Duration, _seed: [u8; 32], _config: AgentConfig) -> Self {
        Agent { outputs: VecDeque::new() }
    }
}

impl Machine for Agent {
    type Command = AgentCommand;
    type Notice = AgentNotice;

    fn handle_input(&mut self, _now: Instant, _input: Input<'_, AgentCommand>) {}

    fn poll_output(&mut self) -> Option<Output<AgentNotice>> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        None
    }
}
