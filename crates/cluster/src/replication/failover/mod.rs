//! The change of primary: fence, seal, choose, reconcile, activate. The metadata leader's part.
//!
//! At every tick the coordinator holds each slot's placement against what it knows of the members,
//! and takes the next step. It keeps nothing that it could not find out again: a new leader fences
//! the slots that it finds without a primary, and begins there.

mod balance;
mod learners;
mod loss;
mod transfer;
mod work;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use self::balance::Balancer;
pub use self::loss::waits_for_operator;
use self::transfer::Transfer;
use self::work::{Phase, Work};
use super::message::{Back, Forward};
use super::rules::Rules;
use crate::metadata::entry::{ActivateSlot, Entry, FenceSlot, LearnersSlot};
use crate::metadata::{Applied, State};
use crate::{Epoch, Member, NodeId, Placement, Slot, Time};

/// The spans of a change of primary.
#[derive(Clone, Debug)]
pub struct FailoverSettings {
    /// `L`, with the margin for clocks that run at different rates.
    pub lease: Duration,
    /// `L_meta`, likewise.
    pub group_lease: Duration,
    /// How often a member that has not answered is asked again.
    pub retry: Duration,
    /// For how long the outcome of an entry is waited for.
    pub outcome: Duration,
    /// After so long without progress of the chosen member the slot is fenced again.
    pub progress: Duration,
    /// How long an activation waits for `W` members to match.
    pub grace: Duration,
    /// How long a node that went away may take to come back before another takes its place.
    pub replace_after: Duration,
    /// How long all must have been well before slots move so that every node has its share.
    pub balance_delay: Duration,
    /// How many slots get a new copy for that reason at once.
    pub moves_max: usize,
    /// How many slots change their primary by plan at once.
    pub transfers_max: usize,
    /// How long a primary that is to hand a slot over may take to finish what it has begun.
    pub yield_timeout: Duration,
    /// The rules that are kept: all of them, but in a simulation.
    pub rules: Rules,
}

impl Default for FailoverSettings {
    fn default() -> FailoverSettings {
        FailoverSettings {
            lease: Duration::from_millis(1050),
            group_lease: Duration::from_millis(1550),
            retry: Duration::from_millis(200),
            outcome: Duration::from_secs(2),
            progress: Duration::from_secs(3),
            grace: Duration::from_millis(500),
            replace_after: Duration::from_secs(60),
            balance_delay: Duration::from_secs(2),
            moves_max: 256,
            transfers_max: 64,
            yield_timeout: Duration::from_secs(2),
            rules: Rules::default(),
        }
    }
}

/// What gossip and the streams say of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// It answers.
    Up,
    /// It answers, and is about to stop.
    Departs,
    /// Nobody can say yet.
    Unknown,
    /// Nobody can reach it.
    Down,
}

/// What the coordinator wants done.
#[derive(Debug, Default)]
pub struct Orders {
    /// Messages to members.
    pub sends: Vec<(Member, Forward)>,
    /// Entries for the metadata log; what became of each is told to [`Coordinator::outcome`].
    pub entries: Vec<Entry>,
    /// How many slots wait for an operator: something of them may be lost, and the cluster does not
    /// accept that.
    pub waiting: usize,
}

/// The coordinator of all changes of primary that are under way.
#[derive(Debug)]
pub struct Coordinator {
    settings: FailoverSettings,
    work: BTreeMap<Slot, Work>,
    /// Since when a node is out of reach.
    away: BTreeMap<NodeId, Time>,
    /// The planned changes that have not led to a fence yet.
    transfers: BTreeMap<Slot, Transfer>,
    balancer: Balancer,
    /// The placements for which learners were proposed, and when.
    taught: BTreeMap<Slot, (u64, Time)>,
    /// The state in which nothing was left to do, as long as all its nodes are up.
    settled: Option<u64>,
}

