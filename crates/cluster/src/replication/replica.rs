//! One member's part in one slot: its data, how far its history goes, and its role.
//!
//! The rules are those of `docs/replication.md`. What a primary does is in `primary`, `in_sync` and
//! `copy`; what every other member does is in `member`.

use std::sync::Arc;

use bytes::Bytes;

use super::context::Context;
use super::member::Follower;
use super::out::{Out, Turn};
use super::peer::{InFlight, Peer};
use super::primary::{Phase, Primary};
use super::record::{History, Record};
use super::rules::Rule;
use super::table::Table;
use super::waiters::{Need, Outcome, Token};
use crate::{Epoch, Member, Placement, Slot, Time, Version};

/// A slot at one member. `K` is the token of a waiting reply.
pub struct Replica<T: Table, K> {
    pub(crate) slot: Slot,
    pub(crate) placement: Arc<Placement>,
    /// Messages of a smaller term are refused.
    pub(crate) promised: Epoch,
    pub(crate) last: Version,
    pub(crate) committed: Version,
    pub(crate) history: History,
    pub(crate) role: Role<T, K>,
    /// Who gets no lease any more, since which epoch, and when its last one is over.
    excluded: Option<(Member, Epoch, Time)>,
    /// The entries.
    pub table: T,
}

pub(crate) enum Role<T: Table, K> {
    /// Holds nothing of the slot.
    Bystander,
    /// Applies what the primary sends.
    Follower(Follower<T>),
    /// Leads the slot, or brings the others to its own state before somebody may.
    Primary(Box<Primary<K>>),
}

/// Why a slot refuses to serve. Nothing was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// This member is not the slot's active primary.
    #[error("not the primary of the slot")]
    NotPrimary,
    /// Too few members let it lead now: it may be cut off.
    #[error("the primary holds no lease")]
    NoLease,
    /// Fewer than `W` in-sync members can be reached.
    #[error("too few copies can be reached")]
    TooFewCopies,
    /// Too many records of the slot wait for their copies.
    #[error("too many writes of the slot wait for their copies")]
    Busy,
}

impl<T: Table, K> Replica<T, K> {
    pub(crate) fn new(slot: Slot, table: T) -> Replica<T, K> {
        Replica {
            slot,
            placement: Arc::default(),
            promised: Epoch::default(),
            last: Version::ZERO,
            committed: Version::ZERO,
            history: History::default(),
            role: Role::Bystander,
            excluded: None,
            table,
        }
    }

    /// The newest placement of the slot that this member has seen.
    #[must_use]
    pub fn placement(&self) -> &Arc<Placement> {
        &self.placement
    }

    /// How far the history is known to be committed.
    #[must_use]
    pub fn committed(&self) -> Version {
        self.committed
    }

    /// The version of the newest record.
    #[must_use]
    pub fn last(&self) -> Version {
        self.last
    }

    /// The greatest epoch that this member has promised: it refuses what comes from smaller ones.
    #[must_use]
    pub fn promised(&self) -> Epoch {
        self.promised
    }

    /// Where this member leads: the other members, each with the version up to which its
    /// acknowledgements count.
    pub fn followers(&self) -> impl Iterator<Item = (Member, Version)> {
        let primary = self.active();
        let followers = primary.map(|primary| primary.followers.iter());
        followers
            .into_iter()
            .flatten()
            .map(|follower| (*follower.peer.member(), follower.held))
    }

    /// The epoch in which this member is the slot's active primary, if it is.
    #[must_use]
    pub fn active_epoch(&self) -> Option<Epoch> {
        match &self.role {
            Role::Primary(primary) if primary.phase == Phase::Active => Some(primary.term),
            _ => None,
        }
    }

    /// Whether this member may serve a read now: the read takes effect at this check, so the value
    /// must be taken under the same lock.
    ///
    /// # Errors
    /// If it is not the active primary, or has no lease.
    pub fn check_read(&self, context: &Context, now: Time) -> Result<(), Refusal> {
        let primary = self.active().ok_or(Refusal::NotPrimary)?;
        if primary.has_lease(context, &self.placement, now) {
            Ok(())
        } else {
            Err(Refusal::NoLease)
        }
    }

    /// Whether this member may take a write now.
    ///
    /// # Errors
    /// If it is not the active primary, has no lease, cannot reach `W` copies, or has too many
    /// uncommitted records.
    pub fn check_write(&self, context: &Context, now: Time) -> Result<(), Refusal> {
        let primary = self.active().ok_or(Refusal::NotPrimary)?;
        if !primary.reaches_write_quorum(&self.placement) {
            return Err(Refusal::TooFewCopies);
        }
        if !primary.has_lease(context, &self.placement, now) {
            return Err(Refusal::NoLease);
        }
        let uncommitted = self.last != self.committed
            && primary.uncommitted.len() >= context.settings.uncommitted_max;
        if uncommitted || primary.next_version(self.last).is_none() {
            return Err(Refusal::Busy);
        }
        Ok(())
    }

