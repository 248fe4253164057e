//! What only this backend promises.

use std::time::{Duration, SystemTime};

use reelmill_common::Retryable;
use tempfile::TempDir;

use super::*;

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

fn store() -> (TempDir, DirectoryStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(folder.path().join("store")).unwrap();
    (folder, store)
}

fn staged(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path().join("store/.staging")).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[tokio::test]
async fn objects_are_plain_files_and_staging_is_left_empty() {
    let (folder, store) = store();
    let file = folder.path().join("file");
    fs::write(&file, "from a file").unwrap();
    store.put(&key("a/put"), "put".into()).await.unwrap();
    store.put_new(&key("a/new"), "new".into()).await.unwrap();
    assert!(store.put_new(&key("a/new"), "newer".into()).await.is_err());
    store.put_file(&key("a/file"), &file).await.unwrap();
    for (name, text) in [("put", "put"), ("new", "new"), ("file", "from a file")] {
        let path = folder.path().join("store/a").join(name);
        assert_eq!(fs::read_to_string(path).unwrap(), text);
    }
    assert!(!file.try_exists().unwrap(), "a moved file is gone");
    assert_eq!(staged(&folder), Vec::<String>::new());
}

#[tokio::test]
async fn a_file_that_cannot_be_moved_is_copied_and_removed() {
    let (folder, store) = store();
    let (target, link) = (folder.path().join("target"), folder.path().join("link"));
    fs::write(&target, "bytes").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    store.put_file(&key("a"), &link).await.unwrap();
    fs::write(&target, "changed").unwrap();
    assert_eq!(store.get(&key("a")).await.unwrap(), "bytes");
    assert!(
        fs::symlink_metadata(&link).is_err(),
        "the link was given away"
    );
    assert_eq!(staged(&folder), Vec::<String>::new());
}

#[tokio::test]
async fn a_file_given_back_under_its_own_name_is_removed() {
    let (folder, store) = store();
    store.put(&key("a"), "bytes".into()).await.unwrap();
    let file = folder.path().join("file");
    store.get_file(&key("a"), &file).await.unwrap();
    store.put_file(&key("a"), &file).await.unwrap();
    assert!(!file.try_exists().unwrap());
    assert_eq!(store.get(&key("a")).await.unwrap(), "bytes");
}

#[test]
fn an_object_is_copied_where_it_cannot_be_linked() {
    let folder = tempfile::tempdir().unwrap();
    let (object, file) = (folder.path().join("object"), folder.path().join("file"));
    fs::write(&object, "object").unwrap();
    fs::write(&file, "something longer").unwrap();
    let mut open = File::open(&object).unwrap();
    staging::copy_over(&mut open, &file).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "object");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    // The object's name has gone since it was opened: what was opened is still what is wanted.
    fs::remove_file(&object).unwrap();
    fs::remove_file(&file).unwrap();
    staging::replace(&object, &mut open, &file).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "object");
}

#[test]
fn without_links_a_rename_puts_new_objects_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let object = folder.path().join("object");
    let put_new = |text: &str, ways: &[fn(&Path, &Path) -> io::Result<()>]| {
        let staged = folder.path().join("staged");
        fs::write(&staged, text).unwrap();
        staging::place_new(&staged, &object, ways)
    };
    // As exFAT and some of FUSE answer.
    let no_links = |_: &Path, _: &Path| Err(io::Error::from_raw_os_error(1));
    let without_links = [no_links, staging::WAYS[1]];
    put_new("first", &without_links).unwrap();
    let taken = put_new("second", &without_links).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(&object).unwrap(), "first");

    let error = put_new(
        "third",
        &[no_links, |_, _| Err(ErrorKind::Unsupported.into())],
    );
    assert_eq!(
        error.unwrap_err().to_string(),
        "this file system cannot hold the work in progress: choose another folder"
    );
    assert_eq!(fs::read_to_string(&object).unwrap(), "first");
}

