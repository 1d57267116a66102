//! How this node stops: nothing that it has acknowledged goes with it.
//!
//! The others hear that it stops, and what they hear counts before they answer: from then on,
//! where fewer than `W` in-sync members stay, a write-back write goes to its database first. What
//! was dirty before is flushed: all that this node leads, and in the slots that too few outlast
//! also what others lead, or will lead. Nodes that stop together wait for each other, for each may
//! be needed until all have flushed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use cluster::transport::{BoxFuture, CallKind};
use cluster::{Incarnation, Member, NodeId, Slot};
use futures_util::future::join_all;
use parking_lot::Mutex;
use routing::Refusal;
use tokio::time::{Instant, sleep, timeout};

use crate::inquiry::Asker;
use crate::node::Node;

/// How long a node may take to say that it has heard.
const HEAR_TIMEOUT: Duration = Duration::from_secs(1);
/// How often those that stop as well are asked whether they are done.
const ASK_EVERY: Duration = Duration::from_millis(25);

/// How far a node is with stopping. The number is part of the protocol between nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Phase {
    /// It does not stop.
    #[default]
    Stays = 0,
    /// It flushes, and needs the others for it.
    Flushes = 1,
    /// It needs nobody any more, or is gone.
    Done = 2,
}

impl Phase {
    fn from_bytes(bytes: &[u8]) -> Option<Phase> {
        let phases = [Phase::Stays, Phase::Flushes, Phase::Done];
        phases.into_iter().find(|phase| bytes == [*phase as u8])
    }

    fn to_bytes(self) -> Bytes {
        Bytes::copy_from_slice(&[self as u8])
    }
}

/// Who is about to stop, as far as this node has heard.
#[derive(Default)]
pub struct Departures {
    known: Mutex<Known>,
    /// Who else wants to know who is about to stop.
    hears: OnceLock<OnNews>,
}

/// Hears of the members that are about to stop, whenever they are others than before.
pub(crate) type OnNews = Box<dyn Fn(&BTreeSet<Member>) + Send + Sync>;

#[derive(Default)]
struct Known {
    own: Phase,
    /// What each other node does that does not simply stay, and in which start of it; none if it
    /// did not answer.
    others: BTreeMap<NodeId, (Incarnation, Option<Phase>)>,
}

impl Departures {
    /// From now on this hears who is about to stop.
    ///
    /// # Panics
    /// If somebody hears it already.
    pub(crate) fn on_news(&self, hear: OnNews) {
        assert!(self.hears.set(hear).is_ok(), "one hears of departures");
    }

    /// Whether this node is not about to stop.
    ///
    /// # Errors
    /// That it is.
    pub fn check(&self) -> Result<(), String> {
        match self.known.lock().own {
            Phase::Stays => Ok(()),
            Phase::Flushes | Phase::Done => Err("the node was asked to stop".to_owned()),
        }
    }
}

/// Another node says how far it is. The answer is how far this one is.
pub(crate) fn answer(node: &Node, from: Member, said: &Bytes) -> BoxFuture<'static, Bytes> {
    if let Some(phase) = Phase::from_bytes(said) {
        hear(node, from, Some(phase));
    }
    let own = node.departures.known.lock().own;
    Box::pin(std::future::ready(own.to_bytes()))
}

/// Takes in what another node is found to do; none if it does not answer. When this returns,
/// whatever the cache modes do next, they do knowing it.
fn hear(node: &Node, from: Member, found: Option<Phase>) {
    let mut known = node.departures.known.lock();
    if known.take_in(from, found) {
        tell_modes(node, &known);
    }
}

/// Under the lock, so that they hear of the changes in their order.
fn tell_modes(node: &Node, known: &Known) {
    let mut departing: BTreeSet<Member> = known.departing().collect();
    if known.own != Phase::Stays {
        departing.insert(node.slots.replicas().me());
    }
    if let Some(hear) = node.departures.hears.get() {
        hear(&departing);
    }
    node.modes.departing(departing);
}

