//! Streams over gRPC: one HTTP/2 connection for each ordered pair of nodes.

mod incoming;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

use tonic::transport::Server;

use incoming::Incoming;
use wire::{GrpcWire, PeerService};

use super::Transport;
use super::settings::Settings;

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)] // generated
mod proto {
    tonic::include_proto!("quorate.peer.v1");
}

/// Room for what is on its way: a fast link is not held up by the receiver's next window.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// An HTTP/2 frame; larger ones than the default save headers, much larger ones hold up the others.
const HTTP2_FRAME_BYTES: u32 = 64 << 10;
/// What a message has beside its payload: tags, lengths, a greeting's fields.
const FRAME_OVERHEAD_BYTES: usize = 8 << 10;
/// A peer opens two streams, a probe one.
const STREAMS_MAX: u32 = 16;

/// The peers' port, bound. Binding comes first, so that the address to tell others is known.
#[derive(Debug)]
pub struct Listener {
    socket: tokio::net::TcpListener,
    address: SocketAddr,
}

/// Why the peers' port cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The port cannot be had.
    #[error("cannot listen for other nodes at {0}: {1}")]
    Bind(SocketAddr, std::io::Error),
    /// Whoever reaches the port could join, so without a secret only this machine may.
    #[error("other nodes could join at {0} unproven: set a cluster secret, or bind to loopback")]
    NeedsSecret(SocketAddr),
}

impl Listener {
    /// Binds the peers' port; 0 is one that the system picks.
    pub async fn bind(address: SocketAddr) -> Result<Listener, ListenError> {
        let failed = |error| ListenError::Bind(address, error);
        let socket = tokio::net::TcpListener::bind(address)
            .await
            .map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Listener { socket, address })
    }

    /// The address that was bound, its port known.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves the port. Streams are opened and accepted once the transport has a driver. Must be
    /// called within a tokio runtime, on which everything of the transport runs.
    pub fn start(self, settings: Settings) -> Result<Arc<Transport>, ListenError> {
        if settings.secret.is_none() && !self.address.ip().is_loopback() {
            return Err(ListenError::NeedsSecret(self.address));
        }
        let limits = settings.limits.clone();
        let transport = Arc::new(Transport::new(settings, Box::new(GrpcWire::new(&limits))));
        let hub = &transport.hub;
        let service = proto::peer_server::PeerServer::new(PeerService {
            hub: Arc::clone(hub),
        })
        .max_decoding_message_size(limits.frame_bytes_max + FRAME_OVERHEAD_BYTES)
        .max_encoding_message_size(limits.frame_bytes_max + FRAME_OVERHEAD_BYTES);
        let server = Server::builder()
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(HTTP2_FRAME_BYTES)
            .max_concurrent_streams(STREAMS_MAX)
            .http2_keepalive_interval(Some(limits.keepalive))
            .http2_keepalive_timeout(Some(limits.keepalive))
            .add_service(service)
            .serve_with_incoming(Incoming::new(self.socket, limits.connections_max));
        hub.spawn(async move {
            if let Err(error) = server.await {
                tracing::error!("the peers' port is not served any more: {error}");
            }
        });
        Ok(transport)
    }
}
