//! The change of primary: fence, seal, choose, reconcile, activate. The metadata leader's part.
//!
//! At every tick the coordinator holds each slot's placement against what it knows of the members,
//! and takes the next step. It keeps nothing that it could not find out again: a new leader fences
//! the slots that it finds without a primary, and begins there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::message::{Back, Forward, Report};
use super::quorum::Quorum;
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
        }
    }
}

/// What gossip and the streams say of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// It answers.
    Up,
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
    /// Slots that went on although a committed record may be missing, and those that had to begin
    /// empty: nothing else could ever come.
    pub lost: Vec<Slot>,
}

/// The coordinator of all changes of primary that are under way.
#[derive(Debug)]
pub struct Coordinator {
    settings: FailoverSettings,
    work: BTreeMap<Slot, Work>,
    /// Since when a node is out of reach.
    away: BTreeMap<NodeId, Time>,
}

/// One slot's change of primary.
#[derive(Debug)]
struct Work {
    epoch: Epoch,
    since: Time,
    asked_at: Option<Time>,
    reports: BTreeMap<Member, Report>,
    leases_over: BTreeSet<Member>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Fencing,
    Sealing,
    Reconciling {
        chosen: Member,
        matched: Vec<Member>,
        progress_at: Time,
    },
    Activating {
        at: Time,
    },
}

/// What a tick looks at.
struct Look<'a> {
    now: Time,
    state: &'a State,
    liveness: &'a dyn Fn(&Member) -> Liveness,
    /// The order in which the ring would have each slot's nodes.
    ring: &'a dyn Fn(Slot) -> Vec<NodeId>,
}

