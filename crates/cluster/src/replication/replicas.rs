//! All slots of one member, and its peers: where messages find their slot.
//!
//! Any thread may use it. A slot's lock is held for microseconds; what goes to other members is
//! queued under it, so that each of them sees a slot's messages in the order of its history.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::context::{Busy, Context};
use super::copy::Sent;
use super::member::{self, Sender};
use super::message::{self, Back, BadMessage, Forward, RefuseReason};
use super::out::Out;
use super::peer::{Direction, Peer};
use super::replica::Replica;
use super::settings::Settings;
use super::shortage::Shortage;
use super::table::Table;
use super::waiters::Token;
use crate::{Member, Placement, Slot, Time};

/// After so many slots whose copies find no room, the others wait for the next time.
const COPIES_TRIED: usize = 8;

/// So many slots are looked at in a tick for records that there is no room for any more.
const TRIMMED: usize = 512;

/// In so many ticks all slots are looked at once for replies that nobody waits for any more: it
/// takes about a second.
const FORGETTING_TICKS: usize = 50;

/// One member's replicas of all slots.
pub struct Replicas<T: Table, K> {
    context: Context,
    slots: Box<[Mutex<Replica<T, K>>]>,
    silent: Mutex<Vec<Member>>,
    /// Where the next tick goes on to trim histories.
    next_trimmed: AtomicUsize,
    /// Where it goes on to forget replies.
    next_forgotten: AtomicUsize,
}

/// A slot under its lock.
pub type Locked<'a, T, K> = MutexGuard<'a, Replica<T, K>>;

impl<T: Table, K> Replicas<T, K> {
    /// The first `slots` slots of the member, none of which it holds yet.
    pub fn new(
        me: Member,
        slots: u16,
        settings: Settings,
        mut table: impl FnMut(Slot) -> T,
    ) -> Replicas<T, K> {
        let replica = |slot| Mutex::new(Replica::new(slot, table(slot)));
        Replicas {
            context: Context::new(me, settings, slots),
            slots: Slot::all().take(usize::from(slots)).map(replica).collect(),
            silent: Mutex::default(),
            next_trimmed: AtomicUsize::new(0),
            next_forgotten: AtomicUsize::new(0),
        }
    }

    /// The member whose replicas these are.
    #[must_use]
    pub fn me(&self) -> Member {
        self.context.me
    }

