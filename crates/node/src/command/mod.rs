//! The commands: the table, the cursor over arguments, and a file of handlers for each family.

pub mod args;
mod expiry;
mod generic;
pub mod glob;
mod long_double;
mod string;
pub mod table;
mod time;
#[cfg(test)]
mod trial;

pub use args::Args;
