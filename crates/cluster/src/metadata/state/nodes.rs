//! The nodes of the cluster, and what operators want of them.

use super::{NODES_MAX, NodeRecord, State};
use crate::metadata::TransferSlot;
use crate::metadata::applied::{Applied, Refusal};
use crate::{Member, NodeId, NodeInfo, Placement};

impl State {
    pub(super) fn register(&mut self, member: Member, info: &NodeInfo, applied: &mut Applied) {
        let full = self.nodes.len() >= NODES_MAX;
        let refusal = match self.nodes.get(&member.node) {
            Some(known) if known.incarnation > member.incarnation => Some(Refusal::OldIncarnation),
            None if full => Some(Refusal::Limit),
            _ if !info.is_valid() => Some(Refusal::Limit),
            // There is one before each, and one after it.
            _ if [0, u64::MAX].contains(&member.incarnation.0) => Some(Refusal::Limit),
            _ => None,
        };
        if refusal.is_some() {
            applied.refused = refusal;
            return;
        }
        let before = self.nodes.get(&member.node);
        let record = NodeRecord {
            incarnation: member.incarnation,
            stopped: before
                .is_some_and(|known| known.stopped && known.incarnation == member.incarnation),
            drains: before.is_some_and(|known| known.drains),
            info: info.clone(),
        };
        if self.nodes.get(&member.node) != Some(&record) {
            self.nodes.insert(member.node, record);
            applied.nodes.push(member.node);
        }
    }

    pub(super) fn stopped(&mut self, member: Member, applied: &mut Applied) {
        match self.nodes.get_mut(&member.node) {
            None => applied.refused = Some(Refusal::UnknownNode),
            Some(known) if known.incarnation != member.incarnation => {
                applied.refused = Some(Refusal::OldIncarnation);
            }
            Some(known) => {
                known.stopped = true;
                applied.nodes.push(member.node);
            }
        }
    }

    pub(super) fn drain(&mut self, node: &NodeId, empty: bool, applied: &mut Applied) {
        match self.nodes.get_mut(node) {
            None => applied.refused = Some(Refusal::UnknownNode),
            Some(known) => {
                known.drains = empty;
                applied.nodes.push(*node);
            }
        }
    }

    /// The node's id is free then: a process that has it still is told so when it next registers,
    /// and takes part as a new one, that holds nothing.
    pub(super) fn forget(&mut self, node: &NodeId, applied: &mut Applied) {
        let counts = |member: &Member| member.node == *node;
        let is_held = |of: &Placement| of.in_sync.iter().chain(&of.learners).any(counts);
        match self.nodes.get(node) {
            None => applied.refused = Some(Refusal::UnknownNode),
            Some(known) if !known.stopped => applied.refused = Some(Refusal::NotStopped),
            Some(_) if self.placements.iter().any(|placement| is_held(placement)) => {
                applied.refused = Some(Refusal::HoldsSlots);
            }
            Some(_) => {
                self.nodes.remove(node);
                self.transfers.retain(|_, to| to != node);
                applied.nodes.push(*node);
            }
        }
    }

    pub(super) fn transfer(&mut self, list: &[TransferSlot], applied: &mut Applied) {
        for TransferSlot { slot, to } in list {
            let refusal = match (self.placements.get(slot.index()), to) {
                (None, _) => Some(Refusal::NoSuchSlot),
                (_, Some(to)) if !self.nodes.contains_key(to) => Some(Refusal::UnknownNode),
                _ => None,
            };
            if let Some(refusal) = refusal {
                applied.refused_slots.push((*slot, refusal));
                continue;
            }
            let leads = self.placements[slot.index()]
                .primary
                .map(|member| member.node);
            match to {
                Some(to) if leads != Some(*to) => self.transfers.insert(*slot, *to),
                _ => self.transfers.remove(slot),
            };
        }
    }
}
