//! The data.

pub mod tx;

pub use tx::Tx;
