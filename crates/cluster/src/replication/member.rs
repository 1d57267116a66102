//! What a member does that does not lead: attach, apply, refuse, seal.

use std::sync::Arc;

use super::context::Context;
use super::lease::Owed;
use super::message::{Back, Forward, RefuseReason, Report};
use super::out::Out;
use super::peer::Peer;
use super::primary::{Phase, Primary, Reconciliation};
use super::record::Record;
use super::replica::{Replica, Role};
use super::rules::Rule;
use super::table::Table;
use crate::{Epoch, Member, Slot, Time, Version};

pub(crate) struct Follower<T> {
    /// Whom it is attached to, and on which stream. Nobody else's records count.
    pub(crate) source: Option<(Member, u64)>,
    /// The placement by which the source took it in.
    pub(crate) attached_rev: u64,
    pub(crate) incoming: Option<Incoming<T>>,
}

/// A copy on its way in, beside the slot's data, which stands until it is complete.
pub(crate) struct Incoming<T> {
    pub(crate) copy: u32,
    /// What this member held when it asked; if that has changed, the copy is dropped.
    pub(crate) asked_last: Version,
    pub(crate) table: T,
}

impl<T> Default for Follower<T> {
    fn default() -> Follower<T> {
        Follower {
            source: None,
            attached_rev: 0,
            incoming: None,
        }
    }
}

/// Where a message came from, and where its answer goes.
pub(crate) struct Sender<'a> {
    pub(crate) peer: &'a Arc<Peer>,
    pub(crate) stream: u64,
}

impl Sender<'_> {
    fn answer(&self, message: Back) {
        self.peer.answer(self.stream, message);
    }
}

impl<T: Table, K> Replica<T, K> {
    /// Takes a message of a primary or a coordinator in.
    pub(crate) fn receive(
        &mut self,
        context: &Context,
        now: Time,
        from: &Sender<'_>,
        message: Forward,
        out: &mut Out<K>,
    ) {
        match message {
            Forward::Lead {
                term,
                rev,
                attachment,
                ..
            } => self.led(context, from, (term, rev), attachment, out),
            Forward::Record {
                term,
                committed,
                record,
                ..
            } => {
                if self.is_from_source(context, from, term) {
                    self.apply(context, from, record);
                    self.commit_up_to(committed);
                }
            }
            Forward::Committed {
                term, committed, ..
            } => {
                if self.is_from_source(context, from, term) {
                    self.commit_up_to(committed);
                }
            }
            Forward::CopyStart { term, copy, .. } => {
                if self.is_from_source(context, from, term) {
                    self.begin_copy(copy);
                }
            }
            Forward::CopyChunk {
                term, copy, chunk, ..
            } => {
                if self.is_from_source(context, from, term) {
                    self.take_chunk(from, copy, &chunk);
                }
            }
            Forward::CopyEnd {
                term,
                copy,
                last,
                committed,
                ..
            } => {
                if self.is_from_source(context, from, term) {
                    self.end_copy(context, from, copy, (last, committed));
                }
            }
            Forward::Seal {
                epoch,
                last_primary,
                ..
            } => {
                self.seal(context, now, from, epoch, last_primary, out);
            }
            Forward::Yield { epoch, .. } => self.asked_to_yield(context, now, from, epoch),
            Forward::Choose { epoch, sealed, .. } => {
                self.chosen(context, now, from, epoch, &sealed, out);
            }
            Forward::Heartbeat { .. } => {}
        }
    }

    /// Somebody leads in `term` and asks what this member holds.
    fn led(
        &mut self,
        context: &Context,
        from: &Sender<'_>,
        (term, rev): (Epoch, u64),
        attachment: u32,
        out: &mut Out<K>,
    ) {
        if term < self.promised && context.settings.rules.keep(Rule::OldTermsAreRefused) {
            return self.refuse_stale(from, term);
        }
        if term > self.promised {
            self.promise(context, term, out);
        }
        if self.active_epoch() == Some(term) {
            // One epoch has one primary; whoever says otherwise is not heard.
            return self.refuse_detached(from);
        }
        if rev < self.placement.rev && !self.placement.holds(&context.me) {
            // Removed by a placement that the primary has yet to see.
            return self.refuse_detached(from);
        }
        self.role = Role::Follower(Follower {
            source: Some((*from.peer.member(), from.stream)),
            attached_rev: rev,
            incoming: None,
        });
        from.answer(Back::Attach {
            slot: self.slot,
            term,
            attachment,
            last: self.last,
        });
    }

    /// Whether the sender is the one this member is attached to, in its promised term. Refuses the
    /// message otherwise.
    fn is_from_source(&mut self, context: &Context, from: &Sender<'_>, term: Epoch) -> bool {
        let strict = context.settings.rules.keep(Rule::OldTermsAreRefused);
        if term < self.promised && strict {
            self.refuse_stale(from, term);
            return false;
        }
        let source = match &self.role {
            Role::Follower(follower) => follower.source,
            _ => None,
        };
        let in_term = term == self.promised || !strict;
        let attached = in_term && source == Some((*from.peer.member(), from.stream));
        if !attached {
            self.refuse_detached_in(from, term);
        }
        attached
    }

