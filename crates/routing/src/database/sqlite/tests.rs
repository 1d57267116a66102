mod owned;
mod refused;

use sqlx::Executor;

use super::*;
use crate::keyspace::Mapping;
use crate::quantity::Span;
use cluster::clock::unix_ms;
use cluster::{Epoch, Version};

struct File {
    folder: tempfile::TempDir,
    settings: StoreSettings,
}

fn file() -> File {
    let folder = tempfile::tempdir().unwrap();
    let settings = StoreSettings {
        url: format!("sqlite://{}", folder.path().join("quorate.db").display()),
        max_connections: 4,
        open_timeout: Span::from_secs(5),
        tombstone_keep: Span::from_secs(86_400),
        take_over: None,
    };
    File { folder, settings }
}

impl File {
    async fn open(&self) -> SqliteStore {
        SqliteStore::open(&self.settings, "ours", None, "s1")
            .await
            .unwrap()
    }

    /// A connection from outside, as a user of the database has one.
    async fn outside(&self) -> SqliteConnection {
        let path = self.settings.url.strip_prefix("sqlite://").unwrap();
        SqliteConnection::connect_with(
            &options(Path::new(path), true, Duration::from_secs(5)).unwrap(),
        )
        .await
        .unwrap()
    }
}

fn definition() -> Definition {
    Definition {
        id: 1,
        prefix: "k:".into(),
        store: "main".into(),
        mapping: Mapping::default(),
        table: "quorate_k".into(),
    }
}

fn at(epoch: u32, seq: u64) -> Stamp {
    Stamp {
        generation: 1,
        version: Version::new(Epoch(epoch), seq),
    }
}

fn text(bytes: &'static str) -> Option<Value> {
    let bytes = Bytes::from_static(bytes.as_bytes());
    Some(Value {
        kind: "string".into(),
        bytes,
        expires_at: None,
    })
}

fn write(key: &'static str, stamp: Stamp, value: Option<Value>) -> Write {
    Write {
        definition: definition().into(),
        key: Bytes::from_static(key.as_bytes()),
        stamp,
        value,
    }
}

fn soon() -> u64 {
    unix_ms() + 20_000
}

async fn store(database: &SqliteStore, writes: &[Write]) -> Vec<Outcome> {
    database
        .store(writes, Together::Each, soon())
        .await
        .unwrap()
}