    /// The version that the next record will have. Entries are stamped with it.
    ///
    /// # Panics
    /// Unless [`Replica::check_write`] passed under the same lock.
    #[must_use]
    pub fn next_version(&self) -> Version {
        let primary = self.active().expect("check_write passed");
        primary.next_version(self.last).expect("check_write passed")
    }

    /// Uses up a version number: a stamp for a database, smaller than that of any later record.
    ///
    /// # Panics
    /// Unless [`Replica::check_write`] passed under the same lock.
    pub fn take_stamp(&mut self) -> Version {
        let stamp = self.next_version();
        self.active_mut().expect("check_write passed").stamped = stamp;
        stamp
    }

    /// Makes a record of effects that the table has already taken in under
    /// [`Replica::next_version`], and hands it to the other members.
    ///
    /// # Panics
    /// Unless [`Replica::check_write`] passed under the same lock.
    pub fn append(&mut self, context: &Context, effects: Bytes, out: &mut Out<K>) -> Version {
        let version = self.next_version();
        let record = Record {
            prev: self.last,
            version,
            effects,
        };
        self.last = version;
        let Role::Primary(primary) = &mut self.role else {
            unreachable!("check_write passed")
        };
        primary.uncommitted.push_back(version);
        primary.send_record(context, self.slot, self.committed, &record, &self.table);
        if primary.followers.is_empty() {
            self.history.reset(version, &context.backlog);
        } else {
            self.history.push(record, &context.backlog);
        }
        self.advance(context, out);
        version
    }

    /// Has a reply wait until `version` is what it needs to be. Released at once, through `out`,
    /// if it is already.
    ///
    /// # Errors
    /// `Busy` if too many wait, `NotPrimary` if this member does not lead: nothing waits then.
    pub fn wait(
        &mut self,
        context: &Context,
        version: Version,
        need: Need,
        token: K,
        out: &mut Out<K>,
    ) -> Result<(), Refusal>
    where
        K: Token,
    {
        let committed = self.committed;
        let Role::Primary(primary) = &mut self.role else {
            return Err(Refusal::NotPrimary);
        };
        let waiters_max = context.settings.waiters_max;
        if primary.waiters.len() >= waiters_max {
            primary.waiters.forget_gone();
        }
        if primary.waiters.len() >= waiters_max {
            return Err(Refusal::Busy);
        }
        if need == Need::Committed && !context.settings.rules.keep(Rule::ReadsWait) {
            out.released.push((token, Outcome::Done));
            return Ok(());
        }
        primary.waiters.push(version, need, token);
        primary.release(&context.me, &self.placement, self.last, committed, out);
        Ok(())
    }

    /// How many members, this one included, hold a version (for `WAIT`).
    #[must_use]
    pub fn copies_of(&self, version: Version) -> usize {
        self.active().map_or(0, |primary| {
            let holds = |follower: &&super::progress::Progress| follower.held >= version;
            1 + primary.followers.iter().filter(holds).count()
        })
    }

    /// How many records of this member, where it leads, are not committed yet.
    #[must_use]
    pub fn uncommitted(&self) -> usize {
        self.active().map_or(0, |primary| primary.uncommitted.len())
    }

