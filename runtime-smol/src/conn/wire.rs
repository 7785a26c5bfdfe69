//! A TCP stream with the habits that a hub needs: short reads are believed, and no source reads for ever.

use std::io::{self, ErrorKind, Read};
use std::net::{Shutdown, TcpStream};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use smol::Async;
use smol::io::{AsyncRead, AsyncWrite};

/// Bytes that one connection may read before it is another's turn.
const TURN_BYTES: usize = 64 * 1024;

/// Bytes of one read outside a WebSocket.
const CHUNK_BYTES: usize = 4 * 1024;

/// The stream.
#[derive(Debug)]
pub(crate) struct Wire {
    tcp: Async<TcpStream>,
    /// The last read was short: the kernel has nothing more, so asking again would be a wasted system call.
    drained: bool,
    /// Bytes came for the WebSocket.
    heard: bool,
    left: usize,
}

impl Wire {
    /// Small messages go out at once.
    pub(crate) fn new(tcp: Async<TcpStream>) -> Self {
        // Without it messages are late, not lost: no reason to refuse the connection.
        let _ = tcp.get_ref().set_nodelay(true);
        Wire { tcp, drained: false, heard: false, left: TURN_BYTES }
    }

    /// Begins a turn of reading.
    pub(crate) fn begin_turn(&mut self) {
        self.left = TURN_BYTES;
    }

    /// Whether the turn's bytes are used up. A read was then refused without a wake-up to follow.
    pub(crate) fn turn_is_over(&self) -> bool {
        self.left == 0
    }

    /// Whether bytes arrived since this was asked last.
    pub(crate) fn take_heard(&mut self) -> bool {
        std::mem::take(&mut self.heard)
    }

    /// Reads what is there to the end of `buffer`. `Ok(0)`: the stream has ended.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        self.begin_turn();
        let mut chunk = [0; CHUNK_BYTES];
        let read = ready!(Pin::new(&mut *self).poll_read(cx, &mut chunk))?;
        self.heard = false;
        buffer.extend_from_slice(&chunk[..read]);
        Poll::Ready(Ok(read))
    }

    /// Reads and forgets. `Ok(0)`: the stream has ended.
    pub(crate) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.begin_turn();
        Pin::new(self).poll_read(cx, &mut [0; CHUNK_BYTES])
    }

    /// Nothing more will be written.
    pub(crate) fn shut(&self) {
        // Fails only if the remote was faster.
        let _ = self.tcp.get_ref().shutdown(Shutdown::Write);
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.left == 0 {
            return Poll::Pending;
        }
        loop {
            if this.drained {
                ready!(this.tcp.poll_readable(cx))?;
                this.drained = false;
            }
            match this.tcp.get_ref().read(buffer) {
                Ok(read) => {
                    // An end of stream is not drained: it can be read again at once.
                    this.drained = read > 0 && read < buffer.len();
                    this.heard |= read > 0;
                    this.left = this.left.saturating_sub(read);
                    return Poll::Ready(Ok(read));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => this.drained = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shut();
        Poll::Ready(Ok(()))
    }
}
