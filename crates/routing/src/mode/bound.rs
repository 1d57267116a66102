//! How much the databases may lack: a keyspace's own bound, and the node's over all of them.

use std::collections::BTreeMap;
use std::rc::Rc;

use cluster::Time;

use super::Plan;
use crate::cache::Cache;
use crate::error::Error;
use crate::host::{Change, Effect, Host, Mark};
use crate::keyspace::WhenFull;

/// A write that adds bytes where there are enough of them.
pub(crate) struct Full {
    store: String,
    when_full: WhenFull,
}

/// What such a write does, once it has waited.
pub(crate) enum Then {
    /// It looks again: something was flushed.
    Again,
    /// It goes the write-through way.
    Through,
}

impl Full {
    /// Waits until something is flushed, or the time is over.
    pub(crate) async fn wait<H: Host>(
        self,
        cache: &Rc<Cache<H>>,
        until: Time,
    ) -> Result<Then, Error> {
        let changed = cache.dirty.borrow().changed();
        if cache.within(until, changed.wait()).await.is_some() {
            return Ok(Then::Again);
        }
        match self.when_full {
            WhenFull::WriteThrough => Ok(Then::Through),
            WhenFull::Refuse => Err(Error::store(
                &self.store,
                "write-back is full: max_dirty_bytes wait for the database",
            )),
        }
    }
}

/// Whether the effects of one command, all together, add more than the databases may lack. What
/// replaces as much as it brings always may.
pub(crate) fn over_bound<H: Host, C>(
    cache: &Cache<H>,
    plan: &Plan<C>,
    effects: &[Effect],
) -> Option<Full> {
    let most = cache.host.dirty_bytes_max();
    let dirty = cache.dirty.borrow();
    let mut bytes = dirty.bytes();
    let mut of_keyspaces = BTreeMap::new();
    for Effect { key, change } in effects {
        let Change::Put(value, Mark::Dirty { definition }) = change else {
            continue;
        };
        let Some(rule) = plan.rule(key) else { continue };
        let size = (key.len() + value.as_ref().map_or(0, |value| value.bytes.len())) as u64;
        let added = size.saturating_sub(dirty.bytes_at(key));
        if added == 0 {
            continue;
        }
        let of_keyspace = of_keyspaces
            .entry(*definition)
            .or_insert_with(|| dirty.bytes_of(*definition));
        *of_keyspace += added;
        bytes += added;
        let settings = &rule.keyspace.write_back;
        if *of_keyspace > settings.max_dirty_bytes.0 || bytes > most {
            return Some(Full {
                store: rule.definition.store.clone(),
                when_full: settings.when_full,
            });
        }
    }
    None
}
