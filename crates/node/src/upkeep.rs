//! What goes on beside the requests: memory is measured, the eviction policy's clock goes on, what
//! is due expires, entries are evicted ahead of what comes, here and for members that are short of
//! memory, and what was emptied is given back.
//!
//! One thread does it for all slots. It holds one slot's lock at a time, for microseconds.

use std::time::Duration;

use bytes::Bytes;
use cluster::replication::{Out, Shortage};
use cluster::{Member, Slot, Time, clock};
use tokio::sync::watch;

use crate::memory::{Memory, cut_the_largest, headroom};
use crate::node::Node;
use crate::store::tx::Role;
use crate::store::{Evictor, Expiry, LedSlots, Reason, SlotTable, Tx};

/// How long the thread rests when nothing presses.
const REST: Duration = Duration::from_millis(10);
/// What active expiry looks at between two rests: a round over slots with nothing due takes four.
const EXPIRY_BUDGET: usize = 4096;
/// Entries that are evicted before the clock and expiry have their turn again.
const EVICTIONS_MAX: usize = 256;
/// How often entries are evicted for members that are short of memory: what they say is as old as
/// a record takes to get there and back.
const RELIEF_EVERY: Duration = Duration::from_millis(50);
/// Entries that are evicted for them at a time.
const RELIEF_MAX: usize = 1024;
/// Active expiry goes round all slots at most once in this time.
const ROUND_EVERY: Duration = Duration::from_millis(250);
/// Entries of emptied slots whose memory is given back at a time.
const SWEEP_ENTRIES: usize = 4096;

/// What the thread remembers from one step to the next.
#[derive(Debug)]
struct Upkeep {
    expiry: Expiry,
    /// When the next round of active expiry may begin.
    next_round: Time,
    evictor: Evictor,
    /// Makes room at other members.
    relief: Evictor,
    /// When it may do so next.
    next_relief: Time,
}

/// Does it until the node stops.
pub(crate) fn run(node: &Node, mut stopped: watch::Receiver<bool>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("the system lets a thread have an event queue");
    let mut upkeep = Upkeep::new();
    runtime.block_on(async {
        while !*stopped.borrow() {
            if upkeep.step(node) {
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(REST) => {}
                _ = stopped.changed() => break,
            }
        }
    });
}

impl Upkeep {
    fn new() -> Upkeep {
        Upkeep {
            expiry: Expiry::default(),
            next_round: clock::now(),
            evictor: Evictor::new(rand::random(), Reason::Own),
            relief: Evictor::new(rand::random(), Reason::Others),
            next_relief: clock::now(),
        }
    }

    /// Does a little of everything. Returns whether more presses.
    fn step(&mut self, node: &Node) -> bool {
        let (store, now) = (&node.store, clock::now());
        store.tick(clock::unix_ms());
        if now >= self.next_round && self.expiry.step(node, EXPIRY_BUDGET) {
            self.next_round = now + ROUND_EVERY;
        }
        let more_to_sweep = store.sweep(SWEEP_ENTRIES);
        node.memory.measure(node);
        cut_the_largest(node);
        let presses = self.evict(node);
        self.relieve(node, now);
        more_to_sweep || presses
    }

    /// Keeps some memory free ahead of what comes. Returns whether more presses. Where other nodes
    /// lead a part of the slots they do their part of it.
    fn evict(&mut self, node: &Node) -> bool {
        let (store, budget) = (&node.store, node.store.budget());
        let headroom = headroom(budget);
        let lacking = budget.lacking_bytes(headroom);
        let replicas = node.slots.replicas();
        replicas.set_shortage(Shortage {
            lacking_bytes: lacking as u64,
            full: Memory::is_full(node),
        });
        if lacking == 0 || !store.policy().evicts() {
            return false;
        }
        let share = lacking.div_ceil(primaries(node));
        let before = store.evicted_keys();
        let enough = self.evictor.step(store, node, EVICTIONS_MAX, |freed| {
            let within = budget.lacking_bytes(0) == 0;
            within && (freed >= share || budget.lacking_bytes(headroom) == 0)
        });
        let found = store.evicted_keys() > before;
        if !found && !enough {
            node.memory.count_vain_eviction();
        }
        found && !enough
    }

    /// Only a slot's primary evicts, so it does that for its copies as well: where a member that
    /// holds some is short of memory, entries of the slots that both hold go.
    fn relieve(&mut self, node: &Node, now: Time) {
        let replicas = node.slots.replicas();
        let me = replicas.me();
        let mut short: Vec<(Member, Shortage)> = replicas
            .peers()
            .iter()
            .map(|peer| (*peer.member(), peer.shortage()))
            .filter(|(member, shortage)| *member != me && *shortage != Shortage::default())
            .collect();
        let full = short.iter().filter(|(_, shortage)| shortage.full);
        node.memory
            .set_full(full.map(|(member, _)| *member).collect());
        if short.is_empty() || now < self.next_relief {
            return;
        }
        self.next_relief = now + RELIEF_EVERY;
        short.sort_by_key(|(_, shortage)| shortage.lacking_bytes);
        let Some((member, shortage)) = short.pop() else {
            return;
        };
        let lacking = usize::try_from(shortage.lacking_bytes).unwrap_or(usize::MAX);
        let share = lacking.div_ceil(primaries(node));
        let shared = Sharing {
            node,
            with: vec![member],
        };
        let enough = |freed| freed >= share;
        self.relief.step(&node.store, &shared, RELIEF_MAX, enough);
    }
}

