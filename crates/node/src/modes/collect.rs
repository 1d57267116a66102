//! Rows that stand for removed keys are removed themselves, long after.

use std::rc::Rc;
use std::time::Duration;

use cluster::{Slot, clock};
use routing::host::Host;

use super::host::NodeHost;

/// How often it is looked for such rows.
const EVERY: Duration = Duration::from_secs(60);
/// Rows that are removed in one transaction.
const ROWS_MAX: u32 = 1_000;
const TIMEOUT: Duration = Duration::from_secs(5);

/// Collects, as long as the thread runs: one node of a cluster does, the one that leads the first
/// slot. That another one does too for a while does no harm.
pub(super) async fn collect(host: Rc<NodeHost>) {
    loop {
        let chance = host.chance() as f64 / u64::MAX as f64;
        tokio::time::sleep(EVERY.mul_f64(0.5 + chance)).await;
        let first = Slot::all().next().expect("there are slots");
        if host.node.slots.lock(first).active_epoch().is_none() {
            continue;
        }
        let keyspaces = host.keyspaces();
        for definition in keyspaces.definitions() {
            let Ok(database) = host.database(&definition.store) else {
                continue;
            };
            loop {
                let until = clock::unix_ms() + TIMEOUT.as_millis() as u64;
                match database.collect(definition, ROWS_MAX, until).await {
                    Ok(rows) if rows == u64::from(ROWS_MAX) => {}
                    Ok(_) => break,
                    Err(failure) => {
                        let (store, table) = (&definition.store, &definition.table);
                        tracing::warn!(store, table, "old rows are not collected: {failure}");
                        break;
                    }
                }
            }
        }
    }
}
