//! Write-back's queue: the dirty keys of the slots that this node leads, oldest first.
//!
//! The queue holds no values. What is dirty, and since which record, is in the slots; here is only
//! the order in which the databases get it, and how much there is.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use cluster::{Slot, Time, Version};

use crate::keyspace::DefinitionId;
use crate::signal::Signal;

/// How long a row waits that the database refused for itself.
const REJECTED_WAIT: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Dirty {
    keys: BTreeMap<Bytes, Waiting>,
    queues: BTreeMap<DefinitionId, Queue>,
    losses: BTreeMap<Slot, u64>,
    next: u64,
    changed: Rc<Signal>,
}

struct Waiting {
    slot: Slot,
    definition: DefinitionId,
    version: Version,
    /// The newest version that the database has.
    landed: Version,
    bytes: u64,
    /// Its place in the queue; none while its flush is under way.
    place: Option<(Time, u64)>,
    rejection: Option<String>,
}

#[derive(Default)]
struct Queue {
    order: BTreeMap<(Time, u64), Bytes>,
    bytes: u64,
    flushing: bool,
    hurry: Rc<Signal>,
    /// Fires when something is due before all that was.
    sooner: Rc<Signal>,
}

/// A dirty key as a `KEYSPACE FLUSH` met it.
pub(crate) struct Owed {
    key: Bytes,
    slot: Slot,
    definition: DefinitionId,
    version: Version,
    losses: u64,
}

impl Owed {
    pub(crate) fn key(&self) -> &Bytes {
        &self.key
    }

    /// By which it is to be flushed.
    pub(crate) fn definition(&self) -> DefinitionId {
        self.definition
    }
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owing {
    Still,
    Paid,
    Rejected(String),
    SlotLost,
}

impl Dirty {
    /// Takes note of a dirty entry; a key that is known keeps its place, so that it is flushed at
    /// most once in an interval. Says whether somebody must be started to flush.
    pub(crate) fn note(
        &mut self,
        slot: Slot,
        key: &Bytes,
        definition: DefinitionId,
        version: Version,
        bytes: u64,
        due: Time,
    ) -> bool {
        self.next += 1;
        let mut place = Some((due, self.next));
        let mut landed = Version::ZERO;
        let known = self
            .forget(key)
            .filter(|known| known.definition == definition);
        if let Some(known) = known {
            place = known.place;
            landed = known.landed;
        }
        let queue = self.queues.entry(definition).or_default();
        queue.bytes += bytes;
        if let Some(place) = place {
            queue.order.insert(place, key.clone());
            if queue
                .order
                .first_key_value()
                .is_some_and(|(first, _)| *first == place)
            {
                std::mem::take(&mut queue.sooner).fire();
            }
        }
        let waiting = Waiting {
            slot,
            definition,
            version,
            landed,
            bytes,
            place,
            rejection: None,
        };
        self.keys.insert(key.clone(), waiting);
        !std::mem::replace(&mut queue.flushing, true)
    }

    /// When the oldest key of the queue is due. `None` ends the flushing: nothing is left.
    pub(crate) fn next_due(&mut self, definition: DefinitionId) -> Option<Time> {
        let queue = self.queues.get_mut(&definition)?;
        let due = queue.order.first_key_value().map(|((due, _), _)| *due);
        queue.flushing = due.is_some();
        due
    }

    /// Takes up to `batch` keys of up to `bytes_max` together, one at least, that are due, oldest
    /// first; their flush is under way until [`Dirty::put_back`].
    pub(crate) fn take_due(
        &mut self,
        definition: DefinitionId,
        now: Time,
        batch: usize,
        bytes_max: u64,
    ) -> Vec<Bytes> {
        let Some(queue) = self.queues.get_mut(&definition) else {
            return Vec::new();
        };
        let hurry = queue.hurry.happened();
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(first) = queue.order.first_entry().filter(|_| taken.len() < batch) {
            if first.key().0 > now && !hurry {
                break;
            }
            let waiting = self.keys.get_mut(first.get());
            let waiting = waiting.expect("what has a place is dirty");
            bytes += waiting.bytes;
            if bytes > bytes_max && !taken.is_empty() {
                break;
            }
            waiting.place = None;
            taken.push(first.remove());
        }
        taken
    }

