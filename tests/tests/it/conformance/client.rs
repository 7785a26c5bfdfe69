//! The other side: blocking sockets with deadlines.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tungstenite::Message;

pub type WebSocket = tungstenite::WebSocket<TcpStream>;

/// No case waits longer than this for one thing.
const PATIENCE: Duration = Duration::from_secs(10);

pub const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

pub fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    patient(&stream);
    stream
}

pub fn patient(stream: &TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
}

pub fn websocket(stream: TcpStream, host: SocketAddr) -> WebSocket {
    tungstenite::client(format!("ws://{host}/ws"), stream).unwrap().0
}

pub fn text(text: &str) -> Message {
    Message::Text(text.into())
}

/// One answer, split at the end of its head.
pub fn answer(stream: &mut TcpStream) -> (String, String) {
    let head = head(stream);
    let length =
        head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).map_or(0, |len| len.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (head, String::from_utf8(body).unwrap())
}

/// A head, request's or answer's.
pub fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    String::from_utf8(head).unwrap()
}

/// An upgraded stream without any library.
pub fn raw(to: SocketAddr) -> TcpStream {
    let mut stream = connect(to);
    stream.write_all(UPGRADE.as_bytes()).unwrap();
    assert!(head(&mut stream).starts_with("HTTP/1.1 101 "));
    stream
}

/// A client's frame with FIN, masked with zeros; the payload is shorter than 126 bytes.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).ok().filter(|len| *len < 126).unwrap();
    [&[0x80 | opcode, 0x80 | len, 0, 0, 0, 0], payload].concat()
}

/// The next server's frame of a raw stream: first byte and payload, shorter than 126 bytes.
pub fn read_frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut header = [0; 2];
    stream.read_exact(&mut header).unwrap();
    let mut payload = vec![0; usize::from(header[1])];
    stream.read_exact(&mut payload).unwrap();
    (header[0], payload)
}

/// Everything until the server closes.
pub fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    rest
}
