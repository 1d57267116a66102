//! The life of one stream: greeting, messages, end.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, Sleep};

use super::frame::{Assembler, Frame};
use super::handshake::{Greeting, Purpose, Refusal, Role, judge, judge_lineage, prove, verify};
use super::hub::{Hub, RefusedBy};
use super::link::{Direction, Flow, LinkDriver};
use super::metrics::Metrics;
use super::outgoing::OwnedOutlet;
use super::peer::{LinkSession, Peer};
use super::responder;
use super::wire::{Connection, Inbound, StreamKind};
use crate::NodeId;

/// A stream whose other end has proven itself.
pub(crate) struct Stream {
    pub(crate) theirs: Box<Greeting>,
    pub(crate) inbound: Inbound,
    pub(crate) outlet: OwnedOutlet,
}

/// Why a stream did not open.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Lost(String),
    #[error("the node refused this one: {0}")]
    RefusedByThem(Refusal),
    #[error("{0}")]
    RefusedByUs(Refusal),
}

/// Opens a stream on a connection and greets. With `expected`, only that node will do.
pub(crate) async fn open(
    hub: &Hub,
    connection: &dyn Connection,
    purpose: Purpose,
    expected: Option<NodeId>,
) -> Result<Stream, Failure> {
    let greeting = greet(hub, connection, purpose, expected);
    let greeted = tokio::time::timeout(hub.limits().greeting_timeout, greeting).await;
    greeted.unwrap_or_else(|_| Err(Failure::Lost("no greeting within the time".to_owned())))
}

async fn greet(
    hub: &Hub,
    connection: &dyn Connection,
    purpose: Purpose,
    expected: Option<NodeId>,
) -> Result<Stream, Failure> {
    let kind = match purpose {
        Purpose::Link | Purpose::Probe => StreamKind::Link,
        Purpose::Call => StreamKind::Call,
    };
    let secret = hub.settings.secret.as_ref();
    let ours = hub.greeting(purpose);
    let (outlet, outgoing) = hub.outgoing(kind);
    outlet.send(Frame::Greeting(Box::new(ours.clone()), None));
    let mut inbound = connection
        .open(kind, outgoing)
        .await
        .map_err(Failure::Lost)?;
    let Frame::Greeting(theirs, Some(proof)) = next(&mut inbound).await? else {
        return Err(Failure::RefusedByUs(Refusal::Malformed));
    };
    let verdict = judge(&ours, &theirs)
        .and_then(|()| verify(secret, Role::Answerer, [&ours, &theirs], proof))
        .and_then(|()| match expected {
            Some(node) if node != theirs.member.node => Err(Refusal::AnotherNode),
            _ => Ok(()),
        });
    if let Err(refusal) = verdict {
        outlet.send(Frame::Refusal(refusal));
        outlet.end();
        // The other side ends the stream when it has read the refusal.
        while let Some(Ok(_)) = inbound.next().await {}
        return Err(Failure::RefusedByUs(refusal));
    }
    outlet.send(Frame::Proof(prove(secret, Role::Opener, [&ours, &theirs])));
    match next(&mut inbound).await? {
        Frame::Consent => Ok(Stream {
            theirs,
            inbound,
            outlet,
        }),
        _ => Err(Failure::RefusedByUs(Refusal::Malformed)),
    }
}

async fn next(inbound: &mut Inbound) -> Result<Frame, Failure> {
    match inbound.next().await {
        Some(Ok(Frame::Refusal(refusal))) => Err(Failure::RefusedByThem(refusal)),
        Some(Ok(frame)) => Ok(frame),
        Some(Err(error)) => Err(Failure::Lost(error)),
        None => Err(Failure::Lost(
            "the stream ended during the greeting".to_owned(),
        )),
    }
}

/// Takes a stream that another node opens, from its first frame to its end.
pub(crate) async fn accept(hub: Arc<Hub>, kind: StreamKind, inbound: Inbound, outlet: OwnedOutlet) {
    let Ok(permit) = Arc::clone(&hub.greetings).try_acquire_owned() else {
        Metrics::limit_reached("peers.greetings_max");
        return outlet.send(Frame::Refusal(Refusal::NotReady));
    };
    let answer = answer(&hub, kind, inbound, outlet);
    let answered = tokio::time::timeout(hub.limits().greeting_timeout, answer).await;
    drop(permit);
    let Ok(Some(Accepted {
        purpose,
        stream,
        peer,
        driver,
    })) = answered
    else {
        return;
    };
    match purpose {
        Purpose::Probe => (),
        Purpose::Link => {
            hub.learn(stream.theirs.member.node, &stream.theirs.info.peer_address);
            run_link(&hub, peer, driver, Direction::Accepted, stream).await;
        }
        Purpose::Call => responder::serve(&hub, stream).await,
    }
}

struct Accepted {
    purpose: Purpose,
    stream: Stream,
    peer: Arc<Peer>,
    driver: Arc<dyn LinkDriver>,
}

async fn answer(
    hub: &Hub,
    kind: StreamKind,
    mut inbound: Inbound,
    outlet: OwnedOutlet,
) -> Option<Accepted> {
    let mut who = "unknown".to_owned();
    match consent(hub, kind, &mut inbound, &outlet, &mut who).await {
        Ok((theirs, peer, driver)) => {
            let purpose = theirs.purpose;
            Some(Accepted {
                purpose,
                stream: Stream {
                    theirs,
                    inbound,
                    outlet,
                },
                peer,
                driver,
            })
        }
        Err(failure) => {
            match failure {
                Failure::RefusedByUs(refusal) => {
                    hub.refused(RefusedBy::Us, refusal, &who);
                    outlet.send(Frame::Refusal(refusal));
                }
                Failure::RefusedByThem(refusal) => hub.refused(RefusedBy::Them, refusal, &who),
                Failure::Lost(reason) => tracing::debug!(who, "a greeting was cut off: {reason}"),
            }
            None
        }
    }
}

