//! Entries whose values have parts: how the parts change, and when they get a table.

use super::{Entry, Form, Header, Kind, Large, Value};
use crate::store::value::{FieldTable, Items, Making, hash};

impl Entry {
    /// As [`Entry::new`], in the form that is right for the value.
    pub(in crate::store) fn made(
        key: &[u8],
        value: &[u8],
        header: &Header,
        making: Making<'_>,
    ) -> Entry {
        if header.kind == Kind::Hash {
            let pairs = Items::checked(value);
            if !making.limits.pack(pairs) {
                return Entry::with_table(key, FieldTable::of(making.hasher, pairs), header);
            }
        }
        Entry::new(key, value, header)
    }

    /// An entry that is equal to this one.
    pub(in crate::store) fn duplicate(&self) -> Entry {
        match self.table() {
            Some(table) => Entry::with_table(self.key(), table.duplicate(), &self.header()),
            None => Entry::new(self.key(), self.value(), &self.header()),
        }
    }

    /// Gives fields of a hash these values. No field is named twice.
    pub(in crate::store) fn set_fields(&mut self, set: Items<'_>, making: Making<'_>) {
        if let Some(table) = self.table_mut() {
            let each = set.pairs();
            each.for_each(|(field, value)| table.set(field, value));
            return;
        }
        let (merged, fields) = hash::with(Items::checked(self.value()), set);
        let header = self.header();
        if making.limits.still_pack(set, fields.unwrap_or(0)) {
            self.replace(&merged, &header);
        } else {
            let table = FieldTable::of(making.hasher, Items::checked(&merged));
            *self = Entry::with_table(self.key(), table, &header);
        }
    }

    /// Takes fields out of a hash; those that it does not have do not matter.
    pub(in crate::store) fn remove_fields(&mut self, removed: Items<'_>) {
        if removed.is_empty() {
            return;
        }
        if let Some(table) = self.table_mut() {
            removed.into_iter().for_each(|field| table.remove(field));
            return;
        }
        let kept = hash::without(Items::checked(self.value()), removed);
        let header = self.header();
        self.replace(&kept, &header);
    }

    /// Takes out the table, if there is one and it takes long to give it back.
    pub(in crate::store) fn into_long_table(self) -> Option<FieldTable> {
        match self.0 {
            Form::Large(large) => match large.value {
                Value::Hash(table) if table.is_long() => Some(*table),
                Value::Hash(_) | Value::Bytes(_) => None,
            },
            Form::Compact(_) => None,
        }
    }

    pub(super) fn table(&self) -> Option<&FieldTable> {
        match &self.0 {
            Form::Large(large) => match &large.value {
                Value::Hash(table) => Some(table),
                Value::Bytes(_) => None,
            },
            Form::Compact(_) => None,
        }
    }

    fn table_mut(&mut self) -> Option<&mut FieldTable> {
        match &mut self.0 {
            Form::Large(large) => match &mut large.value {
                Value::Hash(table) => Some(table),
                Value::Bytes(_) => None,
            },
            Form::Compact(_) => None,
        }
    }

    fn with_table(key: &[u8], table: FieldTable, header: &Header) -> Entry {
        Entry(Form::Large(Box::new(Large {
            header: *header,
            key: key.into(),
            value: Value::Hash(Box::new(table)),
        })))
    }
}