#[tokio::test]
async fn opening_removes_what_died_a_day_ago_and_keeps_what_is_being_written() {
    let (folder, store) = store();
    store.put(&key("a"), "x".into()).await.unwrap();
    let staging = folder.path().join("store/.staging");
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let hours_ago = |hours: u64| (now - Duration::from_secs(hours * 3600)).as_secs();
    let (old, young) = (
        format!("{}-1-1-0", hours_ago(25)),
        format!("{}-1-1-0", hours_ago(23)),
    );
    for name in [&old, &young, "not-ours"] {
        fs::write(staging.join(name), "half").unwrap();
    }
    let store = DirectoryStore::open(folder.path().join("store")).unwrap();
    let mut left = staged(&folder);
    left.sort();
    assert_eq!(left, [young.as_str(), "not-ours"]);
    assert_eq!(
        store.list("", None, 10).await.unwrap().len(),
        1,
        "staged files are no objects"
    );
}

#[tokio::test]
async fn folders_left_empty_go() {
    let (folder, store) = store();
    store.put(&key("a/b/c/d"), "x".into()).await.unwrap();
    store.put(&key("a/e"), "x".into()).await.unwrap();
    store.delete(&key("a/b/c/d")).await.unwrap();
    assert!(!folder.path().join("store/a/b").try_exists().unwrap());
    store.delete(&key("a/e")).await.unwrap();
    assert!(!folder.path().join("store/a").try_exists().unwrap());
    assert!(folder.path().join("store").try_exists().unwrap());
}

#[tokio::test]
async fn a_key_cannot_be_an_object_and_a_folder() {
    let (_folder, store) = store();
    store.put(&key("a/b"), "x".into()).await.unwrap();
    for (name, answer) in [
        ("a", store.put(&key("a"), "y".into()).await),
        ("a", store.put_new(&key("a"), "y".into()).await),
        ("a/b/c", store.put(&key("a/b/c"), "y".into()).await),
        ("a/b/c", store.put_new(&key("a/b/c"), "y".into()).await),
    ] {
        match answer {
            Err(StoreError::Backend {
                retryable: false,
                key,
                ..
            }) => assert_eq!(key, name),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(store.get(&key("a/b")).await.unwrap(), "x");
}

#[tokio::test]
async fn a_name_longer_than_the_file_system_takes_is_not_found() {
    let (_folder, store) = store();
    let long = key(&"n".repeat(300));
    assert!(matches!(
        store.get(&long).await,
        Err(StoreError::NotFound(_))
    ));
    assert!(matches!(
        store.head(&long).await,
        Err(StoreError::NotFound(_))
    ));
    store.delete(&long).await.unwrap();
    assert!(matches!(
        store.put(&long, "x".into()).await,
        Err(StoreError::Backend { .. })
    ));
}

#[test]
fn a_file_in_place_of_the_root_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = DirectoryStore::open(&file).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot open `{}`", file.display())
    );
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn errors_carry_a_decision() {
    const ENOSPC: i32 = 28;
    const EDQUOT: i32 = 122;
    let made = |code| StoreError::io("write", &key("a"), io::Error::from_raw_os_error(code));
    for code in [ENOSPC, EDQUOT] {
        let full = made(code);
        assert!(matches!(full, StoreError::Full { .. }), "{full:?}");
        assert_eq!(
            full.to_string(),
            "no space is left for `a`: free some and run again"
        );
    }
    let (too_many_files, denied) = (made(24), made(13));
    assert!(too_many_files.is_retryable());
    assert!(!denied.is_retryable());
}

#[test]
fn recovery_does_not_wait_a_day() {
    let (folder, store) = store();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let name = format!("{}-000000000-1-1", now.unwrap().as_secs());
    fs::write(folder.path().join("store/.staging").join(&name), "half").unwrap();
    // A writer of another process may still be at it.
    DirectoryStore::open(folder.path().join("store")).unwrap();
    assert_eq!(staged(&folder), [name]);
    store.recover().unwrap();
    assert_eq!(staged(&folder), Vec::<String>::new());
}

#[tokio::test]
async fn what_dead_writers_left_is_cleared_by_its_age() {
    let (folder, store) = store();
    let hour = Duration::from_secs(60 * 60);
    let begun = staging::seconds(SystemTime::now() - 2 * hour);
    let left = format!("{begun}-000000000-1-0");
    fs::write(folder.path().join("store/.staging").join(&left), "half").unwrap();
    assert_eq!(store.clear_unfinished(3 * hour).await.unwrap(), 0);
    assert_eq!(staged(&folder), [left]);
    assert_eq!(store.clear_unfinished(hour).await.unwrap(), 1);
    assert_eq!(store.clear_unfinished(hour).await.unwrap(), 0);
    assert_eq!(staged(&folder), Vec::<String>::new());
}
