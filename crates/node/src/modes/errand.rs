//! A command on its way to the cache modes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use cluster::Slot;
use routing::Request;
use tokio::sync::oneshot;

use super::Job;
use super::deferred::{Deferred, Pending};
use super::uses::uses_of;
use crate::command::Args;
use crate::command::table::{Command, KeyHandler};
use crate::error::CommandError;
use crate::node::Node;
use crate::resp::{RequestBuf, RespVersion};
use crate::stats::Limit;

/// A command with its words, ready to be run.
pub(crate) struct Task {
    pub(super) command: &'static Command,
    pub(super) handler: KeyHandler,
    pub(super) request: Arc<RequestBuf>,
    pub(super) version: RespVersion,
}

/// What a handler answered, encoded for its client.
pub(super) type Reply = Result<Bytes, CommandError>;

/// What became of a command.
pub(super) type Answer = Result<Reply, routing::Error>;

/// A command for the thread of the cache modes.
pub(super) struct Errand {
    pub(super) request: Request<Task>,
    /// The command of the same client on the same slot before this one, if it is not over. Says
    /// `false` if that one is not answered here, and so this one is not to be.
    pub(super) behind: Option<oneshot::Receiver<bool>>,
    pub(super) answer: oneshot::Sender<Answer>,
    pub(super) place: Place,
}

/// A place among the commands under way.
pub(super) struct Place(Arc<Node>, Slot);

impl Place {
    fn take(node: &Arc<Node>, slot: Slot) -> Result<Place, CommandError> {
        let most = node.settings.limits.database_waiting_max;
        if node.modes.under_way.fetch_add(1, Ordering::Relaxed) < most {
            node.modes.in_slots.0[slot.index()].fetch_add(1, Ordering::AcqRel);
            return Ok(Place(Arc::clone(node), slot));
        }
        node.modes.under_way.fetch_sub(1, Ordering::Relaxed);
        node.stats.reached(Limit::Database);
        Err("TRYAGAIN Too many commands wait for the databases".into())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.modes.in_slots.0[self.1.index()].fetch_sub(1, Ordering::AcqRel);
        self.0.modes.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Hands a command to the cache modes. It runs when those of the same client on the same slot that
/// were handed over before are answered.
///
/// # Errors
/// If too many wait already. Nothing was applied.
pub(crate) fn defer(
    node: &Arc<Node>,
    pending: &mut Pending,
    slot: Slot,
    (command, handler): (&'static Command, KeyHandler),
    args: &Args<'_>,
    version: RespVersion,
) -> Result<Deferred, CommandError> {
    let place = Place::take(node, slot)?;
    let (buffer, spans) = args.words();
    let words: Vec<&[u8]> = spans.iter().map(|span| span.of(buffer)).collect();
    let request = Arc::new(RequestBuf::of(&words));
    let shown = crate::dispatch::Request {
        buffer: request.buffer(),
        spans: request.spans(),
    };
    let uses = uses_of(command, shown).into_iter();
    let keys = uses.map(|(key, used)| (Bytes::copy_from_slice(key), used));
    let keys = keys.collect();
    let task = Task {
        command,
        handler,
        request: Arc::clone(&request),
        version,
    };
    let (answer, answered) = oneshot::channel();
    let (behind, over) = pending.follow(slot);
    node.modes.post(Job::Run(Errand {
        request: Request {
            slot,
            keys,
            command: task,
        },
        behind,
        answer,
        place,
    }));
    Ok(Deferred {
        slot,
        command,
        request,
        version,
        answered,
        over,
    })
}
