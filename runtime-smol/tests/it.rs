//! What is particular to this driver; what both drivers share is in the conformance suite.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use enishi_core::http::Response;
use enishi_core::machine::{CloseReason, ConnId, Deadline, Frame, Input, Machine, Output};
use enishi_runtime_smol::{Driver, Handle, Sockets};
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

/// Says every message back and tells how connections end; "more" is answered by more than can wait for a connection.
#[derive(Default)]
struct Echo(VecDeque<Output<Option<(ConnId, CloseReason)>>>);

impl Machine for Echo {
    type Command = ();
    type Notice = Option<(ConnId, CloseReason)>;

    fn handle_input(&mut self, _: Instant, input: Input<'_, ()>) {
        match input {
            Input::Request { conn, .. } => {
                let response = Response { status: 101, ..Response::text(200, "") };
                self.0.push_back(Output::Upgrade { conn, response, max_message_bytes: 1000 });
            }
            Input::Frame { conn, frame } if frame == Frame::text("more") => {
                let frame = Frame::Binary(Bytes::from(vec![0; 1024 * 1024]));
                self.0.extend((0..70).map(|_| Output::Send { conn, frame: frame.clone() }));
            }
            Input::Frame { conn, frame } => self.0.push_back(Output::Send { conn, frame }),
            Input::Closed { conn, reason } => self.0.push_back(Output::Notice(Some((conn, reason)))),
            Input::Command(()) => self.0.push_back(Output::Notice(None)),
            _ => {}
        }
    }

    fn poll_output(&mut self) -> Option<Output<Self::Notice>> {
        self.0.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        None
    }
}

struct Rig {
    address: SocketAddr,
    handle: Handle<()>,
    closed: mpsc::Receiver<(ConnId, CloseReason)>,
    driver: JoinHandle<std::io::Result<()>>,
}

impl Rig {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let sockets = Sockets { listeners: vec![listener], udp: Vec::new() };
        let (driver, handle) = Driver::new(Echo::default(), sockets).expect("a driver");
        let (tell, closed) = mpsc::channel();
        let driver = thread::spawn(move || {
            driver.run(|notice| match notice {
                Some(end) => {
                    tell.send(end).expect("the test listens");
                    ControlFlow::Continue(())
                }
                None => ControlFlow::Break(()),
            })
        });
        Rig { address, handle, closed, driver }
    }

    fn websocket(&self) -> WebSocket<TcpStream> {
        let mut stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("a request");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("an answer");
            head.extend(byte);
        }
        WebSocket::from_raw_socket(stream, Role::Client, None)
    }

    fn stop(self) {
        self.handle.send(()).expect("it runs");
        self.driver.join().expect("no panic").expect("no error");
    }
}

fn assert_echoes(socket: &mut WebSocket<TcpStream>) {
    socket.send(Message::text("still here")).expect("sent");
    assert_eq!(socket.read().expect("an echo"), Message::text("still here"));
}

#[test]
fn a_message_without_end_leaves_the_others_their_turns() {
    let rig = Rig::new();
    let mut stream = rig.websocket().get_ref().try_clone().expect("a clone");
    let flood = thread::spawn(move || {
        // The library reads on by itself until a message is whole: empty continuations never are.
        let continuations = [0x00, 0x80, 0, 0, 0, 0].repeat(10_000);
        let _ = stream.write_all(&[0x01, 0x80, 0, 0, 0, 0]);
        while stream.write_all(&continuations).is_ok() {}
    });
    let mut other = rig.websocket();
    for _ in 0..100 {
        assert_echoes(&mut other);
    }
    rig.stop();
    flood.join().expect("the driver ended the connection");
}

#[test]
fn what_waits_for_a_connection_is_bounded_whatever_the_machine_does() {
    let rig = Rig::new();
    let mut other = rig.websocket();
    let mut slow = rig.websocket();
    slow.send(Message::text("more")).expect("sent");
    let (_, reason) = rig.closed.recv_timeout(Duration::from_secs(10)).expect("an end");
    assert_eq!(reason, CloseReason::Error("the remote reads too slowly".into()));
    assert_echoes(&mut other);
    rig.stop();
}
