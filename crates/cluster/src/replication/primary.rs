//! What a primary keeps for its slot: how far each follower is, what is committed, who waits.

use std::collections::VecDeque;

use super::context::Context;
use super::in_sync::Proposal;
use super::message::{Back, Forward};
use super::out::Out;
use super::progress::{Attachment, Progress};
use super::quorum::Quorum;
use super::record::Record;
use super::replica::{Replica, Role};
use super::rules::{Rule, Rules};
use super::table::Table;
use super::waiters::Waiters;
use super::yielding::Yielding;
use crate::metadata::COPIES_MAX;
use crate::{Epoch, Member, Placement, Slot, Time, Version};

pub(crate) struct Primary<K> {
    rules: Rules,
    pub(crate) term: Epoch,
    pub(crate) phase: Phase,
    pub(crate) followers: Vec<Progress>,
    /// Counts the attachments of all followers in this term, so that an acknowledgement of an older
    /// one is told apart, also when a member was removed and is back.
    attachments: u32,
    /// A change of the in-sync set that may be applied at any moment: both sets are in force.
    pub(crate) proposal: Option<Proposal>,
    /// The versions of the records that are not committed yet.
    pub(crate) uncommitted: VecDeque<Version>,
    /// The greatest version used up as a stamp.
    pub(crate) stamped: Version,
    pub(crate) waiters: Waiters<K>,
    /// It is about to hand the slot over.
    pub(crate) yielding: Option<Yielding>,
    /// How far the followers were told that the history is committed.
    pub(crate) told: Version,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Chosen: brings the sealed members to its own state, and serves nobody.
    Reconciling(Reconciliation),
    /// The placement names it.
    Active,
}

/// Who chose this member, and what it has said of the others so far.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reconciliation {
    pub(crate) coordinator: Member,
    pub(crate) stream: u64,
    pub(crate) reported: Vec<Member>,
}

impl<K> Primary<K> {
    pub(crate) fn new(term: Epoch, phase: Phase, rules: Rules) -> Primary<K> {
        Primary {
            rules,
            term,
            phase,
            followers: Vec::new(),
            attachments: 0,
            proposal: None,
            uncommitted: VecDeque::new(),
            stamped: Version::ZERO,
            waiters: Waiters::default(),
            yielding: None,
            told: Version::ZERO,
        }
    }

    pub(crate) fn next_version(&self, last: Version) -> Option<Version> {
        last.max(self.stamped).next(self.term)
    }

    pub(crate) fn follower(&mut self, member: &Member) -> Option<&mut Progress> {
        self.followers
            .iter_mut()
            .find(|follower| follower.peer.member() == member)
    }

