//! The one row of `quorate_store`: whose the database is. Looked at on each new connection, and in
//! each transaction that writes.

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};

use crate::database::Ownership;

/// Why a store is not ours to use.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClaimError {
    #[error(
        "the store belongs to another cluster; start with take_over = \"{cluster}\" if this one \
         shall own it from now on"
    )]
    Owned { cluster: String },
    #[error("this is another database: its id is {found}, and the cluster knows {known}")]
    Another { found: String, known: String },
    #[error("{0}")]
    Database(#[from] sqlx::Error),
}

/// Makes the table if it is missing, and takes the store if it is free, ours, or to be taken over.
pub(super) async fn claim(
    connection: &mut SqliteConnection,
    cluster: &str,
    known: Option<&Ownership>,
    take_over: Option<&str>,
    drawn: &str,
) -> Result<Ownership, ClaimError> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query(
        "CREATE TABLE IF NOT EXISTS quorate_store \
         (id TEXT NOT NULL, cluster TEXT NOT NULL, gen INTEGER NOT NULL)",
    )
    .execute(&mut *transaction)
    .await?;
    let present = read(&mut transaction).await?;
    let claimed = decide(present.as_ref(), cluster, known, take_over, drawn)?;
    if present.as_ref() != Some(&claimed) {
        let text = match present {
            None => "INSERT INTO quorate_store (id, cluster, gen) VALUES (?1, ?2, ?3)",
            Some(_) => "UPDATE quorate_store SET cluster = ?2, gen = ?3 WHERE id = ?1",
        };
        sqlx::query(text)
            .bind(&claimed.id)
            .bind(&claimed.cluster)
            .bind(i64::from(claimed.generation))
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(claimed)
}

fn decide(
    present: Option<&Ownership>,
    cluster: &str,
    known: Option<&Ownership>,
    take_over: Option<&str>,
    drawn: &str,
) -> Result<Ownership, ClaimError> {
    let found = present.map_or(drawn, |row| row.id.as_str());
    if let Some(known) = known.filter(|known| known.id != found) {
        let known = known.id.clone();
        // A new, empty file where the cluster knows a store: the database was lost or moved.
        let found = present.map_or_else(|| "none, it is empty".to_owned(), |row| row.id.clone());
        return Err(ClaimError::Another { found, known });
    }
    match present {
        None => Ok(Ownership {
            id: drawn.to_owned(),
            cluster: cluster.to_owned(),
            generation: 1,
        }),
        Some(row) if row.cluster == cluster => Ok(row.clone()),
        // From that cluster, and so once: whoever takes it next must name this one.
        Some(row) if take_over == Some(row.cluster.as_str()) => Ok(Ownership {
            id: row.id.clone(),
            cluster: cluster.to_owned(),
            generation: row.generation + 1,
        }),
        Some(row) => Err(ClaimError::Owned {
            cluster: row.cluster.clone(),
        }),
    }
}

/// Why the store is not this cluster's any more; none if it is.
pub(super) async fn loss(
    connection: &mut SqliteConnection,
    owned: &Ownership,
) -> Result<Option<String>, sqlx::Error> {
    let found = read(connection).await?;
    if found.as_ref() == Some(owned) {
        return Ok(None);
    }
    let now = match found {
        Some(other) if other.id != owned.id => format!("it is another one, {}", other.id),
        Some(other) => format!(
            "cluster {} has taken it over, as owner number {}",
            other.cluster, other.generation
        ),
        None => "it says of no cluster that it is".to_owned(),
    };
    Ok(Some(format!(
        "the store is no longer this cluster's: {now}"
    )))
}

async fn read(connection: &mut SqliteConnection) -> Result<Option<Ownership>, sqlx::Error> {
    let rows = sqlx::query("SELECT id, cluster, gen FROM quorate_store")
        .fetch_all(connection)
        .await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let generation: i64 = row.try_get("gen")?;
    Ok(Some(Ownership {
        id: row.try_get("id")?,
        cluster: row.try_get("cluster")?,
        generation: u32::try_from(generation).unwrap_or(u32::MAX),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cluster: &str, generation: u32) -> Ownership {
        Ownership {
            id: "s1".into(),
            cluster: cluster.into(),
            generation,
        }
    }

    #[test]
    fn a_store_is_taken_when_free_or_ours_or_told_to() {
        let new = decide(None, "ours", None, None, "s1").unwrap();
        assert_eq!(new, row("ours", 1));
        let theirs = row("theirs", 3);
        assert_eq!(
            decide(Some(&row("ours", 3)), "ours", None, None, "-").unwrap(),
            row("ours", 3)
        );
        let refused = decide(Some(&theirs), "ours", None, None, "-")
            .unwrap_err()
            .to_string();
        assert!(refused.contains("take_over = \"theirs\""), "{refused}");
        assert!(decide(Some(&theirs), "ours", None, Some("s1"), "-").is_err());
        let taken = decide(Some(&theirs), "ours", None, Some("theirs"), "-").unwrap();
        assert_eq!(taken, row("ours", 4), "greater than all stamps before");
    }

    #[test]
    fn another_database_than_the_cluster_knows_is_refused() {
        let known = Ownership {
            id: "s0".into(),
            ..row("ours", 1)
        };
        assert!(decide(Some(&row("ours", 1)), "ours", Some(&known), None, "-").is_err());
        assert!(
            decide(None, "ours", Some(&known), None, "s1").is_err(),
            "an empty file"
        );
    }
}