async fn load(database: &SqliteStore, keys: &[&'static str]) -> Vec<Option<Value>> {
    let keys: Vec<_> = keys
        .iter()
        .map(|key| Bytes::from_static(key.as_bytes()))
        .collect();
    database.load(&definition(), &keys, soon()).await.unwrap()
}

/// Every change of a row, in order: `key=value@gen.version`.
async fn record_changes(outside: &mut SqliteConnection) {
    outside
        .execute(
            "CREATE TABLE changes (line TEXT);
             CREATE TRIGGER inserted AFTER INSERT ON quorate_k BEGIN INSERT INTO changes VALUES (
               NEW.key || '=' || coalesce(NEW.value, 'gone') || '@' || (NEW.version & 255)); END;
             CREATE TRIGGER updated AFTER UPDATE ON quorate_k BEGIN INSERT INTO changes VALUES (
               NEW.key || '=' || coalesce(NEW.value, 'gone') || '@' || (NEW.version & 255)); END;",
        )
        .await
        .unwrap();
}

async fn changes(outside: &mut SqliteConnection) -> Vec<String> {
    sqlx::query_scalar("SELECT line FROM changes")
        .fetch_all(outside)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_row_takes_only_greater_stamps_and_tells_them_apart() {
    let file = file();
    // Two nodes, in turn.
    let (a, b) = (file.open().await, file.open().await);
    assert_eq!(load(&a, &["k:1"]).await, [None]);
    let mut outside = file.outside().await;
    record_changes(&mut outside).await;

    let first = write("k:1", at(1, 5), text("old"));
    assert_eq!(
        store(&a, std::slice::from_ref(&first)).await,
        [Outcome::Landed]
    );
    assert_eq!(
        store(&b, std::slice::from_ref(&first)).await,
        [Outcome::AlreadyExactly]
    );
    assert_eq!(
        store(&b, &[write("k:1", at(2, 1), text("new"))]).await,
        [Outcome::Landed]
    );
    assert_eq!(store(&a, &[first]).await, [Outcome::Refused(at(2, 1))]);
    assert_eq!(
        store(&a, &[write("k:1", at(1, 9), None)]).await,
        [Outcome::Refused(at(2, 1))]
    );
    assert_eq!(
        store(&b, &[write("k:1", at(2, 2), None)]).await,
        [Outcome::Landed]
    );
    assert_eq!(
        load(&a, &["k:1", "k:2"]).await,
        [None, None],
        "a tombstone is no value"
    );
    assert_eq!(
        changes(&mut outside).await,
        ["k:1=old@5", "k:1=new@1", "k:1=gone@2"]
    );
}

#[tokio::test]
async fn many_keys_are_read_in_the_order_asked() {
    let file = file();
    let database = file.open().await;
    let names: Vec<_> = (0..600).map(|n| Bytes::from(format!("k:{n}"))).collect();
    let writes: Vec<_> = names
        .iter()
        .step_by(2)
        .map(|key| Write {
            definition: definition().into(),
            key: key.clone(),
            stamp: at(1, 1),
            value: Some(Value {
                kind: "string".into(),
                bytes: key.clone(),
                expires_at: None,
            }),
        })
        .collect();
    assert!(
        store(&database, &writes)
            .await
            .iter()
            .all(Outcome::is_there)
    );
    let rows = database.load(&definition(), &names, soon()).await.unwrap();
    for (at, (row, name)) in rows.iter().zip(&names).enumerate() {
        let expected = (at % 2 == 0).then_some(name);
        assert_eq!(row.as_ref().map(|value| &value.bytes), expected);
    }
}

#[tokio::test]
async fn settling_raises_the_stamp_and_refuses_what_was_on_its_way() {
    let file = file();
    let database = file.open().await;
    store(&database, &[write("k:1", at(1, 5), text("there"))]).await;
    let keys = ["k:1", "k:2"].map(|key| (Bytes::from_static(key.as_bytes()), at(1, 8)));
    let rows = database.settle(&definition(), &keys, soon()).await.unwrap();
    assert_eq!(rows, [Ok(text("there")), Ok(None)]);
    for key in ["k:1", "k:2"] {
        let late = store(&database, &[write(key, at(1, 7), text("late"))]).await;
        assert_eq!(late, [Outcome::Refused(at(1, 8))], "{key}");
    }
    // The same barrier again, its answer having been lost, reads; a smaller one is told so.
    let rows = database.settle(&definition(), &keys, soon()).await.unwrap();
    assert_eq!(rows, [Ok(text("there")), Ok(None)]);
    let old = [(Bytes::from_static(b"k:1"), at(1, 6))];
    let rows = database.settle(&definition(), &old, soon()).await.unwrap();
    assert_eq!(rows, [Err(at(1, 8))]);
}

#[tokio::test]
async fn one_row_refused_undoes_what_belongs_together_and_nothing_else() {
    let file = file();
    let database = file.open().await;
    store(&database, &[write("k:2", at(2, 1), text("two"))]).await;
    let both = [
        write("k:1", at(1, 9), text("1")),
        write("k:2", at(1, 9), text("2")),
    ];
    let outcomes = database.store(&both, Together::All, soon()).await.unwrap();
    assert_eq!(outcomes, [Outcome::Landed, Outcome::Refused(at(2, 1))]);
    assert_eq!(load(&database, &["k:1", "k:2"]).await, [None, text("two")]);
    let outcomes = database.store(&both, Together::Each, soon()).await.unwrap();
    assert_eq!(outcomes, [Outcome::Landed, Outcome::Refused(at(2, 1))]);
    assert_eq!(
        load(&database, &["k:1", "k:2"]).await,
        [text("1"), text("two")]
    );
}

#[tokio::test]
async fn nothing_starts_after_its_deadline() {
    let file = file();
    let database = file.open().await;
    let late = write("k:1", at(1, 1), text("late"));
    let past = unix_ms() - 1;
    let result = database.store(&[late], Together::Each, past).await;
    assert!(matches!(result, Err(Failure::NotDone(_))), "{result:?}");
    assert_eq!(load(&database, &["k:1"]).await, [None]);
}

#[tokio::test]
async fn a_locked_file_is_an_answer_in_time_and_nothing_lands_afterwards() {
    let file = file();
    let database = file.open().await;
    load(&database, &["k:1"]).await;
    let mut outside = file.outside().await;
    outside.execute("BEGIN IMMEDIATE").await.unwrap();
    let blocked = write("k:1", at(1, 1), text("blocked"));
    let result = database
        .store(
            std::slice::from_ref(&blocked),
            Together::Each,
            unix_ms() + 2_000,
        )
        .await;
    let Err(Failure::NotDone(why)) = result else {
        panic!("{result:?}")
    };
    assert!(why.contains("locked"), "{why}");
    assert_eq!(load(&database, &["k:1"]).await, [None], "reads go on");

    // The lock is gone in time: the write waits for it and lands.
    let (outcome, _) = tokio::join!(store(&database, std::slice::from_ref(&blocked)), async {
        outside.execute("COMMIT").await.unwrap()
    });
    assert_eq!(outcome, [Outcome::Landed]);
}

#[tokio::test]
async fn two_pools_write_at_once_and_no_row_goes_back() {
    let file = file();
    let (a, b) = (file.open().await, file.open().await);
    load(&a, &["k:1"]).await;
    let mut outside = file.outside().await;
    record_changes(&mut outside).await;
    let writer = async |database: &SqliteStore, odd: u64| {
        for seq in (odd..60).step_by(2) {
            store(database, &[write("k:1", at(1, seq), text("x"))]).await;
        }
    };
    tokio::join!(writer(&a, 1), writer(&b, 2));
    let stamps: Vec<u64> = changes(&mut outside)
        .await
        .iter()
        .map(|line| line.rsplit('@').next().unwrap().parse().unwrap())
        .collect();
    assert!(stamps.is_sorted(), "{stamps:?}");
    assert_eq!(stamps.last(), Some(&59));
}

#[tokio::test]
async fn tombstones_and_rows_past_their_time_are_collected_late() {
    let mut file = file();
    file.settings.tombstone_keep = Span::from_millis(0);
    let eager = file.open().await;
    file.settings.tombstone_keep = Span::from_secs(86_400);
    let patient = file.open().await;
    let ended = Value {
        expires_at: Some(unix_ms() - 1_000),
        ..text("ended").unwrap()
    };
    let lives = Value {
        expires_at: Some(unix_ms() + 60_000),
        ..text("lives").unwrap()
    };
    let rows = [
        write("k:1", at(1, 1), None),
        write("k:2", at(1, 1), Some(ended)),
        write("k:3", at(1, 1), Some(lives.clone())),
        write("k:4", at(1, 1), text("stays")),
    ];
    store(&eager, &rows).await;
    assert_eq!(patient.collect(&definition(), 100, soon()).await, Ok(0));
    // By the database's clock, which moves on in milliseconds.
    let written = unix_ms();
    while unix_ms() <= written {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        eager.collect(&definition(), 1, soon()).await,
        Ok(1),
        "a bounded step"
    );
    assert_eq!(eager.collect(&definition(), 100, soon()).await, Ok(1));
    let left = load(&eager, &["k:1", "k:2", "k:3", "k:4"]).await;
    assert_eq!(left, [None, None, Some(lives), text("stays")]);
}

/// While it runs, nobody else writes: it must not read the whole table.
#[tokio::test]
async fn what_is_collected_is_found_by_an_index() {
    let file = file();
    let database = file.open().await;
    load(&database, &["k:1"]).await;
    let plan = format!(
        "EXPLAIN QUERY PLAN {}",
        Statements::new("quorate_k").collect
    );
    let rows = sqlx::query(AssertSqlSafe(plan))
        .fetch_all(&mut file.outside().await)
        .await
        .unwrap();
    let details: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
    let is_scan = |detail: &String| detail.starts_with("SCAN");
    assert!(!details.iter().any(is_scan), "{details:?}");
}

#[tokio::test]
async fn one_load_brings_so_many_bytes_at_most() {
    let file = file();
    let database = file.open().await;
    let big = |key: &'static str, bytes: usize| {
        let value = Value {
            bytes: vec![0; bytes].into(),
            ..text("").unwrap()
        };
        write(key, at(1, 1), Some(value))
    };
    let rows = [big("k:1", LOAD_BYTES_MAX), big("k:2", 1), big("k:3", 1)];
    store(&database, &rows).await;
    let keys = |names: &[&'static str]| -> Vec<Bytes> {
        names
            .iter()
            .map(|name| Bytes::from_static(name.as_bytes()))
            .collect()
    };
    let (one, small, all) = (keys(&["k:1"]), keys(&["k:2", "k:3"]), keys(&["k:1", "k:2"]));
    let definition = definition();
    for fits in [&one, &small] {
        assert!(database.load(&definition, fits, soon()).await.is_ok());
    }
    let Err(Failure::NotDone(why)) = database.load(&definition, &all, soon()).await else {
        panic!("more than fits")
    };
    assert!(why.contains("over 64MiB"), "{why}");
}

#[tokio::test]
async fn a_barrier_on_a_row_past_its_time_counts_its_age_anew() {
    let mut file = file();
    file.settings.tombstone_keep = Span::from_secs(60);
    let database = file.open().await;
    load(&database, &["k:1"]).await;
    let mut outside = file.outside().await;
    let long_ago = (unix_ms() - 3_600_000) as i64;
    sqlx::query("INSERT INTO quorate_k VALUES (x'6b3a31', 1, 1, 'string', x'00', ?1)")
        .bind(long_ago)
        .execute(&mut outside)
        .await
        .unwrap();
    let keys = [(Bytes::from_static(b"k:1"), at(1, 2))];
    assert_eq!(
        database.settle(&definition(), &keys, soon()).await,
        Ok(vec![Ok(None)])
    );
    assert_eq!(
        database.collect(&definition(), 100, soon()).await,
        Ok(0),
        "the barrier stays"
    );
}