    /// Keeps the progress of those who stay, starts from nothing with those who are new.
    pub(crate) fn set_followers<'a>(
        &mut self,
        context: &Context,
        now: Time,
        members: impl Iterator<Item = &'a Member>,
        stays: impl Fn(&Member) -> bool,
    ) {
        let mut followers = Vec::new();
        for member in members {
            let known = self
                .followers
                .iter()
                .position(|f| f.peer.member() == member && stays(member));
            followers.push(match known {
                Some(index) => self.followers.swap_remove(index),
                None => Progress {
                    peer: context.peer(member, now),
                    state: Attachment::Detached { asked: None },
                    attachment: 0,
                    held: Version::ZERO,
                    needs_copy: false,
                },
            });
        }
        self.followers = followers;
    }

    /// Asks those who are not attached to say what they hold, once on each stream.
    pub(crate) fn solicit(&mut self, slot: Slot, rev: u64) {
        for follower in &mut self.followers {
            let open = follower.peer.open_stream();
            let asked = match follower.state {
                Attachment::Detached { asked } => asked,
                Attachment::Attached { stream } | Attachment::Copying { stream, .. } => {
                    if open == Some(stream) {
                        continue;
                    }
                    None
                }
            };
            follower.state = Attachment::Detached { asked };
            let Some(open) = open.filter(|open| Some(*open) != asked) else {
                continue;
            };
            self.attachments += 1;
            let lead = Forward::Lead {
                slot,
                term: self.term,
                rev,
                attachment: self.attachments,
            };
            if follower.peer.send(open, lead, None, usize::MAX) {
                // Only the answer to this question counts: an older one may say what the member
                // held before it was removed.
                follower.attachment = self.attachments;
                follower.state = Attachment::Detached { asked: Some(open) };
            }
        }
    }

    /// The sets in force, each with its `W`.
    pub(crate) fn sets<'a>(
        &'a self,
        placement: &'a Placement,
    ) -> impl Iterator<Item = (&'a [Member], usize)> {
        let proposed = self.proposal.as_ref();
        std::iter::once((&placement.in_sync[..], usize::from(placement.write_quorum)))
            .chain(proposed.map(|p| (&p.in_sync[..], usize::from(p.write_quorum))))
    }

    /// Those of them that commit a record: all.
    fn committing_sets<'a>(
        &'a self,
        placement: &'a Placement,
    ) -> impl Iterator<Item = (&'a [Member], usize)> {
        let both = self.rules.keep(Rule::BothSetsCommit);
        self.sets(placement).take(if both { 2 } else { 1 })
    }

    /// Whether `c` members of each set in force let this member lead now, itself included. Where
    /// its own word is the only one, the metadata group's is needed too.
    pub(crate) fn has_lease(&self, context: &Context, placement: &Placement, now: Time) -> bool {
        self.sets(placement).all(|(set, write_quorum)| {
            let commit = Quorum::new(set.len(), write_quorum).commit();
            if commit == 1 {
                return context.group_lease_until() > now || !self.rules.keep(Rule::GroupLease);
            }
            let leases =
                |f: &&Progress| f.peer.lease_until() > now && set.contains(f.peer.member());
            1 + self
                .followers
                .iter()
                .filter(leases)
                .take(commit - 1)
                .count()
                >= commit
        })
    }

    /// Whether `W` members of each set in force can be reached, this one included.
    pub(crate) fn reaches_write_quorum(&self, placement: &Placement) -> bool {
        self.sets(placement).all(|(set, write_quorum)| {
            let open =
                |f: &&Progress| f.peer.open_stream().is_some() && set.contains(f.peer.member());
            1 + self.followers.iter().filter(open).count() >= write_quorum
        })
    }

    /// Hands a new record to all who are attached; those who get a copy get what it touched.
    pub(crate) fn send_record(
        &mut self,
        context: &Context,
        slot: Slot,
        committed: Version,
        record: &Record,
        table: &impl Table,
    ) {
        self.told = committed;
        for follower in &mut self.followers {
            match follower.state {
                Attachment::Attached { .. } => {
                    follower.send_record(context, slot, self.term, committed, record);
                }
                Attachment::Copying { stream, copy, .. } => {
                    let mut chunk = Vec::new();
                    table.copy_touched(&record.effects, &mut chunk);
                    let chunk = chunk.into();
                    let chunk = Forward::CopyChunk {
                        slot,
                        term: self.term,
                        copy,
                        chunk,
                    };
                    let room = follower.peer.queued_bytes() <= context.settings.queue_bytes_max;
                    if !room || !follower.peer.send(stream, chunk, None, usize::MAX) {
                        follower.state = Attachment::Detached { asked: None };
                    }
                }
                Attachment::Detached { .. } => {}
            }
            if matches!(follower.state, Attachment::Detached { .. }) {
                context.attend(slot);
            }
        }
    }

    /// The greatest version that `copies` members of the set hold; nothing at all where the set is
    /// smaller.
    fn held_in(&self, set: &[Member], me: &Member, last: Version, copies: usize) -> Version {
        let mut held = [Version::ZERO; COPIES_MAX];
        let held = &mut held[..set.len()];
        for (version, member) in held.iter_mut().zip(set) {
            let follower = || self.followers.iter().find(|f| f.peer.member() == member);
            *version = if member == me {
                last
            } else {
                follower().map_or(Version::ZERO, |f| f.held)
            };
        }
        held.sort_unstable_by(|a, b| b.cmp(a));
        held.get(copies - 1).copied().unwrap_or(Version::ZERO)
    }

    /// What `copies` members of each set in force hold.
    fn held_by(&self, placement: &Placement, me: &Member, last: Version, copies: u8) -> Version {
        let held = |(set, _)| self.held_in(set, me, last, usize::from(copies.max(1)));
        self.committing_sets(placement)
            .map(held)
            .min()
            .expect("one set is always in force")
    }

    /// How far the history is committed: what `c` members hold of each set in force.
    pub(crate) fn committed_by(
        &self,
        placement: &Placement,
        me: &Member,
        last: Version,
    ) -> Version {
        let held = |(set, write_quorum): (&[Member], usize)| {
            self.held_in(set, me, last, Quorum::new(set.len(), write_quorum).commit())
        };
        self.committing_sets(placement)
            .map(held)
            .min()
            .expect("one set is always in force")
    }

    pub(crate) fn release(
        &mut self,
        me: &Member,
        placement: &Placement,
        last: Version,
        committed: Version,
        out: &mut Out<K>,
    ) {
        let mut waiters = std::mem::take(&mut self.waiters);
        let held = |copies| self.held_by(placement, me, last, copies);
        waiters.release(committed, held, &mut out.released);
        self.waiters = waiters;
    }
}

