//! A hash as it is read, whatever its form.

use std::collections::{HashMap, HashSet};
use std::ops::{ControlFlow, Range};

use super::fields::FieldTable;
use super::items::{self, Items, item_bytes, push_pair};

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
/// others behind them. No field of `set` is named twice. If there are others, it says too how many
/// fields there are now.
pub(in crate::store) fn with(old: Items<'_>, set: Items<'_>) -> (Vec<u8>, Option<usize>) {
    let mut merged = Vec::with_capacity(old.as_bytes().len() + set.as_bytes().len());
    let mut count = None;
    if set.pairs().nth(SEARCHED_MAX).is_none() {
        merged.extend_from_slice(old.as_bytes());
        for (field, value) in set.pairs() {
            match value_place(&merged, field) {
                Ok(place) => replace(&mut merged, place, value),
                Err(fields) => {
                    push_pair(&mut merged, field, value);
                    count = Some(fields + 1);
                }
            }
        }
        return (merged, count);
    }
    let mut changes: HashMap<&[u8], &[u8]> = set.pairs().collect();
    let mut fields = 0;
    for (field, value) in old.pairs() {
        push_pair(&mut merged, field, changes.remove(field).unwrap_or(value));
        fields += 1;
    }
    let new = set.pairs().filter(|(field, _)| changes.contains_key(field));
    for (field, value) in new {
        push_pair(&mut merged, field, value);
        fields += 1;
        count = Some(fields);
    }
    (merged, count)
}

/// Where the value of a field lies in a packed hash, with its length; or how many fields there are.
fn value_place(packed: &[u8], field: &[u8]) -> Result<Range<usize>, usize> {
    let mut items = Items::checked(packed).into_iter();
    let mut fields = 0;
    while let Some(other) = items.next() {
        let start = packed.len() - items.left();
        items.next();
        if other == field {
            return Ok(start..packed.len() - items.left());
        }
        fields += 1;
    }
    Err(fields)
}

/// Puts an item in the place of another.
fn replace(packed: &mut Vec<u8>, place: Range<usize>, item: &[u8]) {
    let tail = place.start + item_bytes(item);
    if tail != place.end {
        let (before, behind) = (packed.len(), packed.len() - place.end);
        let after = tail + behind;
        packed.resize(before.max(after), 0);
        packed.copy_within(place.end..before, tail);
        packed.truncate(after);
    }
    packed[tail - item.len()..tail].copy_from_slice(item);
    items::write_length(&mut packed[place.start..tail], item.len());
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_packed_is_changed_in_its_place(
            old in proptest::collection::btree_map(0_u8..40, 0_usize..300, 0..30),
            set in proptest::collection::btree_map(0_u8..40, 0_usize..300, 0..20),
        ) {
            let packed = |pairs: &BTreeMap<u8, usize>| {
                let mut packed = Vec::new();
                for (field, length) in pairs {
                    push_pair(&mut packed, &[*field], &vec![*field; *length]);
                }
                packed
            };
            let others = set.iter().filter(|(field, _)| !old.contains_key(field));
            let expected: Vec<(u8, usize)> = old
                .iter()
                .map(|(field, length)| (field, set.get(field).unwrap_or(length)))
                .chain(others)
                .map(|(field, length)| (*field, *length))
                .collect();
            let (old_items, set_items) = (packed(&old), packed(&set));
            let (merged, fields) =
                with(Items::checked(&old_items), Items::checked(&set_items));
            let merged = Items::read_pairs(&merged).unwrap();
            let read: Vec<(u8, usize)> =
                merged.pairs().map(|(field, value)| (field[0], value.len())).collect();
            prop_assert!(merged.pairs().all(|(field, value)| value.iter().all(|b| *b == field[0])));
            prop_assert_eq!(&read, &expected);
            let more = expected.len() > old.len();
            prop_assert_eq!(fields, more.then_some(expected.len()));
        }
    }
}
