//! Room for what a command will take, before it takes it.

use std::time::Duration;

use cluster::{Member, Placement, Time, clock};

use super::{Memory, headroom};
use crate::error::CommandError;
use crate::node::Node;
use crate::store::{Evictor, Reason, Reserved};
use crate::upkeep::Sharing;

/// What takes no more than this needs no reservation: there is slack for a few of them.
const SMALL_BYTES: usize = 16 << 10;
/// Entries that are evicted for one command, and how long it may take.
const REMOVALS_MAX: usize = 4096;
const EVICTING_MAX: Duration = Duration::from_millis(20);
/// How long a command waits while another one makes room.
const PATIENCE: Duration = Duration::from_millis(50);
/// To find nothing takes a look at every slot, which not every refused command is worth.
const PAUSE_IN_VAIN: Duration = Duration::from_millis(10);
/// A record of more than this is counted where it goes: to the backlog and to the members.
const LARGE_BYTES: usize = 256 << 10;
/// How often such a record is in memory at most, beside the entry that it makes.
const LARGE_COPIES: usize = 4;

/// Evicts for commands that cannot wait.
#[derive(Debug)]
pub(crate) struct Urgent {
    evictor: Evictor,
    relief: Evictor,
    not_before: Time,
}

impl Urgent {
    pub(crate) fn new() -> Urgent {
        Urgent {
            evictor: Evictor::new(rand::random(), Reason::Own),
            relief: Evictor::new(rand::random(), Reason::Others),
            not_before: Time::ZERO,
        }
    }
}

/// There is not enough room.
#[derive(Debug)]
pub(crate) struct Lacking {
    bytes: usize,
    /// The members that have none, of those that hold the slot.
    full: Vec<Member>,
}

/// Whether a command that will take up to so many bytes of a slot has room here, and at the members
/// that hold the slot unless it has `made_room`. What is large is set aside until the result is
/// dropped. Takes no lock.
pub(crate) fn room_for<'a>(
    node: &'a Node,
    bytes: usize,
    placement: &Placement,
    made_room: bool,
) -> Result<Option<Reserved<'a>>, Lacking> {
    let mut full = node.memory.full_members();
    full.retain(|member| !made_room && placement.holds(member));
    let budget = node.store.budget();
    let lacking = Lacking { bytes, full };
    if !lacking.full.is_empty() || budget.lacking_bytes(bytes) > 0 {
        return Err(lacking);
    }
    if bytes <= SMALL_BYTES || budget.maxmemory_bytes() == 0 {
        return Ok(None);
    }
    if bytes > LARGE_BYTES {
        node.memory
            .expect(bytes.saturating_mul(LARGE_COPIES), budget);
    }
    budget.reserve(bytes).map(Some).ok_or(lacking)
}

/// Makes sure that there is room here for so many bytes at this moment.
pub(crate) fn take_room(node: &Node, bytes: usize) -> Result<(), CommandError> {
    let full = Vec::new();
    match node.store.budget().lacking_bytes(bytes) {
        0 => Ok(()),
        _ => Lacking { bytes, full }.make_room(node),
    }
}

impl Lacking {
    /// Evicts until there is room, or says that there is none.
    pub(crate) fn make_room(&self, node: &Node) -> Result<(), CommandError> {
        if !node.store.policy().evicts() {
            return Err(CommandError::OutOfMemory);
        }
        let urgent = node.urgent.try_lock_for(PATIENCE);
        let mut urgent = urgent.ok_or(CommandError::OutOfMemory)?;
        let begun = clock::now();
        if begun < urgent.not_before {
            return Err(CommandError::OutOfMemory);
        }
        let made = self.make_room_there(node, &mut urgent, begun)
            && self.make_room_here(node, &mut urgent, begun);
        made.then_some(()).ok_or(CommandError::OutOfMemory)
    }

    fn make_room_here(&self, node: &Node, urgent: &mut Urgent, begun: Time) -> bool {
        let (store, budget) = (&node.store, node.store.budget());
        if budget
            .data_bytes_max()
            .is_some_and(|most| most < self.bytes)
        {
            return false;
        }
        let found = urgent.evictor.step(store, node, REMOVALS_MAX, |_| {
            budget.lacking_bytes(self.bytes) == 0 || clock::now().since(begun) > EVICTING_MAX
        });
        if !found {
            node.memory.count_vain_eviction();
            urgent.not_before = clock::now() + PAUSE_IN_VAIN;
        }
        budget.lacking_bytes(self.bytes) == 0
    }

    /// Where a member that holds the slot is full, as much goes of what it holds as is to come.
    fn make_room_there(&self, node: &Node, urgent: &mut Urgent, begun: Time) -> bool {
        if self.full.is_empty() {
            return true;
        }
        let with = self.full.clone();
        let shared = Sharing { node, with };
        let mut enough = false;
        urgent
            .relief
            .step(&node.store, &shared, REMOVALS_MAX, |freed| {
                enough = freed >= self.bytes;
                enough || clock::now().since(begun) > EVICTING_MAX
            });
        enough
    }
}

impl Memory {
    /// Whether so little is free that members who lead slots held here make room before they write.
    pub(crate) fn is_full(node: &Node) -> bool {
        let budget = node.store.budget();
        budget.lacking_bytes(headroom(budget) / 2) > 0
    }
}
