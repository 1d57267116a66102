//! The fields of a large hash: a table that never stops the world.

use ahash::RandomState;

use super::hash::Pair;
use super::items::{Items, item_bytes, pair_bytes, push, push_pair};
use crate::store::segments::{Item, Segments};
use crate::store::size_class::rounded;

/// A table with that many fields is given back step by step, outside of its slot's lock.
const FREED_AT_ONCE_MAX: usize = 512;

/// A field and its value in one allocation: the field after its length, then the value.
#[derive(Debug)]
pub(in crate::store) struct Field(Box<[u8]>);

/// The fields of one hash.
#[derive(Debug)]
pub(in crate::store) struct FieldTable {
    segments: Segments<Field>,
    hasher: RandomState,
    count: usize,
    /// What the fields take, tables not counted.
    fields_bytes: usize,
    /// What they would take as items.
    packed_bytes: usize,
}

impl Field {
    fn new(field: &[u8], value: &[u8]) -> Field {
        let mut bytes = Vec::with_capacity(item_bytes(field) + value.len());
        push(&mut bytes, field);
        bytes.extend_from_slice(value);
        Field(bytes.into_boxed_slice())
    }

    pub(super) fn pair(&self) -> Pair<'_> {
        let field = self.key();
        (field, &self.0[item_bytes(field)..])
    }

    fn set(&mut self, value: &[u8]) {
        let start = item_bytes(self.key());
        if self.0.len() == start + value.len() {
            self.0[start..].copy_from_slice(value);
        } else {
            *self = Field::new(self.key(), value);
        }
    }
}

impl Item for Field {
    #[inline]
    fn key(&self) -> &[u8] {
        let field = Items::checked(&self.0).into_iter().next();
        field.expect("a field begins with an item")
    }

    fn due_at(&self) -> Option<u64> {
        None
    }

    fn allocated(&self) -> usize {
        rounded(self.0.len())
    }
}

impl FieldTable {
    /// A table of these fields and values.
    pub(in crate::store) fn of(hasher: &RandomState, pairs: Items<'_>) -> FieldTable {
        let mut table = FieldTable {
            segments: Segments::new(),
            hasher: hasher.clone(),
            count: 0,
            fields_bytes: 0,
            packed_bytes: 0,
        };
        pairs
            .pairs()
            .for_each(|(field, value)| table.set(field, value));
        table
    }

    pub(in crate::store) fn duplicate(&self) -> FieldTable {
        let mut copy = FieldTable::of(&self.hasher, Items::NONE);
        self.iter()
            .for_each(|(field, value)| copy.set(field, value));
        copy
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn packed_bytes(&self) -> usize {
        self.packed_bytes
    }

    /// All that it takes, as the allocator rounds it.
    pub(in crate::store) fn allocated(&self) -> usize {
        rounded(size_of::<FieldTable>()) + self.segments.bytes() + self.fields_bytes
    }

    pub(super) fn get(&self, field: &[u8]) -> Option<&[u8]> {
        let place = self.segments.locate(self.hasher.hash_one(field), field)?;
        Some(self.segments.at(place).pair().1)
    }

    pub(in crate::store) fn set(&mut self, field: &[u8], value: &[u8]) {
        let hash = self.hasher.hash_one(field);
        if let Some(place) = self.segments.locate(hash, field) {
            let found = self.segments.at_mut(place);
            let (bytes, packed) = (found.allocated(), item_bytes(found.pair().1));
            found.set(value);
            self.fields_bytes = self.fields_bytes + found.allocated() - bytes;
            self.packed_bytes = self.packed_bytes + item_bytes(value) - packed;
            return;
        }
        let new = Field::new(field, value);
        self.count += 1;
        self.fields_bytes += new.allocated();
        self.packed_bytes += pair_bytes(field, value);
        let hasher = &self.hasher;
        self.segments
            .insert(hash, new, &|field: &[u8]| hasher.hash_one(field));
    }

    pub(in crate::store) fn remove(&mut self, field: &[u8]) {
        let hash = self.hasher.hash_one(field);
        let Some(place) = self.segments.locate(hash, field) else {
            return;
        };
        let hasher = &self.hasher;
        let removed = self
            .segments
            .remove(place, &|field: &[u8]| hasher.hash_one(field));
        let (field, value) = removed.pair();
        self.count -= 1;
        self.fields_bytes -= removed.allocated();
        self.packed_bytes -= pair_bytes(field, value);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Pair<'_>> {
        self.segments.iter().map(Field::pair)
    }

    /// Shows fields from `position` on until `visit` returns that it is enough; those of one
    /// position are shown together. Returns where to go on, or `None` at the end.
    pub(super) fn scan(
        &self,
        position: u64,
        mut visit: impl FnMut(Pair<'_>) -> std::ops::ControlFlow<()>,
    ) -> Option<u64> {
        let hash_of = |field: &[u8]| self.hasher.hash_one(field);
        self.segments
            .walk(position, &hash_of, |field| visit(field.pair()))
    }

    pub(super) fn draw(&self, random: impl FnMut() -> u64) -> Option<Pair<'_>> {
        self.segments.draw(random).map(Field::pair)
    }

    pub(super) fn pack(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.packed_bytes);
        self.iter()
            .for_each(|(field, value)| push_pair(&mut bytes, field, value));
        bytes
    }

    /// Whether it takes long to give it back.
    pub(in crate::store) fn is_long(&self) -> bool {
        self.count > FREED_AT_ONCE_MAX
    }

    /// What is left to be given back.
    pub(in crate::store) fn into_segments(self) -> Segments<Field> {
        self.segments
    }
}
