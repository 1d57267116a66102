//! The spans and bounds of replication.

use std::time::Duration;

use super::rules::Rules;

/// Settings of one member's replication. All members of a cluster must agree on `lease`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `L`: how long a heartbeat's acknowledgement lets a primary lead.
    pub lease: Duration,
    /// How often a lease is renewed.
    pub heartbeat: Duration,
    /// After so long without a word a member is proposed to be removed from the in-sync sets.
    pub silence: Duration,
    /// How long to wait for the outcome of a proposal before it is sent again.
    pub proposal_retry: Duration,
    /// How many records of a slot may be uncommitted before its writes are refused.
    pub uncommitted_max: usize,
    /// How many replies may wait in one slot.
    pub waiters_max: usize,
    /// Bytes of records that a slot keeps for members that fall behind.
    pub backlog_bytes_max: usize,
    /// Bytes of such records in all slots together. The nearer they come, the less a slot keeps.
    pub backlog_total_bytes_max: usize,
    /// Bytes that may wait to be sent to one member before it counts as fallen behind.
    pub queue_bytes_max: usize,
    /// Bytes of copies that may wait to be sent to one member.
    pub copy_window_bytes: usize,
    /// About how many bytes of entries are read under a slot's lock at once.
    pub copy_chunk_bytes: usize,
    /// Bytes of copies that this member sends in a second, all slots together, but for those that a
    /// slot without a primary waits for; no bound where it is 0.
    pub copy_bytes_per_second: usize,
    /// For how long a primary that is to hand its slot over takes no writes, unless it is fenced.
    pub yield_for: Duration,
    /// The rules that are kept: all of them, but in a simulation.
    pub rules: Rules,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            lease: Duration::from_millis(1000),
            heartbeat: Duration::from_millis(100),
            silence: Duration::from_millis(1500),
            proposal_retry: Duration::from_millis(500),
            uncommitted_max: 16_384,
            waiters_max: 65_536,
            backlog_bytes_max: 1 << 20,
            backlog_total_bytes_max: 64 << 20,
            queue_bytes_max: 256 << 20,
            copy_window_bytes: 1 << 20,
            copy_chunk_bytes: 64 << 10,
            copy_bytes_per_second: 0,
            yield_for: Duration::from_millis(1500),
            rules: Rules::default(),
        }
    }
}
