//! Hashes: what commands read of them and change in them.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use super::{Tx, WrongType};
use crate::store::effect::{Effect, VALUE_BYTES_MAX};
use crate::store::entry::{Entry, Kind, Mark};
use crate::store::value::hash::Pair;
use crate::store::value::{Hash, Items, items};

impl Tx<'_> {
    /// The hash at a key. Counts as a use of it.
    ///
    /// # Errors
    /// If the key holds something else.
    pub fn hash(&mut self, key: &[u8]) -> Result<Option<Hash<'_>>, WrongType> {
        let entry = self.of_kind(key, Kind::Hash)?;
        Ok(entry.and_then(Entry::hash))
    }

    /// Gives fields of a key's hash these values; a missing key is an empty hash. Of a field that
    /// is named twice the last value counts. Returns how many fields are new; `None` if nothing was
    /// done, because the hash would take more than [`VALUE_BYTES_MAX`] as items: an effect must
    /// have room for it.
    ///
    /// # Errors
    /// If the key holds something else.
    pub fn set_fields(
        &mut self,
        key: &[u8],
        pairs: &[Pair<'_>],
    ) -> Result<Option<usize>, WrongType> {
        let old = self.of_kind(key, Kind::Hash)?.and_then(Entry::hash);
        let missing = old.is_none();
        let (mut set, mut new, mut replaced) = (Vec::new(), 0, 0);
        for &(field, value) in &*distinct(pairs) {
            match old.and_then(|hash| hash.get(field)) {
                Some(before) => replaced += items::pair_bytes(field, before),
                None => new += 1,
            }
            items::push_pair(&mut set, field, value);
        }
        let before = old.map_or(0, Hash::packed_bytes);
        if before - replaced + set.len() > VALUE_BYTES_MAX {
            return Ok(None);
        }
        let set = Items::checked(&set);
        if missing {
            self.put(key, Kind::Hash, set.as_bytes(), None, Mark::None);
        } else {
            let removed = Items::NONE;
            self.perform(&Effect::Fields { key, set, removed });
        }
        Ok(Some(new))
    }

    /// Removes fields of a key's hash, and the key with the last of them. Returns how many were
    /// there.
    ///
    /// # Errors
    /// If the key holds something else.
    pub fn remove_fields<'k>(
        &mut self,
        key: &[u8],
        fields: impl Iterator<Item = &'k [u8]>,
    ) -> Result<usize, WrongType> {
        let Some(hash) = self.hash(key)? else {
            return Ok(0);
        };
        let there: BTreeSet<&[u8]> = fields.filter(|field| hash.get(field).is_some()).collect();
        let all = there.len() == hash.len();
        if all {
            self.perform(&Effect::Remove { key });
        } else if !there.is_empty() {
            let mut removed = Vec::new();
            there
                .iter()
                .for_each(|field| items::push(&mut removed, field));
            self.perform(&Effect::Fields {
                key,
                set: Items::NONE,
                removed: Items::checked(&removed),
            });
        }
        Ok(there.len())
    }
}

/// The same with each field once, in the order in which they were named first.
fn distinct<'p, 'a>(pairs: &'p [Pair<'a>]) -> Cow<'p, [Pair<'a>]> {
    let mut places = HashMap::with_capacity(if pairs.len() > 1 { pairs.len() } else { 0 });
    let mut twice = false;
    if pairs.len() > 1 {
        for (place, (field, _)) in pairs.iter().enumerate() {
            twice |= places.insert(*field, place).is_some();
        }
    }
    if !twice {
        return pairs.into();
    }
    let last = pairs
        .iter()
        .filter_map(|(field, _)| Some((*field, pairs[places.remove(field)?].1)));
    last.collect()
}
