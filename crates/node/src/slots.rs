//! The slots of this node: replication's replicas over the store's tables, with the tokens of this
//! node's connections waiting in them.

use std::sync::Arc;

use cluster::replication::{Context, Locked, Out, Replicas, Settings};
use cluster::{Epoch, Member, Placement, SLOTS, Slot, Time, clock};

use crate::gather::Token;
use crate::store::{SlotTable, Store, Tally};

/// This node's replicas of all slots.
pub type NodeReplicas = Replicas<SlotTable, Token>;

/// Every slot, and what is done with what a slot leaves behind once its lock is released.
pub struct Slots {
    replicas: Arc<NodeReplicas>,
}

impl Slots {
    /// The slots of a member of a cluster.
    #[must_use]
    pub fn new(replicas: Arc<NodeReplicas>) -> Slots {
        Slots { replicas }
    }

    /// The slots of a node that is a cluster by itself: it leads them all, alone and for good.
    #[must_use]
    pub fn alone(store: &Store, me: Member) -> Slots {
        let replicas = Replicas::new(me, SLOTS, Settings::default(), |_| store.table());
        let placement = Arc::new(Placement {
            epoch: Epoch(1),
            rev: 1,
            primary: Some(me),
            last_primary: Some((me, Epoch(1))),
            in_sync: vec![me],
            write_quorum: 1,
            learners: Vec::new(),
            leaving: Vec::new(),
        });
        replicas.extend_group_lease(Time::MAX);
        let placements = Slot::all().map(|slot| (slot, Arc::clone(&placement)));
        // Nobody waits for anything yet, and a set of one member never changes.
        replicas.placed(clock::now(), placements, &mut Out::default());
        Slots::new(Arc::new(replicas))
    }

    /// The replicas, for those who feed them with messages and placements.
    #[must_use]
    pub fn replicas(&self) -> &Arc<NodeReplicas> {
        &self.replicas
    }

    /// What some calls on a locked slot take.
    #[must_use]
    pub fn context(&self) -> &Context {
        self.replicas.context()
    }

    /// Takes the lock of a slot: for microseconds, never while something is awaited.
    pub fn lock(&self, slot: Slot) -> Locked<'_, SlotTable, Token> {
        self.replicas.lock(slot)
    }

    /// What the entries of the slots that this node leads amount to, as a Redis master counts its
    /// own: a sum over the nodes counts each key once. Takes one lock after the other.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        for slot in self.replicas.slots() {
            let replica = self.lock(slot);
            if replica.active_epoch().is_some() {
                sum += replica.table.tally();
            }
        }
        sum
    }

    /// How many nodes besides its primary are in sync in a slot, for who has written to none.
    #[must_use]
    pub fn replicas_in_sync(&self) -> i64 {
        let slot = self.replicas.slots().next().expect("a member has slots");
        let copies = self.lock(slot).placement().in_sync.len();
        i64::try_from(copies).map_or(0, |count| (count - 1).max(0))
    }

    /// Performs what calls on a slot left to be done. No slot's lock is held.
    pub fn perform(&self, out: Out<Token>) {
        // Sets are changed by ticks and coordinators spoken to by streams: never by a command.
        debug_assert!(
            out.proposals.is_empty() && out.reports.is_empty() && out.turns.is_empty(),
            "none of these comes of a command"
        );
        for (token, outcome) in out.released {
            token.resolve(outcome);
        }
    }
}
