//! What all slots of a member share: who it is, its peers, the leases granted and held.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::backlog::Backlog;
use super::lease::Grants;
use super::peer::Peer;
use super::settings::Settings;
use super::shortage::{Shortage, Word};
use crate::metadata::COPIES_MAX;
use crate::{Incarnation, Member, NodeId, Slot, Time};

/// What of the time in which no copies were sent is made up for.
const COPY_BURST: Duration = Duration::from_millis(100);

/// Whether something beside the records is under way in a slot. Called under its lock.
pub type Busy = Box<dyn Fn(Slot) -> bool + Send + Sync>;

/// Shared by the slots of one member. Its locks are taken after a slot's lock.
pub struct Context {
    pub(crate) me: Member,
    pub(crate) settings: Settings,
    pub(crate) backlog: Backlog,
    pub(crate) grants: Mutex<Grants>,
    peers: RwLock<BTreeMap<Member, Arc<Peer>>>,
    /// The oldest incarnation of each node that may still be running.
    oldest: Mutex<BTreeMap<NodeId, Incarnation>>,
    /// The lease of this node from the metadata group; needed where one member commits alone.
    group_lease_until: AtomicU64,
    /// How short of memory this member is.
    shortage: Arc<Word>,
    /// `N`: an in-sync set does not grow beyond it.
    copies: AtomicUsize,
    attention: Attention,
    /// How many bytes of copies may be sent now, and until when that was reckoned.
    copy_budget: Mutex<(i64, Time)>,
    /// Whether something beside the records is under way in a slot, as whoever uses it knows.
    busy: OnceLock<Busy>,
    /// The slots with a copy to send, and the one served last: they take turns.
    copying: Mutex<(BTreeSet<Slot>, Option<Slot>)>,
}

impl Context {
    pub(crate) fn new(me: Member, settings: Settings, slots: u16) -> Context {
        Context {
            me,
            grants: Mutex::new(Grants::new(settings.lease)),
            backlog: Backlog::new(&settings, slots),
            settings,
            peers: RwLock::default(),
            oldest: Mutex::default(),
            group_lease_until: AtomicU64::new(0),
            shortage: Arc::default(),
            copies: AtomicUsize::new(COPIES_MAX),
            attention: Attention::new(slots),
            copy_budget: Mutex::default(),
            busy: OnceLock::new(),
            copying: Mutex::default(),
        }
    }

    /// The member with this name. Known from now on, if it was not. A member can be its own peer:
    /// what it says to itself as a coordinator takes the same way.
    pub(crate) fn peer(&self, member: &Member, now: Time) -> Arc<Peer> {
        if let Some(peer) = self.peers.read().get(member) {
            return Arc::clone(peer);
        }
        let oldest = self.oldest.lock().get(&member.node).copied();
        let mut peers = self.peers.write();
        let peer = peers
            .entry(*member)
            .or_insert_with(|| Arc::new(Peer::new(*member, now, Arc::clone(&self.shortage))));
        if oldest.is_some_and(|oldest| member.incarnation < oldest) {
            peer.set_gone();
        }
        Arc::clone(peer)
    }

    pub(crate) fn known_peer(&self, member: &Member) -> Option<Arc<Peer>> {
        self.peers.read().get(member).cloned()
    }

    pub(crate) fn peers(&self) -> Vec<Arc<Peer>> {
        self.peers.read().values().cloned().collect()
    }

    /// Nothing comes from this member any more, nor from an older one of its node. Slots that still
    /// name it may keep it; nobody else does.
    pub(crate) fn gone(&self, member: &Member) {
        let next = Incarnation(member.incarnation.0.saturating_add(1));
        let mut oldest = self.oldest.lock();
        let known = oldest.entry(member.node).or_default();
        *known = next.max(*known);
        drop(oldest);
        let is_older = |other: &Member| other.node == member.node && *other <= *member;
        let older = self
            .peers
            .write()
            .extract_if(.., |other, _| is_older(other))
            .collect::<Vec<_>>();
        for (older, peer) in older {
            peer.end();
            self.grants.lock().forget(&older);
        }
    }

    pub(crate) fn group_lease_until(&self) -> Time {
        Time::from_nanos(self.group_lease_until.load(Ordering::Acquire))
    }

