//! A driver on a thread, with a scripted machine in it.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::ops::ControlFlow;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{io, mem};

use enishi_core::machine::{CloseReason, ConnId, Output};

use super::super::client::{self, WebSocket};
use super::super::scripted::{Command, News, Scripted};
use super::runtime::{Driver, Handle, Sockets};

/// After this time without what was waited for, a case has failed.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Rig {
    pub handle: Handle<Command>,
    pub tcp: SocketAddr,
    pub udp: SocketAddr,
    news: Receiver<News>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Rig {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (tcp, udp) = (listener.local_addr().unwrap(), socket.local_addr().unwrap());
        let (tell, news) = mpsc::channel();
        let (give, take) = mpsc::channel();
        let thread = thread::spawn(move || {
            let sockets = Sockets { listeners: vec![listener], udp: vec![socket] };
            let (driver, handle) = Driver::new(Scripted::default(), sockets)?;
            give.send(handle).unwrap();
            driver.run(|news| match news {
                News::Stop => ControlFlow::Break(()),
                news => {
                    let _ = tell.send(news);
                    ControlFlow::Continue(())
                }
            })
        });
        let handle = take.recv_timeout(PATIENCE).expect("the driver starts");
        Rig { handle, tcp, udp, news, thread: Some(thread) }
    }

    /// Has the machine do something, and waits until it has.
    pub fn act(&self, output: Output<News>) {
        self.handle.send(Command::Act(vec![output])).unwrap();
        assert_eq!(self.next_but(|news| matches!(news, News::Sent(..) | News::Heard(_))), News::Done);
    }

    /// The next thing that the machine was told.
    pub fn next(&self) -> News {
        self.news.recv_timeout(PATIENCE).expect("the machine is told something")
    }

    /// The next one that is not of these.
    pub fn next_but(&self, skip: impl Fn(&News) -> bool) -> News {
        loop {
            let news = self.next();
            if !skip(&news) {
                return news;
            }
        }
    }

    /// What the machine is told from now on until something fits; that is left out.
    pub fn until(&self, fits: impl Fn(&News) -> bool) -> Vec<News> {
        let mut before = Vec::new();
        loop {
            match self.next() {
                news if fits(&news) => return before,
                news => before.push(news),
            }
        }
    }

    /// How that connection ended.
    pub fn closed(&self, conn: ConnId) -> CloseReason {
        loop {
            if let News::Closed(id, reason) = self.next()
                && id == conn
            {
                return reason;
            }
        }
    }

    /// The connection that is accepted next.
    pub fn accepted(&self) -> ConnId {
        loop {
            if let News::Accepted(conn, ..) = self.next() {
                return conn;
            }
        }
    }

    /// A client's open WebSocket, and its name in the machine.
    pub fn websocket(&self) -> (WebSocket, ConnId) {
        let socket = client::websocket(client::connect(self.tcp), self.tcp);
        let conn = self.accepted();
        self.until(|news| matches!(news, News::Request(id, _) if *id == conn));
        (socket, conn)
    }

    /// Ends the run; `last` comes in the same turn.
    pub fn stop(&mut self, last: Vec<Output<News>>) -> io::Result<()> {
        let outputs = last.into_iter().chain([Output::Notice(News::Stop)]).collect();
        let _ = self.handle.send(Command::Act(outputs));
        mem::take(&mut self.thread).map_or(Ok(()), |thread| thread.join().expect("the driver does not panic"))
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let ended = self.stop(Vec::new());
        if !thread::panicking() {
            ended.expect("the run ends well");
        }
    }
}
