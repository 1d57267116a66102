//! One slot: its entries, what they take, and how effects change them.
//!
//! Every change goes through [`SlotTable::apply_effect`], at the primary and at the copies alike,
//! so that what is recorded is what was done. The lock around a slot belongs to its replication.

mod access;

use std::ops::{AddAssign, ControlFlow, SubAssign};
use std::sync::Arc;

use cluster::Version;
use cluster::replication::BadEffects;

use super::Shared;
use super::absence::Absences;
use super::effect::{Effect, VALUE_BYTES_MAX};
use super::entry::{Entry, Header, Kind, Mark};
use super::removals::Removals;
use super::segments::{Place, Segments};
use super::trash::Trash;
use super::value::{Items, Making};

/// The entries of one slot.
#[derive(Debug)]
pub struct SlotTable {
    pub(super) shared: Arc<Shared>,
    segments: Segments<Entry>,
    tally: Tally,
    absences: Option<Box<Absences>>,
    removals: Removals,
    newest: Version,
    /// The bytes of this slot that the store's budget knows of.
    reported_bytes: usize,
}

/// What a slot's entries amount to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Keys that a plain command sees, those past their time included.
    pub keys: usize,
    /// Those of them that expire.
    pub expiring: usize,
    /// Entries of every sort.
    pub entries: usize,
    /// Entries that the database lacks.
    pub dirty: usize,
    /// Entries in doubt.
    pub in_doubt: usize,
    /// What dirty and doubtful entries take.
    pub held_bytes: usize,
    /// What all entries take, tables not counted.
    pub entry_bytes: usize,
}

impl SlotTable {
    pub(super) fn new(shared: Arc<Shared>) -> SlotTable {
        SlotTable {
            shared,
            segments: Segments::new(),
            tally: Tally::default(),
            absences: None,
            removals: Removals::default(),
            newest: Version::ZERO,
            reported_bytes: 0,
        }
    }

    pub(super) fn scratch_bytes_max(&self) -> usize {
        self.shared.scratch_bytes_max()
    }

