//! Changes of the in-sync set: the primary proposes, the metadata group decides. Between the two
//! the old set and the new one are both in force.

use std::sync::Arc;

use super::context::Context;
use super::out::Out;
use super::primary::Primary;
use super::progress::{Attachment, Progress};
use super::quorum::Quorum;
use super::replica::{Replica, Role};
use super::rules::Rule;
use super::table::Table;
use crate::metadata::entry::ChangeSlot;
use crate::{Member, Placement, Slot, Time, Version};

/// A change that was decided upon, and perhaps sent.
#[derive(Debug)]
pub(crate) struct Proposal {
    pub(crate) in_sync: Vec<Member>,
    pub(crate) write_quorum: u8,
    /// When it was sent last. Once sent, it may be applied at any later time: no timeout and no
    /// lost reply is an outcome.
    pub(crate) sent_at: Option<Time>,
}

impl<T: Table, K> Replica<T, K> {
    /// Does what is due in this slot. Slots with something to do ask for attention.
    pub(crate) fn tick(&mut self, context: &Context, now: Time, out: &mut Out<K>) {
        let (slot, placement) = (self.slot, Arc::clone(&self.placement));
        let (is_active, committed) = (self.active().is_some(), self.committed);
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        primary.solicit(slot, placement.rev);
        if !is_active {
            return self.report_matched(context);
        }
        if primary.reconsider(context, &placement, now, committed) {
            // What was held by the set in force alone is committed now, if nobody else writes.
            self.advance(context, out);
        }
        let committed = self.committed;
        let Some(primary) = self.active_mut() else {
            return;
        };
        let needs_attention = primary.needs_attention();
        primary.tell_committed(slot, committed);
        if let Some(change) = primary.proposal_due(context, &placement, slot, now, committed) {
            out.proposals.push(change);
        }
        if self.tell_yielded(context, now) || needs_attention {
            context.attend(slot);
        }
    }
}

impl<K> Primary<K> {
    fn tell_committed(&mut self, slot: Slot, committed: Version) {
        if self.told >= committed {
            return;
        }
        self.told = committed;
        for follower in &self.followers {
            follower.send_committed(slot, self.term, committed);
        }
    }

    /// Decides whether the in-sync set should be another one. A proposal that was sent stands
    /// until a newer placement is seen; one that was not is dropped if its reason is gone. Says
    /// whether other sets are in force than before.
    fn reconsider(
        &mut self,
        context: &Context,
        placement: &Placement,
        now: Time,
        committed: Version,
    ) -> bool {
        if self
            .proposal
            .as_ref()
            .is_some_and(|proposal| proposal.sent_at.is_some())
        {
            return false;
        }
        let proposed = self
            .proposal
            .as_ref()
            .map_or(&placement.in_sync, |p| &p.in_sync);
        if self.wanted(context, placement, now, committed).eq(proposed) {
            return false;
        }
        let wanted = self.wanted(context, placement, now, committed);
        let in_sync: Vec<Member> = wanted.copied().collect();
        self.proposal = (in_sync != placement.in_sync).then_some(Proposal {
            in_sync,
            write_quorum: placement.write_quorum,
            sent_at: None,
        });
        true
    }

    /// Who should be in sync now: who is and is not silent, and the learners that have caught up,
    /// but no more than `N`. Too many there are where one was replaced that was heard of again
    /// meanwhile; the last to have joined goes. Who is to leave stays as long as there is room; a
    /// primary that is to leave needs no room, for another must be in its place before it goes.
    fn wanted<'a>(
        &'a self,
        context: &'a Context,
        placement: &'a Placement,
        now: Time,
        committed: Version,
    ) -> impl Iterator<Item = &'a Member> {
        let follower = |member: &Member| self.followers.iter().find(|f| f.peer.member() == member);
        let silence = context.settings.silence;
        let is_silent = move |f: &Progress| f.peer.is_silent(now, silence);
        let stays = move |member: &Member| follower(member).is_none_or(|f| !is_silent(f));
        let joins = move |member: &&Member| {
            let caught_up = |f: &Progress| f.is_attached() && f.held >= committed && !is_silent(f);
            follower(member).is_some_and(caught_up)
        };
        let me = &context.me;
        let leaves = |member: &Member| placement.leaving.contains(member);
        let mut room = context.copies_max() - usize::from(!leaves(me));
        let present = placement.in_sync.iter();
        let present = present.filter(move |member| *member == me || stays(member));
        let learners = placement.learners.iter().filter(joins);
        let others = present.clone().filter(|member| *member != me);
        let staying = others.filter(|member| !leaves(member)).count();
        let mut spare = room.saturating_sub(staying + learners.clone().count());
        present.chain(learners).filter(move |member| {
            if *member == me {
                return true;
            }
            let room = if leaves(member) {
                &mut spare
            } else {
                &mut room
            };
            let fits = *room > 0;
            *room -= usize::from(fits);
            fits
        })
    }

    /// The proposal, if it is to be sent (again) now: it may be once `c'` members of the new set
    /// hold everything committed, by then under both sets.
    fn proposal_due(
        &mut self,
        context: &Context,
        placement: &Placement,
        slot: Slot,
        now: Time,
        committed: Version,
    ) -> Option<ChangeSlot> {
        let proposal = self.proposal.as_ref()?;
        let retry = context.settings.proposal_retry;
        if proposal
            .sent_at
            .is_some_and(|sent_at| now.since(sent_at) < retry)
        {
            return None;
        }
        let holds = |member: &&Member| {
            let holds = |f: &Progress| f.peer.member() == *member && f.held >= committed;
            **member == context.me || self.followers.iter().any(holds)
        };
        let commit =
            Quorum::new(proposal.in_sync.len(), usize::from(proposal.write_quorum)).commit();
        let checked = context.settings.rules.keep(Rule::NewSetHoldsAll);
        if checked && proposal.in_sync.iter().filter(holds).count() < commit {
            return None;
        }
        let change = ChangeSlot {
            slot,
            epoch: self.term,
            rev: placement.rev,
            in_sync: proposal.in_sync.clone(),
            write_quorum: proposal.write_quorum,
        };
        self.proposal.as_mut()?.sent_at = Some(now);
        Some(change)
    }

    /// Whether the slot wants to be looked at again although nothing happens in it. What a member
    /// acknowledges, and a stream that opens or closes, asks for attention by itself.
    fn needs_attention(&self) -> bool {
        let unasked = |follower: &Progress| {
            matches!(follower.state, Attachment::Detached { asked: None })
                && follower.peer.open_stream().is_some()
        };
        self.proposal.is_some() || self.followers.iter().any(unasked)
    }
}