impl Look<'_> {
    fn is_dead(&self, member: &Member) -> bool {
        self.state.is_known_dead(member)
    }

    fn is_out_of_reach(&self, member: &Member) -> bool {
        self.is_dead(member) || (self.liveness)(member) == Liveness::Down
    }

    fn is_up(&self, member: &Member) -> bool {
        !self.is_dead(member) && (self.liveness)(member) == Liveness::Up
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
        }
    }

    /// How many slots are changing their primary.
    #[must_use]
    pub fn changes_under_way(&self) -> usize {
        self.work.len()
    }

    /// Takes the next step in every slot. `ring(slot)` is the order in which the ring would have
    /// the slot's nodes, all of them.
    pub fn tick(
        &mut self,
        now: Time,
        state: &State,
        liveness: &dyn Fn(&Member) -> Liveness,
        ring: &dyn Fn(Slot) -> Vec<NodeId>,
        orders: &mut Orders,
    ) {
        let look = Look {
            now,
            state,
            liveness,
            ring,
        };
        self.watch_nodes(&look);
        let (mut fences, mut learners, mut activations) = (Vec::new(), Vec::new(), Vec::new());
        for (slot, placement) in state.placements() {
            if placement.in_sync.is_empty() {
                continue;
            }
            if self
                .work
                .get(&slot)
                .is_some_and(|work| work.is_over(placement))
            {
                self.work.remove(&slot);
            }
            if self.work.contains_key(&slot) {
                activations.extend(self.step(slot, placement, &look, orders));
                continue;
            }
            match &placement.primary {
                Some(primary) if !look.is_out_of_reach(primary) => {
                    learners.extend(self.learners(slot, placement, &look));
                }
                // Without a primary and without work of ours: the fence was another leader's.
                _ => {
                    self.work
                        .insert(slot, Work::new(placement.epoch.next(), now));
                    fences.push(FenceSlot {
                        slot,
                        rev: placement.rev,
                    });
                }
            }
        }
        orders
            .entries
            .extend((!fences.is_empty()).then_some(Entry::Fence(fences)));
        orders
            .entries
            .extend((!activations.is_empty()).then_some(Entry::Activate(activations)));
        orders
            .entries
            .extend((!learners.is_empty()).then_some(Entry::Learners(learners)));
    }

    /// What became of an entry of [`Orders::entries`]; `None` if nobody knows.
    pub fn outcome(&mut self, now: Time, entry: &Entry, applied: Option<&Applied>) {
        let Entry::Fence(fences) = entry else { return };
        for fence in fences {
            let accepted = applied.is_some_and(|a| a.slots.binary_search(&fence.slot).is_ok());
            let Some(work) = self.work.get_mut(&fence.slot) else {
                continue;
            };
            if !matches!(work.phase, Phase::Fencing) {
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

    fn watch_nodes(&mut self, look: &Look<'_>) {
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
    }

    /// The next step of one slot's change; the activation, when it is time.
    fn step(
        &mut self,
        slot: Slot,
        placement: &Placement,
        look: &Look<'_>,
        orders: &mut Orders,
    ) -> Option<ActivateSlot> {
        let settings = &self.settings;
        let work = self.work.get_mut(&slot)?;
        match work.phase {
            Phase::Fencing => {
                if look.now.since(work.since) > settings.outcome {
                    self.work.remove(&slot);
                }
                return None;
            }
            Phase::Activating { at } => {
                if look.now.since(at) > settings.outcome {
                    self.work.remove(&slot);
                }
                return None;
            }
            Phase::Sealing | Phase::Reconciling { .. } => {}
        }
        let ask = work
            .asked_at
            .is_none_or(|at| look.now.since(at) >= settings.retry);
        if ask {
            work.asked_at = Some(look.now);
            work.ask_to_seal(slot, placement, look, orders);
        }
        if matches!(work.phase, Phase::Sealing) {
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
        let enough = matched.len() >= usize::from(placement.write_quorum) || grace_over;
        if matched.contains(&chosen) && enough && work.leases_are_over(placement, look, settings) {
            let activation = work.activation(slot, chosen);
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

    /// The learners that the slot should have, if they are others than it has: together with the
    /// in-sync members that are not dead they make up `N`.
    fn learners(&self, slot: Slot, placement: &Placement, look: &Look<'_>) -> Option<LearnersSlot> {
        let copies = usize::from(look.state.replication_factor());
        let is_held = |node: &NodeId| {
            // A node that is away for a moment keeps its place.
            let back_soon = self
                .away
                .get(node)
                .is_none_or(|since| look.now.since(*since) < self.settings.replace_after);
            placement
                .in_sync
                .iter()
                .any(|m| m.node == *node && !look.is_dead(m))
                && back_soon
        };
        let wanted = (look.ring)(slot);
        let held = wanted.iter().filter(|node| is_held(node)).count();
        let preferred = wanted.iter().take(copies);
        let missing_for_good = preferred.clone().any(|node| {
            let since = self.away.get(node);
            since.is_some_and(|since| look.now.since(*since) >= self.settings.replace_after)
        });
        let candidates = if missing_for_good {
            &wanted[..]
        } else {
            &wanted[..copies.min(wanted.len())]
        };
        let learners: Vec<Member> = placement
            .learners
            .iter()
            .filter(|member| look.is_up(member))
            .copied()
            .chain(candidates.iter().filter_map(|node| look.state.member(node)))
            .filter(|member| look.is_up(member) && !is_held(&member.node))
            .filter(|member| !placement.in_sync.contains(member))
            .fold(Vec::new(), |mut learners, member| {
                if !learners.contains(&member) && held + learners.len() < copies {
                    learners.push(member);
                }
                learners
            });
        let rev = placement.rev;
        (learners != placement.learners).then_some(LearnersSlot {
            slot,
            rev,
            learners,
        })
    }
}

impl Work {
    fn new(epoch: Epoch, since: Time) -> Work {
        Work {
            epoch,
            since,
            asked_at: None,
            reports: BTreeMap::new(),
            leases_over: BTreeSet::new(),
            phase: Phase::Fencing,
        }
    }

    /// Whether the placement has moved on without, or thanks to, this work.
    fn is_over(&self, placement: &Placement) -> bool {
        match self.phase {
            Phase::Fencing => placement.epoch > self.epoch,
            _ => placement.epoch != self.epoch || placement.primary.is_some(),
        }
    }

    fn ask_to_seal(&self, slot: Slot, placement: &Placement, look: &Look<'_>, orders: &mut Orders) {
        let epoch = self.epoch;
        let last_primary = placement.last_primary.map(|(member, _)| member);
        for member in &placement.in_sync {
            let has_said_all =
                self.reports.contains_key(member) && self.leases_over.contains(member);
            if !has_said_all && !look.is_dead(member) {
                orders.sends.push((
                    *member,
                    Forward::Seal {
                        slot,
                        epoch,
                        last_primary,
                    },
                ));
            }
        }
    }

    /// Chooses the report with the greatest `last` once there are enough of them.
    fn choose(
        &mut self,
        slot: Slot,
        placement: &Placement,
        look: &Look<'_>,
        settings: &FailoverSettings,
        orders: &mut Orders,
    ) {
        let sealed = self.is_sealed(placement);
        if !sealed && !self.nothing_more_can_come(placement, look, settings) {
            return;
        }
        let order = (look.ring)(slot);
        let rank = |member: &Member| order.iter().position(|node| *node == member.node);
        let best = self
            .reports
            .iter()
            .filter(|(member, _)| !look.is_out_of_reach(member))
            .max_by_key(|(member, report)| (report.last, std::cmp::Reverse(rank(member))));
        let greatest = self.reports.values().map(|report| report.last).max();
        let (chosen, members): (Member, Vec<Member>) = match best {
            // Who has the greatest `last` must be within reach: only its log holds everything.
            Some((member, report)) if Some(report.last) == greatest => {
                (*member, self.reports.keys().copied().collect())
            }
            Some(_) => return,
            None if sealed => return,
            None => match self.begin_empty(look, &order) {
                Some(begun) => begun,
                None => return,
            },
        };
        let known_committed = self.reports.values().map(|report| report.committed).max();
        if !sealed || known_committed > greatest {
            orders.lost.push(slot);
        }
        self.phase = Phase::Reconciling {
            chosen,
            matched: Vec::new(),
            progress_at: look.now,
        };
        let epoch = self.epoch;
        orders.sends.push((
            chosen,
            Forward::Choose {
                slot,
                epoch,
                sealed: members,
            },
        ));
    }

    /// Every member that held the slot is dead: it begins empty on the nodes that there are.
    fn begin_empty(&mut self, look: &Look<'_>, order: &[NodeId]) -> Option<(Member, Vec<Member>)> {
        let copies = usize::from(look.state.replication_factor());
        let members: Vec<Member> = order
            .iter()
            .filter_map(|node| look.state.member(node))
            .filter(|member| look.is_up(member))
            .take(copies)
            .collect();
        let chosen = *members.first()?;
        let empty = Report {
            last: crate::Version::ZERO,
            committed: crate::Version::ZERO,
        };
        self.reports
            .extend(members.iter().map(|member| (*member, empty)));
        Some((chosen, members))
    }

    /// Whether the reports are those of `q` members, or the last primary's own: it holds all that
    /// it acknowledged.
    fn is_sealed(&self, placement: &Placement) -> bool {
        let seal = Quorum::new(placement.in_sync.len(), usize::from(placement.write_quorum)).seal();
        let reported = |member: &&Member| self.reports.contains_key(member);
        let last_primary = placement.last_primary.map(|(member, _)| member);
        placement.in_sync.iter().filter(reported).count() >= seal
            || last_primary.is_some_and(|member| self.reports.contains_key(&member))
    }

    /// Whether every missing report is of a member that cannot send one, and whatever such a
    /// member might still have been allowed to do is over. With `W = 1` a primary out of reach is
    /// passed over in the same way.
    fn nothing_more_can_come(
        &self,
        placement: &Placement,
        look: &Look<'_>,
        settings: &FailoverSettings,
    ) -> bool {
        let last_primary = placement.last_primary.map(|(member, _)| member);
        let never_comes = |member: &Member| {
            let passed_over = placement.write_quorum == 1
                && Some(*member) == last_primary
                && look.is_out_of_reach(member);
            look.is_dead(member) || passed_over
        };
        let mut missing = placement
            .in_sync
            .iter()
            .filter(|m| !self.reports.contains_key(m));
        missing.all(never_comes)
            && look.now.since(self.since) > settings.lease + settings.group_lease
    }

    /// Whether the last primary serves nobody any more: `q` members of the old set have said that
    /// what they granted it is over, or it has sealed itself, or it has had time enough.
    fn leases_are_over(
        &self,
        placement: &Placement,
        look: &Look<'_>,
        settings: &FailoverSettings,
    ) -> bool {
        let seal = Quorum::new(placement.in_sync.len(), usize::from(placement.write_quorum)).seal();
        let over = placement
            .in_sync
            .iter()
            .filter(|m| self.leases_over.contains(m))
            .count();
        let last_primary = placement.last_primary.map(|(member, _)| member);
        over >= seal
            || last_primary.is_some_and(|member| self.leases_over.contains(&member))
            || self.nothing_more_can_come(placement, look, settings)
    }

    fn activation(&self, slot: Slot, primary: Member) -> ActivateSlot {
        let matched = match &self.phase {
            Phase::Reconciling { matched, .. } => matched.clone(),
            _ => Vec::new(),
        };
        let others = self
            .reports
            .keys()
            .filter(|member| !matched.contains(member));
        let learners = others.copied().collect();
        ActivateSlot {
            slot,
            epoch: self.epoch,
            primary,
            in_sync: matched,
            learners,
        }
    }
}
