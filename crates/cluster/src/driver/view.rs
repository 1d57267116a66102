//! The metadata as this node sees it: placements for the replicas, addresses for the links.

use std::sync::Arc;

use super::{Driver, Waiting};
use crate::metadata::State;
use crate::replication::{Out, Table};
use crate::{Incarnation, Member, Placement, Slot, clock};

/// What is to be done when the cluster is known.
pub(super) type Formed = Box<dyn FnOnce(&State) -> bool + Send>;

impl<T: Table, K: Waiting> Driver<T, K> {
    /// Tells the replicas and the links what the metadata group decides.
    pub(super) async fn follow_metadata(self: Arc<Self>, formed: Formed) {
        let mut formed = Some(formed);
        loop {
            let state = self.metadata.state();
            let index = state.applied();
            if state.lineage().is_some()
                && let Some(formed) = formed.take()
                && !formed(&state)
            {
                return;
            }
            self.take_in(&state);
            self.metadata.newer_than(index).await;
        }
    }

    fn take_in(&self, state: &Arc<State>) {
        let old = Arc::clone(&self.seen.borrow());
        self.take_in_nodes(&old, state);
        self.replicas.set_copies_max(state.replication_factor());
        let mut before = old.placements();
        let is_new = |(slot, placement): &(Slot, &Arc<Placement>)| {
            let (known, old) = before.next().expect("a state has all slots");
            assert_eq!(known, *slot, "slots come in order");
            !Arc::ptr_eq(old, placement)
        };
        let changed: Vec<_> = state
            .placements()
            .filter(is_new)
            .map(|(slot, placement)| (slot, Arc::clone(placement)))
            .collect();
        log_primaries(&old, state);
        log_losses(&old, state);
        let mut out = Out::default();
        self.replicas.placed(clock::now(), changed, &mut out);
        // Only now: a lease of the metadata group counts once this node has seen what was decided
        // before, and a slot that was fenced must not be led by it.
        self.seen.send_replace(Arc::clone(state));
        self.perform(out);
        if self.coordinator.lock().is_some() {
            self.news.notify_one();
        }
    }

    fn take_in_nodes(&self, old: &State, state: &State) {
        for (node, known) in state.nodes() {
            if *node != self.replicas.me().node {
                self.links.connect(*node, &known.info.peer_address);
            }
            let before = old.nodes().get(node);
            if before.is_some_and(|before| before == known) {
                continue;
            }
            let gone = if known.stopped {
                known.incarnation.0
            } else {
                known.incarnation.0.saturating_sub(1)
            };
            let incarnation = Incarnation(gone);
            self.replicas.gone(&Member {
                node: *node,
                incarnation,
            });
        }
    }
}

/// Says when slots lose their primaries, and when all have one again.
fn log_primaries(old: &State, new: &State) {
    let lacks =
        |placement: &Placement| placement.primary.is_none() && !placement.in_sync.is_empty();
    let lacking = |state: &State| state.placements().filter(|(_, of)| lacks(of)).count();
    match (lacking(old), lacking(new)) {
        (0, 0) => {}
        (0, slots) => tracing::info!(slots, "slots have no primary"),
        (_, 0) => tracing::info!("all slots have a primary again"),
        _ => {}
    }
}

/// Says what slots have lost, and what is to become of those that lose something.
fn log_losses(old: &State, new: &State) {
    // What a node learns when it starts is no news.
    if old.lineage().is_none() {
        return;
    }
    let slots = new.losses().saturating_sub(old.losses());
    if slots > 0 {
        tracing::warn!(
            slots,
            "slots go on although acknowledged writes may be lost with their members"
        );
    }
    if old.on_loss() != new.on_loss() {
        tracing::info!(on_loss = %new.on_loss(), "the cluster's on_loss has changed");
    }
}
