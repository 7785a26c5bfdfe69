//! The two ends of a connection's bytes: the socket, and the memory that the WebSocket library takes for one.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use smol::Async;
use smol::io::{AsyncRead, AsyncWrite};

/// A TCP stream that believes short reads, and asks the reactor only when the kernel has nothing or takes nothing.
#[derive(Debug)]
pub(crate) struct Wire {
    tcp: Async<TcpStream>,
    /// The last read was short: the kernel has nothing more, so asking again would be a wasted system call.
    drained: bool,
    /// The kernel took less than it was given.
    blocked: bool,
}

impl Wire {
    /// A connection, on which small messages go out at once.
    pub(crate) fn new(tcp: Async<TcpStream>) -> Self {
        debug_assert!(tcp.get_ref().nodelay().unwrap_or(true), "set on the listener, or by who dialled");
        Wire { tcp, drained: false, blocked: false }
    }

    /// Reads once. `Ok(0)`: the stream has ended.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            if self.drained {
                ready!(self.tcp.poll_readable(cx))?;
                self.drained = false;
            }
            match self.tcp.get_ref().read(buffer) {
                Ok(read) => {
                    // An end of stream is not drained: it can be read again at once.
                    self.drained = read > 0 && read < buffer.len();
                    return Poll::Ready(Ok(read));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.drained = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Writes once.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            if self.blocked {
                ready!(self.tcp.poll_writable(cx))?;
                self.blocked = false;
            }
            match self.tcp.get_ref().write(bytes) {
                Ok(0) => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                Ok(written) => {
                    self.blocked = written < bytes.len();
                    return Poll::Ready(Ok(written));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.blocked = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Nothing more will be written.
    pub(crate) fn shut(&self) {
        // Fails only if the remote was faster.
        let _ = self.tcp.get_ref().shutdown(Shutdown::Write);
    }
}

/// What the WebSocket library reads and writes: it never waits, and never meets a socket that blocks.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    /// What the library may read.
    input: VecDeque<u8>,
    /// What it wrote.
    output: Vec<u8>,
}

impl Pipe {
    /// Lets the library read these bytes, and nothing behind them.
    pub(super) fn give(&mut self, bytes: &[u8]) {
        self.input = VecDeque::from(bytes.to_vec());
    }

    /// Takes what the library wrote.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let input = &mut self.get_mut().input;
        if input.is_empty() {
            // An idle connection keeps no buffer.
            *input = VecDeque::new();
            return Poll::Pending;
        }
        Poll::Ready(input.read(buffer))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().output.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
