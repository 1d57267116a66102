//! One command's view of one slot: typed reads and writes, and the effects that they leave.
//!
//! A command checks first and writes then: one that fails leaves no effect. What may be left by
//! any command at the primary is the removal of a key that it found past its time.
//!
//! A write takes place in the slot's table at once. On an *overlay* it takes place beside it: the
//! command sees its own writes, the table stays as it is, and the outcome says what would have
//! happened. So a cache mode learns what a command wants before the database has agreed.

mod hash;
mod memory;
mod overlay;
mod watch;
mod whole;

use std::collections::BTreeMap;

use bytes::Bytes;
use cluster::Version;

use super::effect::{Effect, Effects};
use super::entry::{Entry, Kind, Mark};
use super::segments::Place;
use super::slot::SlotTable;
use overlay::Overlay;
pub(crate) use watch::Stamp;
pub(crate) use whole::Whole;

/// In what part this node runs a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// As the slot's primary: it may write, and what it finds past its time it removes.
    Primary,
    /// On a `READONLY` connection: it reads what is here, and what is past its time is not there.
    Replica,
}

/// What happens to a key's expiry when its value is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// It stays.
    Keep,
    /// The key does not expire.
    Never,
    /// The key expires then, in Unix milliseconds.
    At(u64),
}

/// The key holds another data type than the one asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongType;

/// Whether the end of a key with an entry of this definition is told to its database.
pub type Tells<'a> = &'a dyn Fn(u32) -> bool;

/// One command's view of one slot.
pub struct Tx<'a> {
    table: &'a mut SlotTable,
    overlay: Option<Overlay>,
    now_unix_ms: u64,
    version: Version,
    role: Role,
    tells: Option<Tells<'a>>,
    met: Version,
    found: u32,
    missed: u32,
    saw_ended: bool,
    ended: Vec<Bytes>,
    effects: Effects,
    /// Bytes of the record that are spoken for.
    reserved: usize,
}

/// What a command leaves behind.
#[derive(Debug)]
pub struct Outcome {
    /// What happened, for a record; or on an overlay: what would happen.
    pub effects: Effects,
    /// The greatest version that the reply depends on.
    pub met: Version,
    /// How many looks at a key found it.
    pub found: u32,
    /// How many did not.
    pub missed: u32,
    /// A key was past its time, and this view may not remove it.
    pub saw_ended: bool,
    /// Keys whose time was over, and that are dirty since: their database is to hear of it.
    pub ended: Vec<Bytes>,
    /// On an overlay: the keys written, each with the entry that it would have.
    pub written: BTreeMap<Box<[u8]>, Option<Entry>>,
}

#[derive(Clone, Copy)]
enum Found {
    Table(Place),
    Overlay,
}

impl<'a> Tx<'a> {
    /// A view for a command that runs at `now_unix_ms`. If it leaves effects, they are the record
    /// `version`.
    #[must_use]
    pub fn new(table: &'a mut SlotTable, role: Role, now_unix_ms: u64, version: Version) -> Tx<'a> {
        Tx {
            table,
            overlay: None,
            now_unix_ms,
            version,
            role,
            tells: None,
            met: Version::ZERO,
            found: 0,
            missed: 0,
            saw_ended: false,
            ended: Vec::new(),
            effects: Effects::new(),
            reserved: 0,
        }
    }

    /// Lets writes go to an overlay and leave the table as it is.
    #[must_use]
    pub fn on_overlay(mut self) -> Tx<'a> {
        self.overlay = Some(Overlay::default());
        self
    }

    /// Lays a value (as effects carry it), or that there is none, over what the table has for the
    /// key, if anything. It counts as written.
    ///
    /// # Panics
    /// Without an overlay.
    pub fn lay(&mut self, key: &[u8], value: Option<(Kind, &[u8], Option<u64>)>) {
        let overlay = self.overlay.as_mut().expect("a value is laid on one");
        overlay.lay(key, value, self.table.making());
    }

