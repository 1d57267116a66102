//! A command that the cache modes run, as those who wait for its reply see it.

use std::net::SocketAddr;
use std::sync::Arc;

use ahash::AHashMap;
use cluster::Slot;
use routing::route::{Route, Way, route};
use routing::{Error, Refusal};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::errand::{Answer, Reply as Encoded};
use crate::client_state::Port;
use crate::command::Session;
use crate::command::session::LaterResult;
use crate::command::table::{Command, flag};
use crate::error::CommandError;
use crate::gather::Timeouts;
use crate::node::Node;
use crate::others::redirected;
use crate::outbox::forward;
use crate::resp::{Reply, RequestBuf, RespVersion};
use crate::transaction::told;

/// So many slots with commands under way are remembered before it is looked which are over.
const SLOTS_MAX: usize = 64;

/// The slots in which commands of one client are with the cache modes. What the client asks of such
/// a slot next follows them there, so that its requests for a key keep their order.
#[derive(Debug, Default)]
pub(crate) struct Pending(AHashMap<Slot, oneshot::Receiver<bool>>);

impl Pending {
    /// Whether a command of the client on the slot is under way.
    pub(crate) fn holds(&mut self, slot: Slot) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let under_way = self.0.get_mut(&slot).is_some_and(is_under_way);
        if !under_way {
            self.0.remove(&slot);
        }
        under_way
    }

    /// One more command on the slot: behind which other, and what ends when it is over.
    pub(super) fn follow(
        &mut self,
        slot: Slot,
    ) -> (Option<oneshot::Receiver<bool>>, oneshot::Sender<bool>) {
        if self.0.len() >= SLOTS_MAX {
            self.0.retain(|_, over| is_under_way(over));
        }
        let (over, is_over) = oneshot::channel();
        (self.0.insert(slot, is_over), over)
    }
}

fn is_under_way(over: &mut oneshot::Receiver<bool>) -> bool {
    matches!(over.try_recv(), Err(TryRecvError::Empty))
}

/// A command that the cache modes run.
#[derive(Debug)]
pub(crate) struct Deferred {
    pub(super) slot: Slot,
    pub(super) command: &'static Command,
    pub(super) request: Arc<RequestBuf>,
    pub(super) version: RespVersion,
    pub(super) answered: oneshot::Receiver<Answer>,
    /// Lets the client's next command on the slot run.
    pub(super) over: oneshot::Sender<bool>,
}

/// A client of this node, for whom a command that is not answered here goes on elsewhere.
pub(crate) struct Client {
    pub(crate) any_port: bool,
    /// The address that it connected to.
    pub(crate) local: SocketAddr,
}

impl From<&mut Session<'_>> for Client {
    fn from(session: &mut Session<'_>) -> Client {
        Client {
            any_port: session.client.port == Port::Any,
            local: session.client.card.local,
        }
    }
}

impl Deferred {
    /// The reply for a client of this node. If the slot has another primary by now, nothing was
    /// applied: the command is passed on, or the client is told where to go.
    pub(crate) async fn reply(self, node: Arc<Node>, client: Client) -> LaterResult {
        let timeouts = Timeouts::of(&node);
        let writes = self.command.has(flag::WRITE);
        let reply = match said(self.answered.await, writes, timeouts) {
            Some(reply) => reply
                .map(Reply::Encoded)
                .map_err(|error| told(self.command, error)),
            None => match elsewhere(&node, self.slot, &client) {
                Some(moved) => Err(moved),
                None => forward(&node, self.slot, self.command, self.version, &self.request).await,
            },
        };
        // Nobody may wait for it.
        let _ = self.over.send(true);
        reply
    }

    /// The reply for a client of another node, which passes the command on itself if there is none.
    pub(crate) async fn answer(self, timeouts: Timeouts) -> Option<Encoded> {
        let writes = self.command.has(flag::WRITE);
        let reply = said(self.answered.await, writes, timeouts);
        let _ = self.over.send(reply.is_some());
        reply.map(|reply| reply.map_err(|error| told(self.command, error)))
    }
}

/// What the client gets; none if the slot has another primary.
fn said(
    answer: Result<Answer, oneshot::error::RecvError>,
    writes: bool,
    timeouts: Timeouts,
) -> Option<Encoded> {
    let error = match answer {
        Ok(Ok(reply)) => return Some(reply),
        Ok(Err(Error::Refused(Refusal::NotPrimary))) => return None,
        Ok(Err(Error::Refused(Refusal::OutOfMemory))) => CommandError::OutOfMemory,
        Ok(Err(Error::Unconfirmed)) => timeouts.unconfirmed(true),
        Ok(Err(Error::Unread)) => timeouts.unconfirmed(false),
        Ok(Err(error)) => error.to_string().into(),
        // The thread has ended: this node stops.
        Err(_) if writes => "UNCERTAIN the node stops".into(),
        Err(_) => "TRYAGAIN the node stops".into(),
    };
    Some(Err(error))
}

/// Where a client of the cluster port is sent, if the slot has another primary already.
fn elsewhere(node: &Node, slot: Slot, client: &Client) -> Option<CommandError> {
    if client.any_port {
        return None;
    }
    let me = node.slots.replicas().me();
    let placement = Arc::clone(node.slots.lock(slot).placement());
    match route([slot], |_| &placement, Way::default(), true, false, &me) {
        // It is about to lead it, or about to hear who does.
        Route::Local | Route::TryAgain => None,
        route => Some(redirected(&node.topology, route, client.local)),
    }
}
