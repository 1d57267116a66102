//! What follows from the metadata log: the lineage, the nodes, a placement for each slot, the
//! documents.
//!
//! [`State::apply`] is deterministic and never fails: an entry that does not fit any more is
//! refused, on every node alike, slot by slot. What keeps a slot's placements in one line
//! is in `rules.rs`.

mod image;
mod nodes;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::OnLoss;
use super::applied::{Applied, Refusal};
use super::entry::{ActivateSlot, Document, Entry, Form};
use super::rules::{self, COPIES_MAX};
use crate::movement;
use crate::ring::{self, RingNode};
use crate::{Epoch, Incarnation, Lineage, Member, NodeId, NodeInfo, Placement, SLOTS, Slot};

/// The most nodes of a cluster.
pub const NODES_MAX: usize = 1024;
/// The most documents.
pub const DOCUMENTS_MAX: usize = 1024;
/// The greatest length of a document's name.
pub const DOCUMENT_NAME_BYTES_MAX: usize = 256;
/// The greatest size of a document.
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// The greatest size of all documents: the state must fit into one message.
pub const DOCUMENTS_BYTES_MAX: usize = 2 << 20;

/// The state after some entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "image::Image", try_from = "image::Image")]
pub struct State {
    lineage: Option<Lineage>,
    applied: u64,
    hash_seed: [u64; 4],
    replication_factor: u8,
    write_quorum: u8,
    read_quorum: u8,
    on_loss: OnLoss,
    /// How often a slot went on although something may be missing.
    losses: u64,
    /// Whether slots move so that every node has its share.
    balances: bool,
    /// Who is to lead slots, by an operator's word that has not come about yet.
    transfers: BTreeMap<Slot, NodeId>,
    nodes: BTreeMap<NodeId, NodeRecord>,
    placements: Vec<Arc<Placement>>,
    documents: BTreeMap<String, DocumentRecord>,
}

/// What the log says of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Its latest start.
    pub incarnation: Incarnation,
    /// Whether an operator has declared that start over.
    pub stopped: bool,
    /// Whether an operator has said that it is to give away all that it holds.
    pub drains: bool,
    /// Where it is reached.
    pub info: NodeInfo,
}

/// A document and its revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentRecord {
    /// How often it has been set.
    pub rev: u64,
    /// Its content.
    pub value: Bytes,
}

impl Default for State {
    fn default() -> State {
        State::new(SLOTS)
    }
}

impl State {
    /// The state before the first entry, with the first `slots` slots (fewer than [`SLOTS`] only
    /// in tests and in the simulation).
    #[must_use]
    pub fn new(slots: u16) -> State {
        assert!(
            (1..=SLOTS).contains(&slots),
            "a cluster has 1 to {SLOTS} slots, not {slots}"
        );
        let nowhere = Arc::new(Placement::default());
        State {
            lineage: None,
            applied: 0,
            hash_seed: [0; 4],
            replication_factor: 0,
            write_quorum: 0,
            read_quorum: 0,
            on_loss: OnLoss::default(),
            losses: 0,
            balances: true,
            transfers: BTreeMap::new(),
            nodes: BTreeMap::new(),
            placements: vec![nowhere; usize::from(slots)],
            documents: BTreeMap::new(),
        }
    }

    /// The cluster's lineage; `None` before the cluster is made.
    #[must_use]
    pub fn lineage(&self) -> Option<Lineage> {
        self.lineage
    }

    /// The index of the last entry that was applied; 0 before the first.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// The seed of the hash by which all members order a slot's entries.
    #[must_use]
    pub fn hash_seed(&self) -> [u64; 4] {
        self.hash_seed
    }

    /// `N`: how many copies each slot should have.
    #[must_use]
    pub fn replication_factor(&self) -> u8 {
        self.replication_factor
    }

    /// `W` of the whole cluster; a slot's own is in its placement.
    #[must_use]
    pub fn write_quorum(&self) -> u8 {
        self.write_quorum
    }

    /// `R`: how many copies a read consults.
    #[must_use]
    pub fn read_quorum(&self) -> u8 {
        self.read_quorum
    }

    /// What becomes of slots of which something may be missing.
    #[must_use]
    pub fn on_loss(&self) -> OnLoss {
        self.on_loss
    }

    /// How often a slot went on although something that was committed may be missing, since the
    /// cluster was made.
    #[must_use]
    pub fn losses(&self) -> u64 {
        self.losses
    }

