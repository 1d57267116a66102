//! The Raft group that decides who owns which slot; the same on all nodes, for any may be a voter.

use cluster::metadata::GroupSettings;
use routing::quantity::Span;
use serde::{Deserialize, Serialize};

/// The times of the metadata group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// How often the leader speaks.
    pub heartbeat: Span,
    /// The shortest random part of the wait before an election.
    pub election_min: Span,
    /// The longest, and how long voters are loyal to a leader after it spoke.
    pub election_max: Span,
    /// How long a call to another node may take.
    pub call_timeout: Span,
    /// How long a change looks for a leader and waits for its answer.
    pub propose_timeout: Span,
    /// How long a question for news waits at the other node.
    pub pull_wait: Span,
    /// How long a node may lead slots alone on the group's word.
    pub lease: Span,
    /// How long a voter is silent before another node takes its place.
    pub voter_grace: Span,
    /// Entries between two snapshots.
    pub snapshot_entries: u64,
}

impl Default for Metadata {
    fn default() -> Metadata {
        let settings = GroupSettings::default();
        Metadata {
            heartbeat: Span(settings.heartbeat),
            election_min: Span(settings.election_min),
            election_max: Span(settings.election_max),
            call_timeout: Span(settings.call_timeout),
            propose_timeout: Span(settings.propose_timeout),
            pull_wait: Span(settings.pull_wait),
            lease: Span(settings.meta_lease),
            voter_grace: Span(settings.voter_grace),
            snapshot_entries: settings.snapshot_entries,
        }
    }
}

impl Metadata {
    /// In the form of the group itself.
    #[must_use]
    pub fn settings(&self) -> GroupSettings {
        GroupSettings {
            heartbeat: self.heartbeat.0,
            election_min: self.election_min.0,
            election_max: self.election_max.0,
            call_timeout: self.call_timeout.0,
            propose_timeout: self.propose_timeout.0,
            pull_wait: self.pull_wait.0,
            meta_lease: self.lease.0,
            voter_grace: self.voter_grace.0,
            snapshot_entries: self.snapshot_entries,
        }
    }
}