/// What a tick looks at.
struct Look<'a> {
    now: Time,
    state: &'a State,
    liveness: &'a dyn Fn(&Member) -> Liveness,
    /// The order in which the ring would have each slot's nodes.
    ring: &'a dyn Fn(Slot) -> Vec<NodeId>,
    /// What was found of a member in this look: thousands of slots ask for the same few.
    found: RefCell<BTreeMap<Member, (bool, Liveness)>>,
}

/// What a look wants entered into the metadata log.
#[derive(Default)]
struct Steps {
    fences: Vec<FenceSlot>,
    learners: Vec<LearnersSlot>,
    activations: Vec<ActivateSlot>,
}

impl<'a> Look<'a> {
    fn new(
        now: Time,
        state: &'a State,
        liveness: &'a dyn Fn(&Member) -> Liveness,
        ring: &'a dyn Fn(Slot) -> Vec<NodeId>,
    ) -> Look<'a> {
        Look {
            now,
            state,
            liveness,
            ring,
            found: RefCell::default(),
        }
    }

    fn at(&self, member: &Member) -> (bool, Liveness) {
        let find = || (self.state.is_known_dead(member), (self.liveness)(member));
        *self.found.borrow_mut().entry(*member).or_insert_with(find)
    }

    fn is_dead(&self, member: &Member) -> bool {
        self.at(member).0
    }

    fn is_out_of_reach(&self, member: &Member) -> bool {
        let (dead, liveness) = self.at(member);
        dead || liveness == Liveness::Down
    }

    fn is_up(&self, member: &Member) -> bool {
        let (dead, liveness) = self.at(member);
        !dead && liveness == Liveness::Up
    }

    fn departs(&self, member: &Member) -> bool {
        let (dead, liveness) = self.at(member);
        !dead && liveness == Liveness::Departs
    }

    /// Whether the node is to give away all that it holds.
    fn drains(&self, node: &NodeId) -> bool {
        self.state
            .nodes()
            .get(node)
            .is_some_and(|known| known.drains)
    }

    /// How many copies each slot should have.
    fn copies(&self) -> usize {
        usize::from(self.state.replication_factor())
    }

    /// Whether the slot has all its copies, on members that are up and stay.
    fn is_complete(&self, placement: &Placement) -> bool {
        placement.in_sync.len() >= self.copies()
            && placement.learners.is_empty()
            && placement.leaving.is_empty()
            && placement.in_sync.iter().all(|member| self.is_up(member))
    }
}

impl Coordinator {
    /// A coordinator that has just begun to lead: it knows of no change under way.
    #[must_use]
    pub fn new(settings: FailoverSettings) -> Coordinator {
        Coordinator {
            settings,
            work: BTreeMap::new(),
            away: BTreeMap::new(),
            transfers: BTreeMap::new(),
            balancer: Balancer::default(),
            taught: BTreeMap::new(),
            settled: None,
        }
    }

    /// Takes the next step in every slot. `ring(slot)` is the order in which the slot's nodes are
    /// to be preferred; a slot finds no other nodes than those.
    pub fn tick(
        &mut self,
        now: Time,
        state: &State,
        liveness: &dyn Fn(&Member) -> Liveness,
        ring: &dyn Fn(Slot) -> Vec<NodeId>,
        orders: &mut Orders,
    ) {
        let look = Look::new(now, state, liveness, ring);
        let all_up = self.watch_nodes(&look);
        if all_up && self.settled == Some(state.applied()) {
            return;
        }
        let mut settled = all_up;
        let mut steps = Steps::default();
        for (slot, placement) in state.placements() {
            if !placement.in_sync.is_empty() {
                settled &= placement.primary.is_some() && look.is_complete(placement);
                self.visit(slot, placement, &look, &mut steps, orders);
            }
        }
        settled &= self.balance(&look, &mut steps.learners);
        let begun: Vec<Slot> = self.transfers.keys().copied().collect();
        for slot in begun {
            let fence = self.transfer(slot, state.placement(slot), &look, orders);
            steps.fences.extend(fence);
        }
        self.settled = (settled && self.work.is_empty()).then_some(state.applied());
        self.order(steps, orders);
    }

