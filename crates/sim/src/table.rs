//! A small honest table: numbered keys with numbers as values, whole entries with versions, and the
//! memory of absences that are not committed yet.

use std::collections::BTreeMap;

use cluster::Version;
use cluster::replication::{BadEffects, Table};

/// The key of an entry within its slot.
pub type Key = u16;
/// What an entry holds.
pub type Value = u64;

/// One slot's entries.
#[derive(Clone, Debug, Default)]
pub struct KvTable {
    entries: BTreeMap<Key, (Version, Value)>,
    absences: BTreeMap<Key, Version>,
    digest: u64,
}

impl KvTable {
    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<Value> {
        self.entries.get(&key).map(|(_, value)| *value)
    }

    /// The version of what one meets at this key, be it an entry or an absence.
    #[must_use]
    pub fn met(&self, key: Key) -> Version {
        let entry = self.entries.get(&key).map(|(version, _)| *version);
        entry
            .or_else(|| self.absences.get(&key).copied())
            .unwrap_or_default()
    }

    /// Writes a key, as the author of a record, and returns the record's effects.
    pub fn write(&mut self, key: Key, value: Option<Value>, version: Version) -> Vec<u8> {
        self.put(key, value, version);
        let mut effects = Vec::new();
        push(&mut effects, key, value, version);
        effects
    }

    fn put(&mut self, key: Key, value: Option<Value>, version: Version) {
        if let Some((version, value)) = self.entries.remove(&key) {
            self.digest ^= mark(key, version, value);
        }
        self.absences.remove(&key);
        if let Some(value) = value {
            self.entries.insert(key, (version, value));
            self.digest ^= mark(key, version, value);
        } else {
            self.absences.insert(key, version);
        }
    }
}

impl Table for KvTable {
    fn apply(&mut self, version: Version, effects: &[u8]) -> Result<(), BadEffects> {
        for change in read(effects) {
            let (key, value, stamped) = change?;
            if stamped != version || self.met(key) >= version {
                return Err(BadEffects("a record is applied out of its order"));
            }
            self.put(key, value, version);
        }
        Ok(())
    }

    fn committed(&mut self, version: Version) {
        self.absences.retain(|_, removed| *removed > version);
    }

    fn copy_out(&self, cursor: u64, bytes_max: usize, out: &mut Vec<u8>) -> Option<u64> {
        let start = Key::try_from(cursor).ok()?;
        for (&key, &(version, value)) in self.entries.range(start..) {
            if out.len() >= bytes_max {
                return Some(u64::from(key));
            }
            push(out, key, Some(value), version);
        }
        None
    }

    fn copy_touched(&self, effects: &[u8], out: &mut Vec<u8>) {
        for (key, ..) in read(effects).map_while(Result::ok) {
            push(out, key, self.get(key), self.met(key));
        }
    }

    fn copy_in(&mut self, chunk: &[u8]) -> Result<(), BadEffects> {
        for change in read(chunk) {
            let (key, value, version) = change?;
            self.put(key, value, version);
        }
        Ok(())
    }

    fn empty(&self) -> KvTable {
        KvTable::default()
    }

    fn digest(&self) -> u64 {
        self.digest
    }
}

fn mark(key: Key, version: Version, value: Value) -> u64 {
    let mut chance = crate::Chance::new(value ^ version.as_u64().rotate_left(20));
    let first = chance.draw();
    crate::Chance::new(first ^ u64::from(key)).draw()
}

const CHANGE_BYTES: usize = 19;

fn push(out: &mut Vec<u8>, key: Key, value: Option<Value>, version: Version) {
    out.extend(key.to_le_bytes());
    out.push(u8::from(value.is_some()));
    out.extend(value.unwrap_or_default().to_le_bytes());
    out.extend(version.as_u64().to_le_bytes());
}

type Change = (Key, Option<Value>, Version);

fn read(changes: &[u8]) -> impl Iterator<Item = Result<Change, BadEffects>> + '_ {
    changes.chunks(CHANGE_BYTES).map(|change| {
        if change.len() != CHANGE_BYTES {
            return Err(BadEffects("cut short"));
        }
        let number = |from: usize| {
            let bytes = change[from..from + 8].try_into().expect("eight bytes");
            u64::from_le_bytes(bytes)
        };
        let value = (change[2] == 1).then(|| number(3));
        let key = Key::from_le_bytes([change[0], change[1]]);
        Ok((key, value, Version::from_u64(number(11))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::Epoch;

    #[test]
    fn a_copy_in_small_chunks_is_equal() {
        let mut table = KvTable::default();
        for key in 0..20 {
            table.write(
                key,
                Some(u64::from(key)),
                Version::new(Epoch(1), u64::from(key) + 1),
            );
        }
        table.write(3, None, Version::new(Epoch(1), 30));
        let (mut copy, mut cursor) = (table.empty(), Some(0));
        while let Some(from) = cursor {
            let mut chunk = Vec::new();
            cursor = table.copy_out(from, 40, &mut chunk);
            copy.copy_in(&chunk).unwrap();
        }
        assert_eq!(copy.digest(), table.digest());
        assert_ne!(copy.digest(), 0);
        assert_eq!(copy.get(3), None);
    }
}
