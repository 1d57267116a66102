//! The group as the driver of the replication takes it.

use std::sync::Arc;

use super::{Applied, Entry, Group, State};
use crate::Member;
use crate::driver::Metadata;
use crate::transport::BoxFuture;

impl Metadata for Group {
    fn state(&self) -> Arc<State> {
        Group::state(self)
    }

    fn newer_than(&self, index: u64) -> BoxFuture<'static, ()> {
        let mut state = self.watch_state();
        Box::pin(async move {
            if state
                .wait_for(|state| state.applied() > index)
                .await
                .is_err()
            {
                // The group has ended, and with it all news.
                std::future::pending::<()>().await;
            }
        })
    }

    fn propose(&self, entry: Entry) -> BoxFuture<'static, Option<Applied>> {
        let group = self.clone();
        Box::pin(async move {
            let proposed = Group::propose(&group, entry).await;
            proposed
                .inspect_err(|error| tracing::debug!(%error, "a proposal"))
                .ok()
        })
    }

    fn leads(&self) -> Option<u64> {
        self.watch_leadership()
            .borrow()
            .leading
            .map(|leading| leading.term)
    }

    fn lease(&self, member: Member) -> BoxFuture<'static, Option<u64>> {
        let group = self.clone();
        Box::pin(async move {
            let leased = group.lease(member).await;
            leased
                .inspect_err(|error| tracing::debug!(%error, "the group lease"))
                .ok()
        })
    }
}