    /// The flush of these keys is over: what is still dirty gets a place again.
    pub(crate) fn put_back(&mut self, keys: &[Bytes], due: Time) {
        // A row that is refused for itself holds up no other, and is not tried every time.
        for key in keys {
            let Some(waiting) = self.keys.get_mut(key).filter(|known| known.place.is_none()) else {
                continue;
            };
            self.next += 1;
            let due = if waiting.rejection.is_some() {
                due + REJECTED_WAIT
            } else {
                due
            };
            waiting.place = Some((due, self.next));
            let queue = self.queues.entry(waiting.definition).or_default();
            queue.order.insert((due, self.next), key.clone());
        }
        self.fire();
    }

    /// The database has this version of the key.
    pub(crate) fn landed(&mut self, key: &Bytes, version: Version) {
        if let Some(waiting) = self.keys.get_mut(key) {
            waiting.landed = waiting.landed.max(version);
            waiting.rejection = None;
        }
    }

    /// The database refuses the key's row for itself.
    pub(crate) fn rejected(&mut self, key: &Bytes, reason: String) {
        if let Some(waiting) = self.keys.get_mut(key) {
            waiting.rejection = Some(reason);
        }
    }

    pub(crate) fn rejection(&self, key: &Bytes) -> Option<String> {
        self.keys.get(key)?.rejection.clone()
    }

    /// The key is not dirty any more.
    pub(crate) fn clear(&mut self, key: &Bytes) {
        self.forget(key);
        self.fire();
    }

    /// Other members lead the slots: what is dirty there is theirs to flush.
    pub(crate) fn lose(&mut self, slots: &BTreeSet<Slot>) {
        for slot in slots {
            *self.losses.entry(*slot).or_default() += 1;
        }
        let lost = |(_, waiting): &(&Bytes, &Waiting)| slots.contains(&waiting.slot);
        let of_slot = self.keys.iter().filter(lost);
        let keys: Vec<_> = of_slot.map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.forget(&key);
        }
        self.fire();
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.queues.values().map(|queue| queue.bytes).sum()
    }

    pub(crate) fn bytes_of(&self, definition: DefinitionId) -> u64 {
        self.queues.get(&definition).map_or(0, |queue| queue.bytes)
    }

    /// The bytes that the key has in the queue already.
    pub(crate) fn bytes_at(&self, key: &Bytes) -> u64 {
        self.keys.get(key).map_or(0, |waiting| waiting.bytes)
    }

    /// Fires when something was flushed, rejected or lost.
    pub(crate) fn changed(&self) -> Rc<Signal> {
        Rc::clone(&self.changed)
    }

    /// Fires when the queue shall be flushed at once.
    pub(crate) fn hurry(&mut self, definition: DefinitionId) -> Rc<Signal> {
        Rc::clone(&self.queues.entry(definition).or_default().hurry)
    }

    /// Fires when something of the queue is due before all that was.
    pub(crate) fn sooner(&mut self, definition: DefinitionId) -> Rc<Signal> {
        Rc::clone(&self.queues.entry(definition).or_default().sooner)
    }

    /// The hurry is over when all that waited is on its way.
    pub(crate) fn calm_if_drained(&mut self, definition: DefinitionId) {
        let queue = self.queues.entry(definition).or_default();
        if queue.order.is_empty() {
            queue.hurry = Rc::default();
        }
    }

    /// What is owed of a key now, if it waits for its database.
    pub(crate) fn owed(&self, key: &Bytes) -> Option<Owed> {
        let waiting = self.keys.get(key)?;
        Some(Owed {
            key: key.clone(),
            slot: waiting.slot,
            definition: waiting.definition,
            version: waiting.version,
            losses: self.losses(waiting.slot),
        })
    }

