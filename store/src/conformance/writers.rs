//! Writers against writers, readers against writers, and files given away.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{Fixture, assert_already_exists, assert_not_found, key, listed, pattern};
use crate::StoreError;

/// The first one stays, whoever put it and however.
pub async fn put_new_fails_where_an_object_is(fixture: &Fixture) {
    let (store, first, put) = (&fixture.store, key("a/first"), key("a/put"));
    store.put_new(&first, "first".into()).await.unwrap();
    assert_already_exists(store.put_new(&first, "second".into()).await, &first);
    assert_already_exists(store.put_new(&first, "first".into()).await, &first);
    assert_eq!(store.get(&first).await.unwrap(), "first");
    store.put(&put, "first".into()).await.unwrap();
    assert_already_exists(store.put_new(&put, "second".into()).await, &put);
    assert_eq!(store.get(&put).await.unwrap(), "first");
}

/// Exactly one of many racing writers is told that it won, and it is its object that stays.
pub async fn of_eight_writers_one_wins(fixture: &Fixture) {
    for round in 0..10 {
        let key = key(&format!("race/{round}/marker.json"));
        let mut writers = JoinSet::new();
        for writer in 0..8_u8 {
            let (store, key) = (Arc::clone(&fixture.store), key.clone());
            writers.spawn(async move {
                match store
                    .put_new(&key, pattern(1000 + usize::from(writer), writer))
                    .await
                {
                    Ok(()) => Some(writer),
                    Err(StoreError::AlreadyExists(_)) => {
                        assert!(store.get(&key).await.is_ok(), "a loser can see who won");
                        None
                    }
                    Err(error) => panic!("{error:?}"),
                }
            });
        }
        let winners: Vec<u8> = writers.join_all().await.into_iter().flatten().collect();
        assert_eq!(winners.len(), 1, "{winners:?}");
        let winner = winners[0];
        let bytes = fixture.store.get(&key).await.unwrap();
        assert_eq!(bytes, pattern(1000 + usize::from(winner), winner));
    }
}

/// While an object is replaced again and again, whoever reads gets one of the objects, whole.
pub async fn readers_never_see_a_part(fixture: &Fixture) {
    let key = key("a/changing");
    let versions = [pattern(300_000, 1), pattern(70_000, 2)];
    fixture.store.put(&key, versions[0].clone()).await.unwrap();
    let mut tasks = JoinSet::new();
    let (store, name, values) = (Arc::clone(&fixture.store), key.clone(), versions.clone());
    tasks.spawn(async move {
        for round in 0..20 {
            store.put(&name, values[round % 2].clone()).await.unwrap();
        }
    });
    for reader in 0..2 {
        let (store, name, values) = (Arc::clone(&fixture.store), key.clone(), versions.clone());
        let file = fixture.path(&format!("reader-{reader}"));
        tasks.spawn(async move {
            for _ in 0..20 {
                let bytes = store.get(&name).await.unwrap();
                assert!(values.contains(&bytes), "got {} bytes", bytes.len());
                store.get_file(&name, &file).await.unwrap();
                let bytes = Bytes::from(std::fs::read(&file).unwrap());
                assert!(
                    values.contains(&bytes),
                    "got a file of {} bytes",
                    bytes.len()
                );
                let size = store.head(&name).await.unwrap().size;
                assert!(
                    values.iter().any(|value| value.len() as u64 == size),
                    "{size}"
                );
            }
        });
    }
    tasks.join_all().await;
}

/// A put whose future is dropped happens or does not; no listing and no reader sees a part of it.
pub async fn a_put_given_up_leaves_all_or_nothing(fixture: &Fixture) {
    let store = &fixture.store;
    let bytes = pattern(2_000_000, 3);
    for round in 0..10_u64 {
        let key = key(&format!("dropped/{round}"));
        let give_up_after = Duration::from_micros(round * 300);
        let put = store.put(&key, bytes.clone());
        let finished = tokio::time::timeout(give_up_after, put).await.is_ok();
        for meta in store.list("dropped/", None, 100).await.unwrap() {
            assert_eq!(meta.size, bytes.len() as u64);
        }
        match store.get(&key).await {
            Ok(read) => assert!(read == bytes, "got {} bytes", read.len()),
            Err(StoreError::NotFound(_)) => assert!(!finished, "a finished put was lost"),
            Err(error) => panic!("{error:?}"),
        }
        // The key is not spoilt for those who come later.
        store.put(&key, bytes.clone()).await.unwrap();
        assert!(store.get(&key).await.unwrap() == bytes);
    }
}