    fn apply(&mut self, context: &Context, from: &Sender<'_>, record: Record) {
        if record.version <= self.last {
            // A repeat: within a term the history is one line.
            return;
        }
        if record.prev != self.last {
            return self.detach(from);
        }
        if let Err(error) = self.table.apply(record.version, &record.effects) {
            let (slot, version) = (self.slot.number(), record.version);
            tracing::error!(slot, ?version, %error, "a record cannot be applied");
            return self.detach_for(from, RefuseReason::Unusable);
        }
        self.last = record.version;
        self.history.push(record, &context.backlog);
    }

    pub(crate) fn commit_up_to(&mut self, committed: Version) {
        let committed = committed.min(self.last);
        if committed > self.committed {
            self.committed = committed;
            self.table.committed(committed);
        }
    }

    /// Nothing more of this stream is taken in until this member is attached again.
    pub(crate) fn detach(&mut self, from: &Sender<'_>) {
        self.detach_for(from, RefuseReason::Detached);
    }

    fn detach_for(&mut self, from: &Sender<'_>, reason: RefuseReason) {
        if let Role::Follower(follower) = &mut self.role {
            follower.source = None;
            follower.incoming = None;
        }
        from.answer(Back::Refuse {
            slot: self.slot,
            term: self.promised,
            reason,
        });
    }

    fn refuse_detached(&self, from: &Sender<'_>) {
        self.refuse_detached_in(from, self.promised);
    }

    fn refuse_detached_in(&self, from: &Sender<'_>, term: Epoch) {
        from.answer(Back::Refuse {
            slot: self.slot,
            term,
            reason: RefuseReason::Detached,
        });
    }

    fn refuse_stale(&self, from: &Sender<'_>, term: Epoch) {
        let reason = RefuseReason::Stale(self.promised);
        from.answer(Back::Refuse {
            slot: self.slot,
            term,
            reason,
        });
    }

    /// A coordinator asks for a promise. The answer says at once what this member holds; that its
    /// leases to the last primary are over, it says when they are.
    fn seal(
        &mut self,
        context: &Context,
        now: Time,
        from: &Sender<'_>,
        epoch: Epoch,
        last_primary: Option<Member>,
        out: &mut Out<K>,
    ) {
        if epoch < self.promised {
            let (slot, promised) = (self.slot, self.promised);
            return from.answer(Back::SealRefused { slot, promised });
        }
        if epoch > self.promised {
            self.promise(context, epoch, out);
        }
        let report = Report {
            last: self.last,
            committed: self.committed,
        };
        from.answer(Back::Sealed {
            slot: self.slot,
            epoch,
            report,
        });
        let at = match last_primary {
            Some(member) if member != context.me => self.exclude(context, member, epoch),
            // A primary's lease to itself ends with its promise.
            _ => now,
        };
        if at <= now {
            return from.answer(Back::LeasesOver {
                slot: self.slot,
                epoch,
            });
        }
        context.grants.lock().owe(Owed {
            at,
            slot: self.slot,
            epoch,
            coordinator: *from.peer.member(),
            stream: from.stream,
        });
    }

    /// A coordinator has chosen this member's state to be the slot's.
    fn chosen(
        &mut self,
        context: &Context,
        now: Time,
        from: &Sender<'_>,
        epoch: Epoch,
        sealed: &[Member],
        out: &mut Out<K>,
    ) {
        if epoch != self.promised {
            if epoch < self.promised {
                let (slot, promised) = (self.slot, self.promised);
                from.answer(Back::SealRefused { slot, promised });
            }
            return;
        }
        let known = match &mut self.role {
            Role::Primary(primary) => match &mut primary.phase {
                Phase::Active => return,
                Phase::Reconciling(reconciliation) => {
                    reconciliation.coordinator = *from.peer.member();
                    reconciliation.stream = from.stream;
                    reconciliation.reported.clear();
                    true
                }
            },
            _ => false,
        };
        if !known {
            let reconciliation = Reconciliation {
                coordinator: *from.peer.member(),
                stream: from.stream,
                reported: Vec::new(),
            };
            let phase = Phase::Reconciling(reconciliation);
            self.role = Role::Primary(Box::new(Primary::new(epoch, phase, context.settings.rules)));
        }
        let Role::Primary(primary) = &mut self.role else {
            unreachable!("just made")
        };
        let others = sealed.iter().filter(|member| **member != context.me);
        primary.set_followers(context, now, others, |_| true);
        primary.solicit(self.slot, self.placement.rev);
        self.advance(context, out);
        context.attend(self.slot);
    }
}

/// The slot that a message is about, if it is about one.
pub(crate) fn slot_of(message: &Forward) -> Option<Slot> {
    match message {
        Forward::Lead { slot, .. }
        | Forward::Record { slot, .. }
        | Forward::Committed { slot, .. }
        | Forward::CopyStart { slot, .. }
        | Forward::CopyChunk { slot, .. }
        | Forward::CopyEnd { slot, .. }
        | Forward::Seal { slot, .. }
        | Forward::Yield { slot, .. }
        | Forward::Choose { slot, .. } => Some(*slot),
        Forward::Heartbeat { .. } => None,
    }
}

/// Whether a message counts in the cumulative acknowledgement of its stream.
pub(crate) fn is_counted(message: &Forward) -> bool {
    matches!(message, Forward::Record { .. } | Forward::CopyEnd { .. })
}
