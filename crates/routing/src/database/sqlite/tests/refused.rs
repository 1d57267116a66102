//! Rows that the database refuses for themselves, and tables that do not fit.

use super::*;

#[tokio::test]
async fn a_row_that_breaks_a_constraint_stands_alone() {
    let file = file();
    let database = file.open().await;
    load(&database, &["k:1"]).await;
    let mut outside = file.outside().await;
    outside
        .execute(
            "CREATE TRIGGER no_poison BEFORE INSERT ON quorate_k WHEN NEW.value = x'bad0'
             BEGIN SELECT RAISE(ABORT, 'poison'); END;",
        )
        .await
        .unwrap();
    let poison = Value {
        kind: "string".into(),
        bytes: Bytes::from_static(&[0xba, 0xd0]),
        expires_at: None,
    };
    let batch = [
        write("k:1", at(1, 1), text("1")),
        write("k:2", at(1, 1), Some(poison)),
        write("k:3", at(1, 1), text("3")),
    ];
    let outcomes = store(&database, &batch).await;
    let rejected = Outcome::Rejected("poison".to_owned());
    assert_eq!(outcomes, [Outcome::Landed, rejected, Outcome::Landed]);
    assert_eq!(
        load(&database, &["k:1", "k:2", "k:3"]).await,
        [text("1"), None, text("3")]
    );
}

async fn trigger(outside: &mut SqliteConnection, when: &str, raise: &str) {
    let sql = format!(
        "CREATE TRIGGER poison BEFORE INSERT ON quorate_k WHEN {when} BEGIN SELECT {raise}; END;"
    );
    outside.execute(AssertSqlSafe(sql)).await.unwrap();
}

#[tokio::test]
async fn a_row_that_ends_the_transaction_takes_no_other_with_it() {
    let file = file();
    let database = file.open().await;
    load(&database, &["k:1"]).await;
    let mut outside = file.outside().await;
    trigger(
        &mut outside,
        "NEW.key = CAST('k:2' AS BLOB)",
        "RAISE(ROLLBACK, 'out')",
    )
    .await;
    let rows = ["k:1", "k:2", "k:3"].map(|key| write(key, at(1, 1), text("v")));
    let rejected = Outcome::Rejected("out".to_owned());

    let outcomes = database.store(&rows, Together::All, soon()).await.unwrap();
    assert_eq!(outcomes, [Outcome::Landed, rejected.clone()]);
    let keys = ["k:1", "k:2", "k:3"];
    assert_eq!(load(&database, &keys).await, [None, None, None], "together");

    let outcomes = store(&database, &rows).await;
    assert_eq!(outcomes, [Outcome::Landed, rejected, Outcome::Landed]);
    assert_eq!(load(&database, &keys).await, [text("v"), None, text("v")]);
}

#[tokio::test]
async fn a_row_that_is_ignored_is_refused_for_itself() {
    let file = file();
    let database = file.open().await;
    load(&database, &["k:1"]).await;
    let mut outside = file.outside().await;
    trigger(
        &mut outside,
        "NEW.key = CAST('k:1' AS BLOB)",
        "RAISE(IGNORE)",
    )
    .await;
    let rows = ["k:1", "k:2"].map(|key| write(key, at(1, 1), text("v")));
    let outcomes = store(&database, &rows).await;
    assert!(matches!(outcomes[0], Outcome::Rejected(_)), "{outcomes:?}");
    assert_eq!(outcomes[1], Outcome::Landed);
}

#[tokio::test]
async fn a_table_of_another_shape_is_named_at_once() {
    for columns in [
        "id INTEGER",
        "key BLOB, gen, version, kind, value, expires_at",
    ] {
        let file = file();
        let database = file.open().await;
        let create = AssertSqlSafe(format!("CREATE TABLE quorate_k ({columns})"));
        file.outside().await.execute(create).await.unwrap();
        let why = database.make_table(&definition()).await.unwrap_err();
        assert!(why.starts_with("table quorate_k: "), "{why}");
    }
    let file = file();
    let database = file.open().await;
    for _ in 0..2 {
        assert_eq!(database.make_table(&definition()).await, Ok(()));
    }
}
