//! What clients do, and the history of it: each operation with when it was called, what it was
//! answered and when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cluster::replication::{Need, Token};
use cluster::{Slot, Version};

use crate::Chance;
use crate::table::{Key, Value};

/// The number of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpId(pub u64);

/// The token of an operation's waiting reply.
#[derive(Debug)]
pub struct Reply {
    pub(crate) op: OpId,
    is_gone: Arc<AtomicBool>,
}

impl Token for Reply {
    fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Relaxed)
    }
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The value.
    Get,
    /// A new value.
    Set(Value),
    /// A new value, unless there is one.
    SetIfAbsent(Value),
    /// No value.
    Delete,
    /// One more than there is.
    Increment,
}

impl Kind {
    /// Whether it may write.
    #[must_use]
    pub fn is_write(self) -> bool {
        self != Kind::Get
    }
}

/// What a client is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done,
    /// Whether it did something.
    Flag(bool),
    /// The value.
    Value(Option<Value>),
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Op {
    /// Where.
    pub at: (Slot, Key),
    /// What.
    pub kind: Kind,
    /// What it is, or would have been, answered.
    pub answer: Answer,
    /// When it was called: moments count events, and no two are the same.
    pub called: u64,
    /// When it was answered; `None` if it never was.
    pub returned: Option<u64>,
    waits: Option<(usize, Version, Need)>,
    /// Nobody waits for the reply any more.
    is_gone: Arc<AtomicBool>,
}

impl Op {
    /// Whether a record of it was made: only then may it have happened without an answer.
    #[must_use]
    pub fn may_have_written(&self) -> bool {
        self.waits
            .is_some_and(|(_, _, need)| matches!(need, Need::Copies(_)))
    }
}

/// Operations, in the order of their calls.
#[derive(Debug, Default)]
pub struct History {
    ops: Vec<Op>,
    moment: u64,
    waiting: BTreeSet<OpId>,
    /// How many writes of a key nobody knows the outcome of.
    unknown: BTreeMap<(Slot, Key), usize>,
}

impl History {
    pub(crate) fn call(
        &mut self,
        node: usize,
        at: (Slot, Key),
        kind: Kind,
        answer: Answer,
    ) -> OpId {
        self.moment += 1;
        self.ops.push(Op {
            at,
            kind,
            answer,
            called: self.moment,
            returned: None,
            waits: Some((node, Version::ZERO, Need::Committed)),
            is_gone: Arc::default(),
        });
        let id = OpId(self.ops.len() as u64 - 1);
        self.waiting.insert(id);
        id
    }

    pub(crate) fn waits(&mut self, id: OpId, version: Version, need: Need) {
        if let Some(waits) = &mut self.op_mut(id).waits {
            (waits.1, waits.2) = (version, need);
        }
    }

    /// The token of the operation's reply.
    pub(crate) fn reply(&self, op: OpId) -> Reply {
        let is_gone = Arc::clone(&self.op(op).is_gone);
        Reply { op, is_gone }
    }

    /// The slot of an operation, and what it waits or waited for.
    pub(crate) fn awaited(&self, id: OpId) -> (Slot, Version, Need) {
        let op = self.op(id);
        let (_, version, need) = op.waits.unwrap_or((0, Version::ZERO, Need::Committed));
        (op.at.0, version, need)
    }

    /// The node at which an operation waits.
    pub(crate) fn waiting_at(&self, id: OpId) -> Option<usize> {
        let waits = self.op(id).waits.map(|(node, ..)| node);
        waits.filter(|_| self.waiting.contains(&id))
    }

    pub(crate) fn returned(&mut self, id: OpId) {
        self.moment += 1;
        let moment = self.moment;
        self.waiting.remove(&id);
        self.op_mut(id).returned = Some(moment);
    }

    /// Nobody will ever say what became of it.
    pub(crate) fn unknown(&mut self, id: OpId) {
        self.waiting.remove(&id);
        self.op(id).is_gone.store(true, Ordering::Relaxed);
        let (at, is_write) = (self.op(id).at, self.op(id).may_have_written());
        *self.unknown.entry(at).or_default() += usize::from(is_write);
    }

    /// The node was killed: what waited there is never answered.
    pub(crate) fn abandon(&mut self, node: usize) {
        let there = |id: &OpId| self.waiting_at(*id) == Some(node);
        let abandoned: Vec<OpId> = self.waiting.iter().copied().filter(there).collect();
        abandoned.into_iter().for_each(|id| self.unknown(id));
    }

    /// The operation with this number.
    #[must_use]
    pub fn op(&self, id: OpId) -> &Op {
        &self.ops[usize::try_from(id.0).expect("made from an index")]
    }

    fn op_mut(&mut self, id: OpId) -> &mut Op {
        &mut self.ops[usize::try_from(id.0).expect("made from an index")]
    }

    /// All operations.
    #[must_use]
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Whether the operation was answered as its command does.
    #[must_use]
    pub fn is_done(&self, id: OpId) -> bool {
        self.op(id).returned.is_some()
    }

    /// Whether the operation still waits.
    #[must_use]
    pub fn is_waiting(&self, id: OpId) -> bool {
        self.waiting.contains(&id)
    }

    /// The moment that is now.
    #[must_use]
    pub fn moment(&self) -> u64 {
        self.moment
    }

    /// Of how many writes of the key nobody knows the outcome.
    #[must_use]
    pub fn unknown_writes(&self, at: (Slot, Key)) -> usize {
        self.unknown.get(&at).copied().unwrap_or_default()
    }
}

/// What the clients of a run want: which keys, how often which operation.
#[derive(Clone, Debug)]
pub struct Workload {
    slots: u16,
    /// How many keys of a slot are in use; grows as keys become too uncertain to be judged.
    keys: BTreeMap<Slot, (Key, Key)>,
    shares: [u64; 5],
    written: Value,
}

/// A key with more writes of unknown outcome than this is left alone: judging it costs too much.
const UNKNOWN_MAX: usize = 6;
/// Beyond this there are no new keys to go on to.
const KEYS_MAX: Key = 2000;

impl Workload {
    /// A mix drawn by chance.
    #[must_use]
    pub fn new(slots: u16, chance: &mut Chance) -> Workload {
        let keys = Key::try_from(1 + chance.below(6)).expect("small");
        let mut shares = [0; 5];
        for share in &mut shares {
            *share = 1 + chance.below(10);
        }
        Workload {
            slots,
            keys: Slot::all()
                .take(usize::from(slots))
                .map(|slot| (slot, (0, keys)))
                .collect(),
            shares,
            written: 0,
        }
    }

    /// The next thing that a client wants.
    pub fn next(&mut self, chance: &mut Chance, history: &History) -> (Slot, Key, Kind) {
        let number = u16::try_from(chance.below(u64::from(self.slots))).expect("a slot");
        let slot = Slot::new(number).expect("a slot");
        let (first, count) = self.keys.get_mut(&slot).expect("all slots have keys");
        let key = *first + Key::try_from(chance.below(u64::from(*count))).expect("a key");
        if history.unknown_writes((slot, key)) > UNKNOWN_MAX && *first < KEYS_MAX {
            *first += *count;
        }
        self.written += 1 << 20;
        let mut at = chance.below(self.shares.iter().sum());
        let mut chosen = 0;
        while at >= self.shares[chosen] {
            at -= self.shares[chosen];
            chosen += 1;
        }
        let kind = match chosen {
            0 => Kind::Get,
            1 => Kind::Set(self.written),
            2 => Kind::SetIfAbsent(self.written),
            3 => Kind::Delete,
            _ => Kind::Increment,
        };
        (slot, key, kind)
    }
}
