//! What slots have got rid of and is still to be given back, step by step and outside their locks.

use super::entry::Entry;
use super::segments::{Item, Segments};
use super::value::Field;

/// Entries, or the parts of a large value, that nobody can see any more.
#[derive(Debug)]
pub(super) struct Trash {
    litter: Litter,
    /// What they still take, their tables included.
    bytes: usize,
}

#[derive(Debug)]
enum Litter {
    Entries(Segments<Entry>),
    Fields(Segments<Field>),
}

impl Trash {
    /// The entries of a whole slot, which take so many bytes beside their tables.
    pub(super) fn of_slot(entries: Segments<Entry>, entry_bytes: usize) -> Trash {
        Trash {
            bytes: entries.bytes() + entry_bytes,
            litter: Litter::Entries(entries),
        }
    }

    /// What of an entry takes long to give back, if anything; the rest is given back at once.
    pub(super) fn of_value(entry: Entry) -> Option<Trash> {
        let table = entry.into_long_table()?;
        Some(Trash {
            bytes: table.allocated(),
            litter: Litter::Fields(table.into_segments()),
        })
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back about `items` entries or fields. Large values among the entries are put aside in
    /// `found`. Returns what was freed, and whether that was all.
    pub(super) fn shed(&mut self, items: usize, found: &mut Vec<Trash>) -> (usize, bool) {
        let (mut freed, mut aside) = (0, 0);
        let (tables, done) = match &mut self.litter {
            Litter::Fields(fields) => fields.shed(items, |field| freed += field.allocated()),
            Litter::Entries(entries) => entries.shed(items, |entry| {
                let bytes = entry.allocated();
                let trash = Trash::of_value(entry);
                let kept = trash.as_ref().map_or(0, Trash::bytes);
                freed += bytes - kept;
                aside += kept;
                found.extend(trash);
            }),
        };
        self.bytes -= aside;
        let freed = if done { self.bytes } else { freed + tables };
        self.bytes -= freed;
        (freed, done)
    }
}
