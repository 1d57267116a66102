//! The coordinator of changes of primary: runs where the metadata group is led.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Driver, Waiting};
use crate::metadata::{Applied, Entry, State};
use crate::replication::{Coordinator, Liveness, Orders, Table};
use crate::{Member, Slot, Time, clock, ring};

impl<T: Table, K: Waiting> Driver<T, K> {
    /// Takes the next steps: in every slot, or where a change is under way.
    pub(super) fn coordinate(self: &Arc<Self>, now: Time, everywhere: bool) {
        let state = Arc::clone(&self.seen.borrow());
        let Some(term) = self.metadata.leads() else {
            *self.coordinator.lock() = None;
            self.waiting.store(0, Ordering::Relaxed);
            return;
        };
        if state.lineage().is_none() {
            return;
        }
        let ring = self.ring_of(&state);
        let mut orders = Orders::default();
        {
            let mut leading = self.coordinator.lock();
            if leading.as_ref().is_none_or(|(known, _)| *known != term) {
                tracing::info!(term, "coordinates the changes of primary");
                *leading = Some((term, Coordinator::new(self.settings.failover.clone())));
            }
            let (_, coordinator) = leading.as_mut().expect("just made");
            let order = |slot: Slot| ring.of(slot);
            let liveness = |member: &Member| self.liveness(member, now);
            if everywhere {
                coordinator.tick(now, &state, &liveness, &order, &mut orders);
            } else {
                coordinator.advance(now, &state, &liveness, &order, &mut orders);
            }
        }
        self.carry_out(now, term, orders);
    }

    fn carry_out(self: &Arc<Self>, now: Time, term: u64, orders: Orders) {
        log_waiting(
            self.waiting.swap(orders.waiting, Ordering::Relaxed),
            orders.waiting,
        );
        for (member, message) in orders.sends {
            self.replicas.coordinate(now, &member, message);
        }
        for entry in orders.entries {
            let driver = Arc::clone(self);
            let proposed = self.metadata.propose(entry.clone());
            self.tasks.lock().spawn(async move {
                let applied = proposed.await;
                log_outcome(&entry, applied.as_ref());
                let mut leading = driver.coordinator.lock();
                if let Some((known, coordinator)) = &mut *leading
                    && *known == term
                {
                    coordinator.outcome(clock::now(), &entry, applied.as_ref());
                    driver.news.notify_one();
                }
            });
        }
    }

    /// A member is down where gossip and our own stream agree.
    fn liveness(&self, member: &Member, now: Time) -> Liveness {
        if *member == self.replicas.me() {
            let departs = self.departing.lock().contains(member);
            return if departs {
                Liveness::Departs
            } else {
                Liveness::Up
            };
        }
        let silent = self
            .replicas
            .peer(member, now)
            .is_silent(now, self.settings.silence);
        let departs = self.departing.lock().contains(member);
        match (self.gossip.liveness(member), silent) {
            (Liveness::Down, true) => Liveness::Down,
            _ if departs => Liveness::Departs,
            (Liveness::Up, false) => Liveness::Up,
            _ => Liveness::Unknown,
        }
    }

    /// The ring's order of nodes for each slot; made anew when the nodes change.
    fn ring_of(&self, state: &State) -> Arc<ring::Order> {
        let nodes = state.ring_nodes();
        let mut fingerprint = std::collections::hash_map::DefaultHasher::new();
        for node in &nodes {
            use std::hash::Hash;
            (node.id, node.weight, &node.zone).hash(&mut fingerprint);
        }
        let fingerprint = std::hash::Hasher::finish(&fingerprint);
        let mut known = self.ring.lock();
        if let Some((of, order)) = &*known
            && *of == fingerprint
        {
            return Arc::clone(order);
        }
        let copies = usize::from(state.replication_factor());
        let slots = u16::try_from(state.placements().len()).expect("there are 16384 slots");
        let order = Arc::new(ring::Order::new(&nodes, slots, copies));
        *known = Some((fingerprint, Arc::clone(&order)));
        order
    }
}

/// Says how many slots wait for an operator, whenever that changes.
fn log_waiting(before: usize, slots: usize) {
    match (before, slots) {
        (before, slots) if before == slots => {}
        (_, 0) => tracing::info!("no slot waits for an operator any more"),
        (_, slots) => tracing::warn!(
            slots,
            "slots wait until an operator sets on_loss to accept: acknowledged writes may be lost \
             with their members"
        ),
    }
}

fn log_outcome(entry: &Entry, applied: Option<&Applied>) {
    let what = match entry {
        Entry::Fence(_) => "fence",
        Entry::Activate(_) => "activate",
        Entry::Learners(_) => "learners",
        _ => return,
    };
    if let Some(applied) = applied {
        let slots = applied.slots.len();
        tracing::debug!(what, slots, "the metadata group has decided");
    }
}
