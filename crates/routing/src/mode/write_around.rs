//! Write-around: the database has the write first, and the cache forgets the key.
//!
//! The protocol is that of [`super::write_through`]; only what it leaves is different.

use super::CacheMode;
use crate::database::Value;
use crate::host::{Change, Mark};
use crate::keyspace::Definition;

pub(crate) struct WriteAround;

impl CacheMode for WriteAround {
    fn database_first(&self) -> bool {
        true
    }

    fn leaves(&self, _value: Option<Value>, _definition: &Definition, _clean: Mark) -> Change {
        Change::Remove
    }
}
