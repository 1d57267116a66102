//! How a slot gets another primary; the same on all nodes, for any may come to lead the metadata.

use cluster::replication::FailoverSettings;
use routing::quantity::Span;
use serde::{Deserialize, Serialize};

use super::{Balance, Metadata, Timings};

/// The spans of a change of primary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failover {
    /// How often a copy that has not answered is asked again.
    pub retry: Span,
    /// How long the outcome of a step is waited for.
    pub outcome_timeout: Span,
    /// After so long without progress of the chosen copy, it begins anew.
    pub progress_timeout: Span,
    /// How long a new primary waits for `W` copies to be equal to it.
    pub grace: Span,
    /// How long a node may be away before another one takes its place.
    pub replace_after: Span,
}

impl Default for Failover {
    fn default() -> Failover {
        let settings = FailoverSettings::default();
        Failover {
            retry: Span(settings.retry),
            outcome_timeout: Span(settings.outcome),
            progress_timeout: Span(settings.progress),
            grace: Span(settings.grace),
            replace_after: Span(settings.replace_after),
        }
    }
}

impl Failover {
    /// In the form of the replication itself, with the leases that it must wait for. Clocks of
    /// different machines do not run at quite the same rate: whoever waits for another's lease to
    /// end waits a twentieth longer.
    #[must_use]
    pub fn settings(
        &self,
        timings: &Timings,
        metadata: &Metadata,
        balance: &Balance,
    ) -> FailoverSettings {
        let (lease, group_lease) = (timings.lease.0, metadata.lease.0);
        FailoverSettings {
            lease: lease + lease / 20,
            group_lease: group_lease + group_lease / 20,
            retry: self.retry.0,
            outcome: self.outcome_timeout.0,
            progress: self.progress_timeout.0,
            grace: self.grace.0,
            replace_after: self.replace_after.0,
            balance_delay: balance.delay.0,
            moves_max: balance.moves_max,
            transfers_max: balance.transfers_max,
            yield_timeout: balance.hand_over_timeout.0,
            ..FailoverSettings::default()
        }
    }
}
