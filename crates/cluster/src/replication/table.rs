//! What a slot's data must offer so that it can be replicated.

use crate::Version;

/// One slot's entries, as replication sees them. Effects and chunks are bytes of the store's own
/// encoding: made by one member's table, read by another's.
pub trait Table: Send + 'static {
    /// Applies the effects of one record at a member that is not its author.
    ///
    /// # Errors
    /// If the effects cannot be read; the table is then unchanged.
    fn apply(&mut self, version: Version, effects: &[u8]) -> Result<(), BadEffects>;

    /// Everything up to `version` is committed: absences up to it need no longer be remembered.
    fn committed(&mut self, version: Version);

    /// Copy source: appends entries from `cursor` on (0 is the start), whole, each with its own
    /// version, until there are about `bytes_max`. Returns the next cursor, or `None` at the end.
    /// The order is that of the keys' hashes, which stays the same while the table grows.
    fn copy_out(&self, cursor: u64, bytes_max: usize, out: &mut Vec<u8>) -> Option<u64>;

    /// Copy source: appends the present state (the whole entry, or that there is none) of every
    /// key that the effects touch.
    fn copy_touched(&self, effects: &[u8], out: &mut Vec<u8>);

    /// Copy target: takes what [`Table::copy_out`] or [`Table::copy_touched`] made.
    ///
    /// # Errors
    /// If the chunk cannot be read; the table is then to be thrown away.
    fn copy_in(&mut self, chunk: &[u8]) -> Result<(), BadEffects>;

    /// An empty table with the same settings.
    #[must_use]
    fn empty(&self) -> Self;

    /// A digest of all entries with key, value, expiry, mark and version: equal where these are.
    fn digest(&self) -> u64;
}

/// A record's effects, or a chunk of a copy, could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("effects that cannot be read: {0}")]
pub struct BadEffects(pub &'static str);
