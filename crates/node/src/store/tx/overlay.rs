//! What a command wrote beside the table.

use std::collections::BTreeMap;

use cluster::Version;

use crate::store::effect::Effect;
use crate::store::entry::{Entry, Header, Kind, Mark};
use crate::store::slot::SlotTable;

/// The entries that a command on an overlay wrote; `None` where it removed one.
#[derive(Debug, Default)]
pub(super) struct Overlay(BTreeMap<Box<[u8]>, Option<Entry>>);

impl Overlay {
    /// What lies over the table's entry, if anything.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Option<Entry>> {
        self.0.get(key)
    }

    pub(super) fn into_written(self) -> BTreeMap<Box<[u8]>, Option<Entry>> {
        self.0
    }

    /// Lays a value, or that there is none, over whatever there is.
    pub(super) fn lay(&mut self, key: &[u8], value: Option<(Kind, &[u8], Option<u64>)>) {
        let entry = value.map(|(kind, value, expires_at)| {
            let (version, mark) = (Version::ZERO, Mark::None);
            put(key, value, (kind, expires_at, mark), version)
        });
        self.0.insert(key.into(), entry);
    }

    /// Does what an effect says.
    pub(super) fn perform(&mut self, table: &SlotTable, effect: &Effect<'_>, version: Version) {
        let key = effect.key().expect("a slot is not emptied on an overlay");
        let place = self.0.entry(key.into()).or_insert_with(|| {
            let entry = table.find(key)?;
            Some(Entry::new(key, entry.value(), &entry.header()))
        });
        match *effect {
            Effect::Put {
                kind,
                value,
                expires_at,
                mark,
                ..
            } => *place = Some(put(key, value, (kind, expires_at, mark), version)),
            Effect::Remove { .. } => *place = None,
            Effect::Expire { at, .. } => found(place, version).set_expires_at(at),
            Effect::Splice { offset, bytes, .. } => found(place, version).splice(offset, bytes),
            Effect::Mark { mark, .. } => found(place, version).set_mark(mark),
            Effect::Clear => unreachable!("it has no key"),
        }
    }
}

fn put(
    key: &[u8],
    value: &[u8],
    (kind, expires_at, mark): (Kind, Option<u64>, Mark),
    version: Version,
) -> Entry {
    let header = Header {
        version,
        expires_at,
        access: 0,
        kind,
        mark,
    };
    Entry::new(key, value, &header)
}

/// The entry, which this record changes.
fn found(place: &mut Option<Entry>, version: Version) -> &mut Entry {
    let entry = place.as_mut();
    let entry = entry.expect("a view changes only keys that it has found");
    entry.set_version(version);
    entry
}
