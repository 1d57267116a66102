//! The tasks that find peers and keep the connection to each of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::caller::Caller;
use super::frame::Assembler;
use super::handshake::{Purpose, Refusal};
use super::hub::{Hub, RefusedBy};
use super::link::Direction;
use super::peer::Peer;
use super::responder;
use super::session::{self, Failure, Stream};
use super::wire::Connection;

/// Of the addresses behind a name, so many are tried.
const ENDPOINTS_MAX: usize = 64;

/// A connection that ends sooner than this after it opened does not make the next one come fast.
const STABLE: Duration = Duration::from_secs(1);

/// Connects to a peer again and again, until it is forgotten.
pub(crate) async fn keep_connected(hub: Arc<Hub>, peer: Arc<Peer>) {
    let mut pause = Pause::new(&hub);
    while !peer.is_forgotten() {
        let started = Instant::now();
        match connect(&hub, &peer).await {
            Ok(end) => {
                tracing::info!(node = %peer.node, "connection to a node ended: {end}");
                if started.elapsed() >= STABLE {
                    pause = Pause::new(&hub);
                }
            }
            Err(failure) => {
                hub.metrics.connects_failed.increment(1);
                report(&hub, &failure, &peer.node.to_string());
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause.next()) => (),
            () = peer.changed.notified() => pause = Pause::new(&hub),
        }
    }
}

pub(super) fn report(hub: &Hub, failure: &Failure, who: &str) {
    match *failure {
        Failure::RefusedByUs(refusal) => hub.refused(RefusedBy::Us, refusal, who),
        Failure::RefusedByThem(refusal) => hub.refused(RefusedBy::Them, refusal, who),
        Failure::Lost(ref reason) => tracing::debug!(who, "no connection: {reason}"),
    }
}

/// Tries each endpoint behind the peer's address; returns why the streams ended once one was open.
async fn connect(hub: &Arc<Hub>, peer: &Arc<Peer>) -> Result<String, Failure> {
    let Some(driver) = hub.driver() else {
        return Err(Failure::RefusedByUs(Refusal::NotReady));
    };
    let address = peer.address().unwrap_or_default();
    let mut failure = Failure::Lost(format!("{address:?} has no address"));
    for endpoint in resolve(hub, address).await? {
        let opened = match dial(hub, endpoint).await {
            Ok(connection) => open(hub, peer, connection).await,
            Err(error) => Err(error),
        };
        match opened {
            Ok((_connection, calls, link)) => {
                hub.metrics.connects.increment(1);
                let caller = Arc::clone(&peer.caller);
                let link =
                    session::run_link(hub, Arc::clone(peer), driver, Direction::Initiated, link);
                return Ok(tokio::select! {
                    end = link => end,
                    () = run_calls(hub, caller, calls) => "the stream of calls ended".to_owned(),
                });
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

pub(super) async fn resolve(hub: &Hub, address: String) -> Result<Vec<String>, Failure> {
    let resolved = timeout(hub.limits().connect_timeout, hub.wire.resolve(address)).await;
    let resolved = resolved.unwrap_or_else(|_| Err("the name was not resolved in time".to_owned()));
    let mut endpoints = resolved.map_err(Failure::Lost)?;
    endpoints.truncate(ENDPOINTS_MAX);
    Ok(endpoints)
}

pub(super) async fn dial(hub: &Hub, endpoint: String) -> Result<Box<dyn Connection>, Failure> {
    let dialled = timeout(hub.limits().connect_timeout, hub.wire.dial(endpoint)).await;
    dialled
        .unwrap_or_else(|_| Err("no connection within the time".to_owned()))
        .map_err(Failure::Lost)
}

/// Opens both streams: calls first, so that a driver that hears of a link can call at once.
async fn open(
    hub: &Hub,
    peer: &Peer,
    connection: Box<dyn Connection>,
) -> Result<(Box<dyn Connection>, Stream, Stream), Failure> {
    let calls = session::open(hub, &*connection, Purpose::Call, Some(peer.node)).await?;
    let link = session::open(hub, &*connection, Purpose::Link, Some(peer.node)).await?;
    peer.admit(link.theirs.member)
        .map_err(Failure::RefusedByUs)?;
    if calls.theirs.member != link.theirs.member {
        return Err(Failure::Lost("the node restarted in between".to_owned()));
    }
    Ok((connection, calls, link))
}

async fn run_calls(hub: &Hub, caller: Arc<Caller>, stream: Stream) {
    let Stream {
        mut inbound,
        outlet,
        ..
    } = stream;
    let session = CallSession {
        caller,
        stream: hub.next_stream(),
    };
    session.caller.opened(session.stream, outlet.wake());
    outlet.attach(Arc::clone(&session.caller) as _);
    let mut assembler = Assembler::new(hub.limits().message_bytes_max);
    loop {
        let frame = futures_util::StreamExt::next(&mut inbound).await;
        let Some(payload) = responder::batch(hub, &mut assembler, frame) else {
            break;
        };
        let Some(payload) = payload else { continue };
        if session.caller.answers(payload).is_err() {
            break;
        }
    }
}

/// Ends the calls of a stream with it, also when its task is dropped.
struct CallSession {
    caller: Arc<Caller>,
    stream: u64,
}

impl Drop for CallSession {
    fn drop(&mut self) {
        self.caller.closed(self.stream);
    }
}

/// Pauses that grow, with jitter, so that many nodes do not knock at the same moment.
pub(super) struct Pause {
    next: Duration,
    max: Duration,
}

impl Pause {
    pub(super) fn new(hub: &Hub) -> Pause {
        let limits = hub.limits();
        Pause {
            next: limits.reconnect_min,
            max: limits.reconnect_max,
        }
    }

    pub(super) fn next(&mut self) -> Duration {
        let span = self.next.mul_f64(rand::random_range(0.5..1.0));
        self.next = (self.next * 2).min(self.max);
        span
    }
}
