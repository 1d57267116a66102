//! What goes on beside the requests: the eviction policy's clock, active expiry, eviction, and
//! memory that is given back after a slot was emptied.
//!
//! One thread does it for all slots. It holds one slot's lock at a time, for microseconds.

use std::time::Duration;

use bytes::Bytes;
use cluster::replication::Out;
use cluster::{Member, Slot, Time, clock};
use tokio::sync::watch;

use crate::node::Node;
use crate::store::tx::Role;
use crate::store::{Evictor, Expiry, LedSlots, SlotTable, Tx};

/// How long the thread rests when nothing presses.
const REST: Duration = Duration::from_millis(10);
/// What active expiry looks at between two rests: a round over slots with nothing due takes four.
const EXPIRY_BUDGET: usize = 4096;
/// Entries that are evicted before the clock and expiry have their turn again.
const EVICTIONS_MAX: usize = 256;
/// Entries that are evicted at a time for members that are short of memory: they say so ten times
/// a second.
const RELIEF_MAX: usize = 64;
/// Entries that are evicted for one command.
const URGENT_MAX: usize = 32;
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
}

/// Makes room at once for a command that would be refused: the thread's next step may be too far
/// away. Whether there is some now.
pub(crate) fn make_room(node: &Node) -> bool {
    if node.store.policy().evicts()
        && let Some(mut urgent) = node.urgent.try_lock()
    {
        urgent.step(node);
    }
    !node.is_out_of_memory()
}

/// Evicts for commands that cannot wait.
#[derive(Debug)]
pub(crate) struct Urgent {
    evictor: Evictor,
    not_before: Time,
}

impl Urgent {
    pub(crate) fn new() -> Urgent {
        Urgent {
            evictor: Evictor::new(rand::random()),
            not_before: Time::ZERO,
        }
    }

    fn step(&mut self, node: &Node) {
        let now = clock::now();
        if now < self.not_before {
            return;
        }
        let before = node.store.evicted_keys();
        self.evictor.step(&node.store, node, URGENT_MAX);
        if node.store.evicted_keys() == before {
            // To find nothing takes a look at every slot, which not every refused command is worth.
            self.not_before = now + REST;
        }
    }
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
            evictor: Evictor::new(rand::random()),
            relief: Evictor::new(rand::random()),
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
        let before = store.evicted_keys();
        let enough = self.evictor.step(store, node, EVICTIONS_MAX);
        let presses = more_to_sweep || !enough && store.evicted_keys() > before;
        node.slots.replicas().set_short_of_memory(!enough);
        self.relieve(node);
        presses
    }

    /// Only a slot's primary evicts, so it does that for its copies as well: where a member that
    /// holds some is short of memory, entries of the slots that both hold go.
    fn relieve(&mut self, node: &Node) {
        let replicas = node.slots.replicas();
        let me = replicas.me();
        let peers = replicas.peers();
        let short: Vec<Member> = peers
            .iter()
            .filter(|peer| peer.is_short_of_memory() && peer.is_connected())
            .map(|peer| *peer.member())
            .filter(|member| *member != me)
            .collect();
        if !short.is_empty() {
            let shared = Shared { node, with: short };
            self.relief.evict(&node.store, &shared, RELIEF_MAX);
        }
    }
}

/// The slots that a node leads and some other members hold.
struct Shared<'a> {
    node: &'a Node,
    with: Vec<Member>,
}

impl Shared<'_> {
    fn is_meant(&self, slot: Slot) -> bool {
        let locked = self.node.slots.lock(slot);
        let placement = locked.placement();
        self.with.iter().any(|member| placement.holds(member))
    }
}

impl LedSlots for Shared<'_> {
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
        assert!(!make_room(&node) && node.is_out_of_memory());
        assert!(store.set_policy("allkeys-lru"));
        let before = store.evicted_keys();
        store.set_maxmemory_bytes(store.used_bytes() * 3 / 4);
        assert!(
            !make_room(&node),
            "a quarter is more than one command evicts"
        );
        assert_eq!(store.evicted_keys() - before, URGENT_MAX as u64);
        store.set_maxmemory_bytes(store.used_bytes() / 2);
        while upkeep.step(&node) {}
        assert!(!store.is_over_limit() && store.evicted_keys() > 100);
        assert_eq!(node.slots.tally().keys as u64, 1_000 - store.evicted_keys());
    }
}