    /// Takes the next step in the slots whose primary is about to change: called when something
    /// was heard of one of them, so that none waits for the next tick.
    pub fn advance(
        &mut self,
        now: Time,
        state: &State,
        liveness: &dyn Fn(&Member) -> Liveness,
        ring: &dyn Fn(Slot) -> Vec<NodeId>,
        orders: &mut Orders,
    ) {
        let look = Look::new(now, state, liveness, ring);
        let mut steps = Steps::default();
        let pending = self.work.keys().chain(self.transfers.keys());
        let pending: Vec<Slot> = pending.copied().collect();
        for slot in pending {
            self.visit(slot, state.placement(slot), &look, &mut steps, orders);
        }
        self.order(steps, orders);
    }

    fn order(&self, steps: Steps, orders: &mut Orders) {
        orders.waiting = self.work.values().filter(|work| work.waits).count();
        let entries = &mut orders.entries;
        entries.extend(Entry::of_slots(Entry::Fence, steps.fences));
        entries.extend(Entry::of_slots(Entry::Activate, steps.activations));
        entries.extend(Entry::of_slots(Entry::Learners, steps.learners));
    }

    fn visit(
        &mut self,
        slot: Slot,
        placement: &Placement,
        look: &Look<'_>,
        steps: &mut Steps,
        orders: &mut Orders,
    ) {
        let work = self.work.get(&slot);
        if work.is_some_and(|work| work.is_over(placement)) {
            self.work.remove(&slot);
        }
        if self.work.contains_key(&slot) {
            let activation = self.step(slot, placement, look, orders);
            steps.activations.extend(activation);
            return;
        }
        match &placement.primary {
            Some(primary) if !look.is_out_of_reach(primary) => {
                let fence = self.transfer(slot, placement, look, orders);
                steps.fences.extend(fence);
                if let Some(change) = self.learners(slot, placement, look) {
                    self.taught.insert(slot, (placement.rev, look.now));
                    steps.learners.push(change);
                }
            }
            // Without a primary and without work of ours: the fence was another leader's.
            _ => {
                self.transfers.remove(&slot);
                self.work.insert(slot, Work::new(placement, look.now));
                let rev = placement.rev;
                steps.fences.push(FenceSlot { slot, rev });
            }
        }
    }

    /// What became of an entry of [`Orders::entries`]; `None` if nobody knows.
    pub fn outcome(&mut self, now: Time, entry: &Entry, applied: Option<&Applied>) {
        if let (Entry::Activate(refused), Some(applied)) = (entry, applied) {
            for of in refused {
                if applied.slots.binary_search(&of.slot).is_err() {
                    self.work.remove(&of.slot);
                }
            }
        }
        let Entry::Fence(fences) = entry else { return };
        for fence in fences {
            let accepted = applied.is_some_and(|a| a.slots.binary_search(&fence.slot).is_ok());
            let Some(work) = self.work.get_mut(&fence.slot) else {
                continue;
            };
            // What became of an older fence of the slot may be heard of late.
            if !matches!(work.phase, Phase::Fencing) || work.judged != fence.rev {
                continue;
            }
            if accepted {
                work.phase = Phase::Sealing;
                work.since = now;
            } else {
                // One fence, one coordinator: if it was applied after all, nobody goes on from it.
                self.work.remove(&fence.slot);
            }
        }
    }

    /// A member reports. What belongs to another epoch does not count.
    pub fn report(&mut self, now: Time, member: &Member, report: Back) {
        match report {
            Back::Sealed {
                slot,
                epoch,
                report,
            } => {
                let Some(work) = self.of_epoch(slot, epoch) else {
                    return;
                };
                if work.reports.insert(*member, report) != Some(report) {
                    work.asked_at = None;
                }
            }
            Back::LeasesOver { slot, epoch } => {
                let Some(work) = self.of_epoch(slot, epoch) else {
                    return;
                };
                work.leases_over.insert(*member);
            }
            Back::Matched {
                slot,
                epoch,
                members,
            } => {
                let Some(work) = self.of_epoch(slot, epoch) else {
                    return;
                };
                if let Phase::Reconciling {
                    chosen,
                    matched,
                    progress_at,
                } = &mut work.phase
                    && chosen == member
                {
                    if members.len() > matched.len() {
                        *progress_at = now;
                    }
                    *matched = members;
                }
            }
            Back::Yielded { slot, epoch } => {
                if let Some(transfer) = self.transfers.get_mut(&slot) {
                    transfer.yielded(member, epoch);
                }
            }
            // A newer epoch: the placement will say so too, and end this work.
            Back::SealRefused { .. } => {}
            _ => {}
        }
    }