/// How many nodes lead slots, as far as this one is connected to them.
fn primaries(node: &Node) -> usize {
    let replicas = node.slots.replicas();
    let me = replicas.me();
    let others = replicas.peers();
    let connected = others
        .iter()
        .filter(|peer| *peer.member() != me && peer.is_connected());
    1 + connected.count()
}

/// The slots that a node leads and some other members hold.
pub(crate) struct Sharing<'a> {
    pub(crate) node: &'a Node,
    pub(crate) with: Vec<Member>,
}

impl Sharing<'_> {
    fn is_meant(&self, slot: Slot) -> bool {
        let locked = self.node.slots.lock(slot);
        let placement = locked.placement();
        self.with.iter().any(|member| placement.holds(member))
    }
}

impl LedSlots for Sharing<'_> {
    fn look<R>(&self, slot: Slot, look: impl FnOnce(&SlotTable) -> R) -> Option<R> {
        self.is_meant(slot).then(|| self.node.look(slot, look))?
    }

    fn change<R>(&self, slot: Slot, change: impl FnOnce(&mut Tx<'_>) -> R) -> Option<R> {
        self.is_meant(slot)
            .then(|| self.node.change(slot, change))?
    }
}

impl LedSlots for Node {
    fn look<R>(&self, slot: Slot, look: impl FnOnce(&SlotTable) -> R) -> Option<R> {
        let slots = &self.slots;
        let locked = slots.lock(slot);
        locked.check_write(slots.context(), clock::now()).ok()?;
        Some(look(&locked.table))
    }

    fn change<R>(&self, slot: Slot, change: impl FnOnce(&mut Tx<'_>) -> R) -> Option<R> {
        let (slots, mut out) = (&self.slots, Out::default());
        let mut locked = slots.lock(slot);
        locked.check_write(slots.context(), clock::now()).ok()?;
        let version = locked.next_version();
        let tells = |definition| self.modes.tells(definition);
        let mut tx =
            Tx::new(&mut locked.table, Role::Primary, clock::unix_ms(), version).telling(&tells);
        let result = change(&mut tx);
        let outcome = tx.finish();
        if !outcome.effects.is_empty() {
            let effects = Bytes::from(outcome.effects.into_bytes());
            locked.append(slots.context(), effects, &mut out);
        }
        // Under the lock, so that nobody hears before this that the slot is lost.
        self.modes.ended(slot, outcome.ended);
        drop(locked);
        slots.perform(out);
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::memory::take_room;
    use crate::store::tx;

    #[test]
    fn a_step_expires_evicts_and_gives_memory_back() {
        let node = Node::alone(Settings::default());
        let (store, slots) = (&node.store, &*node);
        let set = |key: u32, expiry| {
            let key = key.to_be_bytes();
            let done = slots.change(Slot::of(&key), |tx| tx.set(&key, &[0; 100], expiry));
            assert!(done.is_some(), "this node leads every slot");
        };
        let soon = clock::unix_ms() + 1;
        for key in 0..2_000 {
            set(
                key,
                if key % 2 == 0 {
                    tx::Expiry::At(soon)
                } else {
                    tx::Expiry::Never
                },
            );
        }
        while clock::unix_ms() <= soon {
            std::thread::yield_now();
        }
        let mut upkeep = Upkeep::new();
        for _ in 0..8 {
            upkeep.step(&node);
        }
        assert_eq!(
            (node.slots.tally().keys, store.expired_keys()),
            (1_000, 1_000)
        );

        // A policy that evicts nothing makes no room.
        store.set_maxmemory_bytes(1);
        assert!(take_room(&node, 10).is_err());
        assert!(store.set_policy("allkeys-lru"));
        store.set_maxmemory_bytes(store.used_bytes() * 3 / 4);
        assert!(
            take_room(&node, store.used_bytes()).is_err(),
            "never so much"
        );
        let before = store.used_bytes();
        // One command evicts for so long and no longer; with few keys in all slots that is soon.
        let attempts = (0..1_000).take_while(|_| take_room(&node, 1_000).is_err());
        assert!(attempts.count() < 1_000);
        assert!(store.used_bytes() + 1_000 <= before * 3 / 4);
        store.set_maxmemory_bytes(store.used_bytes() / 2);
        while upkeep.step(&node) {}
        assert!(store.evicted_keys() > 100);
        assert_eq!(store.budget().lacking_bytes(headroom(store.budget())), 0);
        assert_eq!(node.slots.tally().keys as u64, 1_000 - store.evicted_keys());
    }
}