    /// Says of which definitions a database is told that a key's time is over: of all, otherwise.
    #[must_use]
    pub fn telling(mut self, tells: Tells<'a>) -> Tx<'a> {
        self.tells = Some(tells);
        self
    }

    /// When the command runs, in Unix milliseconds: the only clock that it has.
    #[must_use]
    pub fn now_unix_ms(&self) -> u64 {
        self.now_unix_ms
    }

    /// How many bytes the command may take for its own work.
    #[must_use]
    pub fn scratch_bytes_max(&self) -> usize {
        self.table.scratch_bytes_max()
    }

    /// The greatest version that the reply depends on: of entries, and of absences. A clean entry
    /// of a database keyspace counts for nothing, for the database has it.
    #[must_use]
    pub fn met(&self) -> Version {
        self.met
    }

    /// What happened so far.
    #[must_use]
    pub fn effects(&self) -> &Effects {
        &self.effects
    }

    /// Ends the view.
    #[must_use]
    pub fn finish(self) -> Outcome {
        Outcome {
            effects: self.effects,
            met: self.met,
            found: self.found,
            missed: self.missed,
            saw_ended: self.saw_ended,
            ended: self.ended,
            written: self.overlay.unwrap_or_default().into_written(),
        }
    }

    /// The string at a key. Counts as a use of it.
    ///
    /// # Errors
    /// If the key holds something else.
    pub fn string(&mut self, key: &[u8]) -> Result<Option<&[u8]>, WrongType> {
        let entry = self.of_kind(key, Kind::String)?;
        Ok(entry.map(Entry::value))
    }

    /// The strings at these keys; what is none counts as missing. Counts as a use of each.
    pub fn strings<'k>(
        &mut self,
        keys: impl Iterator<Item = &'k [u8]> + Clone,
    ) -> Vec<Option<&[u8]>> {
        // Two passes: the first may remove what is past its time, the second only looks.
        for key in keys.clone() {
            if let Some(found) = self.live(key) {
                self.use_entry(found);
            }
        }
        let this = &*self;
        let string = |key| {
            let entry = this.present(key)?;
            (entry.kind() == Kind::String).then(|| entry.value())
        };
        keys.map(string).collect()
    }

    /// What a key holds. Does not count as a use.
    pub fn kind(&mut self, key: &[u8]) -> Option<Kind> {
        let found = self.live(key)?;
        Some(self.at(found, key).kind())
    }

    /// Whether there is such a key. Does not count as a use.
    pub fn exists(&mut self, key: &[u8]) -> bool {
        self.live(key).is_some()
    }

    /// Whether there is such a key; if so, this is a use of it.
    pub fn touch(&mut self, key: &[u8]) -> bool {
        let found = self.live(key);
        if let Some(found) = found {
            self.use_entry(found);
        }
        found.is_some()
    }

