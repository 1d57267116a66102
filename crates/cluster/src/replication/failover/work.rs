//! One slot's change of primary: what its members have reported, and what may follow from that.

use std::collections::{BTreeMap, BTreeSet};

use super::super::message::{Forward, Report};
use super::super::quorum::Quorum;
use super::super::rules::{Rule, Rules};
use super::{FailoverSettings, Look, Orders, loss};
use crate::metadata::OnLoss;
use crate::metadata::entry::ActivateSlot;
use crate::{Epoch, Member, NodeId, Placement, Slot, Time, Version};

/// One slot's change of primary.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) epoch: Epoch,
    /// The `rev` by which its fence was judged.
    pub(super) judged: u64,
    pub(super) since: Time,
    pub(super) asked_at: Option<Time>,
    pub(super) reports: BTreeMap<Member, Report>,
    pub(super) leases_over: BTreeSet<Member>,
    pub(super) phase: Phase,
    /// Whether what was chosen may lack something that was committed.
    may_lose: bool,
    /// Whether nothing is chosen for that reason until an operator accepts it.
    pub(super) waits: bool,
    /// Who is to lead, where the change was planned.
    pub(super) to: Option<Member>,
}

#[derive(Debug)]
pub(super) enum Phase {
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

impl Work {
    /// Begins with a fence that judges this placement.
    pub(super) fn new(placement: &Placement, since: Time) -> Work {
        Work {
            epoch: placement.epoch.next(),
            judged: placement.rev,
            since,
            asked_at: None,
            reports: BTreeMap::new(),
            leases_over: BTreeSet::new(),
            phase: Phase::Fencing,
            may_lose: false,
            waits: false,
            to: None,
        }
    }

    /// The change was planned: this member is to lead.
    pub(super) fn in_favour_of(mut self, to: Member) -> Work {
        self.to = Some(to);
        self
    }

    /// Whether the placement has moved on without, or thanks to, this work.
    pub(super) fn is_over(&self, placement: &Placement) -> bool {
        match self.phase {
            Phase::Fencing => placement.epoch > self.epoch,
            // Of the fence's outcome one may hear before the placement shows it.
            _ => {
                placement.epoch > self.epoch
                    || (placement.epoch == self.epoch && placement.primary.is_some())
            }
        }
    }

    /// Whether the one who is to lead will have reported soon: it is best chosen itself.
    pub(super) fn awaits_named(&self, look: &Look<'_>, settings: &FailoverSettings) -> bool {
        let awaited = self
            .to
            .filter(|to| !self.reports.contains_key(to) && look.is_up(to));
        awaited.is_some() && look.now.since(self.since) < settings.retry
    }

