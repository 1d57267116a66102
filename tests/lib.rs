//! What black-box tests and benchmarks share: real processes, and RESP as it is on the wire.

pub mod fleet;
pub mod harness;
pub mod http;
pub mod local_cluster;
pub mod tags;
pub mod trio;
pub mod wire;
