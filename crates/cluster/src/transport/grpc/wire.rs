//! Frames as protobuf messages, streams as calls of the service `Peer`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tonic::transport::{Channel as HttpChannel, Endpoint};
use tonic::{Request, Response, Status, Streaming};

use super::super::call::BoxFuture;
use super::super::frame::Frame;
use super::super::handshake::{Greeting, PROTOCOL, Proof, Purpose, Refusal};
use super::super::hub::Hub;
use super::super::link::Channel;
use super::super::outgoing::Outgoing;
use super::super::session;
use super::super::settings::Limits;
use super::super::wire::{Connection, Inbound, StreamKind, Wire};
use super::proto::peer_client::PeerClient;
use super::proto::{self, peer_server};
use super::{CONNECTION_WINDOW_BYTES, FRAME_OVERHEAD_BYTES, STREAM_WINDOW_BYTES};
use crate::{Incarnation, Lineage, Member, NodeId, NodeInfo};

/// Makes connections to other nodes' ports.
pub(super) struct GrpcWire {
    message_bytes_max: usize,
    keepalive: Duration,
}

struct GrpcConnection {
    client: PeerClient<HttpChannel>,
}

/// Takes the streams that other nodes open.
pub(super) struct PeerService {
    pub(super) hub: Arc<Hub>,
}

impl GrpcWire {
    pub(super) fn new(limits: &Limits) -> GrpcWire {
        GrpcWire {
            message_bytes_max: limits.frame_bytes_max + FRAME_OVERHEAD_BYTES,
            keepalive: limits.keepalive,
        }
    }
}

impl Wire for GrpcWire {
    fn resolve(&self, address: String) -> BoxFuture<'static, Result<Vec<String>, String>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host(&address).await;
            let found =
                found.map_err(|error| format!("{address:?} cannot be resolved: {error}"))?;
            Ok(found.map(|address| address.to_string()).collect())
        })
    }

    fn dial(&self, endpoint: String) -> BoxFuture<'static, Result<Box<dyn Connection>, String>> {
        let (message_bytes_max, keepalive) = (self.message_bytes_max, self.keepalive);
        Box::pin(async move {
            let channel = Endpoint::from_shared(format!("http://{endpoint}"))
                .map_err(|error| format!("{endpoint:?} is no address: {error}"))?
                .tcp_nodelay(true)
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .http2_keep_alive_interval(keepalive)
                .keep_alive_timeout(keepalive)
                .connect()
                .await
                .map_err(|error| format!("{endpoint} cannot be reached: {}", causes(&error)))?;
            let client = PeerClient::new(channel)
                .max_decoding_message_size(message_bytes_max)
                .max_encoding_message_size(message_bytes_max);
            Ok(Box::new(GrpcConnection { client }) as Box<dyn Connection>)
        })
    }
}

/// The error with what caused it: tonic's own text says only that something went wrong.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

impl Connection for GrpcConnection {
    fn open(
        &self,
        kind: StreamKind,
        outgoing: Outgoing,
    ) -> BoxFuture<'static, Result<Inbound, String>> {
        let mut client = self.client.clone();
        Box::pin(async move {
            let frames = outgoing.map(encode);
            let response = match kind {
                StreamKind::Link => client.link(frames).await,
                StreamKind::Call => client.call(frames).await,
            };
            let response = response.map_err(|status| causes(&status))?;
            Ok(inbound(response.into_inner()))
        })
    }
}

fn inbound(stream: Streaming<proto::Frame>) -> Inbound {
    stream
        .map(|frame| match frame {
            Ok(frame) => decode(frame).map_err(|Malformed| "malformed frame".to_owned()),
            Err(status) => Err(causes(&status)),
        })
        .boxed()
}

type Frames = BoxStream<'static, Result<proto::Frame, Status>>;

impl PeerService {
    fn accept(&self, kind: StreamKind, request: Request<Streaming<proto::Frame>>) -> Frames {
        let (outlet, outgoing) = self.hub.outgoing(kind);
        let inbound = inbound(request.into_inner());
        self.hub.spawn(session::accept(
            Arc::clone(&self.hub),
            kind,
            inbound,
            outlet,
        ));
        outgoing.map(|frame| Ok(encode(frame))).boxed()
    }
}

#[tonic::async_trait]
impl peer_server::Peer for PeerService {
    type LinkStream = Frames;
    type CallStream = Frames;

    async fn link(
        &self,
        request: Request<Streaming<proto::Frame>>,
    ) -> Result<Response<Frames>, Status> {
        Ok(Response::new(self.accept(StreamKind::Link, request)))
    }

