//! The connections that other nodes make, counted and bounded.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tonic::transport::server::Connected;

use super::super::metrics::Metrics;

/// How long nothing is accepted after an error.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections; those above the bound are closed at once.
pub(super) struct Incoming {
    listener: TcpListener,
    /// After an error, such as too many open files, which would only come again at once.
    pause: Option<Pin<Box<Sleep>>>,
    room: Arc<Semaphore>,
}

/// One connection, and its place among those that may be open.
pub(super) struct PeerSocket {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

impl Incoming {
    pub(super) fn new(listener: TcpListener, connections_max: usize) -> Incoming {
        Incoming {
            listener,
            pause: None,
            room: Arc::new(Semaphore::new(connections_max)),
        }
    }
}

impl Stream for Incoming {
    type Item = io::Result<PeerSocket>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                if pause.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                self.pause = None;
            }
            let Poll::Ready(accepted) = self.listener.poll_accept(context) else {
                return Poll::Pending;
            };
            let stream = match accepted {
                Ok((stream, _address)) => stream,
                Err(error) => {
                    tracing::warn!("no connection from another node is accepted: {error}");
                    self.pause = Some(Box::pin(sleep(PAUSE)));
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else {
                Metrics::limit_reached("peers.connections_max");
                tracing::debug!("too many connections from other nodes; one is closed");
                continue;
            };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!("a connection was gone at once: {error}");
                continue;
            }
            return Poll::Ready(Some(Ok(PeerSocket {
                stream,
                _place: place,
            })));
        }
    }
}

impl Connected for PeerSocket {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for PeerSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for PeerSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
