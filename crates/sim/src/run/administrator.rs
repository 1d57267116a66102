//! Somebody who operates the cluster: drains nodes and takes them back, transfers slots, stops and
//! resumes the balancing, at the worst of times.

use cluster::metadata::{Entry, TransferSlot};
use cluster::{NodeId, Slot};

use super::{Event, Scheduler};

impl Scheduler {
    pub(super) fn administrator(&mut self) {
        if self.faults_over {
            return;
        }
        if let Some(mean) = self.plan.administration {
            let again = self.chance.around(mean);
            self.after(again, Event::Administrator);
        }
        let entry = match self.chance.below(6) {
            0..=2 => self.drain(),
            3 | 4 => self.transfer(),
            _ => Some(Entry::Balance(!self.world.log.state().balances())),
        };
        if let Some(entry) = entry {
            let number = self.chance.index(self.world.nodes.len());
            self.world.propose(number, entry, false);
        }
    }

    /// Drains a node as long as enough others stay, or takes one back.
    fn drain(&mut self) -> Option<Entry> {
        let nodes = self.world.log.state().nodes();
        let all: Vec<(NodeId, bool)> = nodes.iter().map(|(id, of)| (*id, of.drains)).collect();
        let (node, drains) = *self.chance.pick(&all);
        let staying = all.iter().filter(|(_, drains)| !drains).count();
        let copies = usize::from(self.world.config.replication_factor);
        let empty = !drains;
        (drains || staying > copies).then_some(Entry::Drain { node, empty })
    }

    fn transfer(&mut self) -> Option<Entry> {
        let state = self.world.log.state();
        let nodes: Vec<NodeId> = state.nodes().keys().copied().collect();
        let slots: Vec<Slot> = state.placements().map(|(slot, _)| slot).collect();
        let (slot, to) = (*self.chance.pick(&slots), Some(*self.chance.pick(&nodes)));
        Some(Entry::Transfer(vec![TransferSlot { slot, to }]))
    }
}