    pub(crate) fn extend_group_lease(&self, until: Time) {
        self.group_lease_until
            .fetch_max(until.as_nanos(), Ordering::AcqRel);
    }

    pub(crate) fn set_shortage(&self, shortage: Shortage) {
        self.shortage.set(shortage);
    }

    pub(crate) fn set_copies_max(&self, copies: u8) {
        let copies = usize::from(copies).clamp(1, COPIES_MAX);
        self.copies.store(copies, Ordering::Relaxed);
    }

    pub(crate) fn copies_max(&self) -> usize {
        self.copies.load(Ordering::Relaxed)
    }

    /// Bytes of the records that are kept for members that fall behind, in all slots.
    #[must_use]
    pub fn backlog_bytes(&self) -> usize {
        self.backlog.used()
    }

    /// Sets how many bytes of such records there may be from now on, at most as many as the
    /// settings say.
    pub fn set_backlog_bytes_max(&self, bytes: usize) {
        self.backlog.set_total_bytes_max(bytes);
    }

    /// More bytes of copies may be sent as time passes.
    pub(crate) fn allow_copies(&self, now: Time) {
        let rate = self.settings.copy_bytes_per_second;
        if rate == 0 {
            return;
        }
        let mut budget = self.copy_budget.lock();
        let passed = now.since(budget.1).min(COPY_BURST).as_secs_f64();
        let most = (rate as f64 * COPY_BURST.as_secs_f64()) as i64;
        *budget = ((budget.0 + (rate as f64 * passed) as i64).min(most), now);
    }

    pub(crate) fn may_copy(&self) -> bool {
        self.settings.copy_bytes_per_second == 0 || self.copy_budget.lock().0 > 0
    }

    /// So many bytes of a copy are on their way: the next ones wait for as long as that takes.
    pub(crate) fn has_copied(&self, bytes: usize) {
        if self.settings.copy_bytes_per_second > 0 {
            self.copy_budget.lock().0 -= i64::try_from(bytes).unwrap_or(i64::MAX);
        }
    }

    pub(crate) fn set_busy(&self, busy: Busy) {
        assert!(self.busy.set(busy).is_ok(), "one knows what is under way");
    }

    pub(crate) fn is_busy(&self, slot: Slot) -> bool {
        self.busy.get().is_some_and(|is_busy| is_busy(slot))
    }

    /// Has the slot looked at in the next tick.
    pub(crate) fn attend(&self, slot: Slot) {
        self.attention.set(slot);
    }

    pub(crate) fn take_attention(&self) -> Vec<Slot> {
        self.attention.take()
    }

    /// A copy of the slot is to be sent.
    pub(crate) fn copies(&self, slot: Slot) {
        self.copying.lock().0.insert(slot);
    }

    pub(crate) fn has_copies(&self) -> bool {
        !self.copying.lock().0.is_empty()
    }

    /// The next slot in turn that has a copy to send.
    pub(crate) fn next_copy(&self) -> Option<Slot> {
        let mut copying = self.copying.lock();
        let (slots, served) = &mut *copying;
        let after = served.and_then(|slot| slots.range(slot..).find(|next| **next != slot));
        let next = after.or_else(|| slots.first()).copied()?;
        slots.remove(&next);
        *served = Some(next);
        Some(next)
    }
}

/// The slots that have something to do at the next tick: one bit each.
struct Attention(Box<[AtomicU64]>);

impl Attention {
    fn new(slots: u16) -> Attention {
        Attention(
            (0..usize::from(slots).div_ceil(64))
                .map(|_| AtomicU64::new(0))
                .collect(),
        )
    }

    fn set(&self, slot: Slot) {
        let bit = 1 << (slot.index() % 64);
        let word = &self.0[slot.index() / 64];
        if word.load(Ordering::Relaxed) & bit == 0 {
            word.fetch_or(bit, Ordering::AcqRel);
        }
    }

    fn take(&self) -> Vec<Slot> {
        let mut slots = Vec::new();
        for (index, word) in self.0.iter().enumerate() {
            let mut bits = word.swap(0, Ordering::AcqRel);
            while bits != 0 {
                let number = index * 64 + bits.trailing_zeros() as usize;
                slots.extend(u16::try_from(number).ok().and_then(Slot::new));
                bits &= bits - 1;
            }
        }
        slots
    }
}
