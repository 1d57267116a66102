//! What SQLite's columns and errors say.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::database::{Stamp, Value};

/// A database's integers have a sign; no number of ours needs the bit.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn value(row: &SqliteRow) -> Result<Option<Value>, sqlx::Error> {
    let Some(bytes) = row.try_get::<Option<Vec<u8>>, _>("value")? else {
        return Ok(None);
    };
    let kind: Option<String> = row.try_get("kind")?;
    let expires_at: Option<i64> = row.try_get("expires_at")?;
    Ok(Some(Value {
        kind: kind.map_or("string".into(), Into::into),
        bytes: bytes.into(),
        expires_at: expires_at.and_then(|at| u64::try_from(at).ok()),
    }))
}

pub(super) fn stamp(row: &SqliteRow) -> Result<Stamp, sqlx::Error> {
    let generation: i64 = row.try_get("gen")?;
    let version: i64 = row.try_get("version")?;
    Ok(Stamp {
        generation: u32::try_from(generation).unwrap_or(u32::MAX),
        version: cluster::Version::from_u64(version.cast_unsigned()),
    })
}

/// Whether the database refuses the row for itself: constraint, wrong type, too big.
pub(super) fn rejection(error: &sqlx::Error) -> Option<String> {
    let database = error.as_database_error()?;
    let code: u32 = database.code()?.parse().ok()?;
    const TOO_BIG: u32 = 18;
    const CONSTRAINT: u32 = 19;
    const MISMATCH: u32 = 20;
    matches!(code & 0xff, TOO_BIG | CONSTRAINT | MISMATCH).then(|| database.message().to_owned())
}
