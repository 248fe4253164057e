//! Files, ranges and listings.

use super::{Fixture, assert_not_found, key, listed, pattern};

/// The file is made, and nothing beside it.
pub async fn get_file_makes_a_file(fixture: &Fixture) {
    let (store, key) = (&fixture.store, key("a/b"));
    let bytes = pattern(100_000, 5);
    store.put(&key, bytes.clone()).await.unwrap();
    let file = fixture.path("file");
    store.get_file(&key, &file).await.unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
    assert_eq!(fixture.files(), 1);
}

/// What is at the place of the file is replaced, also by the same object again.
pub async fn get_file_replaces_a_file(fixture: &Fixture) {
    let (store, key) = (&fixture.store, key("a/b"));
    store.put(&key, "object".into()).await.unwrap();
    let file = fixture.file("file", b"something longer than the object");
    for _ in 0..2 {
        store.get_file(&key, &file).await.unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"object");
        assert_eq!(fixture.files(), 1);
    }
}

/// Where there is no object, or no place for the file, everything stays as it was.
pub async fn get_file_of_nothing_leaves_the_file(fixture: &Fixture) {
    let (store, missing, there) = (&fixture.store, key("a/b"), key("a/c"));
    let file = fixture.file("file", b"old");
    assert_not_found(store.get_file(&missing, &file).await, &missing);
    assert_eq!(std::fs::read(&file).unwrap(), b"old");
    store.put(&there, "x".into()).await.unwrap();
    let nowhere = fixture.path("no-such-folder").join("file");
    match store.get_file(&there, &nowhere).await {
        Err(crate::StoreError::Backend { .. }) => {}
        other => panic!("the object is there, the folder is not: {other:?}"),
    }
    assert_eq!(fixture.files(), 1);
}

/// Replacing or deleting an object does not change the files made from it.
pub async fn a_fetched_file_outlives_its_object(fixture: &Fixture) {
    let (store, key) = (&fixture.store, key("a/b"));
    store.put(&key, "first".into()).await.unwrap();
    let file = fixture.path("file");
    store.get_file(&key, &file).await.unwrap();
    store.put(&key, "second".into()).await.unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"first");
    store.delete(&key).await.unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"first");
    std::fs::remove_file(&file).unwrap();
}

/// A range that reaches past the end gives what there is.
pub async fn ranges_end_at_the_end(fixture: &Fixture) {
    let (store, key) = (&fixture.store, key("a/b"));
    store.put(&key, "0123456789".into()).await.unwrap();
    for (range, expected) in [
        (0..10, "0123456789"),
        (0..1, "0"),
        (3..7, "3456"),
        (7..11, "789"),
        (9..u64::MAX, "9"),
        (0..u64::MAX, "0123456789"),
    ] {
        assert_eq!(
            store.get_range(&key, range.clone()).await.unwrap(),
            expected,
            "{range:?}"
        );
    }
}

/// A range without bytes, or one that begins at the end or after it, gives nothing.
#[expect(clippy::reversed_empty_ranges, reason = "a caller may compute one")]
pub async fn ranges_may_be_empty(fixture: &Fixture) {
    let (store, full, empty) = (&fixture.store, key("a/full"), key("a/empty"));
    store.put(&full, "0123456789".into()).await.unwrap();
    store.put(&empty, "".into()).await.unwrap();
    for range in [
        10..20,
        11..12,
        5..5,
        0..0,
        7..3,
        u64::MAX - 1..u64::MAX,
        10..10,
    ] {
        assert_eq!(
            store.get_range(&full, range.clone()).await.unwrap(),
            "",
            "{range:?}"
        );
        assert_eq!(
            store.get_range(&empty, range.clone()).await.unwrap(),
            "",
            "{range:?}"
        );
    }
    assert_eq!(store.get_range(&empty, 0..1).await.unwrap(), "");
}

/// By bytes of the whole key: a slash is a character like any other.
pub async fn a_listing_is_sorted_by_the_whole_key(fixture: &Fixture) {
    let store = &fixture.store;
    let sorted = [
        "a+/x", "a-b/c", "a.b", "a/b", "a/b-/c", "a/b0/c", "a0", "a=", "aA/z", "a_", "b",
    ];
    assert!(sorted.is_sorted());
    for name in sorted.iter().rev() {
        store.put(&key(name), (*name).into()).await.unwrap();
    }
    assert_eq!(listed(&**store, "").await, sorted);
    for meta in store.list("", None, 100).await.unwrap() {
        assert_eq!(meta.size, meta.key.as_str().len() as u64);
    }
}

