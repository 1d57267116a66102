//! Byte strings one behind the other, each after its length: the packed form of values that have
//! parts, in entries and in effects alike.

use std::iter::FusedIterator;

use cluster::replication::BadEffects;

use crate::store::effect::{self, Reader};

/// A list of byte strings that was checked when it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Items<'a>(&'a [u8]);

impl<'a> Items<'a> {
    /// No item.
    pub const NONE: Items<'static> = Items(&[]);

    /// Reads what [`push`] has written, possibly in another process.
    ///
    /// # Errors
    /// If an item is cut off.
    pub fn read(bytes: &'a [u8]) -> Result<Items<'a>, BadEffects> {
        let mut reader = Reader(bytes);
        while !reader.is_empty() {
            reader.bytes()?;
        }
        Ok(Items(bytes))
    }

    /// As [`Items::read`], of fields and values in turn.
    ///
    /// # Errors
    /// If an item is cut off, or the last field has no value.
    pub fn read_pairs(bytes: &'a [u8]) -> Result<Items<'a>, BadEffects> {
        let items = Items::read(bytes)?;
        if items.into_iter().count().is_multiple_of(2) {
            Ok(items)
        } else {
            Err(BadEffects("a field without a value"))
        }
    }

    /// What was checked when it was written.
    pub(in crate::store) fn checked(bytes: &'a [u8]) -> Items<'a> {
        Items(bytes)
    }

    /// The items with their lengths.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Whether there is no item.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The items two by two.
    pub fn pairs(self) -> Pairs<'a> {
        Pairs(self.into_iter())
    }
}

impl<'a> IntoIterator for Items<'a> {
    type Item = &'a [u8];
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        Iter(self.0)
    }
}

/// Goes through [`Items`].
#[derive(Clone, Debug)]
pub struct Iter<'a>(&'a [u8]);

impl<'a> Iterator for Iter<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (&first, rest) = self.0.split_first()?;
        if first < 0x80 {
            let (item, rest) = rest.split_at_checked(usize::from(first))?;
            self.0 = rest;
            return Some(item);
        }
        let mut reader = Reader(self.0);
        let item = reader.bytes().ok()?;
        self.0 = reader.0;
        Some(item)
    }
}

impl Iter<'_> {
    /// How many bytes the items take that are still to come.
    pub(super) fn left(&self) -> usize {
        self.0.len()
    }
}

impl FusedIterator for Iter<'_> {}

/// Goes through [`Items`] two by two.
#[derive(Clone, Debug)]
pub struct Pairs<'a>(Iter<'a>);

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        Some((self.0.next()?, self.0.next()?))
    }
}

impl FusedIterator for Pairs<'_> {}

/// Appends an item.
pub fn push(out: &mut Vec<u8>, item: &[u8]) {
    effect::push_bytes(out, item);
}

/// Appends a field and its value.
pub fn push_pair(out: &mut Vec<u8>, field: &[u8], value: &[u8]) {
    push(out, field);
    push(out, value);
}

/// Writes the length of an item to the front of the bytes that it takes.
pub(super) fn write_length(item: &mut [u8], length: usize) {
    let mut rest = length;
    for byte in item {
        *byte = (rest & 0x7F) as u8;
        rest >>= 7;
        if rest == 0 {
            return;
        }
        *byte |= 0x80;
    }
}

/// What an item takes.
#[must_use]
pub fn item_bytes(item: &[u8]) -> usize {
    let bits = usize::BITS - item.len().leading_zeros();
    bits.div_ceil(7).max(1) as usize + item.len()
}

/// What a field and its value take.
#[must_use]
pub fn pair_bytes(field: &[u8], value: &[u8]) -> usize {
    item_bytes(field) + item_bytes(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_goes_in_comes_out(items in proptest::collection::vec(
                prop_oneof![proptest::collection::vec(any::<u8>(), 0..20),
                            (100_usize..20_000).prop_map(|length| vec![b'x'; length])], 0..20)) {
            let mut bytes = Vec::new();
            for item in &items {
                let before = bytes.len();
                push(&mut bytes, item);
                prop_assert_eq!(bytes.len() - before, item_bytes(item));
            }
            let read = Items::read(&bytes).unwrap();
            prop_assert!(read.into_iter().eq(items.iter().map(Vec::as_slice)));
            prop_assert_eq!(Items::read_pairs(&bytes).is_ok(), items.len() % 2 == 0);
            prop_assert_eq!(read.pairs().count(), items.len() / 2);
        }

        #[test]
        fn garbage_is_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(items) = Items::read(&bytes) {
                let mut again = Vec::new();
                items.into_iter().for_each(|item| push(&mut again, item));
                prop_assert!(again.len() <= bytes.len());
            }
        }
    }
}