    /// When a key expires: `None` if there is no such key, `Some(None)` if it does not expire.
    #[allow(
        clippy::option_option,
        reason = "the two nothings are different answers"
    )]
    pub fn expires_at(&mut self, key: &[u8]) -> Option<Option<u64>> {
        let found = self.live(key)?;
        Some(self.at(found, key).expires_at())
    }

    /// Gives a key a string, whatever it held.
    pub fn set(&mut self, key: &[u8], value: &[u8], expiry: Expiry) {
        let expires_at = match expiry {
            Expiry::Keep => self.expires_at(key).flatten(),
            Expiry::Never => None,
            Expiry::At(at) => Some(at),
        };
        let (kind, mark) = (Kind::String, Mark::None);
        self.perform(&Effect::Put {
            key,
            kind,
            value,
            expires_at,
            mark,
        });
    }

    /// Writes `bytes` into a key's string from `offset` on; between its old end and there are
    /// zeros. A missing key is an empty string. The caller has checked the length.
    pub fn splice(&mut self, key: &[u8], offset: usize, bytes: &[u8]) {
        if self.live(key).is_none() {
            let mut value = vec![0; offset];
            value.extend_from_slice(bytes);
            self.set(key, &value, Expiry::Never);
            return;
        }
        self.perform(&Effect::Splice { key, offset, bytes });
    }

    /// Removes a key. Returns whether it was there.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        let found = self.live(key).is_some();
        if found {
            self.perform(&Effect::Remove { key });
        }
        found
    }

    /// Sets or clears when a key expires. Returns whether it is there.
    pub fn expire(&mut self, key: &[u8], at: Option<u64>) -> bool {
        let found = self.live(key).is_some();
        if found {
            self.perform(&Effect::Expire { key, at });
        }
        found
    }

    /// The entry of a key as it lies there: past its time, absent or in doubt as it may be. It is
    /// for those who know about databases, and counts neither as met nor as a use.
    #[must_use]
    pub fn inspect(&self, key: &[u8]) -> Option<&Entry> {
        self.locate(key).map(|found| self.at(found, key))
    }

    /// Gives a key exactly this entry: what a load or a confirmed write leaves.
    pub fn put(
        &mut self,
        key: &[u8],
        kind: Kind,
        value: &[u8],
        expires_at: Option<u64>,
        mark: Mark,
    ) {
        self.perform(&Effect::Put {
            key,
            kind,
            value,
            expires_at,
            mark,
        });
    }

    /// Says how a key that has an entry stands to its database.
    pub fn set_mark(&mut self, key: &[u8], mark: Mark) {
        assert!(self.locate(key).is_some(), "a mark needs an entry");
        self.perform(&Effect::Mark { key, mark });
    }

    /// Removes a key's entry, whatever it is, so that the next reader asks the database.
    pub fn forget(&mut self, key: &[u8]) {
        if self.locate(key).is_some() {
            self.perform(&Effect::Remove { key });
        }
    }

    /// Removes all keys of the slot but those that are dirty or in doubt.
    pub fn clear(&mut self) {
        assert!(
            self.overlay.is_none(),
            "a slot is emptied at once, not on trial"
        );
        let tally = self.table.tally();
        if tally.dirty + tally.in_doubt < tally.entries {
            self.perform(&Effect::Clear);
        }
    }

    /// Removes what is due, of the positions from `position` on, until about `budget` entries were
    /// looked at. Returns where to go on, or `None` at the end of the slot.
    pub fn expire_due(&mut self, position: u64, budget: &mut usize) -> Option<u64> {
        assert!(self.overlay.is_none(), "what is due is due, not on trial");
        let mut due: Vec<(Box<[u8]>, Option<Mark>)> = Vec::new();
        let now = self.now_unix_ms;
        let next = self.table.take_due(position, now, budget, |entry| {
            let expired = entry.is_expired(now).then(|| entry.mark());
            due.push((entry.key().into(), expired));
        });
        for (key, expired) in due {
            match expired {
                Some(mark) => self.bury_expired(&key, mark),
                // It is clean, and no longer fresh.
                None => self.perform(&Effect::Remove { key: &key }),
            }
        }
        next
    }

    /// The entry of a key that holds this data type. Counts as a use of it.
    fn of_kind(&mut self, key: &[u8], kind: Kind) -> Result<Option<&Entry>, WrongType> {
        let Some(found) = self.live(key) else {
            return Ok(None);
        };
        if self.at(found, key).kind() != kind {
            return Err(WrongType);
        }
        self.use_entry(found);
        Ok(Some(self.at(found, key)))
    }

    /// Finds a key that a plain command sees. At the primary, one past its time is removed.
    fn live(&mut self, key: &[u8]) -> Option<Found> {
        let live = self.look(key);
        match live {
            Some(_) => self.found += 1,
            None => self.missed += 1,
        }
        live
    }

    fn look(&mut self, key: &[u8]) -> Option<Found> {
        let Some(found) = self.locate(key) else {
            self.met = self.met.max(self.table.absence(key));
            return None;
        };
        let entry = self.at(found, key);
        let (mark, version) = (entry.mark(), entry.version());
        let (expired, absent) = (
            entry.is_expired(self.now_unix_ms),
            entry.kind() == Kind::Absent,
        );
        if matches!(found, Found::Table(_)) && !matches!(mark, Mark::Clean { .. }) {
            self.met = self.met.max(version);
        }
        if absent {
            return None;
        }
        if expired {
            if self.role == Role::Primary {
                self.bury_expired(key, mark);
            } else {
                self.saw_ended = true;
            }
            return None;
        }
        Some(found)
    }

    /// As [`Tx::live`], after it: without removing anything.
    fn present(&self, key: &[u8]) -> Option<&Entry> {
        let entry = self.inspect(key)?;
        (entry.kind() != Kind::Absent && !entry.is_expired(self.now_unix_ms)).then_some(entry)
    }

    /// Ends a key: without a trace, or dirty where its database is to hear of it.
    fn bury_expired(&mut self, key: &[u8], mark: Mark) {
        if self.overlay.is_none() {
            self.table.shared.count_expired();
        }
        let told = |definition: &u32| self.tells.is_none_or(|tells| tells(*definition));
        let effect = match mark.definition().filter(told) {
            None => Effect::Remove { key },
            Some(definition) => Effect::Put {
                key,
                kind: Kind::Absent,
                value: b"",
                expires_at: None,
                mark: Mark::Dirty { definition },
            },
        };
        if matches!(effect, Effect::Put { .. }) {
            self.ended.push(Bytes::copy_from_slice(key));
        }
        self.perform(&effect);
    }

    /// Does what the effect says, and records it.
    fn perform(&mut self, effect: &Effect<'_>) {
        assert!(self.role == Role::Primary, "only the primary writes");
        if let Some(overlay) = &mut self.overlay {
            overlay.perform(self.table, effect, self.version);
        } else {
            let done = self.table.apply_effect(effect, self.version);
            done.expect("a view changes only keys that it has found, within their limits");
            match effect {
                Effect::Remove { key } => self.table.note_absence(key, self.version),
                Effect::Clear => self.table.note_clear(self.version),
                _ => {}
            }
        }
        self.effects.push(effect);
        self.met = self.met.max(self.version);
    }

    #[inline]
    fn use_entry(&mut self, found: Found) {
        if let Found::Table(place) = found {
            self.table.touch(place);
        }
    }

    #[inline]
    fn locate(&self, key: &[u8]) -> Option<Found> {
        if let Some(written) = self.overlay.as_ref().and_then(|overlay| overlay.get(key)) {
            return written.as_ref().map(|_| Found::Overlay);
        }
        self.table.locate(key).map(Found::Table)
    }

    #[inline]
    fn at(&self, found: Found, key: &[u8]) -> &Entry {
        match found {
            Found::Table(place) => self.table.at(place),
            Found::Overlay => {
                let written = self.overlay.as_ref().and_then(|overlay| overlay.get(key));
                written
                    .and_then(Option::as_ref)
                    .expect("it was found on the overlay")
            }
        }
    }
}

#[cfg(test)]
mod tests;