    fn of_epoch(&mut self, slot: Slot, epoch: Epoch) -> Option<&mut Work> {
        let fenced =
            |work: &&mut Work| work.epoch == epoch && !matches!(work.phase, Phase::Fencing);
        self.work.get_mut(&slot).filter(fenced)
    }

    /// Notes who is away. Says whether nobody is.
    fn watch_nodes(&mut self, look: &Look<'_>) -> bool {
        for node in look.state.nodes().keys() {
            let is_up = look
                .state
                .member(node)
                .is_some_and(|member| look.is_up(&member));
            if is_up {
                self.away.remove(node);
            } else {
                self.away.entry(*node).or_insert(look.now);
            }
        }
        self.away.is_empty()
    }

    /// Whether the slot's next step depends on an entry whose outcome is not known yet. It is not
    /// waited for without end.
    fn awaits_outcome(&mut self, slot: Slot, look: &Look<'_>) -> bool {
        let Some(work) = self.work.get(&slot) else {
            return false;
        };
        let since = match work.phase {
            Phase::Fencing => work.since,
            Phase::Activating { at } => at,
            Phase::Sealing | Phase::Reconciling { .. } => return false,
        };
        if look.now.since(since) > self.settings.outcome {
            self.work.remove(&slot);
        }
        true
    }

    /// The next step of one slot's change; the activation, when it is time.
    fn step(
        &mut self,
        slot: Slot,
        placement: &Placement,
        look: &Look<'_>,
        orders: &mut Orders,
    ) -> Option<ActivateSlot> {
        if self.awaits_outcome(slot, look) {
            return None;
        }
        let settings = &self.settings;
        let work = self.work.get_mut(&slot)?;
        if placement.epoch < work.epoch {
            return None;
        }
        // What a dead member reported is gone with it.
        work.reports.retain(|member, _| !look.is_dead(member));
        let ask = work
            .asked_at
            .is_none_or(|at| look.now.since(at) >= settings.retry);
        if ask {
            work.asked_at = Some(look.now);
            work.ask_to_seal(slot, placement, look, orders);
        }
        if matches!(work.phase, Phase::Sealing) && !work.awaits_named(look, settings) {
            work.choose(slot, placement, look, settings, orders);
        }
        let Phase::Reconciling {
            chosen,
            matched,
            progress_at,
        } = &work.phase
        else {
            return None;
        };
        let (chosen, progress_at) = (*chosen, *progress_at);
        if look.is_out_of_reach(&chosen) || look.now.since(progress_at) > settings.progress {
            self.work.remove(&slot);
            return None;
        }
        let grace_over = look.now.since(progress_at) > settings.grace;
        let awaited = |to: &Member| work.reports.contains_key(to) && !look.is_out_of_reach(to);
        let named = work.to.filter(awaited);
        let enough = matched.len() >= usize::from(placement.write_quorum)
            && named.is_none_or(|to| matched.contains(&to));
        let enough = enough || grace_over;
        if matched.contains(&chosen) && enough && work.leases_are_over(placement, look, settings) {
            let primary = named.filter(|to| matched.contains(to)).unwrap_or(chosen);
            let activation = work.activation(slot, placement, primary, look);
            work.phase = Phase::Activating { at: look.now };
            return Some(activation);
        }
        if ask {
            let sealed = work.reports.keys().copied().collect();
            orders.sends.push((
                chosen,
                Forward::Choose {
                    slot,
                    epoch: work.epoch,
                    sealed,
                },
            ));
        }
        None
    }
}

#[cfg(test)]
mod tests;
