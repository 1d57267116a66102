//! The commands: the table, the cursor over arguments, and a file of handlers for each family.

pub mod args;
pub mod table;

pub use args::Args;
