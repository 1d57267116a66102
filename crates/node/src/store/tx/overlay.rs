//! What a command wrote beside the table.

use std::collections::BTreeMap;

use cluster::Version;

use crate::store::effect::Effect;
use crate::store::entry::{Entry, Header, Kind, Mark};
use crate::store::slot::SlotTable;
use crate::store::value::Making;

/// A value as effects carry it, and when it expires.
pub(super) type Laid<'a> = (Kind, &'a [u8], Option<u64>);

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
    pub(super) fn lay(&mut self, key: &[u8], value: Option<Laid<'_>>, making: Making<'_>) {
        let entry = value.map(|(kind, value, expires_at)| {
            let header = header(kind, expires_at, Mark::None, Version::ZERO);
            Entry::made(key, value, &header, making)
        });
        self.0.insert(key.into(), entry);
    }

    /// Does what an effect says.
    pub(super) fn perform(&mut self, table: &SlotTable, effect: &Effect<'_>, version: Version) {
        let making = table.making();
        let key = effect.key().expect("a slot is not emptied on an overlay");
        let place = self
            .0
            .entry(key.into())
            .or_insert_with(|| table.find(key).map(Entry::duplicate));
        match *effect {
            Effect::Put {
                kind,
                value,
                expires_at,
                mark,
                ..
            } => {
                let header = header(kind, expires_at, mark, version);
                *place = Some(Entry::made(key, value, &header, making));
            }
            Effect::Remove { .. } => *place = None,
            Effect::Expire { at, .. } => found(place, version).set_expires_at(at),
            Effect::Splice { offset, bytes, .. } => found(place, version).splice(offset, bytes),
            Effect::Mark { mark, .. } => found(place, version).set_mark(mark),
            Effect::Fields { set, removed, .. } => {
                let entry = found(place, version);
                entry.set_fields(set, making);
                entry.remove_fields(removed);
            }
            Effect::Part { .. } | Effect::Clear => unreachable!("no command leaves it for a key"),
        }
    }
}

fn header(kind: Kind, expires_at: Option<u64>, mark: Mark, version: Version) -> Header {
    Header {
        version,
        expires_at,
        access: 0,
        kind,
        mark,
    }
}

/// The entry, which this record changes.
fn found(place: &mut Option<Entry>, version: Version) -> &mut Entry {
    let entry = place.as_mut();
    let entry = entry.expect("a view changes only keys that it has found");
    entry.set_version(version);
    entry
}
