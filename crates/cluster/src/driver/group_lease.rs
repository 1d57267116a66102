//! The metadata group's lease of this node: needed where one member commits alone.

use std::sync::Arc;

use super::{Driver, Waiting};
use crate::clock;
use crate::replication::Table;

impl<T: Table, K: Waiting> Driver<T, K> {
    /// Renews the lease again and again. It counts from before the question, and only once this
    /// node has applied all that was decided before the answer: a slot that was fenced by then is
    /// not led any more.
    pub(super) async fn renew_group_lease(self: Arc<Self>) {
        let span = self.settings.group_lease;
        let mut renewals = tokio::time::interval(span / 4);
        renewals.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            renewals.tick().await;
            let asked_at = clock::now();
            let asked = self.metadata.lease(self.replicas.me());
            let Ok(Some(index)) = tokio::time::timeout(span, asked).await else {
                continue;
            };
            if self.seen_by(index, asked_at + span).await {
                self.replicas.extend_group_lease(asked_at + span);
            }
        }
    }

    /// Whether this node has taken in the entry at `index` before `deadline`.
    async fn seen_by(&self, index: u64, deadline: crate::Time) -> bool {
        let mut seen = self.seen.subscribe();
        let taken_in = seen.wait_for(|state| state.applied() >= index);
        let left = deadline.since(clock::now());
        matches!(tokio::time::timeout(left, taken_in).await, Ok(Ok(_)))
    }
}
