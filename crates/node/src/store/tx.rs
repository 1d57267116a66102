//! One command's view of one slot.

/// One command's view of one slot: typed reads and writes, and the effects that they leave.
pub struct Tx<'a> {
    /// When the command runs, in milliseconds of Unix time.
    pub now_unix_ms: &'a i64,
}