impl Known {
    /// Whether that is news.
    fn take_in(&mut self, from: Member, found: Option<Phase>) -> bool {
        let before = self.others.get(&from.node).copied();
        let is_news = match (before, found) {
            (Some((incarnation, _)), _) if incarnation > from.incarnation => false,
            // Words may overtake each other; no node goes back, but one that was silent may be
            // there.
            (Some((incarnation, before)), found) if incarnation == from.incarnation => {
                before.is_none_or(|before| found.is_none_or(|found| found > before))
                    && before != found
            }
            _ => found != Some(Phase::Stays),
        };
        if is_news {
            self.others.insert(from.node, (from.incarnation, found));
        }
        is_news
    }

    fn departing(&self) -> impl Iterator<Item = Member> {
        let stops = |(_, (_, phase)): &(_, &(_, Option<Phase>))| *phase != Some(Phase::Stays);
        let others = self.others.iter().filter(stops);
        others.map(|(&node, &(incarnation, _))| Member { node, incarnation })
    }
}

/// Prepares the stop of this node, for `patience` at most; returns when it may go. It must still
/// take part in everything meanwhile.
pub async fn depart(node: &Arc<Node>, patience: Duration) {
    let until = Instant::now() + patience;
    enter(node, Phase::Flushes);
    let heard = tell(node, until).await;
    if node.modes.has_databases() {
        flush_own(node, until).await;
        if heard {
            flush_endangered(node, until).await;
        }
    }
    if heard {
        hand_over(node, until).await;
    }
    enter(node, Phase::Done);
    while tell(node, until).await && needs_others(node) && !left(until).is_zero() {
        sleep(ASK_EVERY.min(left(until))).await;
    }
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

fn enter(node: &Node, phase: Phase) {
    let mut known = node.departures.known.lock();
    known.own = phase;
    tell_modes(node, &known);
}

/// Whether somebody else is flushing.
fn needs_others(node: &Node) -> bool {
    let known = node.departures.known.lock();
    let mut phases = known.others.values().map(|(_, phase)| *phase);
    phases.any(|phase| phase == Some(Phase::Flushes))
}

/// Waits until others lead what this node has led: whoever leads the metadata group has heard that
/// it stops, and sees to it. What nobody else could lead is not waited for.
async fn hand_over(node: &Node, until: Instant) {
    let me = node.slots.replicas().me();
    let led = || {
        let departing: BTreeSet<Member> = node.departures.known.lock().departing().collect();
        let map = node.topology.map();
        let led = map.placements().filter(|(_, placement)| {
            let stays = |member: &Member| *member != me && !departing.contains(member);
            placement.primary == Some(me) && placement.in_sync.iter().any(stays)
        });
        led.count()
    };
    let slots = led();
    if slots == 0 {
        return;
    }
    tracing::info!(slots, "handing over what this node leads");
    while led() > 0 && !left(until).is_zero() {
        sleep(ASK_EVERY.min(left(until))).await;
    }
    match led() {
        0 => tracing::info!(slots, "handed over"),
        slots => tracing::warn!(slots, "not handed over in time"),
    }
}

/// Says to all others how far this node is, and hears how far they are. Nobody counts on those
/// that do not answer. Whether this node is alone or not all of them are silent.
async fn tell(node: &Arc<Node>, until: Instant) -> bool {
    let Some(calls) = node.calls.get() else {
        return true;
    };
    let me = node.slots.replicas().me().node;
    let map = node.topology.map();
    let ids = map.nodes().map(|(id, _)| *id).filter(|id| *id != me);
    let others: Vec<Member> = ids.filter_map(|id| map.state().member(&id)).collect();
    let own = node.departures.known.lock().own.to_bytes();
    let patience = HEAR_TIMEOUT.min(left(until));
    let asked = others.iter().map(async |other| {
        let said = calls.call(other.node, CallKind::Departure, own.clone(), patience);
        let phase = said.await.ok().and_then(|said| Phase::from_bytes(&said));
        hear(node, *other, phase);
        phase.is_some()
    });
    others.is_empty() || join_all(asked).await.contains(&true)
}

/// The databases get what this node leads.
async fn flush_own(node: &Node, until: Instant) {
    let slots: Vec<Slot> = Slot::all().collect();
    let flushed = node.modes.flush(None, slots, left(until)).await;
    let keys: u64 = flushed.iter().map(|one| one.keys).sum();
    if keys > 0 {
        tracing::info!(keys, "flushed before the stop");
    }
    for refused in flushed.iter().filter_map(|one| one.rejected.as_ref()) {
        tracing::warn!("not flushed before the stop: {refused}");
    }
    let late = flushed
        .iter()
        .filter(|one| one.end == Err(Refusal::TryAgain));
    let slots = late.count();
    if slots > 0 {
        tracing::warn!(slots, "not all is flushed: the databases took too long");
    }
}

/// The databases get what this node holds where too few copies outlast those that stop, whoever
/// leads it, or will.
async fn flush_endangered(node: &Arc<Node>, until: Instant) {
    let me = node.slots.replicas().me();
    let mut departing: BTreeSet<Member> = node.departures.known.lock().departing().collect();
    departing.insert(me);
    let map = node.topology.map();
    let endangered = map.placements().filter(|(_, placement)| {
        placement.in_sync.contains(&me) && !placement.outlasts(&departing)
    });
    let slots: Vec<Slot> = endangered.map(|(slot, _)| slot).collect();
    if slots.is_empty() {
        return;
    }
    tracing::info!(
        slots = slots.len(),
        "too few copies stay: all of it is flushed"
    );
    let flushed = timeout(left(until), Asker::whole(node).flush(&slots)).await;
    let why = match flushed {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the time is over".to_owned(),
    };
    tracing::warn!("the databases may lack what was written last: {why}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(incarnation: u64) -> Member {
        Member {
            node: NodeId::from_bytes([7; 20]),
            incarnation: Incarnation(incarnation),
        }
    }

    #[test]
    fn no_word_that_comes_late_takes_back_a_later_one() {
        let mut known = Known::default();
        assert!(!known.take_in(start(2), Some(Phase::Stays)));
        assert!(known.take_in(start(2), Some(Phase::Flushes)));
        assert!(!known.take_in(start(2), Some(Phase::Stays)));
        assert!(!known.take_in(start(1), Some(Phase::Done)));
        assert!(known.take_in(start(2), Some(Phase::Done)));
        assert!(!known.take_in(start(2), Some(Phase::Flushes)));
        assert_eq!(known.departing().collect::<Vec<_>>(), [start(2)]);
    }

    #[test]
    fn a_node_that_was_silent_may_be_there_and_a_new_start_stays() {
        let mut known = Known::default();
        assert!(known.take_in(start(2), None));
        assert!(!known.take_in(start(2), None));
        assert_eq!(known.departing().count(), 1, "nobody counts on it");
        assert!(known.take_in(start(2), Some(Phase::Stays)));
        assert_eq!(known.departing().count(), 0);
        assert!(known.take_in(start(2), Some(Phase::Done)));
        assert!(!known.take_in(start(3), Some(Phase::Stays)));
        assert!(known.take_in(start(3), Some(Phase::Flushes)));
        assert_eq!(known.departing().collect::<Vec<_>>(), [start(3)]);
    }

    #[test]
    fn phases_travel_as_numbers() {
        for phase in [Phase::Stays, Phase::Flushes, Phase::Done] {
            assert_eq!(Phase::from_bytes(&phase.to_bytes()), Some(phase));
        }
        assert_eq!(Phase::from_bytes(&[3]), None);
        assert_eq!(Phase::from_bytes(b""), None);
    }
}