    /// How many replies wait for copies.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.active().map_or(0, |primary| primary.waiters.len())
    }

    /// Forgets waiting replies whose owner has given up.
    pub(crate) fn forget_gone(&mut self)
    where
        K: Token,
    {
        if let Role::Primary(primary) = &mut self.role {
            primary.waiters.forget_gone();
        }
    }

    pub(crate) fn active(&self) -> Option<&Primary<K>> {
        match &self.role {
            Role::Primary(primary) if primary.phase == Phase::Active => Some(primary),
            _ => None,
        }
    }

    pub(crate) fn active_mut(&mut self) -> Option<&mut Primary<K>> {
        match &mut self.role {
            Role::Primary(primary) if primary.phase == Phase::Active => Some(primary),
            _ => None,
        }
    }

    /// A placement of the slot was committed. Older ones than the newest seen are ignored.
    pub(crate) fn placed(
        &mut self,
        context: &Context,
        now: Time,
        placement: Arc<Placement>,
        out: &mut Out<K>,
    ) {
        if placement.rev <= self.placement.rev && self.placement.epoch != Epoch::default() {
            return;
        }
        let before = std::mem::replace(&mut self.placement, placement);
        let epoch = self.placement.epoch;
        if epoch > self.promised {
            self.promise(context, epoch, out);
            if let Some((last_primary, _)) = self.placement.last_primary
                && last_primary != context.me
            {
                self.exclude(context, last_primary, epoch);
            }
        }
        if epoch < self.promised {
            // Deposed by an epoch that this placement does not know yet.
            return;
        }
        match self.placement.primary {
            Some(primary) if primary == context.me => self.lead(context, now, &before, out),
            Some(_) => self.follow(context),
            None if !matches!(self.role, Role::Primary(_)) => self.follow(context),
            None => {}
        }
    }

    /// Raises the promise: whatever this member was in an older epoch ends now, and the replies
    /// that waited for that epoch are answered before anything of the newer one is taken in.
    pub(crate) fn promise(&mut self, context: &Context, epoch: Epoch, out: &mut Out<K>) {
        assert!(epoch > self.promised, "a promise only rises");
        self.promised = epoch;
        if self.active().is_some() {
            out.turns.push(self.turn(false));
        }
        if let Role::Primary(primary) = &mut self.role {
            if context.settings.rules.keep(Rule::WaitersEndWithTheirEpoch) {
                primary.waiters.give_up(&mut out.released);
            } else {
                primary.waiters.release_all(&mut out.released);
            }
        }
        self.role = Role::Follower(Follower::default());
        context.attend(self.slot);
    }

    fn turn(&self, leads: bool) -> Turn {
        let slot = self.slot;
        Turn { slot, leads }
    }

    /// From now on `member`, who led before `epoch`, gets no lease for this slot. Returns when what
    /// it was granted until the first such call is over: heartbeats go on for its other slots.
    pub(crate) fn exclude(&mut self, context: &Context, member: Member, epoch: Epoch) -> Time {
        if let Some((known, known_epoch, over_at)) = self.excluded
            && (known, known_epoch) == (member, epoch)
        {
            return over_at;
        }
        let mut grants = context.grants.lock();
        if context.settings.rules.keep(Rule::GrantsEndWithThePromise) {
            grants.exclude(member, self.slot, epoch);
        }
        let over_at = grants.over_at(&member);
        self.excluded = Some((member, epoch, over_at));
        over_at
    }

    /// The placement names this member the primary of the epoch that it has promised.
    fn lead(&mut self, context: &Context, now: Time, before: &Placement, out: &mut Out<K>) {
        let term = self.promised;
        if self.active().is_none() {
            // All of the in-sync set hold this member's state: nothing of it can be undone.
            self.committed = self.last;
            self.table.committed(self.committed);
            out.turns.push(self.turn(true));
        }
        if let Role::Primary(primary) = &mut self.role {
            assert_eq!(primary.term, term, "a role ends with its promise");
            primary.phase = Phase::Active;
            primary.proposal = None;
        } else {
            self.role = Role::Primary(Box::new(Primary::new(
                term,
                Phase::Active,
                context.settings.rules,
            )));
        }
        let Role::Primary(primary) = &mut self.role else {
            unreachable!("just made")
        };
        let members = self
            .placement
            .in_sync
            .iter()
            .chain(&self.placement.learners);
        // Where placements were skipped, a learner may have been nothing in between, and forgotten
        // what it held. Who is in sync was not: nobody else proposes that.
        let next = self.placement.rev == before.rev + 1;
        let stays = |member: &Member| next || self.placement.in_sync.contains(member);
        let others = members.filter(|member| **member != context.me);
        primary.set_followers(context, now, others, stays);
        primary.solicit(self.slot, self.placement.rev);
        self.advance(context, out);
        context.attend(self.slot);
    }

    /// Somebody else leads, or nobody does.
    fn follow(&mut self, context: &Context) {
        if self.placement.holds(&context.me) {
            if !matches!(self.role, Role::Follower(_)) {
                self.role = Role::Follower(Follower::default());
            }
            return;
        }
        if let Role::Follower(follower) = &self.role
            && follower.attached_rev >= self.placement.rev
        {
            // A primary that knows a newer placement has taken this member in already.
            return;
        }
        if !matches!(self.role, Role::Bystander) {
            self.role = Role::Bystander;
            self.table = self.table.empty();
            self.history.reset(Version::ZERO, &context.backlog);
            self.last = Version::ZERO;
            self.committed = Version::ZERO;
        }
    }

    /// A stream to the member is open: it may be attached.
    pub(crate) fn peer_opened(&mut self, context: &Context, peer: &Arc<Peer>) {
        if let Role::Primary(primary) = &mut self.role
            && primary
                .followers
                .iter()
                .any(|follower| Arc::ptr_eq(&follower.peer, peer))
        {
            primary.solicit(self.slot, self.placement.rev);
            context.attend(self.slot);
        }
    }

    /// A counted message was processed by the member.
    pub(crate) fn acknowledged(
        &mut self,
        context: &Context,
        member: &Member,
        sent: &InFlight,
        out: &mut Out<K>,
    ) {
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        if primary.term != sent.term {
            return;
        }
        assert!(
            sent.version <= self.last,
            "nobody holds what was never sent"
        );
        let Some(follower) = primary.follower(member) else {
            return;
        };
        let rule = Rule::AcknowledgementsAreOfTheirAttachment;
        let counts = follower.attachment == sent.attachment || !context.settings.rules.keep(rule);
        if !counts || follower.held >= sent.version {
            return;
        }
        follower.held = sent.version;
        self.advance(context, out);
        if sent.version >= self.committed && !self.placement.in_sync.contains(member) {
            // It has caught up: the set may take it in.
            context.attend(self.slot);
        }
    }
}
