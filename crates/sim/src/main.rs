//! The data plane in one thread, replayable by seed.
fn main() {}
