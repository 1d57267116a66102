//! Whose a database is, and files that are not where they were.

use std::path::PathBuf;

use super::*;

#[tokio::test]
async fn another_cluster_is_refused_until_it_takes_over_and_then_wins() {
    let mut file = file();
    let ours = file.open().await;
    store(&ours, &[write("k:1", at(7, 900), text("old cluster"))]).await;
    let open =
        async |settings: &StoreSettings| SqliteStore::open(settings, "theirs", None, "s2").await;
    let refused = open(&file.settings).await.err().unwrap();
    assert!(refused.contains("take_over = \"ours\""), "{refused}");

    file.settings.take_over = Some("ours".into());
    let theirs = open(&file.settings).await.unwrap();
    assert_eq!(theirs.generation(), 2);
    let again = open(&file.settings).await.unwrap();
    assert_eq!(
        again.generation(),
        2,
        "it is theirs: nothing is left to take"
    );
    let first = Stamp {
        generation: 2,
        version: Version::new(Epoch(1), 1),
    };
    assert_eq!(
        store(&theirs, &[write("k:1", first, text("new"))]).await,
        [Outcome::Landed]
    );
    // Connections of the old cluster, open or new, find out before they write anything.
    let options = options(
        Path::new(&file.settings.url[9..]),
        true,
        Duration::from_secs(5),
    )
    .unwrap();
    let loss = Arc::new(Loss::default());
    let reopened = Pool::new(1, &options, &ours.ownership, &ours.place, &loss);
    let Err(Failure::NotDone(why)) = reopened.acquire(Duration::from_secs(3)).await else {
        panic!("a connection of the old cluster")
    };
    assert!(why.contains("no longer this cluster's"), "{why}");
    let late = [write("k:2", at(8, 1), text("late"))];
    let late = ours.store(&late, Together::Each, soon()).await;
    assert_eq!(late, Err(Failure::NotDone(why.clone())));
    assert_eq!(load(&theirs, &["k:2"]).await, [None]);
    assert_eq!(ours.lost().await, why);
}

#[tokio::test]
async fn a_take_over_is_noticed_without_a_statement() {
    let mut file = file();
    let ours = file.open().await;
    file.settings.take_over = Some("ours".into());
    let theirs = SqliteStore::open(&file.settings, "theirs", None, "s2").await;
    assert!(theirs.is_ok());
    let why = ours.lost().await;
    assert!(why.contains("cluster theirs has taken it over"), "{why}");
}

#[tokio::test]
async fn nothing_is_written_to_a_file_that_was_replaced() {
    let file = file();
    let database = file.open().await;
    store(&database, &[write("k:1", at(1, 1), text("a"))]).await;
    let path = PathBuf::from(&file.settings.url[9..]);
    let away = path.with_extension("away");
    std::fs::rename(&path, &away).unwrap();
    let second = [write("k:1", at(1, 2), text("b"))];
    let refused = database.store(&second, Together::Each, soon()).await;
    let Err(Failure::NotDone(why)) = refused else {
        panic!("written into a file that nobody finds: {refused:?}")
    };
    assert!(why.starts_with("the file is gone: "), "{why}");
    let keys = [Bytes::from_static(b"k:1")];
    let read = database.load(&definition(), &keys, soon()).await;
    assert_eq!(read, Err(Failure::NotDone(why.clone())));
    assert_eq!(database.lost().await, why);
    database.close().await;

    // A file that the cluster knows is not made anew; when it is back, it is the same.
    let known = Some(database.ownership());
    let open = || SqliteStore::open(&file.settings, "ours", known, "s3");
    let why = open().await.err().unwrap();
    assert!(why.contains("there is no such file"), "{why}");
    assert!(!path.exists());
    std::fs::rename(&away, &path).unwrap();
    let database = open().await.unwrap();
    assert_eq!(load(&database, &["k:1"]).await, [text("a")]);
    assert_eq!(store(&database, &second).await, [Outcome::Landed]);
}

#[tokio::test]
async fn a_folder_that_is_missing_is_not_made() {
    let mut file = file();
    let folder = file.folder.path().join("none");
    file.settings.url = format!("sqlite://{}", folder.join("quorate.db").display());
    let opened = SqliteStore::open(&file.settings, "ours", None, "s1").await;
    assert!(opened.err().unwrap().contains("no such folder"));
    assert!(!folder.exists());
}

#[tokio::test]
async fn another_file_than_the_known_one_is_refused() {
    let file = file();
    file.open().await.close().await;
    let known = Ownership {
        id: "s9".into(),
        cluster: "ours".into(),
        generation: 1,
    };
    let opened = SqliteStore::open(&file.settings, "ours", Some(&known), "s1").await;
    assert!(opened.err().unwrap().contains("another database"));
}
