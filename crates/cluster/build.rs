//! Compiles `proto/` without a system `protoc`.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    let directory = Path::new("../../proto");
    println!("cargo:rerun-if-changed={}", directory.display());
    if std::env::var_os("CARGO_FEATURE_NET").is_none() {
        return Ok(());
    }
    let descriptors = protox::compile([directory.join("peer.proto")], [directory])?;
    tonic_prost_build::configure()
        .bytes(".") // payloads stay slices of what was read
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}
