//! The asking side: each slot's primary is asked, and asked again until all is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cluster::replication::Refusal;
use cluster::transport::{CallError, CallKind, Lost, NotSent};
use cluster::{Member, Slot};
use futures_util::future::join_all;
use tokio::time::Instant;

use super::form::{decode_answer, encode};
use super::{End, Part, Question, Wanted, share};
use crate::client_state::Port;
use crate::command::Session;
use crate::error::CommandError;
use crate::execute::refused;
use crate::gather::Timeouts;
use crate::node::Node;
use crate::others::DOWN;
use crate::outbox::UNREACHABLE;

/// The pause before slots are asked again of which nothing was said; doubled with each one.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// What an answer may take longer than the node that is asked may wait.
const GRACE: Duration = Duration::from_millis(100);

/// Which slots a question means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// All of the cluster.
    Whole,
    /// Those that this node leads, or of which it has copies if these will do.
    Own { copies: bool },
}

/// Who asks.
pub(crate) struct Asker {
    node: Arc<Node>,
    scope: Scope,
}

/// What came of asking everybody once.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// What each node has said: parts that say something, in the order of the slots.
    pub(crate) answers: Vec<Vec<Part>>,
    /// Slots in which it may have happened, and nobody knows.
    doubtful: BTreeSet<Slot>,
    /// Why of other slots nothing is known.
    why: Option<Why>,
}

/// Why nothing is known of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    NoPrimary,
    Unreachable,
    Refused(Refusal),
    Unconfirmed,
}

/// For how long answers are awaited.
pub(crate) struct Patience {
    timeout: Duration,
    until: Instant,
    pause: Duration,
}

impl Patience {
    fn new(timeout: Duration) -> Patience {
        Patience {
            timeout,
            until: Instant::now() + timeout,
            pause: PAUSE_MIN,
        }
    }

    /// A walk gets on: however long the whole takes, each step has its time.
    pub(crate) fn renew(&mut self) {
        *self = Patience::new(self.timeout);
    }

    /// No longer than this.
    pub(crate) fn at_most(self, most: Duration) -> Patience {
        Patience::new(self.timeout.min(most))
    }

    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// A pause before the next attempt; whether there is time for one.
    pub(crate) async fn pause(&mut self) -> bool {
        let left = self.left();
        tokio::time::sleep(self.pause.min(left)).await;
        self.pause = (2 * self.pause).min(PAUSE_MAX);
        !left.is_zero()
    }
}

impl Asker {
    /// For a client: the any port means the whole cluster.
    pub(crate) fn of(session: &Session<'_>) -> Asker {
        Asker {
            node: Arc::clone(session.node),
            scope: match session.client.port {
                Port::Any => Scope::Whole,
                Port::Cluster => Scope::Own {
                    copies: session.client.readonly,
                },
            },
        }
    }

    /// For the whole cluster.
    pub(crate) fn whole(node: &Arc<Node>) -> Asker {
        Asker {
            node: Arc::clone(node),
            scope: Scope::Whole,
        }
    }

    /// As long as this node waits for a read, or a write; for a flush, as long as a slot may be
    /// without a primary.
    pub(crate) fn patience(&self, question: &Question) -> Patience {
        let timeouts = Timeouts::of(&self.node);
        Patience::new(match question {
            Question::Flush(_) => self.node.settings.timings.flush_timeout.0,
            _ if question.writes() => timeouts.write,
            _ => timeouts.read,
        })
    }

    /// Asks until every slot is done with, and shows each answer to `take`. Nothing is left out
    /// unless there is an error, and a question that writes has changed nothing if the error does
    /// not say `UNCERTAIN`.
    pub(crate) async fn cover(
        &self,
        question: &Question,
        take: impl FnMut(Vec<Part>) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let pending = Slot::all().map(|slot| (slot, 0)).collect();
        self.cover_some(question, pending, take).await
    }

    /// Asks until the databases have what was dirty in these slots, or refuse it for itself.
    pub(crate) async fn flush(&self, slots: &[Slot]) -> Result<(), CommandError> {
        let pending = slots.iter().map(|slot| (*slot, 0)).collect();
        let take = |_| Ok(());
        self.cover_some(&Question::Flush(None), pending, take).await
    }

    /// How many bytes these slots take together.
    pub(crate) async fn bytes(&self, slots: &BTreeSet<Slot>) -> Result<u64, CommandError> {
        let pending = slots.iter().map(|slot| (*slot, 0)).collect();
        let mut bytes = 0;
        let take = |parts: Vec<Part>| {
            bytes += parts.iter().map(|part| part.count).sum::<u64>();
            Ok(())
        };
        self.cover_some(&Question::Bytes, pending, take).await?;
        Ok(bytes)
    }

