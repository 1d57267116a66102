//! Where a request goes and which cache mode it meets.
//!
//! [`keyspace`] says which rule a key falls under, [`database`] speaks to the database of record.

pub mod database;
pub mod keyspace;
pub mod quantity;