    pub(super) fn ask_to_seal(
        &self,
        slot: Slot,
        placement: &Placement,
        look: &Look<'_>,
        orders: &mut Orders,
    ) {
        let epoch = self.epoch;
        let last_primary = placement.last_primary.map(|(member, _)| member);
        // Where all who held everything are gone, what a learner holds is the best there is.
        let all_dead = placement.in_sync.iter().all(|member| look.is_dead(member));
        let learners = placement.learners.iter().filter(|_| all_dead);
        for member in placement.in_sync.iter().chain(learners) {
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
    pub(super) fn choose(
        &mut self,
        slot: Slot,
        placement: &Placement,
        look: &Look<'_>,
        settings: &FailoverSettings,
        orders: &mut Orders,
    ) {
        self.waits = false;
        // Those within reach may be enough by themselves; what else was reported does not count
        // then, for it may be out of reach as long as it likes.
        let in_reach = |member: &Member| !look.is_out_of_reach(member);
        let by_these = self.is_sealed(placement, settings.rules, in_reach);
        let sealed = by_these || self.is_sealed(placement, settings.rules, |_| true);
        if !sealed && !self.nothing_more_can_come(placement, look, settings) {
            return;
        }
        let counts = |member: &Member| !by_these || in_reach(member);
        let known_committed = self.reports.values().map(|report| report.committed).max();
        let counted = self.reports.iter().filter(|(member, _)| counts(member));
        let known_last = counted.map(|(_, report)| report.last).max();
        let may_lose = !sealed || known_committed > known_last;
        let is_accepted = look.state.on_loss() == OnLoss::Accept;
        if may_lose && !is_accepted && settings.rules.keep(Rule::LossWaits) {
            // Who was only passed over may still report, and then nothing is lost.
            self.waits = true;
            return;
        }
        self.may_lose = may_lose && is_accepted;
        let order = (look.ring)(slot);
        let (chosen, members) = if self.reports.is_empty() {
            match self.begin_empty(look, &order) {
                Some(begun) => begun,
                None => return,
            }
        } else {
            match self.greatest(settings.rules, &order, counts, in_reach) {
                Some(chosen) => (chosen, self.reports.keys().copied().collect()),
                None => return,
            }
        };
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

    /// Who has reported the greatest `last` of those that count; of several the one that the ring
    /// prefers. `None` if nobody within reach has: only such a log holds everything, and who has it
    /// may come back.
    fn greatest(
        &self,
        rules: Rules,
        order: &[NodeId],
        counts: impl Fn(&Member) -> bool,
        in_reach: impl Fn(&Member) -> bool,
    ) -> Option<Member> {
        let greatest_last = rules.keep(Rule::GreatestLast);
        let by = |report: &Report| {
            let last = report.last.as_u64();
            if greatest_last { last } else { !last }
        };
        let rank = |member: &Member| order.iter().position(|node| *node == member.node);
        let counted = self.reports.iter().filter(|(member, _)| counts(member));
        let (greatest, _) = counted.max_by_key(|(member, report)| {
            let preferred = std::cmp::Reverse(rank(member));
            let is_named = self.to == Some(**member);
            (by(report), in_reach(member), is_named, preferred)
        })?;
        in_reach(greatest).then_some(*greatest)
    }

    /// Every member that held the slot is dead, and no learner has said that it holds something of
    /// it: it begins empty on the nodes that there are.
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
            last: Version::ZERO,
            committed: Version::ZERO,
        };
        self.reports
            .extend(members.iter().map(|member| (*member, empty)));
        Some((chosen, members))
    }

    /// Whether the reports that count are those of `q` members, or the last primary's own: it
    /// holds all that it acknowledged.
    fn is_sealed(
        &self,
        placement: &Placement,
        rules: Rules,
        counts: impl Fn(&Member) -> bool,
    ) -> bool {
        let quorum = Quorum::new(placement.in_sync.len(), usize::from(placement.write_quorum));
        let seal = if rules.keep(Rule::QuorumSeals) {
            quorum.seal()
        } else {
            1
        };
        let reported = |member: &&Member| self.reports.contains_key(member) && counts(member);
        let last_primary = placement.last_primary.map(|(member, _)| member);
        placement.in_sync.iter().filter(reported).count() >= seal
            || last_primary.is_some_and(|member| reported(&&member))
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
        let never_comes = |member: &Member| {
            let is_out_of_reach = || look.is_out_of_reach(member);
            look.is_dead(member) || loss::is_passed_over(placement, member, is_out_of_reach)
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
    pub(super) fn leases_are_over(
        &self,
        placement: &Placement,
        look: &Look<'_>,
        settings: &FailoverSettings,
    ) -> bool {
        if !settings.rules.keep(Rule::LeasesEndFirst) {
            return true;
        }
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

    /// The end of the change. Who has died since it matched is left out.
    pub(super) fn activation(
        &self,
        slot: Slot,
        placement: &Placement,
        primary: Member,
        look: &Look<'_>,
    ) -> ActivateSlot {
        let matched: Vec<Member> = match &self.phase {
            Phase::Reconciling { matched, .. } => matched
                .iter()
                .filter(|member| !look.is_dead(member))
                .copied()
                .collect(),
            _ => Vec::new(),
        };
        // Who held the slot keeps its place, be it away or started anew.
        let known = placement.staying().chain(self.reports.keys());
        let mut learners: Vec<Member> = Vec::new();
        for member in known {
            if !matched.contains(member) && !learners.contains(member) {
                learners.push(*member);
            }
        }
        ActivateSlot {
            slot,
            epoch: self.epoch,
            primary,
            in_sync: matched,
            learners,
            may_lose: self.may_lose,
        }
    }
}