async fn consent(
    hub: &Hub,
    kind: StreamKind,
    inbound: &mut Inbound,
    outlet: &OwnedOutlet,
    who: &mut String,
) -> Result<(Box<Greeting>, Arc<Peer>, Arc<dyn LinkDriver>), Failure> {
    let Frame::Greeting(theirs, None) = next(inbound).await? else {
        return Err(Failure::RefusedByUs(Refusal::Malformed));
    };
    *who = format!("{} at {:?}", theirs.member.node, theirs.info.peer_address);
    if (kind == StreamKind::Call) != (theirs.purpose == Purpose::Call) {
        return Err(Failure::RefusedByUs(Refusal::Malformed));
    }
    let ours = hub.greeting(theirs.purpose);
    judge(&ours, &theirs).map_err(Failure::RefusedByUs)?;
    let secret = hub.settings.secret.as_ref();
    let greetings = [&*theirs, &ours];
    let proof = prove(secret, Role::Answerer, greetings);
    outlet.send(Frame::Greeting(Box::new(ours.clone()), Some(proof)));
    let Frame::Proof(proof) = next(inbound).await? else {
        return Err(Failure::RefusedByUs(Refusal::Malformed));
    };
    verify(secret, Role::Opener, greetings, proof).map_err(Failure::RefusedByUs)?;
    let driver = hub
        .driver()
        .ok_or(Failure::RefusedByUs(Refusal::NotReady))?;
    let peer = hub.peer_or_new(theirs.member.node);
    let peer = peer.ok_or(Failure::RefusedByUs(Refusal::NotReady))?;
    peer.admit(theirs.member).map_err(Failure::RefusedByUs)?;
    outlet.send(Frame::Consent);
    Ok((theirs, peer, driver))
}

/// Carries a link's messages to the driver until the stream ends. Returns why it did.
pub(crate) async fn run_link(
    hub: &Arc<Hub>,
    peer: Arc<Peer>,
    driver: Arc<dyn LinkDriver>,
    direction: Direction,
    stream: Stream,
) -> String {
    let Stream {
        theirs,
        mut inbound,
        outlet,
    } = stream;
    let mut session = peer.open(hub, driver, direction, &theirs, &outlet);
    tracing::debug!(link = ?session.link, "stream opened");
    let end = read_link(hub, &session, &mut inbound).await;
    tracing::debug!(link = ?session.link, "stream closed: {end}");
    session.end.clone_from(&end);
    end
}

async fn read_link(hub: &Hub, session: &LinkSession, inbound: &mut Inbound) -> String {
    let mut assembler = Assembler::new(hub.limits().message_bytes_max);
    let mut silence = Silence::new(hub.limits().silence);
    let stop = Arc::clone(&session.stop);
    loop {
        let frame = tokio::select! {
            biased;
            () = stop.notified() => return "stopped by this node".to_owned(),
            frame = inbound.next() => frame,
            () = silence.passed() => return "silent for too long".to_owned(),
        };
        silence.heard();
        let (channel, payload, more) = match frame {
            None => return "ended by the peer".to_owned(),
            Some(Err(error)) => return error,
            Some(Ok(Frame::Batch {
                channel,
                payload,
                more,
            })) => (channel, payload, more),
            Some(Ok(Frame::Lineage(lineage))) => {
                session.set_peer_lineage(lineage);
                if judge_lineage(hub.lineage(), Some(lineage)).is_err() {
                    return Refusal::Lineage.to_string();
                }
                continue;
            }
            Some(Ok(_)) => return "a greeting after the greeting".to_owned(),
        };
        hub.metrics.link_received.count(payload.len());
        let payload = match assembler.add(channel, payload, more) {
            Ok(Some(payload)) => payload,
            Ok(None) => continue,
            Err(error) => return error.to_string(),
        };
        match session.received(channel, payload) {
            None => return "a newer stream took its place".to_owned(),
            Some(Flow::Continue) => (),
            Some(Flow::Wait(ready)) => {
                tokio::select! {
                    () = stop.notified() => return "stopped by this node".to_owned(),
                    () = ready => (),
                }
                silence.heard(); // it was this node that did not listen
            }
        }
    }
}

/// Notices that a peer has gone silent, at the cost of a store for each message.
struct Silence {
    limit: Duration,
    heard: bool,
    timer: Pin<Box<Sleep>>,
    quiet: u32,
}

/// The limit is watched in so many parts. A part that was missed because this process did not run
/// is one part, so a pause of our own is not taken for the peer's silence.
const PARTS: u32 = 4;

impl Silence {
    fn new(limit: Duration) -> Silence {
        let timer = Box::pin(tokio::time::sleep(limit / PARTS));
        Silence {
            limit,
            heard: true,
            timer,
            quiet: 0,
        }
    }

    fn heard(&mut self) {
        self.heard = true;
    }

    async fn passed(&mut self) {
        loop {
            self.timer.as_mut().await;
            self.timer
                .as_mut()
                .reset(Instant::now() + self.limit / PARTS);
            self.quiet = if std::mem::take(&mut self.heard) {
                0
            } else {
                self.quiet + 1
            };
            if self.quiet >= PARTS {
                return;
            }
        }
    }
}