/// A prefix is the beginning of a key, not a folder.
pub async fn a_prefix_may_end_within_a_name(fixture: &Fixture) {
    let store = &fixture.store;
    for name in [
        "raw/j1/seg_0",
        "raw/j1/seg_1",
        "raw/j1/source",
        "raw/j12/seg_0",
        "rawer",
    ] {
        store.put(&key(name), "x".into()).await.unwrap();
    }
    let seg = ["raw/j1/seg_0", "raw/j1/seg_1"];
    assert_eq!(listed(&**store, "raw/j1/seg").await, seg);
    assert_eq!(
        listed(&**store, "raw/j1/").await,
        [seg[0], seg[1], "raw/j1/source"]
    );
    let j1 = [seg[0], seg[1], "raw/j1/source", "raw/j12/seg_0"];
    assert_eq!(listed(&**store, "raw/j1").await, j1);
    assert_eq!(listed(&**store, "ra").await.len(), 5);
    assert_eq!(listed(&**store, "raw/j1/seg_0").await, ["raw/j1/seg_0"]);
    assert_eq!(listed(&**store, "rawer").await, ["rawer"]);
}

/// A prefix that no key can have is an empty listing, wherever it seems to lead.
pub async fn a_prefix_is_only_text(fixture: &Fixture) {
    let store = &fixture.store;
    store.put(&key("a/b"), "x".into()).await.unwrap();
    for prefix in [
        "b", "a/b/", "a/c", "/", "/a", "//", "..", "../", "a/../a/", ".", "./a", "a//", "é",
    ] {
        assert_eq!(
            listed(&**store, prefix).await,
            Vec::<String>::new(),
            "`{prefix}`"
        );
    }
}

/// Pages of any size, each after the last key of the one before, are the listing.
pub async fn pages_make_the_whole_listing(fixture: &Fixture) {
    let store = &fixture.store;
    let mut names: Vec<String> = (0..4)
        .flat_map(|i| {
            [
                format!("p/{i}"),
                format!("p/{i}-x/y"),
                format!("p/{i}x/{i}/z"),
            ]
        })
        .chain(["o".to_owned(), "q/1".to_owned()])
        .collect();
    for name in &names {
        store.put(&key(name), "x".into()).await.unwrap();
    }
    names.sort();
    for (prefix, expected) in [("", &names[..]), ("p/", &names[1..13])] {
        for limit in [1, 2, 5, 12, 100] {
            let (mut all, mut after) = (vec![], None);
            loop {
                let page = store.list(prefix, after.as_ref(), limit).await.unwrap();
                assert!(page.len() <= limit);
                let Some(last) = page.last() else { break };
                after = Some(last.key.clone());
                all.extend(page.into_iter().map(|meta| meta.key.to_string()));
            }
            assert_eq!(all, expected, "`{prefix}` by {limit}");
        }
    }
    // A key that is not there still says where to go on.
    for (after, expected) in [("p/0-", "p/0-x/y"), ("p/0-x/z", "p/0x/0/z"), ("a", "p/0")] {
        let page = store.list("p/", Some(&key(after)), 1).await.unwrap();
        assert_eq!(page[0].key.as_str(), expected, "after `{after}`");
    }
    assert_eq!(store.list("p/", Some(&key("q")), 10).await.unwrap(), []);
}

/// What was put before the call is listed, what was deleted is not.
pub async fn a_listing_shows_what_changed(fixture: &Fixture) {
    let store = &fixture.store;
    assert_eq!(listed(&**store, "").await, Vec::<String>::new());
    store.put(&key("a/1"), "x".into()).await.unwrap();
    assert_eq!(listed(&**store, "a/").await, ["a/1"]);
    store.put_new(&key("a/2"), "x".into()).await.unwrap();
    store
        .put_file(&key("a/3"), &fixture.file("file", b"x"))
        .await
        .unwrap();
    assert_eq!(listed(&**store, "a/").await, ["a/1", "a/2", "a/3"]);
    store.delete(&key("a/2")).await.unwrap();
    assert_eq!(listed(&**store, "a/").await, ["a/1", "a/3"]);
}
