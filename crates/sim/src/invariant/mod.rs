//! What must hold, one file each. The cheap ones are checked after each step, on what that step
//! changed; linearizability and service at the end of a run.

mod acknowledgements;
mod equal_members;
pub mod linearizable;
mod lost_write;
mod one_primary;
mod placements;
pub mod service;

use std::collections::{BTreeMap, BTreeSet};

use cluster::metadata::OnLoss;
use cluster::replication::Table;
use cluster::{Epoch, Member, Slot, Version};

use self::equal_members::EqualMembers;
use self::lost_write::Line;
use self::one_primary::OnePrimary;
use self::placements::Placements;
use crate::world::{Log, Node, Process};

/// All invariants of a run, and the first thing that broke one.
#[derive(Debug)]
pub struct Invariants {
    slots: Vec<SlotInvariants>,
    seen: BTreeMap<(Member, Slot), Seen>,
    placements: Placements,
    failure: Option<String>,
}

#[derive(Debug, Default)]
struct SlotInvariants {
    line: Line,
    equal: EqualMembers,
    one: OnePrimary,
    /// From this moment on the slot may lose data: more members failed than it has promised to
    /// bear.
    excused: Option<u64>,
}

/// What a member's replica looked like after the last step there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    last: Version,
    committed: Version,
    digest: u64,
    active: Option<Epoch>,
    rev: u64,
    /// Where it leads: how far it counts on each of the others.
    held: Vec<(Member, Version)>,
}

impl Invariants {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(slots: u16) -> Invariants {
        Invariants {
            slots: (0..slots).map(|_| SlotInvariants::default()).collect(),
            seen: BTreeMap::new(),
            placements: Placements::default(),
            failure: None,
        }
    }

    /// The first thing that broke an invariant.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Something is not as it must be.
    pub fn fail(&mut self, why: String) {
        self.failure.get_or_insert(why);
    }

    fn judge(&mut self, found: Result<(), String>) {
        if let Err(why) = found {
            self.fail(why);
        }
    }

    /// From which moment on the slot may lose data, if it may.
    #[must_use]
    pub fn excused(&self, slot: Slot) -> Option<u64> {
        self.slots[slot.index()].excused
    }

    /// A primary made a record after `prev`; its table's digest is now this.
    pub fn wrote(&mut self, slot: Slot, prev: Version, version: Version, digest: u64) {
        let invariants = &mut self.slots[slot.index()];
        let found = invariants.line.wrote(slot, prev, version);
        invariants.equal.wrote(version, digest);
        self.judge(found);
    }

    /// A client was told that its write succeeded.
    pub fn acknowledged(&mut self, slot: Slot, version: Version) {
        let invariants = &mut self.slots[slot.index()];
        if invariants.excused.is_none() {
            let found = invariants.line.committed(slot, version);
            self.judge(found);
        }
    }

    /// An entry was committed to the metadata log.
    pub fn appended(&mut self, log: &Log, dead: &BTreeSet<Member>, moment: u64) {
        let found = self.placements.appended(log);
        self.judge(found);
        self.excuse(log, dead, moment);
    }

    /// A member's process was killed: what it looked like is over.
    pub fn killed(&mut self, member: Member, log: &Log, dead: &BTreeSet<Member>, moment: u64) {
        self.seen.retain(|(seen, _), _| *seen != member);
        self.excuse(log, dead, moment);
    }

    /// A slot with as many dead in-sync members as commit a write may have lost one, unless it
    /// waits then until somebody accepts that.
    fn excuse(&mut self, log: &Log, dead: &BTreeSet<Member>, moment: u64) {
        if log.state().on_loss() == OnLoss::Wait {
            return;
        }
        for (slot, placement) in log.state().placements() {
            let commit = placement
                .in_sync
                .len()
                .min(usize::from(placement.write_quorum));
            let lost = placement.in_sync.iter().filter(|m| dead.contains(m));
            if commit > 0 && lost.count() >= commit {
                self.slots[slot.index()].excused.get_or_insert(moment);
            }
        }
    }

    /// With `W = 1` a primary out of reach is passed over: its writes may be lost.
    pub fn passed_over(&mut self, slot: Slot, moment: u64) {
        self.slots[slot.index()].excused.get_or_insert(moment);
    }

    /// Looks at what a step has changed at one member.
    pub fn after_step(&mut self, nodes: &[Node], number: usize) {
        let Some(process) = &nodes[number].process else {
            return;
        };
        let member = process.member;
        for slot in process.replicas.slots() {
            let now = look(process, slot);
            let before = self.seen.get(&(member, slot)).cloned().unwrap_or_default();
            if now == before {
                continue;
            }
            let found = self.judge_slot(nodes, process, slot, &before, &now);
            self.seen.insert((member, slot), now);
            self.judge(found.map_err(|why| format!("{member:?} {slot:?}: {why}")));
        }
    }

    fn judge_slot(
        &mut self,
        nodes: &[Node],
        process: &Process,
        slot: Slot,
        before: &Seen,
        now: &Seen,
    ) -> Result<(), String> {
        let invariants = &mut self.slots[slot.index()];
        if now.rev < before.rev {
            return Err(format!("goes back from rev {} to {}", before.rev, now.rev));
        }
        invariants.equal.holds(now.last, now.digest)?;
        if let Some(epoch) = now.active {
            invariants.one.active(epoch, process.member)?;
            acknowledgements::hold(nodes, process, slot, epoch)?;
        }
        if invariants.excused.is_some() {
            return Ok(());
        }
        if let Some(epoch) = now.active.filter(|_| now.active != before.active) {
            invariants.line.begins(slot, epoch, now.last)?;
        }
        if now.committed != before.committed {
            invariants.line.committed(slot, now.committed)?;
        }
        Ok(())
    }
}

fn look(process: &Process, slot: Slot) -> Seen {
    let replica = process.replicas.lock(slot);
    Seen {
        last: replica.last(),
        committed: replica.committed(),
        digest: replica.table.digest(),
        active: replica.active_epoch(),
        rev: replica.placement().rev,
        held: replica.followers().collect(),
    }
}
