//! Memory that is full: who gives way, how exactly limits are kept, and what is still found.
//!
//! How long the loads take is bounded for `make test`; `MEMORY_SECONDS=60` makes each of them as
//! long as that.

mod load;
mod policies;
mod ratio;
mod readers;
mod shrink;
mod unequal;
mod watch;

use std::net::SocketAddr;
use std::time::Duration;

use tests::wire::Wire;

/// How long a load takes.
fn seconds(by_default: u64) -> Duration {
    let wanted = std::env::var("MEMORY_SECONDS").ok();
    Duration::from_secs(wanted.map_or(by_default, |text| text.parse().unwrap()))
}

/// Sets a parameter.
fn configure(address: SocketAddr, name: &str, value: &str) {
    let mut wire = Wire::connect(address).unwrap();
    let words = ["CONFIG", "SET", name, value].map(str::as_bytes);
    assert_eq!(wire.ask(&words).unwrap().shown(), "+OK", "{name} {value}");
}
