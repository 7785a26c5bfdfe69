//! Opening a WebSocket as a client: the addresses, and the bytes of the handshake that `enishi_core::http` makes and checks.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use enishi_core::http::get;
use enishi_core::http::handshake::{Answer, Handshake, Place};
use enishi_core::machine::{DialId, failure};
use smol::channel::Sender;
use smol::future::{or, poll_fn};
use smol::{Async, Timer};
use tungstenite::handshake::client::generate_key;

use super::Wire;
use crate::driver::Event;

/// How long a dial may take, name and handshake included.
const DIAL: Duration = Duration::from_secs(10);

/// The longest piece of an answer that is read at once.
const CHUNK_BYTES: usize = 4 * 1024;

/// What the machine wants to be connected with.
pub(crate) struct Target {
    pub(crate) url: String,
    pub(crate) protocol: Option<&'static str>,
    pub(crate) max_message_bytes: usize,
}

/// An open WebSocket.
pub(crate) struct Open {
    pub(crate) wire: Wire,
    /// The subprotocol that the server chose.
    pub(crate) protocol: Option<String>,
    /// What came right behind the handshake.
    pub(crate) unread: Vec<u8>,
    pub(crate) max_message_bytes: usize,
}

/// One attempt, to its end.
pub(crate) async fn dial(dial: DialId, target: Target, events: Sender<Event>) {
    let late = async {
        Timer::after(DIAL).await;
        Err(format!("no answer within {} seconds", DIAL.as_secs()))
    };
    let event = match or(open(&target), late).await {
        Ok(open) => Event::Dialed(dial, Box::new(open)),
        Err(error) => Event::DialFailed(dial, error),
    };
    // Nobody listens any more when the driver has ended.
    let _ = events.send(event).await;
}

/// One plain request, to its end.
pub(crate) async fn get(dial: DialId, url: String, events: Sender<Event>) {
    let late = async {
        Timer::after(DIAL).await;
        Err(format!("no answer within {} seconds", DIAL.as_secs()))
    };
    let event = match or(ask(&url), late).await {
        Ok(answer) => Event::Got(dial, answer),
        Err(error) => Event::DialFailed(dial, error),
    };
    // Nobody listens any more when the driver has ended.
    let _ = events.send(event).await;
}

async fn ask(url: &str) -> Result<String, String> {
    let place = Place::parse(url)?;
    let mut wire = reach(&place).await?;
    write(&mut wire, &place.get()).await?;
    let mut bytes = Vec::new();
    while bytes.len() <= get::ANSWER_BYTES && read(&mut wire, &mut bytes).await? {}
    get::answer(&bytes)
}

async fn write(wire: &mut Wire, mut bytes: &[u8]) -> Result<(), String> {
    while !bytes.is_empty() {
        let written = poll_fn(|cx| wire.poll_write(cx, bytes)).await.map_err(|error| failure(&error).into_owned())?;
        bytes = &bytes[written..];
    }
    Ok(())
}

/// Reads what is there to the end of `bytes`. `false`: the stream has ended.
async fn read(wire: &mut Wire, bytes: &mut Vec<u8>) -> Result<bool, String> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let read = poll_fn(|cx| wire.poll_read(cx, &mut chunk)).await.map_err(|error| failure(&error).into_owned())?;
    bytes.extend_from_slice(&chunk[..read]);
    Ok(read > 0)
}

/// A connection to the first address that answers.
async fn reach(place: &Place) -> Result<Wire, String> {
    let no_host = format!("no such host: {:?}", place.host);
    let addresses = smol::net::resolve((place.host.as_str(), place.port)).await.map_err(|_| no_host.clone())?;
    connect(&addresses).await.ok_or(no_host)?
}

async fn open(target: &Target) -> Result<Open, String> {
    let place = Place::parse(&target.url)?;
    let handshake = place.handshake(&generate_key(), target.protocol);
    let mut wire = reach(&place).await?;
    write(&mut wire, &handshake.request).await?;
    shake(wire, &handshake, target.max_message_bytes).await
}

/// Tries one address after the other, each for its share of the time. None: there are none.
async fn connect(addresses: &[SocketAddr]) -> Option<Result<Wire, String>> {
    let end = Instant::now() + DIAL;
    let mut error = None;
    for (tried, address) in addresses.iter().enumerate() {
        let share = end.saturating_duration_since(Instant::now()) / (addresses.len() - tried) as u32;
        let late = async {
            Timer::after(share).await;
            Err(std::io::ErrorKind::TimedOut.into())
        };
        match or(Async::<TcpStream>::connect(*address), late).await {
            Ok(tcp) => {
                // Without it messages are late, not lost: no reason to refuse the connection.
                let _ = tcp.get_ref().set_nodelay(true);
                return Some(Ok(Wire::new(tcp)));
            }
            Err(refused) => error = Some(Err(failure(&refused).into_owned())),
        }
    }
    error
}

/// Reads the server's answer; what follows it are frames already.
async fn shake(mut wire: Wire, handshake: &Handshake, max_message_bytes: usize) -> Result<Open, String> {
    let mut bytes = Vec::new();
    loop {
        if !read(&mut wire, &mut bytes).await? {
            return Err("the server closed the connection without an answer".into());
        }
        match handshake.check(&bytes) {
            Answer::Partial => {}
            Answer::Refused(error) => return Err(error),
            Answer::Open { protocol, taken } => {
                let unread = bytes.split_off(taken.min(bytes.len()));
                return Ok(Open { wire, protocol, unread, max_message_bytes });
            }
        }
    }
}
