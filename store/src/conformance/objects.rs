//! One object at a time: writing, reading, deleting.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::{Fixture, assert_not_found, key, listed, pattern};

/// What is put is what is read, by every way of reading.
pub async fn an_object_reads_as_written(fixture: &Fixture) {
    let (store, key) = (&fixture.store, key("raw/j1/segment_00000"));
    let bytes = pattern(1000, 0);
    store.put(&key, bytes.clone()).await.unwrap();
    assert_eq!(store.get(&key).await.unwrap(), bytes);
    assert_eq!(
        store.get_range(&key, 10..20).await.unwrap(),
        bytes.slice(10..20)
    );
    let meta = store.head(&key).await.unwrap();
    assert_eq!((meta.key, meta.size), (key.clone(), 1000));
    let page = store.list("", None, 10).await.unwrap();
    assert_eq!(
        page.iter()
            .map(|meta| (&meta.key, meta.size))
            .collect::<Vec<_>>(),
        [(&key, 1000)]
    );
}

/// An object without bytes exists.
pub async fn an_empty_object_is_an_object(fixture: &Fixture) {
    let (store, key, new) = (&fixture.store, key("a/empty"), key("a/new"));
    store.put(&key, Bytes::new()).await.unwrap();
    store.put_new(&new, Bytes::new()).await.unwrap();
    store
        .put_file(&super::key("a/file"), &fixture.file("empty", b""))
        .await
        .unwrap();
    assert_eq!(store.get(&key).await.unwrap(), Bytes::new());
    assert_eq!(store.head(&key).await.unwrap().size, 0);
    let file = fixture.path("fetched");
    store.get_file(&new, &file).await.unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"");
    assert_eq!(listed(&**store, "a/").await, ["a/empty", "a/file", "a/new"]);
}

/// An object just longer than the least part of a multipart upload is whole, by every way of
/// writing.
pub async fn a_large_object_is_whole(fixture: &Fixture) {
    let store = &fixture.store;
    let len = 5 * 1024 * 1024 + 1;
    let bytes = pattern(len, 1);
    let keys = [
        key("large/put"),
        key("large/put_new"),
        key("large/put_file"),
    ];
    store.put(&keys[0], bytes.clone()).await.unwrap();
    store.put_new(&keys[1], bytes.clone()).await.unwrap();
    store
        .put_file(&keys[2], &fixture.file("large", &bytes))
        .await
        .unwrap();
    for key in &keys {
        assert!(store.get(key).await.unwrap() == bytes, "`{key}` differs");
        assert_eq!(store.head(key).await.unwrap().size, len as u64);
        let tail = store
            .get_range(key, len as u64 - 3..len as u64)
            .await
            .unwrap();
        assert_eq!(tail, bytes.slice(len - 3..));
        let file = fixture.path("fetched");
        store.get_file(key, &file).await.unwrap();
        assert!(std::fs::read(&file).unwrap() == bytes, "`{key}` differs");
    }
}

/// Not when the file that it was made from was. Looking it up and listing it say the same.
pub async fn an_object_knows_when_it_was_written(fixture: &Fixture) {
    const CLOCKS_DIFFER_BY: Duration = Duration::from_secs(60);
    let store = &fixture.store;
    let file = fixture.file("old", b"from a file");
    let day = Duration::from_secs(24 * 60 * 60);
    std::fs::File::open(&file)
        .unwrap()
        .set_modified(SystemTime::now() - day)
        .unwrap();
    store.put(&key("a/put"), "put".into()).await.unwrap();
    store.put_new(&key("a/new"), "new".into()).await.unwrap();
    store.put_file(&key("a/file"), &file).await.unwrap();
    let listed = store.list("a/", None, 10).await.unwrap();
    assert_eq!(listed.len(), 3);
    for meta in listed {
        assert_eq!(store.head(&meta.key).await.unwrap(), meta);
        let (now, then) = (SystemTime::now(), meta.modified);
        assert!(
            then > now - CLOCKS_DIFFER_BY && then < now + CLOCKS_DIFFER_BY,
            "`{}` was written at {then:?}, it is {now:?}",
            meta.key
        );
    }
}

/// The last put wins, whatever the lengths.
pub async fn a_put_replaces(fixture: &Fixture) {
    let (store, key) = (&fixture.store, key("a/b"));
    for text in ["first", "the second, a longer one", "3"] {
        store.put(&key, text.into()).await.unwrap();
        assert_eq!(store.get(&key).await.unwrap(), text);
        assert_eq!(store.head(&key).await.unwrap().size, text.len() as u64);
    }
}

/// Putting the same bytes again changes nothing.
pub async fn put_is_idempotent(fixture: &Fixture) {
    let (store, key) = (&fixture.store, key("a/b"));
    for _ in 0..3 {
        store.put(&key, "same".into()).await.unwrap();
    }
    assert_eq!(store.get(&key).await.unwrap(), "same");
    assert_eq!(listed(&**store, "").await, ["a/b"]);
}

/// Every way of reading says so, also for what is only the beginning or the folder of a key.
pub async fn a_missing_object_is_not_found(fixture: &Fixture) {
    let store = &fixture.store;
    store.put(&key("there/is/one"), "x".into()).await.unwrap();
    for missing in [
        "missing",
        "there",
        "there/is",
        "there/is/on",
        "there/is/one/more",
    ] {
        let missing = key(missing);
        assert_not_found(store.get(&missing).await, &missing);
        assert_not_found(store.get_range(&missing, 0..10).await, &missing);
        assert_not_found(store.head(&missing).await, &missing);
        assert_not_found(
            store.get_file(&missing, &fixture.path("file")).await,
            &missing,
        );
    }
    assert_eq!(fixture.files(), 0);
}

/// What is gone, or never was, can be deleted, and nothing else goes with it.
pub async fn delete_is_idempotent(fixture: &Fixture) {
    let (store, gone, stays) = (&fixture.store, key("a/b/c"), key("a/b/c2"));
    store.put(&gone, "x".into()).await.unwrap();
    store.put(&stays, "y".into()).await.unwrap();
    for _ in 0..2 {
        store.delete(&gone).await.unwrap();
        assert_not_found(store.get(&gone).await, &gone);
    }
    for never in ["never", "a", "a/b", "a/b/c2/d"] {
        store.delete(&key(never)).await.unwrap();
    }
    assert_eq!(store.get(&stays).await.unwrap(), "y");
    assert_eq!(listed(&**store, "").await, ["a/b/c2"]);
}

/// A deleted key is free, also for a caller that wants to be its first.
pub async fn a_deleted_object_can_be_put_again(fixture: &Fixture) {
    let (store, key) = (&fixture.store, key("a/b/c"));
    for text in ["1", "2"] {
        store.put_new(&key, text.into()).await.unwrap();
        assert_eq!(store.get(&key).await.unwrap(), text);
        store.delete(&key).await.unwrap();
    }
    assert_eq!(listed(&**store, "").await, Vec::<String>::new());
}

/// Keys that are alike are still others.
pub async fn keys_differ_by_case_and_by_every_character(fixture: &Fixture) {
    let store = &fixture.store;
    let names = [
        "k/A", "k/B", "k/a", "k/a+b", "k/a-b", "k/a.b", "k/a=b", "k/a_b", "k/ab",
    ];
    for name in names {
        store.put(&key(name), name.into()).await.unwrap();
    }
    for name in names {
        assert_eq!(store.get(&key(name)).await.unwrap(), name);
    }
    assert_eq!(listed(&**store, "k/").await, {
        let mut sorted = names.map(str::to_owned);
        sorted.sort();
        sorted
    });
}