    async fn call(
        &self,
        request: Request<Streaming<proto::Frame>>,
    ) -> Result<Response<Frames>, Status> {
        Ok(Response::new(self.accept(StreamKind::Call, request)))
    }
}

fn encode(frame: Frame) -> proto::Frame {
    use proto::frame::Kind;
    let kind = match frame {
        Frame::Greeting(greeting, proof) => Kind::Greeting(encode_greeting(&greeting, proof)),
        Frame::Proof(proof) => Kind::Proof(proto::Proof {
            proof: copied(&proof.0),
        }),
        Frame::Consent => Kind::Consent(proto::Consent {}),
        Frame::Refusal(refusal) => Kind::Refusal(proto::Refusal {
            reason: refusal as u32,
        }),
        Frame::Lineage(lineage) => Kind::Lineage(copied(&lineage.0.to_be_bytes())),
        Frame::Batch {
            channel,
            payload,
            more,
        } => Kind::Batch(proto::Batch {
            channel: channel as u32,
            payload,
            more,
        }),
    };
    proto::Frame { kind: Some(kind) }
}

fn copied(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn encode_greeting(greeting: &Greeting, proof: Option<Proof>) -> proto::Greeting {
    let purpose = match greeting.purpose {
        Purpose::Link => proto::Purpose::Link,
        Purpose::Call => proto::Purpose::Call,
        Purpose::Probe => proto::Purpose::Probe,
    };
    let info = postcard::to_stdvec(&greeting.info).expect("a node's facts have no unsized part");
    proto::Greeting {
        protocol: greeting.protocol,
        purpose: purpose.into(),
        node: copied(greeting.member.node.as_bytes()),
        incarnation: greeting.member.incarnation.0,
        nonce: copied(&greeting.nonce),
        lineage: greeting
            .lineage
            .map_or_else(Bytes::new, |l| copied(&l.0.to_be_bytes())),
        info: info.into(),
        proof: proof.map_or_else(Bytes::new, |proof| copied(&proof.0)),
    }
}

/// A frame that no node of any version sends.
#[derive(Debug)]
struct Malformed;

fn decode(frame: proto::Frame) -> Result<Frame, Malformed> {
    use proto::frame::Kind;
    Ok(match frame.kind.ok_or(Malformed)? {
        Kind::Greeting(greeting) => decode_greeting(&greeting)?,
        Kind::Proof(proof) => Frame::Proof(Proof(array(&proof.proof)?)),
        Kind::Consent(proto::Consent {}) => Frame::Consent,
        Kind::Refusal(refusal) => {
            Frame::Refusal(Refusal::from_number(refusal.reason).ok_or(Malformed)?)
        }
        Kind::Lineage(lineage) => Frame::Lineage(decode_lineage(&lineage)?),
        Kind::Batch(batch) => Frame::Batch {
            channel: Channel::from_number(batch.channel).ok_or(Malformed)?,
            payload: batch.payload,
            more: batch.more,
        },
    })
}

fn decode_greeting(greeting: &proto::Greeting) -> Result<Frame, Malformed> {
    let node = NodeId::from_bytes(array(&greeting.node)?);
    // Of another version's greeting only the version counts: it is refused for that.
    let info = match greeting.protocol {
        PROTOCOL => postcard::from_bytes(&greeting.info).map_err(|_| Malformed)?,
        _ => NodeInfo::default(),
    };
    let decoded = Greeting {
        protocol: greeting.protocol,
        purpose: match greeting.purpose() {
            proto::Purpose::Link => Purpose::Link,
            proto::Purpose::Call => Purpose::Call,
            proto::Purpose::Probe => Purpose::Probe,
            proto::Purpose::Unspecified => return Err(Malformed),
        },
        member: Member {
            node,
            incarnation: Incarnation(greeting.incarnation),
        },
        nonce: array(&greeting.nonce)?,
        lineage: match &greeting.lineage {
            none if none.is_empty() => None,
            lineage => Some(decode_lineage(lineage)?),
        },
        info: Some(info).filter(NodeInfo::is_valid).ok_or(Malformed)?,
    };
    let proof = match &greeting.proof {
        none if none.is_empty() => None,
        proof => Some(Proof(array(proof)?)),
    };
    Ok(Frame::Greeting(Box::new(decoded), proof))
}

fn decode_lineage(bytes: &Bytes) -> Result<Lineage, Malformed> {
    Ok(Lineage(u128::from_be_bytes(array(bytes)?)))
}

fn array<const N: usize>(bytes: &Bytes) -> Result<[u8; N], Malformed> {
    bytes[..].try_into().map_err(|_| Malformed)
}