    pub(crate) fn owing(&self, owed: &Owed) -> Owing {
        if self.losses(owed.slot) != owed.losses {
            return Owing::SlotLost;
        }
        match self.keys.get(&owed.key) {
            Some(waiting) if waiting.landed < owed.version => waiting
                .rejection
                .clone()
                .map_or(Owing::Still, Owing::Rejected),
            _ => Owing::Paid,
        }
    }

    fn losses(&self, slot: Slot) -> u64 {
        self.losses.get(&slot).copied().unwrap_or(0)
    }

    fn forget(&mut self, key: &Bytes) -> Option<Waiting> {
        let known = self.keys.remove(key)?;
        let queue = self.queues.get_mut(&known.definition)?;
        queue.bytes -= known.bytes;
        if let Some(place) = known.place {
            queue.order.remove(&place);
        }
        Some(known)
    }

    fn fire(&mut self) {
        std::mem::take(&mut self.changed).fire();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::Epoch;

    fn key(name: &'static str) -> Bytes {
        Bytes::from_static(name.as_bytes())
    }

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    fn version(seq: u64) -> Version {
        Version::new(Epoch(1), seq)
    }

    fn note(dirty: &mut Dirty, name: &'static str, seq: u64, due: u64) -> bool {
        dirty.note(
            Slot::of(name.as_bytes()),
            &key(name),
            1,
            version(seq),
            10,
            at(due),
        )
    }

    #[test]
    fn oldest_first_and_a_key_written_again_keeps_its_place() {
        let mut dirty = Dirty::default();
        assert!(note(&mut dirty, "b", 1, 100), "somebody must flush");
        assert!(!note(&mut dirty, "a", 2, 110));
        assert!(!note(&mut dirty, "b", 3, 120));
        assert_eq!(dirty.bytes(), 20, "coalesced");
        assert_eq!(dirty.take_due(1, at(99), 10, 1_000), Vec::<Bytes>::new());
        assert_eq!(dirty.take_due(1, at(115), 1, 1_000), [key("b")]);
        assert_eq!(dirty.take_due(1, at(115), 10, 1_000), [key("a")]);
        assert_eq!(dirty.next_due(1), None);
        dirty.put_back(&[key("a"), key("b")], at(200));
        assert_eq!(dirty.next_due(1), Some(at(200)));
        // Ten bytes each: one at least, and no more than fit.
        assert_eq!(dirty.take_due(1, at(200), 10, 19), [key("a")]);
        assert_eq!(dirty.take_due(1, at(200), 10, 5), [key("b")]);
    }

    #[test]
    fn a_debt_is_paid_by_the_version_owed_or_a_newer_one() {
        let mut dirty = Dirty::default();
        note(&mut dirty, "a", 5, 0);
        note(&mut dirty, "b", 6, 0);
        let owed = ["a", "b"].map(|name| dirty.owed(&key(name)).expect("it is dirty"));
        note(&mut dirty, "a", 9, 0);
        dirty.landed(&key("a"), version(4));
        assert_eq!(dirty.owing(&owed[0]), Owing::Still);
        dirty.landed(&key("a"), version(5));
        assert_eq!(
            dirty.owing(&owed[0]),
            Owing::Paid,
            "the newer write came after the call"
        );
        dirty.rejected(&key("b"), "no".into());
        assert_eq!(dirty.owing(&owed[1]), Owing::Rejected("no".into()));
        dirty.clear(&key("b"));
        assert_eq!(dirty.owing(&owed[1]), Owing::Paid);
        dirty.lose(&[Slot::of(b"a")].into());
        assert_eq!(dirty.owing(&owed[0]), Owing::SlotLost);
        assert_eq!(dirty.bytes(), 0);
    }
}
