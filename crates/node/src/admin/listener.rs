//! The admin port's connections: few of them, and none for long, so that a client that never
//! finishes its request keeps nobody else out.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// A connection whose next request does not arrive whole within this time ends.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// A listener with a bound.
pub(super) struct Bounded {
    listener: TcpListener,
    room: Arc<Semaphore>,
    life: Duration,
    /// Those that are open, the oldest first.
    open: Vec<Weak<Standing>>,
}

impl Bounded {
    /// So many connections at once: one more takes the place of the one that has waited longest for
    /// a request; if there is none, it waits. Each has so long a life: a scraper that keeps one
    /// open opens it anew.
    pub(super) fn new(listener: TcpListener, connections_max: usize, life: Duration) -> Bounded {
        Bounded {
            listener,
            room: Arc::new(Semaphore::new(connections_max)),
            life,
            open: Vec::new(),
        }
    }

    /// Makes room for one more, if any connection waits for a request.
    fn end_oldest_idle(&self) {
        let mut open = self.open.iter().filter_map(Weak::upgrade);
        let idle = |standing: &Arc<Standing>| {
            !standing.asked.load(Relaxed) && !standing.must_end.load(Relaxed)
        };
        if let Some(oldest) = open.find(idle) {
            oldest.must_end.store(true, Relaxed);
            oldest.waker.wake();
        }
    }
}

impl axum::serve::Listener for Bounded {
    type Io = Mortal;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Mortal, SocketAddr) {
        let (stream, peer) = axum::serve::Listener::accept(&mut self.listener).await;
        self.open.retain(|standing| standing.strong_count() > 0);
        let room = Arc::clone(&self.room);
        if room.available_permits() == 0 {
            self.end_oldest_idle();
        }
        let room = room.acquire_owned().await;
        let room = room.expect("nobody closes the semaphore");
        let mortal = Mortal::new(stream, self.life, room);
        self.open.push(Arc::downgrade(&mortal.standing));
        (mortal, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// What the listener knows of a connection.
#[derive(Default)]
struct Standing {
    /// It has sent a request that is not answered yet.
    asked: AtomicBool,
    /// Another one needs its room.
    must_end: AtomicBool,
    waker: AtomicWaker,
}

/// A connection that ends at its time.
pub(super) struct Mortal {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    head_end: Pin<Box<Sleep>>,
    head: Head,
    standing: Arc<Standing>,
    _room: OwnedSemaphorePermit,
}

impl Mortal {
    fn new(stream: TcpStream, life: Duration, room: OwnedSemaphorePermit) -> Mortal {
        Mortal {
            stream,
            end: Box::pin(tokio::time::sleep(life)),
            head_end: Box::pin(tokio::time::sleep(HEAD_TIMEOUT)),
            head: Head::default(),
            standing: Arc::default(),
            _room: room,
        }
    }

    fn is_over(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        self.standing.waker.register(context.waker());
        if self.standing.must_end.load(Relaxed) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let waits = !self.standing.asked.load(Relaxed);
        if self.end.as_mut().poll(context).is_ready()
            || (waits && self.head_end.as_mut().poll(context).is_ready())
        {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

/// Finds the end of a request, for those that are asked here have no body.
#[derive(Default)]
struct Head {
    /// How many bytes of the empty line at its end have arrived.
    matched: usize,
}

impl Head {
    /// Whether a request ends in these bytes.
    fn ends_in(&mut self, bytes: &[u8]) -> bool {
        let mut ended = false;
        for byte in bytes {
            self.matched = match (self.matched, byte) {
                (0 | 2, b'\r') | (1 | 3, b'\n') => self.matched + 1,
                (_, b'\r') => 1,
                _ => 0,
            };
            if self.matched == 4 {
                (self.matched, ended) = (0, true);
            }
        }
        ended
    }
}

impl AsyncRead for Mortal {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.is_over(context)?;
        let known = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if self.head.ends_in(&buffer.filled()[known..]) {
            self.standing.asked.store(true, Relaxed);
        }
        read
    }
}

impl AsyncWrite for Mortal {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.is_over(context)?;
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if written.is_ready() {
            self.standing.asked.store(false, Relaxed);
            let next = tokio::time::Instant::now() + HEAD_TIMEOUT;
            self.head_end.as_mut().reset(next);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_ends_with_an_empty_line_however_it_arrives() {
        let request = b"GET / HTTP/1.1\r\nHost: h\r\r\n\r\n";
        for at in 0..request.len() {
            let (mut head, (first, rest)) = (Head::default(), request.split_at(at));
            assert!(!head.ends_in(first));
            assert!(head.ends_in(rest));
            assert!(!head.ends_in(b"GET / HTTP/1.1\r\n"));
        }
    }
}
