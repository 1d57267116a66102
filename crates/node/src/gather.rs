//! What a connection waits for before it writes: replies that need copies, replies on their way.
//!
//! A reply that waits for copies is encoded at once and stands in the output buffer; only if it
//! must not go out is it replaced. So the usual end of a wait moves no byte.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use cluster::driver::Waiting;
use cluster::replication::{self, Outcome};
use futures_util::future::{join_all, join3};
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use crate::command::Later;
use crate::command::table::CommandId;
use crate::error::CommandError;
use crate::modes::DEFERRED_MAX;
use crate::node::Node;
use crate::outbox::Outbox;
use crate::resp::{Reply, RespVersion};

/// The right to say what became of one reply. Dropped unsaid, it counts as not known.
#[derive(Debug)]
pub struct Token {
    shared: Arc<Shared>,
    round: u64,
    index: usize,
    said: bool,
}

impl Token {
    /// Says what became of the reply.
    pub fn resolve(mut self, outcome: Outcome) {
        self.said = true;
        self.shared.resolve(self.round, self.index, outcome);
    }
}

impl replication::Token for Token {
    /// Whether the connection has given up on the reply, or is gone.
    fn is_gone(&self) -> bool {
        self.shared.state.lock().round != self.round
    }
}

impl Waiting for Token {
    fn resolve(self, outcome: Outcome) {
        Token::resolve(self, outcome);
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if !self.said {
            self.shared
                .resolve(self.round, self.index, Outcome::Uncertain);
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    waker: AtomicWaker,
}

#[derive(Debug, Default)]
struct State {
    /// Grows with every wait that ends: what belongs to an older one is ignored.
    round: u64,
    outcomes: Vec<Option<Outcome>>,
    pending: usize,
}

impl Shared {
    fn resolve(&self, round: u64, index: usize, outcome: Outcome) {
        let mut state = self.state.lock();
        if state.round != round || state.outcomes[index].is_some() {
            return;
        }
        state.outcomes[index] = Some(outcome);
        state.pending -= 1;
        let last = state.pending == 0;
        drop(state);
        if last {
            self.waker.wake();
        }
    }

    fn token(self: &Arc<Self>) -> Token {
        let mut state = self.state.lock();
        let index = state.outcomes.len();
        state.outcomes.push(None);
        state.pending += 1;
        Token {
            shared: Arc::clone(self),
            round: state.round,
            index,
            said: false,
        }
    }

    /// Until every token has said its word.
    async fn settled(&self) {
        poll_fn(|context| {
            self.waker.register(context.waker());
            if self.state.lock().pending == 0 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Ends the wait, and returns what it came to.
    fn end_round(&self) -> Vec<Option<Outcome>> {
        let mut state = self.state.lock();
        state.round += 1;
        state.pending = 0;
        std::mem::take(&mut state.outcomes)
    }
}

/// A part of the output that is not certain yet.
struct Hole {
    /// Where it begins.
    at: usize,
    /// Where it ends; the same if its reply is not there at all yet.
    end: usize,
    filling: Filling,
    /// Whose reply it is.
    command: Option<CommandId>,
}

enum Filling {
    /// What is there, if enough copies are. Whether it is a write.
    Copies { index: usize, write: bool },
    /// A reply that is on its way.
    Later(Later),
}

/// What one connection waits for.
#[derive(Default)]
pub(crate) struct Gather {
    holes: Vec<Hole>,
    /// The command that runs.
    pub(crate) command: Option<CommandId>,
    shared: Arc<Shared>,
    /// What other nodes are asked first.
    pub(crate) outbox: Outbox,
    /// How many replies, or parts of them, come from the cache modes.
    deferred: usize,
}

impl Gather {
    /// Whether there is nothing to wait for.
    pub(crate) fn is_empty(&self) -> bool {
        self.holes.is_empty()
    }

    /// Whether a reply holds back others: it may take as long as its client wants.
    pub(crate) fn holds_back(&self) -> bool {
        let holds_back =
            |hole: &Hole| matches!(&hole.filling, Filling::Later(later) if later.holds_back);
        self.holes.iter().any(holds_back)
    }

    /// The reply at `at..end` of the output waits for copies.
    pub(crate) fn wait_for_copies(&mut self, at: usize, end: usize, write: bool) -> Token {
        let token = self.shared.token();
        let index = token.index;
        self.holes.push(Hole {
            at,
            end,
            filling: Filling::Copies { index, write },
            command: self.command,
        });
        token
    }

    /// A reply belongs at `at` that is on its way.
    pub(crate) fn wait_for(&mut self, at: usize, later: Later) {
        self.holes.push(Hole {
            at,
            end: at,
            filling: Filling::Later(later),
            command: self.command,
        });
    }

    /// A reply of the cache modes belongs at `at`. Says whether there are enough of them.
    pub(crate) fn wait_for_modes(&mut self, at: usize, later: Later) -> bool {
        self.wait_for(at, later);
        self.count_one_of_modes();
        self.has_enough_of_modes()
    }

    /// A part of a reply comes from the cache modes.
    pub(crate) fn count_one_of_modes(&mut self) {
        self.deferred += 1;
    }

    /// Whether no more of the replies, or of their parts, are to come from the cache modes.
    pub(crate) fn has_enough_of_modes(&self) -> bool {
        self.deferred >= DEFERRED_MAX
    }

    /// Waits for everything, and puts the output in order. Each error that a reply turned into is
    /// shown to `failed`, with its command. The reply that holds back others, if there is one, is
    /// the last; it begins when all others are there. `carried` brings those that come from other
    /// nodes.
    pub(crate) async fn settle(
        &mut self,
        out: &mut BytesMut,
        version: RespVersion,
        timeouts: Timeouts,
        mut failed: impl FnMut(Option<CommandId>, &CommandError),
        carried: impl Future<Output = ()>,
    ) {
        let holes = std::mem::take(&mut self.holes);
        self.deferred = 0;
        let mut copies = Vec::with_capacity(holes.len());
        let mut laters = Vec::new();
        let mut last = None;
        for hole in holes {
            let filling = match hole.filling {
                Filling::Copies { index, write } => Some((index, write)),
                Filling::Later(later) => {
                    if later.holds_back {
                        last = Some(later.reply);
                    } else {
                        laters.push(later.reply);
                    }
                    None
                }
            };
            copies.push((hole.at..hole.end, hole.command, filling));
        }
        let in_time = tokio::time::timeout(timeouts.longest(), self.shared.settled());
        let (in_time, mut replies, ()) = join3(in_time, join_all(laters), carried).await;
        if let Some(last) = last {
            replies.push(last.await);
        }
        // A wait that gives up ends here: what the tokens of this round say later is ignored.
        let outcomes = self.shared.end_round();
        let all_done = in_time.is_ok()
            && replies.is_empty()
            && outcomes
                .iter()
                .all(|outcome| *outcome == Some(Outcome::Done));
        if all_done {
            return;
        }
        let mut replies = replies.into_iter();
        let mut whole = BytesMut::with_capacity(out.len());
        let mut from = 0;
        for (range, command, filling) in copies {
            whole.extend_from_slice(&out[from..range.start]);
            from = range.end;
            let result = match filling {
                None => replies.next().expect("each later gave a reply"),
                Some((index, write)) => match outcomes[index] {
                    Some(Outcome::Done) => {
                        whole.extend_from_slice(&out[range]);
                        continue;
                    }
                    Some(Outcome::TryAgain) => Err(timeouts.unconfirmed(false)),
                    Some(Outcome::Uncertain) | None => Err(timeouts.unconfirmed(write)),
                },
            };
            let reply = result.unwrap_or_else(|error| {
                failed(command, &error);
                Reply::Error(error)
            });
            reply.encode(version, &mut whole);
        }
        whole.extend_from_slice(&out[from..]);
        *out = whole;
    }
}

/// Records of a command over many slots, whose one reply waits for all of them.
#[derive(Default)]
pub(crate) struct Waits {
    shared: Arc<Shared>,
}

impl Waits {
    /// Whether there is nothing to wait for.
    pub(crate) fn is_empty(&self) -> bool {
        self.shared.state.lock().outcomes.is_empty()
    }

    /// The right to say what became of one more record.
    pub(crate) fn token(&mut self) -> Token {
        self.shared.token()
    }

    /// Until enough copies hold every record. An error says whether it was for writes.
    pub(crate) async fn all(self, timeout: Duration, write: bool) -> Result<(), CommandError> {
        // Who is not heard in time is among the outcomes that are missing.
        let _ = tokio::time::timeout(timeout, self.shared.settled()).await;
        let outcomes = self.shared.end_round();
        if outcomes
            .iter()
            .all(|outcome| *outcome == Some(Outcome::Done))
        {
            return Ok(());
        }
        Err(Timeouts {
            read: timeout,
            write: timeout,
        }
        .unconfirmed(write))
    }
}

impl Drop for Waits {
    /// Who stops waiting before the end has nothing to hear any more.
    fn drop(&mut self) {
        self.shared.end_round();
    }
}

impl Drop for Gather {
    /// Those who still hold tokens may drop them.
    fn drop(&mut self) {
        self.shared.end_round();
    }
}

/// How long replies wait for copies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// Those of reads.
    pub(crate) read: Duration,
    /// Those of writes.
    pub(crate) write: Duration,
}

impl Timeouts {
    /// Those that the node is set to.
    pub(crate) fn of(node: &Node) -> Timeouts {
        let timings = &node.settings.timings;
        Timeouts {
            read: timings.read_timeout.0,
            write: timings.write_timeout.0,
        }
    }

    /// None of them longer than this.
    pub(crate) fn at_most(self, most: Duration) -> Timeouts {
        Timeouts {
            read: self.read.min(most),
            write: self.write.min(most),
        }
    }

    /// The longer one.
    pub(crate) fn longest(self) -> Duration {
        self.read.max(self.write)
    }

    /// What is said of a reply that nobody confirmed in time.
    pub(crate) fn unconfirmed(self, write: bool) -> CommandError {
        if write {
            let ms = self.write.as_millis();
            format!("UNCERTAIN write not confirmed by W copies within {ms} ms").into()
        } else {
            let ms = self.read.as_millis();
            format!("TRYAGAIN read not confirmed within {ms} ms").into()
        }
    }
}
