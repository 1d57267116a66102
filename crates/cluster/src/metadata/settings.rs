//! How fast the metadata group is, and how long it waits.

use std::time::Duration;

use super::GroupError;

/// The times of the metadata group.
///
/// A voter that hears nothing from the leader for `election_max` and then for a random time between
/// `election_min` and `election_max` asks for votes. Heartbeats must fit into that several times
/// even where the machine is busy, or leaders change for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// How often the leader speaks.
    pub heartbeat: Duration,
    /// The shortest random part of the wait before an election.
    pub election_min: Duration,
    /// The longest, and the time for which voters are loyal to a leader after it spoke.
    pub election_max: Duration,
    /// How long a call to another node may take.
    pub call_timeout: Duration,
    /// How long a proposal looks for a leader and waits for its answer.
    pub propose_timeout: Duration,
    /// How long a pull waits at the other node for something new.
    pub pull_wait: Duration,
    /// `L_meta`: how long a node may act on the group's word that it is not passed over.
    pub meta_lease: Duration,
    /// How long a voter must be silent before another node takes its place.
    pub voter_grace: Duration,
    /// Entries between two snapshots.
    pub snapshot_entries: u64,
}

impl Default for GroupSettings {
    fn default() -> GroupSettings {
        GroupSettings {
            heartbeat: Duration::from_millis(200),
            election_min: Duration::from_millis(500),
            election_max: Duration::from_millis(750),
            call_timeout: Duration::from_secs(1),
            propose_timeout: Duration::from_secs(3),
            pull_wait: Duration::from_secs(2),
            meta_lease: Duration::from_secs(2),
            voter_grace: Duration::from_secs(30),
            snapshot_entries: 1000,
        }
    }
}

impl GroupSettings {
    /// The settings of the Raft library.
    pub(super) fn raft_config(&self) -> Result<openraft::Config, GroupError> {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let config = openraft::Config {
            cluster_name: "quorate".to_owned(),
            heartbeat_interval: millis(self.heartbeat),
            election_timeout_min: millis(self.election_min),
            election_timeout_max: millis(self.election_max),
            install_snapshot_timeout: millis(self.call_timeout),
            max_payload_entries: 64,
            replication_lag_threshold: self.snapshot_entries * 2,
            snapshot_policy: openraft::SnapshotPolicy::LogsSinceLast(self.snapshot_entries),
            snapshot_max_chunk_size: 512 << 10,
            max_in_snapshot_log_to_keep: self.snapshot_entries,
            ..openraft::Config::default()
        };
        config
            .validate()
            .map_err(|error| GroupError::Settings(error.to_string()))
    }
}
