//! One WebSocket client: bytes in, messages out, until it is registered and its caller takes over.

use std::io::{self, Read, Write};
use std::time::Duration;

use enishi_core::dialect::socketio::EVERYONE;
use enishi_core::dialect::{Context, Rooms};
use enishi_core::http::handshake::{Answer, Handshake, Place};
use enishi_core::ids::Ids;
use enishi_core::limits::Limits;
use enishi_core::machine::Frame;
use enishi_core::signal::{Command, Event, Name};
use mio::net::TcpStream;
use socket2::SockRef;
use tungstenite::Error;
use tungstenite::protocol::{Message, Role, WebSocketConfig, WebSocketContext};

use super::message::wire;
use super::speech::{Speech, Tongue};

/// tungstenite's own buffer; it is fed from memory.
const READ_BUFFER_BYTES: usize = 1024;

/// Who a client is.
#[derive(Debug, Clone)]
pub struct Identity {
    pub tongue: Tongue,
    /// The name it asks for. A server may choose another.
    pub name: Name,
    /// Where a dialect registers by entering a room: which.
    pub room: Name,
    /// Whether it sends the offers.
    pub offers: bool,
}

/// What codecs may know.
#[derive(Debug)]
pub struct Surroundings {
    ids: Ids,
    limits: Limits,
    unix: Duration,
}

impl Surroundings {
    pub fn new() -> Self {
        Surroundings { ids: Ids::new(1), limits: Limits::default(), unix: crate::runtime::unix_time() }
    }

    pub fn context(&mut self) -> Context<'_> {
        Context { unix: self.unix, ids: &mut self.ids, limits: &self.limits, ice_servers: &[] }
    }
}

/// How far a client has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Connecting,
    Shaking,
    Registering,
    Registered,
}

/// One client.
#[derive(Debug)]
pub struct Client {
    pub socket: TcpStream,
    pub stage: Stage,
    pub speech: Speech,
    /// Under which others reach it, once it is registered.
    pub name: Name,
    identity: Identity,
    shake: Handshake,
    unread: Vec<u8>,
    context: WebSocketContext,
    waiting: Vec<u8>,
    /// Whether the socket may have more to read, and is to be read although its caller wanted none.
    pub readable: bool,
    deaf: bool,
}

