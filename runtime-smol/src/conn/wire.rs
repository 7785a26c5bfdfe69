//! A TCP stream with the habits that a hub needs: short reads are believed, no source reads for ever, and writing goes to
//! memory first, so that the WebSocket library never meets a socket that blocks.

use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use enishi_core::frames::{Begin, Frames};
use enishi_core::machine::{Frame, FrameFault};
use smol::Async;
use smol::io::{AsyncRead, AsyncWrite};

/// Bytes that one connection may read before it is another's turn.
const TURN_BYTES: usize = 64 * 1024;

/// Bytes of one system call.
const CHUNK_BYTES: usize = 32 * 1024;

/// The largest buffer for writing that an idle connection keeps.
const KEPT_BYTES: usize = 512;

thread_local! {
    /// What every connection of the thread reads into, so that an idle one keeps no buffer. It is taken for a read and
    /// put back; nothing waits in between.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What [`Wire::poll_frame`] found.
pub(crate) enum Found {
    /// A message, in one frame.
    Message(Result<Frame, FrameFault>),
    /// A frame that the WebSocket library has to look at: it can read it now, and nothing behind it.
    Other,
    /// The stream has ended.
    End,
}

/// The stream.
#[derive(Debug)]
pub(crate) struct Wire {
    tcp: Async<TcpStream>,
    /// The last read was short: the kernel has nothing more, so asking again would be a wasted system call.
    drained: bool,
    /// Bytes came for the WebSocket.
    heard: bool,
    /// What may still be read in this turn.
    left: usize,
    /// Finds the messages in it, once it is a WebSocket's.
    frames: Frames,
    /// Bytes that were read and made nothing yet, from `taken` on.
    ahead: Vec<u8>,
    taken: usize,
    /// How many of those the library may read.
    offered: usize,
    /// Bytes to write, from `written` on.
    out: Vec<u8>,
    written: usize,
    /// The kernel took less than it was given.
    blocked: bool,
    /// What the library writes now goes nowhere.
    muted: bool,
}

impl Wire {
    /// Small messages go out at once.
    pub(crate) fn new(tcp: Async<TcpStream>) -> Self {
        // Without it messages are late, not lost: no reason to refuse the connection.
        let _ = tcp.get_ref().set_nodelay(true);
        Wire {
            tcp,
            drained: false,
            heard: false,
            left: TURN_BYTES,
            frames: Frames::new(true, 0),
            ahead: Vec::new(),
            taken: 0,
            offered: 0,
            out: Vec::new(),
            written: 0,
            blocked: false,
            muted: false,
        }
    }

    /// From now on it carries `frames`; the first `bytes` of them are here already.
    pub(crate) fn speak(&mut self, frames: Frames, bytes: Vec<u8>) {
        (self.frames, self.ahead, self.taken) = (frames, bytes, 0);
    }

    /// The next message, or what else there is.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Found>> {
        loop {
            let bytes = self.ahead.get(self.taken..).unwrap_or_default();
            match self.frames.begin(bytes) {
                Begin::Message(message, whole) => {
                    self.take(whole);
                    return Poll::Ready(Ok(Found::Message(message)));
                }
                Begin::Other(whole) => {
                    self.offered = whole;
                    return Poll::Ready(Ok(Found::Other));
                }
                Begin::Part(_) => {}
            }
            self.ahead.drain(..std::mem::take(&mut self.taken));
            let mut ahead = std::mem::take(&mut self.ahead);
            let read = self.poll_recv(cx, |chunk| ahead.extend_from_slice(chunk));
            self.ahead = ahead;
            if ready!(read)? == 0 {
                return Poll::Ready(Ok(Found::End));
            }
        }
    }

    /// Bytes of `ahead` are used up.
    fn take(&mut self, len: usize) {
        self.taken += len;
        if self.taken >= self.ahead.len() {
            (self.ahead, self.taken) = (Vec::new(), 0);
        }
    }

    /// Begins a turn of reading: of [`TURN_BYTES`], after which reads are refused without a wake-up to follow.
    pub(crate) fn begin_turn(&mut self) {
        self.left = TURN_BYTES;
    }

    /// Whether bytes arrived since this was asked last.
    pub(crate) fn take_heard(&mut self) -> bool {
        std::mem::take(&mut self.heard)
    }

    /// Reads what is there to the end of `buffer`. `Ok(0)`: the stream has ended.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        self.begin_turn();
        let read = ready!(self.poll_recv(cx, |chunk| buffer.extend_from_slice(chunk)))?;
        self.heard = false;
        Poll::Ready(Ok(read))
    }

    /// Reads and forgets. `Ok(0)`: the stream has ended.
    pub(crate) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.begin_turn();
        self.poll_recv(cx, |_| ())
    }

    /// Reads once, and gives what came to `take`.
    fn poll_recv(&mut self, cx: &mut Context<'_>, mut take: impl FnMut(&[u8])) -> Poll<io::Result<usize>> {
        if self.left == 0 {
            return Poll::Pending;
        }
        loop {
            if self.drained {
                ready!(self.tcp.poll_readable(cx))?;
                self.drained = false;
            }
            let mut chunk = SCRATCH.take();
            chunk.resize(CHUNK_BYTES, 0);
            let read = self.tcp.get_ref().read(&mut chunk);
            if let Ok(read) = read {
                take(&chunk[..read]);
            }
            SCRATCH.set(chunk);
            match read {
                Ok(read) => {
                    // An end of stream is not drained: it can be read again at once.
                    self.drained = read > 0 && read < CHUNK_BYTES;
                    self.heard |= read > 0;
                    self.left = self.left.saturating_sub(read);
                    return Poll::Ready(Ok(read));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.drained = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Bytes that the kernel has not taken.
    pub(crate) fn backlog(&self) -> usize {
        self.out.len() - self.written
    }

    /// While `on`, what the library writes goes nowhere: its answers to pings that pile up.
    pub(crate) fn mute(&mut self, on: bool) {
        self.muted = on;
    }

    /// Where bytes to be written are added.
    pub(crate) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Adds bytes to be written.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Hands the kernel what was written, until it has it all.
    pub(crate) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() {
            if self.blocked {
                ready!(self.tcp.poll_writable(cx))?;
                self.blocked = false;
            }
            match self.tcp.get_ref().write(&self.out[self.written..]) {
                Ok(0) => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.blocked = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.written = 0;
        self.out.clear();
        if self.out.capacity() > KEPT_BYTES {
            self.out = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Nothing more will be written.
    pub(crate) fn shut(&self) {
        // Fails only if the remote was faster.
        let _ = self.tcp.get_ref().shutdown(Shutdown::Write);
    }
}

/// Gives the library what it may read, and no more: it is asked again when there is.
impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let now = this.offered.min(buffer.len());
        if now == 0 {
            return Poll::Pending;
        }
        buffer[..now].copy_from_slice(&this.ahead[this.taken..this.taken + now]);
        this.offered -= now;
        this.take(now);
        Poll::Ready(Ok(now))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.muted {
            this.put(bytes);
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shut();
        Poll::Ready(Ok(()))
    }
}
