//! The socket of a connection, and detection of clients that have disconnected.
//!
//! A client may shut down its sending side after a request and still wait for the answer (`curl` does not, `nc -N` does).
//! To the system this looks the same as a client that has disconnected: reading returns end of file in both cases. Only
//! sending tells them apart: a disconnected client's machine answers with a reset. So the first byte of the answer, which
//! is always `H`, is sent ahead and skipped when the answer is written.

use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::connections::Place;

/// The first byte of every answer, as in `HTTP/1.1 200 OK`.
const FIRST: u8 = b'H';
/// How often a waiting client is checked for disconnection.
const CHECK: Duration = Duration::from_millis(100);

/// A connection and its place. Clones are the same connection.
#[derive(Clone)]
pub(crate) struct Socket(Arc<Mutex<Wire>>);

struct Wire {
    stream: TcpStream,
    /// `None` once the connection is upgraded: upgraded connections are counted elsewhere.
    place: Weak<Place>,
    /// Whether a request is being answered.
    busy: bool,
    /// Whether everything that HTTP has written so far has been flushed to the system.
    flushed: bool,
    /// Whether [`FIRST`] was sent and must be skipped in the next write.
    ahead: bool,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, place: &Arc<Place>) -> Self {
        let place = Arc::downgrade(place);
        Self(Arc::new(Mutex::new(Wire { stream, place, busy: false, flushed: true, ahead: false })))
    }

    fn wire(&self) -> MutexGuard<'_, Wire> {
        // No code that holds this lock can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks the connection as busy until the result is dropped.
    pub(crate) fn begin(&self) -> Busy {
        let mut wire = self.wire();
        wire.busy = true;
        if let Some(place) = wire.place.upgrade() {
            place.work();
        }
        drop(wire);
        Busy(self.clone())
    }

    /// Returns once the client of the current request has certainly disconnected.
    pub(crate) async fn gone(&self) {
        loop {
            sleep(CHECK).await;
            if self.wire().is_gone() {
                return;
            }
        }
    }
}

/// A connection that is answering a request.
pub(crate) struct Busy(Socket);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.wire().busy = false;
    }
}

impl Wire {
    fn is_gone(&mut self) -> bool {
        if !matches!(self.stream.take_error(), Ok(None)) {
            return true;
        }
        let mut byte = [0];
        // Polled only once: the task that reads from the stream keeps its wake-up.
        let peeked = pin!(self.stream.peek(&mut byte)).poll(&mut Context::from_waker(Waker::noop()));
        match peeked {
            Poll::Ready(Ok(0)) => {
                if self.flushed && !self.ahead {
                    self.ahead = self.stream.try_write(&[FIRST]).is_ok_and(|written| written == 1);
                }
                false
            }
            Poll::Ready(Err(_)) => true,
            Poll::Ready(Ok(_)) | Poll::Pending => false,
        }
    }

    fn write(&mut self, cx: &mut Context, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.flushed = false;
        if !self.ahead || bytes.is_empty() {
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        }
        let rest = bytes.strip_prefix(&[FIRST]).ok_or(io::ErrorKind::InvalidData)?;
        let written = if rest.is_empty() { 0 } else { ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? };
        self.ahead = false;
        Poll::Ready(Ok(1 + written))
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context, buffer: &mut ReadBuf) -> Poll<io::Result<()>> {
        let mut wire = self.wire();
        let read = Pin::new(&mut wire.stream).poll_read(cx, buffer);
        if read.is_pending()
            && !wire.busy
            && let Some(place) = wire.place.upgrade()
        {
            place.wait();
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.wire().write(cx, bytes)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context, slices: &[io::IoSlice]) -> Poll<io::Result<usize>> {
        let mut wire = self.wire();
        if wire.ahead {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return wire.write(cx, first.map_or(&[], |slice| slice));
        }
        wire.flushed = false;
        Pin::new(&mut wire.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        let mut wire = self.wire();
        ready!(Pin::new(&mut wire.stream).poll_flush(cx))?;
        wire.flushed = true;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire().stream).poll_shutdown(cx)
    }
}