impl<T: Table, K> Replica<T, K> {
    /// A member says what it holds. Found in the history: the records after it follow. Otherwise
    /// it gets a copy. Only from here on do its acknowledgements count.
    pub(crate) fn attach(
        &mut self,
        context: &Context,
        member: &Member,
        (stream, attachment): (u64, u32),
        (term, last): (Epoch, Version),
        out: &mut Out<K>,
    ) {
        let (slot, committed) = (self.slot, self.committed);
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        if primary.term != term {
            return;
        }
        let Some(follower) = primary.follower(member) else {
            return;
        };
        let asked = Attachment::Detached {
            asked: Some(stream),
        };
        if follower.state != asked || follower.attachment != attachment {
            return;
        }
        let in_history = context.settings.rules.keep(Rule::HistoryHoldsIt);
        let records = self.history.after(last, in_history);
        if let Some(records) = records.filter(|_| !std::mem::take(&mut follower.needs_copy)) {
            follower.state = Attachment::Attached { stream };
            follower.held = last;
            for record in records {
                follower.send_record(context, slot, term, committed, record);
            }
            follower.send_committed(slot, term, committed);
        } else {
            if last < follower.held {
                // It lost what it held: it was removed meanwhile, and is back.
                follower.held = Version::ZERO;
            }
            let copy = follower.attachment;
            follower.state = Attachment::Copying {
                stream,
                cursor: 0,
                copy,
            };
            let start = Forward::CopyStart { slot, term, copy };
            if follower.peer.send(stream, start, None, usize::MAX) {
                context.copies(slot);
            }
        }
        context.attend(slot);
        self.advance(context, out);
    }

    /// The member refuses what it was sent.
    pub(crate) fn refused(
        &mut self,
        context: &Context,
        member: &Member,
        (stream, term): (u64, Epoch),
        needs_copy: bool,
    ) {
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        if primary.term != term {
            return;
        }
        primary.attachments += 1;
        let attachment = primary.attachments;
        let Some(follower) = primary.follower(member) else {
            return;
        };
        if follower.peer.open_stream() == Some(stream) {
            follower.attachment = attachment;
            follower.needs_copy |= needs_copy;
            // It is asked again at the next tick, not at once: what it refuses now, because it
            // knows a newer placement than we do, it would refuse again and again.
            follower.state = Attachment::Detached { asked: None };
            context.attend(self.slot);
        }
    }

    /// Sees how far the history is committed by what the members hold now.
    pub(crate) fn advance(&mut self, context: &Context, out: &mut Out<K>) {
        let last = self.last;
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        if primary.phase != Phase::Active {
            self.report_matched(context);
            return;
        }
        let committed = primary.committed_by(&self.placement, &context.me, last);
        if committed > self.committed {
            self.committed = committed;
            while primary
                .uncommitted
                .front()
                .is_some_and(|version| *version <= committed)
            {
                primary.uncommitted.pop_front();
            }
            self.table.committed(committed);
            if !primary.followers.is_empty() {
                // They are to be told.
                context.attend(self.slot);
            }
        }
        primary.release(&context.me, &self.placement, last, self.committed, out);
    }

    /// Tells the coordinator which of the sealed members hold exactly what this one holds.
    pub(crate) fn report_matched(&mut self, context: &Context) {
        let (slot, last) = (self.slot, self.last);
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        let Phase::Reconciling(reconciliation) = &mut primary.phase else {
            return;
        };
        let matched = primary
            .followers
            .iter()
            .filter(|f| f.is_attached() && f.held == last);
        let members: Vec<Member> = std::iter::once(context.me)
            .chain(matched.map(|f| *f.peer.member()))
            .collect();
        if members == reconciliation.reported {
            return;
        }
        if let Some(peer) = context.known_peer(&reconciliation.coordinator) {
            let epoch = primary.term;
            let matched = Back::Matched {
                slot,
                epoch,
                members: members.clone(),
            };
            peer.answer(reconciliation.stream, matched);
            reconciliation.reported = members;
        }
    }
}
