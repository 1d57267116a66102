//! When the faults stop, every slot is served again: it has a primary that takes a write, and its
//! in-sync set is whole, and no larger than it should be.

use cluster::ring::Balance;
use cluster::{Member, Slot};

use crate::table::Key;
use crate::workload::{Kind, OpId};
use crate::world::World;

/// A key that no client uses.
const PROBE: Key = Key::MAX;

/// The writes by which the slots are tried.
#[derive(Debug, Default)]
pub struct Probes {
    sent: Vec<Option<OpId>>,
}

impl Probes {
    /// Tries each slot that has not answered yet. True once all have, and all in-sync sets are
    /// whole.
    pub fn are_answered(&mut self, world: &mut World) -> bool {
        let slots = world.config.slots;
        self.sent.resize(usize::from(slots), None);
        let mut all = true;
        for slot in Slot::all().take(usize::from(slots)) {
            let probe = self.sent[slot.index()];
            let done = probe.is_some_and(|op| world.history.is_done(op));
            let waiting = probe.is_some_and(|op| world.history.is_waiting(op));
            if !done && !waiting {
                self.sent[slot.index()] = probe_slot(world, slot);
            }
            all &= done && is_whole(world, slot);
        }
        all && is_settled(world)
    }

    /// Which slots have not answered, for a failure.
    #[must_use]
    pub fn missing(&self, world: &World) -> String {
        let slots = Slot::all().take(usize::from(world.config.slots));
        let unanswered = |slot: &Slot| {
            let probe = self.sent[slot.index()];
            !probe.is_some_and(|op| world.history.is_done(op)) || !is_whole(world, *slot)
        };
        let described = slots.filter(unanswered).map(|slot| {
            let probe = self.sent[slot.index()];
            let answered = probe.is_some_and(|op| world.history.is_done(op));
            let placement = world.log.state().placement(slot);
            format!("{slot:?} answered: {answered} {placement:?}")
        });
        let described = described.collect::<Vec<_>>().join("; ");
        if described.is_empty() {
            return format!("slots on their way: {:?}", world.log.state());
        }
        described
    }
}

fn probe_slot(world: &mut World, slot: Slot) -> Option<OpId> {
    let primary = world.log.state().placement(slot).primary?;
    let number = world.number_of(&primary)?;
    world.execute(number, slot, PROBE, Kind::Set(1)).ok()
}

/// Whether all that was to move has moved.
fn is_settled(world: &World) -> bool {
    let state = world.log.state();
    let drains = |member: &Member| state.nodes().get(&member.node).is_some_and(|of| of.drains);
    let enough = state.nodes().values().filter(|of| !of.drains).count();
    let moves = state.placements().any(|(_, placement)| {
        !placement.leaving.is_empty()
            || !placement.learners.is_empty()
            || placement.in_sync.iter().any(drains)
    });
    let copies = usize::from(world.config.replication_factor);
    enough < copies || (!moves && !is_uneven(world, copies))
}

fn is_uneven(world: &World, copies: usize) -> bool {
    let state = world.log.state();
    let mut balance = Balance::new(&state.ring_nodes(), world.config.slots, copies);
    for (_, placement) in state.placements() {
        let holders = placement.in_sync.iter();
        holders.for_each(|member| balance.holds(member.node));
        let primary = placement.primary.iter();
        primary.for_each(|member| balance.leads(member.node));
    }
    balance.is_uneven()
}

fn is_whole(world: &World, slot: Slot) -> bool {
    let placement = world.log.state().placement(slot);
    let alive = placement.in_sync.iter().filter(|m| !world.is_dead(m));
    let dead = placement.in_sync.iter().any(|m| world.is_dead(m));
    let wanted = usize::from(world.config.replication_factor).min(world.nodes.len());
    !dead && alive.count() == wanted
}
