//! A hash as it is read, whatever its form.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use super::fields::FieldTable;
use super::items::{Items, Pairs, push_pair};

/// A field and its value.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

/// With more changes than this at once a packed hash is not searched for each.
const SEARCHED_MAX: usize = 8;

/// A hash, to be read.
#[derive(Clone, Copy, Debug)]
pub struct Hash<'a>(Form<'a>);

#[derive(Clone, Copy, Debug)]
enum Form<'a> {
    Packed(Items<'a>),
    Table(&'a FieldTable),
}

impl PartialEq for Hash<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self
                .iter()
                .all(|(field, value)| other.get(field) == Some(value))
    }
}

impl<'a> Hash<'a> {
    pub(in crate::store) fn packed(pairs: Items<'a>) -> Hash<'a> {
        Hash(Form::Packed(pairs))
    }

    pub(in crate::store) fn table(table: &'a FieldTable) -> Hash<'a> {
        Hash(Form::Table(table))
    }

    /// Whether it is packed: `listpack` to Redis, otherwise `hashtable`.
    #[must_use]
    pub fn is_packed(self) -> bool {
        matches!(self.0, Form::Packed(_))
    }

    /// How many fields it has.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "there is no empty hash")]
    pub fn len(self) -> usize {
        match self.0 {
            Form::Packed(pairs) => pairs.pairs().count(),
            Form::Table(table) => table.len(),
        }
    }

    /// What it takes as items.
    #[must_use]
    pub fn packed_bytes(self) -> usize {
        match self.0 {
            Form::Packed(pairs) => pairs.as_bytes().len(),
            Form::Table(table) => table.packed_bytes(),
        }
    }

    /// The value of a field.
    #[must_use]
    pub fn get(self, field: &[u8]) -> Option<&'a [u8]> {
        match self.0 {
            Form::Packed(pairs) => pairs
                .pairs()
                .find_map(|(other, value)| (other == field).then_some(value)),
            Form::Table(table) => table.get(field),
        }
    }

    /// All fields with their values: in the order in which they came as long as it is packed.
    pub fn iter(self) -> impl Iterator<Item = Pair<'a>> {
        let (packed, table) = match self.0 {
            Form::Packed(pairs) => (pairs.pairs(), None),
            Form::Table(table) => (Items::NONE.pairs(), Some(table)),
        };
        packed.chain(table.into_iter().flat_map(FieldTable::iter))
    }

    /// Shows fields from `position` on (0 is the start) until the visitor breaks off. Returns the
    /// position to go on from, or `None` at the end. What is there during the whole walk is shown,
    /// whatever changes between two calls. A packed hash is shown whole.
    pub fn scan(
        self,
        position: u64,
        mut visit: impl FnMut(Pair<'_>) -> ControlFlow<()>,
    ) -> Option<u64> {
        match self.0 {
            Form::Packed(pairs) => {
                for pair in pairs.pairs() {
                    // It goes on: a position within it would mean nothing after a change.
                    _ = visit(pair);
                }
                None
            }
            Form::Table(table) => table.scan(position, visit),
        }
    }

    /// A field with its value, each as likely as any other; `random` gives numbers.
    #[must_use]
    pub fn draw(self, mut random: impl FnMut() -> u64) -> Option<Pair<'a>> {
        match self.0 {
            Form::Packed(pairs) => {
                let count = pairs.pairs().count();
                pairs.pairs().nth(random() as usize % count.max(1))
            }
            Form::Table(table) => table.draw(random),
        }
    }

    /// All fields with their values as items.
    #[must_use]
    pub fn pack(self) -> std::borrow::Cow<'a, [u8]> {
        match self.0 {
            Form::Packed(pairs) => pairs.as_bytes().into(),
            Form::Table(table) => table.pack().into(),
        }
    }
}

/// A packed hash in which these fields have these values: those that it has in their places, the
/// others behind them. No field of `set` is named twice.
pub(in crate::store) fn with(old: Items<'_>, set: Items<'_>) -> Vec<u8> {
    let mut merged = Vec::with_capacity(old.as_bytes().len() + set.as_bytes().len());
    if set.pairs().nth(SEARCHED_MAX).is_none() {
        let lookup = |field: &[u8]| find(set.pairs(), field);
        for (field, value) in old.pairs() {
            push_pair(&mut merged, field, lookup(field).unwrap_or(value));
        }
        let new = set
            .pairs()
            .filter(|(field, _)| find(old.pairs(), field).is_none());
        new.for_each(|(field, value)| push_pair(&mut merged, field, value));
        return merged;
    }
    let mut changes: HashMap<&[u8], &[u8]> = set.pairs().collect();
    for (field, value) in old.pairs() {
        push_pair(&mut merged, field, changes.remove(field).unwrap_or(value));
    }
    let new = set.pairs().filter(|(field, _)| changes.contains_key(field));
    new.for_each(|(field, value)| push_pair(&mut merged, field, value));
    merged
}

/// A packed hash without these fields.
pub(in crate::store) fn without(old: Items<'_>, removed: Items<'_>) -> Vec<u8> {
    let mut kept = Vec::with_capacity(old.as_bytes().len());
    let few = removed.into_iter().nth(SEARCHED_MAX).is_none();
    let many: HashSet<&[u8]> = if few {
        HashSet::new()
    } else {
        removed.into_iter().collect()
    };
    let stays = |field: &[u8]| {
        if few {
            removed.into_iter().all(|other| other != field)
        } else {
            !many.contains(field)
        }
    };
    let pairs = old.pairs().filter(|(field, _)| stays(field));
    pairs.for_each(|(field, value)| push_pair(&mut kept, field, value));
    kept
}

fn find<'a>(mut pairs: Pairs<'a>, field: &[u8]) -> Option<&'a [u8]> {
    pairs.find_map(|(other, value)| (other == field).then_some(value))
}
