//! The statements that write one row, inside a transaction.

use std::sync::Arc;

use bytes::Bytes;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Executor};

use super::row::{integer, rejection, stamp, value};
use crate::database::blob::Statements;
use crate::database::{Outcome, Settled, Stamp, Write};

/// Writes one row, if the guard lets it.
pub(super) async fn store_row(
    connection: &mut SqliteConnection,
    statements: &Statements,
    write: &Write,
) -> Result<Outcome, sqlx::Error> {
    let kept = write.value.as_ref();
    let landed = sqlx::query(AssertSqlSafe(Arc::clone(&statements.store)))
        .bind(&write.key[..])
        .bind(i64::from(write.stamp.generation))
        .bind(integer(write.stamp.version.as_u64()))
        .bind(kept.map(|value| &*value.kind))
        .bind(kept.map(|value| &value.bytes[..]))
        .bind(kept.and_then(|value| value.expires_at).map(integer))
        .fetch_all(&mut *connection)
        .await;
    match landed {
        Ok(rows) if !rows.is_empty() => return Ok(Outcome::Landed),
        Ok(_) => {}
        Err(error) => return rejection(&error).map(Outcome::Rejected).ok_or(error),
    }
    // No row changed, which is never success by itself: the row's stamp says what happened.
    let row = sqlx::query(AssertSqlSafe(Arc::clone(&statements.stamp)))
        .bind(&write.key[..])
        .fetch_optional(connection)
        .await?;
    let found = row.map(|row| stamp(&row)).transpose()?;
    Ok(match found {
        Some(found) if found == write.stamp => Outcome::AlreadyExactly,
        Some(found) if found > write.stamp => Outcome::Refused(found),
        _ => Outcome::Rejected("the database ignores the row".to_owned()),
    })
}

/// Whether the transaction is over, as a trigger's `RAISE(ROLLBACK)` leaves it: what runs after it
/// would stand by itself. If so, there is a new one afterwards, of which nothing is to be kept.
pub(super) async fn has_ended(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    // SQLite tells nobody but its own interface in C; but it has no transaction in another.
    match connection.execute("BEGIN").await {
        Ok(_) => Ok(true),
        Err(sqlx::Error::Database(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Raises the stamp of one row, and reads it.
pub(super) async fn settle_row(
    connection: &mut SqliteConnection,
    statements: &Statements,
    key: &Bytes,
    fresh: Stamp,
) -> Result<Settled, sqlx::Error> {
    let raised = sqlx::query(AssertSqlSafe(Arc::clone(&statements.settle)))
        .bind(&key[..])
        .bind(i64::from(fresh.generation))
        .bind(integer(fresh.version.as_u64()))
        .fetch_all(&mut *connection)
        .await?;
    if let Some(row) = raised.first() {
        return Ok(Ok(value(row)?));
    }
    let row = sqlx::query(AssertSqlSafe(Arc::clone(&statements.row)))
        .bind(&key[..])
        .fetch_one(connection)
        .await?;
    let found = stamp(&row)?;
    Ok(if found == fresh {
        Ok(value(&row)?)
    } else {
        Err(found)
    })
}