/// The object holds the file's bytes.
pub async fn put_file_stores_the_file(fixture: &Fixture) {
    let (store, key) = (&fixture.store, key("a/b/c.mp4"));
    let bytes = pattern(100_000, 4);
    store
        .put_file(&key, &fixture.file("out", &bytes))
        .await
        .unwrap();
    assert_eq!(store.get(&key).await.unwrap(), bytes);
    assert_eq!(listed(&**store, "").await, ["a/b/c.mp4"]);
}

/// A file replaces what is there, and is replaced.
pub async fn put_file_replaces(fixture: &Fixture) {
    let (store, key) = (&fixture.store, key("a/b"));
    store.put(&key, "before".into()).await.unwrap();
    store
        .put_file(&key, &fixture.file("one", b"first file"))
        .await
        .unwrap();
    assert_eq!(store.get(&key).await.unwrap(), "first file");
    store
        .put_file(&key, &fixture.file("two", b"2"))
        .await
        .unwrap();
    assert_eq!(store.get(&key).await.unwrap(), "2");
    store.put(&key, "after".into()).await.unwrap();
    assert_eq!(store.get(&key).await.unwrap(), "after");
}

/// A file that is not there is an error other than a missing object, and changes nothing.
pub async fn put_file_without_a_file_leaves_nothing(fixture: &Fixture) {
    let (store, key, old) = (&fixture.store, key("a/b"), key("a/old"));
    store.put(&old, "old".into()).await.unwrap();
    for key in [&key, &old] {
        match store.put_file(key, &fixture.path("no-such-file")).await {
            Err(StoreError::Backend { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_not_found(store.get(&key).await, &key);
    assert_eq!(store.get(&old).await.unwrap(), "old");
    assert_eq!(listed(&**store, "").await, ["a/old"]);
}

/// A file that may share storage with an object can be given back, under the same name and
/// another.
pub async fn put_file_of_a_fetched_file_stores_it(fixture: &Fixture) {
    let (store, key, other) = (&fixture.store, key("a/b"), key("a/c"));
    store.put(&key, "bytes".into()).await.unwrap();
    let file = fixture.path("fetched");
    for target in [&key, &other] {
        store.get_file(&key, &file).await.unwrap();
        store.put_file(target, &file).await.unwrap();
        assert_eq!(store.get(target).await.unwrap(), "bytes");
    }
    store.delete(&key).await.unwrap();
    assert_eq!(store.get(&other).await.unwrap(), "bytes");
    assert_eq!(listed(&**store, "").await, ["a/c"]);
}

/// Objects that come and go in the same folders do not make each other fail.
pub async fn writers_and_deleters_do_not_disturb_each_other(fixture: &Fixture) {
    let mut tasks = JoinSet::new();
    for task in 0..4 {
        let (store, key) = (
            Arc::clone(&fixture.store),
            key(&format!("deep/er/folder/{task}")),
        );
        tasks.spawn(async move {
            for _ in 0..20 {
                store.put(&key, "x".into()).await.unwrap();
                store.list("deep/", None, 10).await.unwrap();
                assert_eq!(store.get(&key).await.unwrap(), "x");
                store.delete(&key).await.unwrap();
                store.put_new(&key, "y".into()).await.unwrap();
                store.delete(&key).await.unwrap();
                assert_not_found(store.get(&key).await, &key);
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(listed(&*fixture.store, "").await, Vec::<String>::new());
}

/// Also right after they were written, by every way of writing.
pub async fn clearing_what_is_unfinished_touches_no_object(fixture: &Fixture) {
    let store = &fixture.store;
    let names = ["a/file", "a/new", "a/put"];
    store.put_new(&key(names[1]), "x".into()).await.unwrap();
    store.put(&key(names[2]), "x".into()).await.unwrap();
    for age in [Duration::MAX, Duration::from_secs(60 * 60), Duration::ZERO] {
        let file = fixture.file("file", b"x");
        store.put_file(&key(names[0]), &file).await.unwrap();
        assert_eq!(store.clear_unfinished(age).await.unwrap(), 0, "{age:?}");
        assert_eq!(listed(&**store, "").await, names);
    }
    for name in names {
        assert_eq!(store.get(&key(name)).await.unwrap(), "x");
    }
}