    /// What the slots share; some calls on a locked slot take it.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Takes the slot's lock. Never held across a wait.
    ///
    /// # Panics
    /// If there is no such slot here.
    pub fn lock(&self, slot: Slot) -> Locked<'_, T, K> {
        self.slots[slot.index()].lock()
    }

    /// Every slot's number, in order.
    pub fn slots(&self) -> impl DoubleEndedIterator<Item = Slot> + ExactSizeIterator + use<T, K> {
        Slot::all().take(self.slots.len())
    }

    /// The other member, known from now on. A member can be its own peer: a coordinator says to
    /// itself what it says to all.
    pub fn peer(&self, member: &Member, now: Time) -> Arc<Peer> {
        self.context.peer(member, now)
    }

    /// The other members that are known, and this one, where it is its own peer.
    #[must_use]
    pub fn peers(&self) -> Vec<Arc<Peer>> {
        self.context.peers()
    }

    /// A stream between this member and another is open. Ends the handling of the one before it.
    pub fn opened(&self, now: Time, member: &Member, direction: Direction, stream: u64) {
        let peer = self.context.peer(member, now);
        peer.opened(direction, stream, now);
        if direction == Direction::Forward {
            self.each(|replica| replica.peer_opened(&self.context, &peer));
        }
    }

    /// A stream is closed.
    pub fn closed(&self, member: &Member, direction: Direction, stream: u64) {
        if let Some(peer) = self.context.known_peer(member) {
            peer.closed(direction, stream);
            self.slots().for_each(|slot| self.context.attend(slot));
        }
    }

    /// The node of this member has started anew, or was declared stopped: nothing comes from this
    /// member any more.
    pub fn gone(&self, member: &Member) {
        self.context.gone(member);
        self.slots().for_each(|slot| self.context.attend(slot));
    }

    /// Takes a batch in that arrived on a stream. Batches of a stream that is not the open one are
    /// dropped.
    ///
    /// # Errors
    /// If the batch is not made of messages; the stream is then to be closed.
    pub fn receive(
        &self,
        now: Time,
        member: &Member,
        direction: Direction,
        stream: u64,
        batch: &[u8],
        out: &mut Out<K>,
    ) -> Result<(), BadMessage> {
        let Some(peer) = self.context.known_peer(member) else {
            return Ok(());
        };
        if !peer.is_open(direction, stream) {
            return Ok(());
        }
        match direction {
            Direction::Back => {
                for message in message::decode::<Forward>(batch) {
                    self.receive_forward(now, &peer, stream, message?, out);
                }
                peer.batch_processed();
            }
            Direction::Forward => {
                peer.heard(now);
                for message in message::decode::<Back>(batch) {
                    self.receive_back(&peer, stream, message?, out);
                }
            }
        }
        Ok(())
    }

    /// Placements were committed; in the order of the metadata log.
    pub fn placed(
        &self,
        now: Time,
        placements: impl IntoIterator<Item = (Slot, Arc<Placement>)>,
        out: &mut Out<K>,
    ) {
        for (slot, placement) in placements {
            if let Some(replica) = self.slots.get(slot.index()) {
                replica.lock().placed(&self.context, now, placement, out);
            }
        }
    }

    /// Does what is due: called every few hundredths of a second.
    pub fn tick(&self, now: Time, out: &mut Out<K>)
    where
        K: Token,
    {
        self.watch_silence(now);
        for owed in self.context.grants.lock().due(now) {
            if let Some(peer) = self.context.known_peer(&owed.coordinator) {
                let message = Back::LeasesOver {
                    slot: owed.slot,
                    epoch: owed.epoch,
                };
                peer.answer(owed.stream, message);
            }
        }
        for slot in self.context.take_attention() {
            self.lock(slot).tick(&self.context, now, out);
        }
        self.trim_histories();
        self.forget_replies();
        self.context.allow_copies(now);
        self.send_copies();
    }

    /// Asks every peer for a lease: called every [`Settings::heartbeat`].
    pub fn heartbeat(&self, now: Time) {
        for peer in self.context.peers() {
            if *peer.member() != self.context.me {
                peer.heartbeat(now);
            }
        }
    }

    /// Fills the room that there is for copies of slots. Called by each tick, and whenever a queue
    /// has been emptied. Costs little where there is no room.
    pub fn send_copies(&self) {
        let mut without_room = 0;
        while without_room < COPIES_TRIED
            && let Some(slot) = self.context.next_copy()
        {
            let sent = self.lock(slot).send_copies(&self.context);
            if sent != Sent::All {
                self.context.copies(slot);
            }
            if sent == Sent::Nothing {
                without_room += 1;
            }
        }
    }

    /// Whether a copy waits for room in the queue to this member, and there is some: then
    /// [`Replicas::send_copies`] has something to do.
    #[must_use]
    pub fn has_room_for_copies(&self, peer: &Peer) -> bool {
        let window = self.context.settings.copy_window_bytes;
        let has_memory = !peer.shortage().full;
        self.context.has_copies() && has_memory && peer.queued_bytes() <= window
    }

    /// The metadata group lets this node lead alone until this moment.
    pub fn extend_group_lease(&self, until: Time) {
        self.context.extend_group_lease(until);
    }

    /// `N`, as the metadata says: how many members each slot's in-sync set should have, and may.
    pub fn set_copies_max(&self, copies: u8) {
        self.context.set_copies_max(copies);
    }

    /// A slot is handed over when nothing is under way in it: this says whether something is that
    /// the replication does not know of.
    ///
    /// # Panics
    /// If somebody says so already.
    pub fn on_yield(&self, busy: Busy) {
        self.context.set_busy(busy);
    }

    /// Tells the primaries of the slots held here how short of memory this member is.
    pub fn set_shortage(&self, shortage: Shortage) {
        self.context.set_shortage(shortage);
    }

    /// Sends a coordinator's message, if there is a stream to the member.
    pub fn coordinate(&self, now: Time, member: &Member, message: Forward) {
        let peer = self.context.peer(member, now);
        if let Some(stream) = peer.open_stream() {
            peer.send(stream, message, None, usize::MAX);
        }
    }

    fn each(&self, mut then: impl FnMut(&mut Replica<T, K>)) {
        self.slots
            .iter()
            .for_each(|replica| then(&mut replica.lock()));
    }

    /// Where little room is left for records, slots that were written long ago give theirs back.
    fn trim_histories(&self) {
        if !self.context.backlog.is_tight() {
            return;
        }
        let count = TRIMMED.min(self.slots.len());
        let first = self.next_trimmed.fetch_add(count, Ordering::Relaxed);
        for number in first..first + count {
            let mut replica = self.slots[number % self.slots.len()].lock();
            replica.history.trim(&self.context.backlog);
        }
    }

    /// Replies that nobody waits for any more give their room back, slot by slot.
    fn forget_replies(&self)
    where
        K: Token,
    {
        let count = self.slots.len().div_ceil(FORGETTING_TICKS);
        let first = self.next_forgotten.fetch_add(count, Ordering::Relaxed);
        for number in first..first + count {
            self.slots[number % self.slots.len()].lock().forget_gone();
        }
    }

    /// Where a member falls silent or is heard again, the slots it shares with us want a look.
    fn watch_silence(&self, now: Time) {
        let silence: Duration = self.context.settings.silence;
        let is_silent = |peer: &Arc<Peer>| peer.is_silent(now, silence).then(|| *peer.member());
        let now_silent: Vec<Member> = self.context.peers().iter().filter_map(is_silent).collect();
        let mut silent = self.silent.lock();
        if *silent != now_silent {
            *silent = now_silent;
            self.slots().for_each(|slot| self.context.attend(slot));
        }
    }

    fn receive_forward(
        &self,
        now: Time,
        peer: &Arc<Peer>,
        stream: u64,
        message: Forward,
        out: &mut Out<K>,
    ) {
        if let Forward::Heartbeat { number, confirmed } = message {
            let grant = self
                .context
                .grants
                .lock()
                .grant(*peer.member(), now, confirmed);
            let (list, excluded) = (grant.list, grant.excluded);
            let answer = Back::HeartbeatAck {
                number,
                list,
                excluded,
            };
            return peer.answer(stream, answer);
        }
        let is_counted = member::is_counted(&message);
        if let Some(slot) = member::slot_of(&message)
            && let Some(replica) = self.slots.get(slot.index())
        {
            let sender = Sender { peer, stream };
            replica
                .lock()
                .receive(&self.context, now, &sender, message, out);
        }
        if is_counted {
            peer.count_processed(stream);
        }
    }

    fn receive_back(&self, peer: &Arc<Peer>, stream: u64, message: Back, out: &mut Out<K>) {
        let member = peer.member();
        match message {
            Back::Processed { upto } => {
                let mut news = Vec::new();
                peer.processed(upto, &mut news);
                for sent in news {
                    self.lock(sent.slot)
                        .acknowledged(&self.context, member, &sent, out);
                }
            }
            Back::Attach {
                slot,
                term,
                attachment,
                last,
            } => {
                let Some(replica) = self.slots.get(slot.index()) else {
                    return;
                };
                replica.lock().attach(
                    &self.context,
                    member,
                    (stream, attachment),
                    (term, last),
                    out,
                );
            }
            Back::Refuse { slot, term, reason } => {
                let Some(replica) = self.slots.get(slot.index()) else {
                    return;
                };
                match reason {
                    RefuseReason::Stale(promised) => self.deposed(slot, promised, out),
                    RefuseReason::Detached | RefuseReason::Unusable => {
                        let needs_copy = reason == RefuseReason::Unusable;
                        let of = (stream, term);
                        replica
                            .lock()
                            .refused(&self.context, member, of, needs_copy);
                    }
                }
            }
            Back::HeartbeatAck {
                number,
                list,
                excluded,
            } => {
                // First what is taken away, then what is given.
                excluded
                    .iter()
                    .for_each(|&(slot, epoch)| self.deposed(slot, epoch, out));
                let lease = self.context.settings.lease;
                peer.heartbeat_acked(number, list, lease);
            }
            Back::Shortage(shortage) => peer.has_shortage(shortage),
            report => out.reports.push((*member, report)),
        }
    }

    /// Somebody has promised a newer epoch: whatever this member was before it ends at once.
    fn deposed(&self, slot: Slot, epoch: crate::Epoch, out: &mut Out<K>) {
        let Some(replica) = self.slots.get(slot.index()) else {
            return;
        };
        let mut replica = replica.lock();
        if epoch > replica.promised {
            replica.promise(&self.context, epoch, out);
        }
    }
}