    pub(super) fn making(&self) -> Making<'_> {
        self.shared.making()
    }

    pub(crate) fn record_bytes_max(&self) -> usize {
        self.shared.record_bytes_max()
    }

    /// How many entries of which sort there are.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// All that the slot takes, as the allocator rounds it: entries, tables, absences.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let absences = self
            .absences
            .as_ref()
            .map_or(0, |absences| absences.bytes());
        self.tally.entry_bytes + self.segments.bytes() + absences + self.removals.bytes()
    }

    /// The version of the newest record that was applied here.
    #[must_use]
    pub fn newest(&self) -> Version {
        self.newest
    }

    /// The entry of a key as it lies there: past its time, absent or in doubt as it may be.
    #[must_use]
    pub fn find(&self, key: &[u8]) -> Option<&Entry> {
        let place = self.segments.locate(self.hash(key), key)?;
        Some(self.segments.at(place))
    }

    /// Shows entries of every sort in the order of their hashes, from `position` on (0 is the
    /// start), until the visitor breaks off. Returns the position to go on from, or `None` at the
    /// end. What is there during the whole walk is shown once, whatever changes between two calls.
    /// A call may show nothing and still not be at the end.
    pub fn scan(&self, position: u64, visit: impl FnMut(&Entry) -> ControlFlow<()>) -> Option<u64> {
        self.segments
            .walk(position, &|key: &[u8]| self.shared.hash(key), visit)
    }

    /// Shows up to `count` entries of every sort, from a random place on.
    pub fn sample(&self, random: u64, count: usize, visit: impl FnMut(&Entry)) {
        self.segments.sample(random, count, visit);
    }

    /// What the tables of the slot may take more when one more entry comes: they double.
    #[must_use]
    pub fn growth_bytes_max(&self) -> usize {
        self.segments.growth_bytes_max()
    }

    /// The record that removed the key, if it is not known to be committed; otherwise zero.
    #[must_use]
    pub fn absence(&self, key: &[u8]) -> Version {
        self.absences
            .as_ref()
            .map_or(Version::ZERO, |known| known.version_of(self.hash(key)))
    }

    /// Whether there may be an entry that goes by itself one day. Cheap, and right if it says no.
    pub(super) fn may_expire(&self) -> bool {
        self.segments.may_expire()
    }

    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        self.shared.hash(key)
    }

    #[inline]
    pub(super) fn locate(&self, key: &[u8]) -> Option<Place> {
        self.segments.locate(self.hash(key), key)
    }

    #[inline]
    pub(super) fn at(&self, place: Place) -> &Entry {
        self.segments.at(place)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.segments.iter()
    }

    /// Shows the entries due before `now`; see [`Segments::take_due`].
    pub(super) fn take_due(
        &mut self,
        position: u64,
        now: u64,
        budget: &mut usize,
        show: impl FnMut(&Entry),
    ) -> Option<u64> {
        self.segments.take_due(position, now, budget, show)
    }

    /// Remembers that a record removed the key, until it is committed.
    pub(super) fn note_absence(&mut self, key: &[u8], version: Version) {
        let hash = self.hash(key);
        self.absences.get_or_insert_default().note(hash, version);
        self.report();
    }

    /// As [`SlotTable::note_absence`], of all keys.
    pub(super) fn note_clear(&mut self, version: Version) {
        self.absences.get_or_insert_default().note_clear(version);
        self.report();
    }

    /// Remembers when the key is removed again that is not there. Returns the newest record.
    pub(super) fn watch_absence(&mut self, key: &[u8]) -> Version {
        let hash = self.hash(key);
        self.removals.watch(hash, self.newest);
        self.report();
        self.newest
    }

    /// Whether the key may have been removed after this record.
    pub(super) fn removed_after(&self, key: &[u8], since: Version) -> bool {
        self.removals.any_after(self.hash(key), since)
    }

    /// A part of a copy took the place of records.
    pub(super) fn note_copy(&mut self) {
        self.removals.note_copy();
        self.report();
    }

    pub(super) fn forget_absences(&mut self, committed: Version) {
        let Some(absences) = &mut self.absences else {
            return;
        };
        absences.committed(committed);
        if absences.is_empty() {
            self.absences = None;
        }
        self.report();
    }

    /// Does what an effect says and stamps the entry with the version of its record.
    pub(super) fn apply_effect(
        &mut self,
        effect: &Effect<'_>,
        version: Version,
    ) -> Result<(), BadEffects> {
        self.removals.follow(version);
        match *effect {
            Effect::Put {
                key,
                kind,
                value,
                expires_at,
                mark,
            } => {
                self.put(key, value, header(version, kind, (expires_at, mark)));
            }
            Effect::Remove { key } => self.remove(key, version),
            Effect::Expire { key, at } => {
                self.change(key, version, |entry| entry.set_expires_at(at))?;
            }
            Effect::Mark { key, mark } => {
                self.change(key, version, |entry| entry.set_mark(mark))?;
            }
            Effect::Fields { key, set, removed } => {
                let header = self.hash_at(key)?;
                self.change_fields(key, (set, removed), &Header { version, ..header });
            }
            Effect::Part {
                key,
                kind,
                set,
                removed,
                expires_at,
                mark,
            } => {
                let header = header(version, kind, (expires_at, mark));
                self.take_part(key, (set, removed), header);
            }
            Effect::Splice { key, offset, bytes } => {
                if self
                    .find(key)
                    .is_some_and(|entry| entry.kind() != Kind::String)
                {
                    return Err(BadEffects("bytes within what is no string"));
                }
                if offset.saturating_add(bytes.len()) > VALUE_BYTES_MAX {
                    return Err(BadEffects("a value above 512 MiB"));
                }
                self.change(key, version, |entry| entry.splice(offset, bytes))?;
            }
            Effect::Clear => {
                self.removals.note_all(version);
                self.clear();
            }
        }
        self.newest = self.newest.max(version);
        self.report();
        Ok(())
    }

    fn put(&mut self, key: &[u8], value: &[u8], mut header: Header) {
        let hash = self.hash(key);
        let shared = &*self.shared;
        let (policy, now) = (shared.policy(), &shared.conditions);
        self.segments.unify(hash, policy.trace(), now);
        if let Some(place) = self.segments.locate(hash, key) {
            let mut old = None;
            change_at(&mut self.segments, &mut self.tally, place, |entry| {
                header.access = policy.on_access(entry.access(), now);
                if header.kind == Kind::Hash || entry.kind() == Kind::Hash {
                    let new = Entry::made(key, value, &header, shared.making());
                    old = Some(std::mem::replace(entry, new));
                } else {
                    entry.replace(value, &header);
                }
            });
            if let Some(old) = old {
                shared.drop_entry(old);
            }
            return;
        }
        header.access = policy.on_insert(now);
        let entry = Entry::made(key, value, &header, shared.making());
        self.tally += Tally::of(&entry);
        self.segments
            .insert(hash, entry, &|key: &[u8]| shared.hash(key));
    }

    fn remove(&mut self, key: &[u8], version: Version) {
        let hash = self.hash(key);
        let Some(place) = self.segments.locate(hash, key) else {
            return;
        };
        self.removals.note(hash, version);
        let shared = &self.shared;
        let entry = self.segments.remove(place, &|key: &[u8]| shared.hash(key));
        self.tally -= Tally::of(&entry);
        shared.drop_entry(entry);
    }

    fn change(
        &mut self,
        key: &[u8],
        version: Version,
        change: impl FnOnce(&mut Entry),
    ) -> Result<(), BadEffects> {
        let place = self
            .locate(key)
            .ok_or(BadEffects("a change of a key that is not there"))?;
        change_at(&mut self.segments, &mut self.tally, place, |entry| {
            change(entry);
            entry.set_version(version);
        });
        Ok(())
    }

    /// The header of a hash.
    fn hash_at(&self, key: &[u8]) -> Result<Header, BadEffects> {
        match self.find(key).map(Entry::header) {
            Some(header) if header.kind == Kind::Hash => Ok(header),
            _ => Err(BadEffects("a field of what is no hash")),
        }
    }

    /// Takes a part of a hash that may not be there, or not whole.
    fn take_part(&mut self, key: &[u8], parts: (Items<'_>, Items<'_>), header: Header) {
        if self.hash_at(key).is_err() {
            self.put(key, parts.0.as_bytes(), header);
        }
        self.change_fields(key, parts, &header);
    }

    /// Sets and removes fields of a hash that is there. One without a field is no more.
    fn change_fields(&mut self, key: &[u8], (set, removed): (Items<'_>, Items<'_>), to: &Header) {
        let place = self.locate(key).expect("the caller has found the hash");
        let making = self.shared.making();
        change_at(&mut self.segments, &mut self.tally, place, |entry| {
            if !set.is_empty() {
                entry.set_fields(set, making);
            }
            entry.remove_fields(removed);
            let access = entry.access();
            entry.set_header(&Header { access, ..*to });
        });
        if self.segments.at(place).encoded_bytes() == 0 {
            self.remove(key, to.version);
        }
    }

    /// Removes all that is neither dirty nor in doubt. The memory is given back outside the lock.
    fn clear(&mut self) {
        let old = std::mem::replace(&mut self.segments, Segments::new());
        let (mut held, policy) = (Vec::new(), self.shared.policy());
        if self.tally.dirty + self.tally.in_doubt > 0 {
            let kept = old.iter().filter(|entry| entry.mark().is_held());
            held.extend(kept.map(Entry::duplicate));
        }
        let trash = Trash::of_slot(old, self.tally.entry_bytes);
        self.shared.discard(trash);
        self.tally = Tally::default();
        for mut entry in held {
            entry.set_access(policy.on_insert(&self.shared.conditions));
            self.tally += Tally::of(&entry);
            let (hash, shared) = (self.hash(entry.key()), &self.shared);
            self.segments
                .unify(hash, policy.trace(), &shared.conditions);
            self.segments
                .insert(hash, entry, &|key: &[u8]| shared.hash(key));
        }
    }

    /// Tells the store's budget what has changed.
    fn report(&mut self) {
        let bytes = self.bytes();
        if bytes != self.reported_bytes {
            self.shared.budget.adjust(self.reported_bytes, bytes);
            self.reported_bytes = bytes;
        }
    }
}

