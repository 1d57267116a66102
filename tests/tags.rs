//! For each slot a hash tag that lies in it.

use cluster::{SLOTS, Slot};

/// A hash tag for each slot.
#[derive(Debug)]
pub struct Tags(Vec<String>);

impl Tags {
    /// Finds them.
    #[must_use]
    pub fn find() -> Tags {
        let mut tags = vec![None; usize::from(SLOTS)];
        let mut missing = tags.len();
        for number in 0_u32.. {
            let tag = format!("{{{number}}}");
            let found = &mut tags[Slot::of(tag.as_bytes()).index()];
            if found.is_none() {
                *found = Some(tag);
                missing -= 1;
            }
            if missing == 0 {
                break;
            }
        }
        Tags(tags.into_iter().flatten().collect())
    }

    /// The tags of all slots in their order, in braces.
    #[must_use]
    pub fn all(&self) -> &[String] {
        &self.0
    }

    /// The tag of a slot, in braces.
    #[must_use]
    pub fn of(&self, slot: Slot) -> &str {
        &self.0[slot.index()]
    }
}