    /// Whether slots move so that every node has its share.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.balances
    }

    /// Who is to lead slots, by an operator's word that has not come about yet.
    #[must_use]
    pub fn transfers(&self) -> &BTreeMap<Slot, NodeId> {
        &self.transfers
    }

    /// All nodes that ever registered and were not forgotten.
    #[must_use]
    pub fn nodes(&self) -> &BTreeMap<NodeId, NodeRecord> {
        &self.nodes
    }

    /// The member that the node is since its latest start.
    #[must_use]
    pub fn member(&self, node: &NodeId) -> Option<Member> {
        self.nodes.get(node).map(|known| Member {
            node: *node,
            incarnation: known.incarnation,
        })
    }

    /// Whether nothing can ever come from this member any more: its node has registered a newer
    /// incarnation, an operator has declared it stopped, or it was forgotten after that.
    #[must_use]
    pub fn is_known_dead(&self, member: &Member) -> bool {
        self.nodes.get(&member.node).is_none_or(|known| {
            known.incarnation > member.incarnation
                || (known.incarnation == member.incarnation && known.stopped)
        })
    }

    /// The slot's placement; one without members before the cluster is made.
    ///
    /// # Panics
    /// If the state was made with fewer slots than that.
    #[must_use]
    pub fn placement(&self, slot: Slot) -> &Arc<Placement> {
        &self.placements[slot.index()]
    }

    /// Every slot with its placement, in order.
    pub fn placements(&self) -> impl ExactSizeIterator<Item = (Slot, &Arc<Placement>)> {
        Slot::all()
            .take(self.placements.len())
            .zip(&self.placements)
    }

    /// The document of this name.
    #[must_use]
    pub fn document(&self, name: &str) -> Option<&DocumentRecord> {
        self.documents.get(name)
    }

    /// All documents, by name.
    #[must_use]
    pub fn documents(&self) -> &BTreeMap<String, DocumentRecord> {
        &self.documents
    }

    /// The nodes that the ring should spread the slots over, for a new placement.
    #[must_use]
    pub fn ring_nodes(&self) -> Vec<RingNode> {
        let on_ring = |(id, known): (&NodeId, &NodeRecord)| RingNode {
            id: *id,
            weight: if known.drains { 0 } else { known.info.weight },
            zone: known.info.zone.clone(),
        };
        self.nodes
            .iter()
            .filter(|(_, known)| !known.stopped)
            .map(on_ring)
            .collect()
    }

    /// Applies the entry at this index, which must be beyond all before. Indexes may be left out:
    /// the log also holds entries of the group's own.
    pub fn apply(&mut self, index: u64, entry: &Entry) -> Applied {
        assert!(
            index > self.applied,
            "entry {index} comes after entry {}",
            self.applied
        );
        self.applied = index;
        let mut applied = Applied {
            index,
            ..Applied::default()
        };
        if self.lineage.is_some() == matches!(entry, Entry::Form(_)) {
            applied.refused = Some(Refusal::NotInOrder);
            return applied;
        }
        match entry {
            Entry::Form(form) => self.form(form, &mut applied),
            Entry::Register { member, info } => self.register(*member, info, &mut applied),
            Entry::Stopped { member } => self.stopped(*member, &mut applied),
            Entry::Document(document) => self.set_document(document, &mut applied),
            Entry::OnLoss(on_loss) => self.on_loss = *on_loss,
            Entry::Drain { node, empty } => self.drain(node, *empty, &mut applied),
            Entry::Forget { node } => self.forget(node, &mut applied),
            Entry::Transfer(list) => self.transfer(list, &mut applied),
            Entry::Balance(balances) => self.balances = *balances,
            Entry::Fence(list) => list.iter().for_each(|of| {
                self.change(of.slot, &mut applied, |placement| {
                    rules::fence(of, placement)
                });
            }),
            Entry::Activate(list) => {
                list.iter().for_each(|of| self.activate(of, &mut applied));
            }
            Entry::Change(list) => list.iter().for_each(|of| {
                let copies = usize::from(self.replication_factor);
                self.change(of.slot, &mut applied, |placement| {
                    rules::change(of, placement, copies)
                });
            }),
            Entry::Learners(list) => list.iter().for_each(|of| {
                self.change(of.slot, &mut applied, |placement| {
                    rules::learners(of, placement)
                });
            }),
        }
        applied
    }

    /// Changes one slot's placement by a rule that says what it becomes, its `rev` aside.
    fn change(
        &mut self,
        slot: Slot,
        applied: &mut Applied,
        rule: impl FnOnce(&Placement) -> Result<Placement, Refusal>,
    ) {
        let Some(placement) = self.placements.get_mut(slot.index()) else {
            applied.refused_slots.push((slot, Refusal::NoSuchSlot));
            return;
        };
        match rule(placement) {
            Ok(mut next) => {
                next.rev = placement.rev + 1;
                *placement = Arc::new(next);
                applied.slots.push(slot);
            }
            Err(refusal) => applied.refused_slots.push((slot, refusal)),
        }
    }

    fn activate(&mut self, of: &ActivateSlot, applied: &mut Applied) {
        let (on_loss, before) = (self.on_loss, applied.slots.len());
        self.change(of.slot, applied, |placement| {
            rules::activate(of, placement, on_loss)
        });
        let accepted = applied.slots.len() > before;
        self.losses += u64::from(accepted && of.may_lose);
        if accepted && self.transfers.get(&of.slot) == Some(&of.primary.node) {
            self.transfers.remove(&of.slot);
        }
    }

    fn form(&mut self, form: &Form, applied: &mut Applied) {
        if form.nodes.len() > NODES_MAX || form.documents.len() > DOCUMENTS_MAX {
            applied.refused = Some(Refusal::Limit);
            return;
        }
        let nodes = u8::try_from(form.nodes.len()).unwrap_or(u8::MAX);
        let copies = form
            .replication_factor
            .unwrap_or(nodes.min(3))
            .clamp(1, COPIES_MAX as u8);
        self.lineage = Some(form.lineage);
        self.hash_seed = form.hash_seed;
        self.replication_factor = copies;
        self.write_quorum = form.write_quorum.unwrap_or(2).clamp(1, copies);
        self.read_quorum = form.read_quorum.unwrap_or(1).clamp(1, copies);
        self.on_loss = form.on_loss.unwrap_or_default();
        for (member, info) in &form.nodes {
            let record = NodeRecord {
                incarnation: member.incarnation,
                stopped: false,
                drains: false,
                info: info.clone(),
            };
            self.nodes.insert(member.node, record);
        }
        for (name, value) in &form.documents {
            let record = DocumentRecord {
                rev: 1,
                value: value.clone(),
            };
            self.documents.insert(name.clone(), record);
        }
        self.place_all();
        applied.slots = self.placements().map(|(slot, _)| slot).collect();
        applied.nodes = self.nodes.keys().copied().collect();
        applied.documents = self.documents.keys().cloned().collect();
    }

    /// The first placements: as the ring says, all members in sync, for all slots are empty.
    fn place_all(&mut self) {
        let slots = u16::try_from(self.placements.len()).expect("at most SLOTS, see State::new");
        let copies = usize::from(self.replication_factor);
        let placed = ring::place(&self.ring_nodes(), slots, copies);
        self.place_each(&placed);
        // The ring keeps nodes from holding much too much, and no node from holding too little.
        // What would move at once is better placed there to begin with.
        let even = movement::movement(self, |_| true).placed.into_iter();
        let placed: Vec<Vec<NodeId>> = even
            .map(|(mut holders, primary)| {
                holders.sort_by_key(|node| Some(*node) != primary);
                holders
            })
            .collect();
        self.place_each(&placed);
    }

    /// Each slot's nodes, its primary first.
    fn place_each(&mut self, placed: &[Vec<NodeId>]) {
        for (slot, held) in placed.iter().enumerate() {
            let in_sync: Vec<Member> = held.iter().filter_map(|id| self.member(id)).collect();
            let primary = in_sync.first().copied();
            self.placements[slot] = Arc::new(Placement {
                epoch: Epoch(1),
                rev: 1,
                primary,
                last_primary: primary.map(|member| (member, Epoch(1))),
                in_sync,
                write_quorum: self.write_quorum,
                ..Placement::default()
            });
        }
    }

    fn set_document(&mut self, document: &Document, applied: &mut Applied) {
        let rev = self
            .documents
            .get(&document.name)
            .map_or(0, |known| known.rev);
        let too_many = rev == 0 && self.documents.len() >= DOCUMENTS_MAX;
        let others = self
            .documents
            .iter()
            .filter(|(name, _)| **name != document.name);
        let total: usize = others.map(|(_, known)| known.value.len()).sum();
        let too_large = document.name.len() > DOCUMENT_NAME_BYTES_MAX
            || document.value.len() > DOCUMENT_BYTES_MAX
            || total + document.value.len() > DOCUMENTS_BYTES_MAX;
        if document.expect.is_some_and(|expected| expected != rev) {
            applied.refused = Some(Refusal::OtherRevision);
        } else if too_many || too_large {
            applied.refused = Some(Refusal::Limit);
        } else {
            let record = DocumentRecord {
                rev: rev + 1,
                value: document.value.clone(),
            };
            self.documents.insert(document.name.clone(), record);
            applied.documents.push(document.name.clone());
        }
    }
}

#[cfg(test)]
mod tests;
