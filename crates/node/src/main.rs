//! The `quorate` binary: a node of a cluster, and the commands to work with one.

mod cli;

use std::process::ExitCode;

/// Keeps fragmentation low under entries of all sizes, and knows exactly how much is allocated.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::run()
}