    async fn cover_some(
        &self,
        question: &Question,
        mut pending: BTreeMap<Slot, u64>,
        mut take: impl FnMut(Vec<Part>) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let mut patience = self.patience(question);
        let (mut some_done, mut doubt) = (false, false);
        while !pending.is_empty() {
            let wanted = pending.iter().map(|(slot, from)| (*slot, *from)).collect();
            let round = self.round(question, wanted, &patience).await;
            for slot in &round.doubtful {
                pending.remove(slot);
                doubt = true;
            }
            let mut progress = false;
            for parts in round.answers {
                for part in &parts {
                    match part.end {
                        End::At(position) => pending.insert(part.slot, position),
                        _ => pending.remove(&part.slot),
                    };
                    progress = true;
                }
                take(parts)?;
            }
            some_done |= progress;
            if pending.is_empty() {
                break;
            }
            if progress && matches!(question, Question::Walk(_) | Question::Flush(_)) {
                patience.renew();
            } else if !patience.pause().await {
                return Err(self.failure(question, round.why, some_done, doubt));
            }
        }
        if doubt {
            return Err(self.failure(question, None, some_done, doubt));
        }
        Ok(())
    }

    /// Asks the primaries of these slots, which are in their order, once and all at the same time.
    pub(crate) async fn round(
        &self,
        question: &Question,
        wanted: Vec<Wanted>,
        patience: &Patience,
    ) -> Round {
        let mut round = Round::default();
        let groups = self.by_primary(wanted, &mut round);
        let left = patience.left();
        let trips = groups.into_iter().map(async |(to, wanted)| {
            let parts = self.trip(to, question, &wanted, left).await;
            (wanted, parts)
        });
        for (wanted, parts) in join_all(trips).await {
            match parts {
                Ok(parts) => self.sort(question, parts, &mut round),
                Err(error) if question.writes() && error.may_have_run() => {
                    round.doubtful.extend(wanted.iter().map(|(slot, _)| *slot));
                }
                Err(_) => round.why = Some(Why::Unreachable),
            }
        }
        round
    }

    fn by_primary(&self, wanted: Vec<Wanted>, round: &mut Round) -> BTreeMap<Member, Vec<Wanted>> {
        let me = self.node.slots.replicas().me();
        if self.scope != Scope::Whole {
            return BTreeMap::from([(me, wanted)]);
        }
        let map = self.node.topology.map();
        let mut groups: BTreeMap<Member, Vec<Wanted>> = BTreeMap::new();
        for (slot, position) in wanted {
            match map.primary(slot) {
                Some(primary) => groups.entry(primary).or_default().push((slot, position)),
                None => round.why = Some(Why::NoPrimary),
            }
        }
        groups
    }

    async fn trip(
        &self,
        to: Member,
        question: &Question,
        wanted: &[Wanted],
        left: Duration,
    ) -> Result<Vec<Part>, CallError> {
        let node = &self.node;
        if to == node.slots.replicas().me() {
            let copies = self.scope == Scope::Own { copies: true };
            let timeouts = Timeouts::of(node).at_most(left);
            return Ok(share(node, question, wanted, copies, timeouts).await);
        }
        let calls = node
            .calls
            .get()
            .ok_or(CallError::NotSent(NotSent::NoLink))?;
        let request = encode(left, question, wanted);
        let call = calls.call(to.node, CallKind::Inquiry, request, left + GRACE);
        decode_answer(&call.await?, wanted).ok_or(CallError::Unknown(Lost::LinkLost))
    }

    /// Tells what was answered from what was not.
    fn sort(&self, question: &Question, parts: Vec<Part>, round: &mut Round) {
        let mut good = Vec::with_capacity(parts.len());
        for mut part in parts {
            match part.end {
                End::Done | End::At(_) => good.push(part),
                // What others lead is not meant.
                End::Refused(Refusal::NotPrimary) if self.scope != Scope::Whole => {
                    part.end = End::Done;
                    good.push(part);
                }
                End::Refused(refusal) => round.why = Some(Why::Refused(refusal)),
                End::Unconfirmed if question.writes() => {
                    round.doubtful.insert(part.slot);
                }
                End::Unconfirmed => round.why = Some(Why::Unconfirmed),
            }
        }
        round.answers.push(good);
    }

    /// What the client is told when the time is over.
    pub(crate) fn out_of_time(&self, round: &Round) -> CommandError {
        self.reason(round.why)
    }

    fn reason(&self, why: Option<Why>) -> CommandError {
        match why {
            Some(Why::NoPrimary) => DOWN.into(),
            // Who has nothing to say is about to stop.
            Some(Why::Unreachable) | None => UNREACHABLE.into(),
            Some(Why::Refused(refusal)) => refused(refusal),
            Some(Why::Unconfirmed) => Timeouts::of(&self.node).unconfirmed(false),
        }
    }

    fn failure(
        &self,
        question: &Question,
        why: Option<Why>,
        some_done: bool,
        doubt: bool,
    ) -> CommandError {
        if doubt {
            return Timeouts::of(&self.node).unconfirmed(true);
        }
        let reason = self.reason(why);
        if question.writes() && some_done {
            return format!("UNCERTAIN some of the slots were emptied, and others not: {reason}")
                .into();
        }
        reason
    }
}