impl Client {
    /// A client whose connection is under way.
    pub fn new(socket: TcpStream, identity: Identity, speech: Speech, place: &Place, key: &str) -> Self {
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES).write_buffer_size(0);
        Client {
            socket,
            stage: Stage::Connecting,
            name: identity.name.clone(),
            shake: place.handshake(key, speech.protocol()),
            speech,
            identity,
            unread: Vec::new(),
            context: WebSocketContext::new(Role::Client, Some(config)),
            waiting: Vec::new(),
            readable: false,
            deaf: false,
        }
    }

    /// The poll says that the connection may stand, or that the kernel takes bytes again.
    ///
    /// # Errors
    /// The connection came to nothing.
    pub fn writable(&mut self) -> io::Result<()> {
        if self.stage == Stage::Connecting {
            if let Some(error) = self.socket.take_error()? {
                return Err(error);
            }
            if self.socket.peer_addr().is_err() {
                return Ok(());
            }
            self.socket.set_nodelay(true)?;
            self.stage = Stage::Shaking;
            let request = self.shake.request.clone();
            return self.send(&request);
        }
        let waiting = std::mem::take(&mut self.waiting);
        self.send(&waiting)
    }

    /// Sends bytes, now or when the kernel takes them.
    ///
    /// # Errors
    /// The connection failed.
    pub fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while self.waiting.is_empty() && !bytes.is_empty() {
            match self.socket.write(bytes) {
                Ok(len) => bytes = &bytes[len..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.waiting.extend_from_slice(bytes);
        Ok(())
    }

    /// Reads once into `scratch`. 0: nothing more for now.
    ///
    /// # Errors
    /// The connection failed or ended.
    pub fn read(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        if !self.readable || self.deaf {
            return Ok(0);
        }
        match self.socket.read(scratch) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")),
            Ok(len) => {
                // A short read has emptied the socket; the next byte is a new event.
                self.readable = len == scratch.len();
                Ok(len)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(0)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Reads no more, and lets the kernel hold little of what comes.
    pub fn deafen(&mut self, bytes: usize) {
        self.deaf = true;
        let _ = SockRef::from(&self.socket).set_recv_buffer_size(bytes);
    }

    /// Ends the connection: with a close frame, or so that the kernel does not wait for anything. Thousands in TIME_WAIT
    /// would leave no port for the next run.
    pub fn leave(mut self, polite: bool) {
        if polite {
            let mut pipe = Pipe { input: &mut &[][..], out: Vec::new() };
            // Refused only by a connection that is closing already.
            let _ = self.context.close(&mut pipe, None);
            let goodbye = pipe.out;
            let _ = self.send(&goodbye);
        } else {
            let _ = SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
        }
    }

    /// The next message in `chunk` for whoever uses this client. Handshake and registration happen in here.
    ///
    /// # Errors
    /// A clause that says what the server did not do, or did wrong.
    pub fn next(&mut self, chunk: &mut &[u8], around: &mut Surroundings) -> Result<Option<Frame>, String> {
        if self.stage == Stage::Shaking {
            self.shake(chunk, around)?;
        }
        let left = std::mem::take(&mut self.unread);
        if !left.is_empty() && matches!(self.stage, Stage::Registering | Stage::Registered) {
            let mut rest = left.as_slice();
            let frame = self.message(&mut rest, around)?;
            self.unread = rest.to_vec();
            if frame.is_some() {
                return Ok(frame);
            }
        } else {
            self.unread = left;
        }
        match self.stage {
            Stage::Registering | Stage::Registered => self.message(chunk, around),
            _ => Ok(None),
        }
    }

    fn shake(&mut self, chunk: &mut &[u8], around: &mut Surroundings) -> Result<(), String> {
        self.unread.extend_from_slice(std::mem::take(chunk));
        match self.shake.check(&self.unread) {
            Answer::Partial => Ok(()),
            Answer::Refused(why) => Err(why),
            Answer::Open { taken, .. } => {
                self.unread.drain(..taken);
                self.stage = Stage::Registering;
                self.command(&Command::Register { name: Some(self.identity.name.clone()), resumable: false }, around)?;
                if self.identity.tongue.rooms() == Rooms::One {
                    self.command(&Command::Join { room: self.identity.room.clone(), tag: None }, around)?;
                }
                if self.speech.registers_silently() {
                    // What has no answer is done when something after it is answered.
                    self.send(&wire(&Frame::Ping)).map_err(|error| error.to_string())?;
                }
                Ok(())
            }
        }
    }

    /// Says a command to the server.
    ///
    /// # Errors
    /// The dialect has no word for it, or the connection failed.
    pub fn command(&mut self, command: &Command, around: &mut Surroundings) -> Result<(), String> {
        let mut frames = Vec::new();
        self.speech
            .encode(&mut around.context(), command, &mut frames)
            .map_err(|refusal| format!("{} cannot say this: {refusal}", self.identity.tongue.name()))?;
        frames.iter().try_for_each(|frame| self.send(&wire(frame))).map_err(|error| error.to_string())
    }

    fn message(&mut self, chunk: &mut &[u8], around: &mut Surroundings) -> Result<Option<Frame>, String> {
        loop {
            let mut pipe = Pipe { input: chunk, out: Vec::new() };
            let read = self.context.read(&mut pipe);
            if matches!(read, Ok(Message::Ping(_) | Message::Close(_))) {
                let _ = self.context.flush(&mut pipe);
            }
            let replies = pipe.out;
            if !replies.is_empty() {
                self.send(&replies).map_err(|error| error.to_string())?;
            }
            let frame = match read {
                Ok(Message::Text(text)) => Frame::Text(text),
                Ok(Message::Binary(bytes)) => Frame::Binary(bytes),
                Ok(Message::Close(close)) => {
                    let why = close.map_or_else(String::new, |close| format!(": {} {}", close.code, close.reason));
                    return Err(format!("the server closed the connection{why}"));
                }
                Ok(Message::Pong(_)) if self.stage == Stage::Registering && self.speech.registers_silently() => {
                    self.stage = Stage::Registered;
                    continue;
                }
                Ok(_) => continue,
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error.to_string()),
            };
            if let Some(answer) = self.speech.answer(&frame) {
                self.send(&wire(&answer)).map_err(|error| error.to_string())?;
                continue;
            }
            if self.stage == Stage::Registered {
                return Ok(Some(frame));
            }
            self.registration(&frame, around)?;
        }
    }

    fn registration(&mut self, frame: &Frame, around: &mut Surroundings) -> Result<(), String> {
        for event in self.events(frame, around) {
            match event {
                Event::Registered { name, .. } => {
                    self.name = if self.identity.tongue.is_broadcast() { Name::from(EVERYONE) } else { name };
                    self.stage = Stage::Registered;
                }
                Event::Refused { refusal, .. } => return Err(format!("the server refused to register: {refusal}")),
                _ => {}
            }
        }
        Ok(())
    }

    /// What a frame means. One that cannot be understood means nothing.
    pub fn events(&mut self, frame: &Frame, around: &mut Surroundings) -> Vec<Event> {
        self.speech.events(&mut around.context(), frame)
    }
}

/// The stream that tungstenite sees.
struct Pipe<'p, 'b> {
    input: &'p mut &'b [u8],
    out: Vec<u8>,
}

impl Read for Pipe<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.read(buffer)
    }
}

impl Write for Pipe<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