fn header(version: Version, kind: Kind, (expires_at, mark): (Option<u64>, Mark)) -> Header {
    Header {
        version,
        expires_at,
        access: 0,
        kind,
        mark,
    }
}

/// Changes an entry but for its key, and counts what it takes.
fn change_at(
    segments: &mut Segments<Entry>,
    tally: &mut Tally,
    place: Place,
    change: impl FnOnce(&mut Entry),
) {
    let entry = segments.at_mut(place);
    *tally -= Tally::of(entry);
    change(entry);
    *tally += Tally::of(entry);
    if let Some(at) = entry.due_at() {
        segments.note_due(place, at);
    }
}

impl Drop for SlotTable {
    /// A table is dropped under its slot's lock when a copy replaces it, so the entries go later.
    fn drop(&mut self) {
        let segments = std::mem::replace(&mut self.segments, Segments::new());
        let trash = Trash::of_slot(segments, self.tally.entry_bytes);
        self.shared.discard(trash);
        self.shared.budget.adjust(self.reported_bytes, 0);
    }
}

impl Tally {
    fn of(entry: &Entry) -> Tally {
        let mark = entry.mark();
        let bytes = entry.allocated();
        let present = entry.kind() != Kind::Absent;
        Tally {
            keys: usize::from(present),
            expiring: usize::from(present && entry.expires_at().is_some()),
            entries: 1,
            dirty: usize::from(matches!(mark, Mark::Dirty { .. })),
            in_doubt: usize::from(matches!(mark, Mark::InDoubt { .. })),
            held_bytes: if mark.is_held() { bytes } else { 0 },
            entry_bytes: bytes,
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.keys += other.keys;
        self.expiring += other.expiring;
        self.entries += other.entries;
        self.dirty += other.dirty;
        self.in_doubt += other.in_doubt;
        self.held_bytes += other.held_bytes;
        self.entry_bytes += other.entry_bytes;
    }
}

impl SubAssign for Tally {
    fn sub_assign(&mut self, other: Tally) {
        self.keys -= other.keys;
        self.expiring -= other.expiring;
        self.entries -= other.entries;
        self.dirty -= other.dirty;
        self.in_doubt -= other.in_doubt;
        self.held_bytes -= other.held_bytes;
        self.entry_bytes -= other.entry_bytes;
    }
}
