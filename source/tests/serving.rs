//! What ffmpeg meets when it opens a source in the store: the address, ranges, and what is said of
//! bytes that cannot be had.
#![cfg(test)]

mod common;

use common::*;
use reelmill_common::manifest::Location;
use reelmill_common::{Place, Retryable as _};
use reelmill_source::{SourceError, Sources, store_file};
use reelmill_store::Store as _;
use tokio::io::AsyncReadExt as _;

const PLENTY: u64 = 1 << 30;

#[tokio::test]
async fn every_range_is_answered_with_its_bytes() {
    let bench = Bench::new(PLENTY);
    let bytes = noise(1000);
    bench.store("j", "film.mp4", &bytes, 300).await;
    let opened = bench.open("j").await;
    let to = address(&opened);
    for (header, from, until) in [
        ("bytes=0-", 0, 1000),
        ("bytes=0-0", 0, 1),
        ("bytes=299-300", 299, 301),
        ("bytes=250-950", 250, 951),
        ("bytes=900-", 900, 1000),
        ("bytes=990-5000", 990, 1000),
        ("bytes=-10", 990, 1000),
        ("bytes=-5000", 0, 1000),
    ] {
        let answer = ask(&to, "GET", &format!("Range: {header}\r\n")).await;
        assert_eq!(answer.status, 206, "{header}");
        assert_eq!(answer.body, bytes[from..until], "{header}");
        let part = format!("bytes {from}-{}/1000", until - 1);
        assert_eq!(answer.header("content-range"), Some(part.as_str()));
        assert_eq!(answer.header("accept-ranges"), Some("bytes"));
        assert!(answer.is_whole(), "{answer:?}");
        assert_eq!(answer.header("content-type"), None);
    }
    for header in ["", "Range: bytes=5-1\r\n", "Range: bytes=0-1,5-6\r\n"] {
        let answer = ask(&to, "GET", header).await;
        assert_eq!((answer.status, &answer.body), (200, &bytes), "{header}");
    }
    let conditional = "Range: bytes=0-1\r\nIf-Range: \"other\"\r\n";
    assert_eq!(ask(&to, "GET", conditional).await.body, bytes);
    for header in ["bytes=1000-", "bytes=2000-3000", "bytes=-0"] {
        let answer = ask(&to, "GET", &format!("Range: {header}\r\n")).await;
        assert_eq!((answer.status, answer.body.len()), (416, 0), "{header}");
        assert_eq!(answer.header("content-range"), Some("bytes */1000"));
    }
    let head = ask(&to, "HEAD", "").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some("1000"));
    assert_eq!(head.header("accept-ranges"), Some("bytes"));
    let head = ask(&to, "HEAD", "Range: bytes=1-2\r\n").await;
    assert_eq!(head.status, 206);
    assert_eq!(head.header("content-length"), Some("2"));
    opened.check().unwrap();
}

#[tokio::test]
async fn one_connection_answers_many_requests() {
    let bench = Bench::new(PLENTY);
    let bytes = noise(100);
    bench.store("j", "film.mp4", &bytes, 64).await;
    let opened = bench.open("j").await;
    let to = address(&opened);
    let again = format!(
        "Range: bytes=0-9\r\n\r\nGET {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nRange: bytes=90-\r\n",
        to.1
    );
    let mut stream = begin(&to, "GET", &again).await;
    let mut both = Vec::new();
    stream.read_to_end(&mut both).await.unwrap();
    let heads = both.windows(12).filter(|w| w == b"HTTP/1.1 206").count();
    assert_eq!(heads, 2);
    assert!(both.ends_with(&bytes[90..]));
}

#[tokio::test]
async fn nothing_but_the_address_leads_anywhere() {
    let bench = Bench::new(PLENTY);
    bench.store("j", "film.mp4", b"x", 64).await;
    let (opened, other) = (bench.open("j").await, bench.open("j").await);
    let (host, path) = address(&opened);
    assert_ne!(address(&other).1, path, "two openings share an address");
    let secret = path.split('/').nth(1).unwrap();
    assert!(secret.len() >= 32 && secret.bytes().all(|b| b.is_ascii_hexdigit()));
    let zeros = path.replace(secret, &"0".repeat(secret.len()));
    let strangers = [
        "/".to_owned(),
        "/film.mp4".to_owned(),
        format!("/{secret}"),
        format!("/{secret}/"),
        format!("/{secret}/film.mkv"),
        format!("{path}/"),
        format!("{path}?x"),
        format!("//{secret}/film.mp4"),
        path.to_uppercase(),
        zeros,
    ];
    let nowhere = ask(&(host.clone(), "/x".to_owned()), "GET", "").await;
    assert_eq!((nowhere.status, nowhere.body.len()), (404, 0));
    for stranger in strangers {
        for method in ["GET", "HEAD", "POST", "DELETE"] {
            let answer = ask(&(host.clone(), stranger.clone()), method, "").await;
            assert_eq!((answer.status, answer.body.len()), (404, 0), "{stranger}");
        }
    }
    let to = (host, path);
    assert_eq!(ask(&to, "POST", "").await.status, 405);
    assert_eq!(ask(&to, "GET", "").await.status, 200);
    drop(opened);
    assert_eq!(ask(&to, "GET", "").await.status, 404);
    assert_eq!(ask(&address(&other), "GET", "").await.status, 200);
}

#[tokio::test]
async fn closing_ends_what_is_being_read() {
    let bench = Bench::new(PLENTY);
    let bytes = noise(64 << 20);
    bench.store("j", "film.mp4", &bytes, 8 << 20).await;
    let opened = bench.open("j").await;
    let mut stream = begin(&address(&opened), "GET", "").await;
    let mut first = vec![0; 1000];
    stream.read_exact(&mut first).await.unwrap();
    drop(opened);
    let mut rest = Vec::new();
    // What is in the sockets still comes.
    stream.read_to_end(&mut rest).await.ok();
    assert!(rest.len() < bytes.len() / 2, "{} bytes came", rest.len());
}

#[tokio::test]
async fn names_are_kept_for_their_endings_and_mean_nothing() {
    let bench = Bench::new(PLENTY);
    let long = format!("{}.mkv", "ß".repeat(300));
    let names = [
        "film.mp4",
        "a b.mp4",
        "it's \"quoted\".mp4",
        "%d%20.mp4",
        "#1?.mp4",
        "a\nb\r.mp4",
        "C:\\x.mp4",
        "../../etc/passwd.mp4",
        "映画.mp4",
        "-i.mp4",
        "a;b&c=d+e.mp4",
        "nul\0.mp4",
        ".mp4",
        &long,
    ];
    for (index, name) in names.iter().enumerate() {
        let job = format!("j{index}");
        let bytes = noise(50 + index);
        bench.store(&job, name, &bytes, 64).await;
        let opened = bench.open(&job).await;
        let to = address(&opened);
        let ending = name.rsplit('.').next().unwrap();
        assert!(to.1.ends_with(&format!(".{ending}")), "{name:?}: {}", to.1);
        assert_eq!(to.1.matches('/').count(), 2, "{name:?}: {}", to.1);
        assert!(to.1.len() < 2048 && to.1.bytes().all(|b| b.is_ascii_graphic()));
        assert_eq!(ask(&to, "GET", "").await.body, bytes, "{name:?}");
    }
    for (index, name) in ["", ".", ".."].iter().enumerate() {
        let job = format!("k{index}");
        bench.store(&job, name, b"x", 64).await;
        let opened = bench.open(&job).await;
        assert!(address(&opened).1.ends_with("/source"), "{name:?}");
        assert_eq!(ask(&address(&opened), "GET", "").await.body, b"x");
    }
}

#[tokio::test]
async fn a_corrupt_segment_is_got_once_more_and_then_told() {
    let bench = Bench::new(PLENTY);
    let bytes = noise(1000);
    bench.store("j", "film.mp4", &bytes, 300).await;
    let opened = bench.open("j").await;
    let to = address(&opened);

    bench.store.harm(&segment("j", 0), Trouble::Flipped, 1);
    assert_eq!(get(&to, 0..300).await, bytes[..300]);
    assert_eq!(bench.store.fetches(&segment("j", 0)), 2);
    opened.check().unwrap();

    bench.store.harm(&segment("j", 2), Trouble::Flipped, 2);
    let answer = ask(&to, "GET", "").await;
    assert!(!answer.is_whole(), "a corrupt source came whole");
    assert_eq!(answer.body, bytes[..600]);
    assert_eq!(bench.store.fetches(&segment("j", 2)), 2);
    let error = opened.check().unwrap_err();
    assert_eq!(error.code(), "source-corrupt");
    assert!(error.to_string().contains("`raw/j/segment_00002`"));

    // It concerns one opening, and is not remembered by the cache.
    let other = bench.open("j").await;
    assert_eq!(ask(&address(&other), "GET", "").await.body, bytes);
    other.check().unwrap();
}

#[tokio::test]
async fn a_store_that_stumbles_is_asked_again_and_one_that_falls_is_told() {
    let bench = Bench::new(PLENTY);
    let bytes = noise(1000);
    bench.store("j", "film.mp4", &bytes, 300).await;
    let opened = bench.open("j").await;
    let to = address(&opened);
    bench.store.harm(&segment("j", 1), Trouble::Unreachable, 2);
    assert_eq!(ask(&to, "GET", "").await.body, bytes);
    opened.check().unwrap();

    bench.store("k", "film.mp4", &bytes, 300).await;
    let opened = bench.open("k").await;
    bench.store.harm(&segment("k", 1), Trouble::Unreachable, 99);
    let answer = ask(&address(&opened), "GET", "").await;
    assert_eq!((answer.is_whole(), answer.body.len()), (false, 300));
    let error = opened.check().unwrap_err();
    assert_eq!(
        (error.code(), error.is_retryable()),
        ("source-unreadable", true)
    );

    bench.store.delete(&segment("k", 3)).await.unwrap();
    let opened = bench.open("k").await;
    let answer = ask(&address(&opened), "GET", "Range: bytes=900-\r\n").await;
    assert_eq!((answer.is_whole(), answer.body.len()), (false, 0));
    let error = opened.check().unwrap_err();
    assert_eq!(
        (error.code(), error.is_retryable()),
        ("source-missing", false)
    );
}

#[tokio::test]
async fn only_the_source_that_was_described_is_opened() {
    let bench = Bench::new(PLENTY);
    bench.store("j", "film.mp4", b"one", 64).await;
    let described = bench.describe("j").await;
    assert_eq!((described.size, described.name.as_str()), (3, "a film"));
    bench.sources.confirm(&described).await.unwrap();
    bench.store("j", "film.mp4", b"two", 64).await;
    let changed = bench.sources.open(&described).await.unwrap_err();
    assert!(matches!(changed, SourceError::Changed(_)), "{changed:?}");

    let none = bench.sources.describe("x", &located("none")).await;
    assert_eq!(none.unwrap_err().code(), "source-missing");
    bench.store("j", "film.mp4", b"", 64).await;
    let empty = bench.sources.describe("x", &located("j")).await;
    assert_eq!(empty.unwrap_err().code(), "source-empty");
    let list = reelmill_common::key::source(&reelmill_common::JobId::new("j").unwrap());
    let newer = br#"{"version":9,"name":"","size":1,"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","segment_bytes":1,"segments":[]}"#;
    for wrong in [
        &b"{"[..],
        newer,
        &newer.map(|b| if b == b'9' { b'1' } else { b }),
    ] {
        bench.store.put(&list, wrong.to_vec().into()).await.unwrap();
        let malformed = bench.sources.describe("x", &located("j")).await;
        assert_eq!(malformed.unwrap_err().code(), "source-malformed");
    }
    let without = Sources::default().describe("x", &located("j")).await;
    assert_eq!(without.unwrap_err().code(), "source-without-store");
}

#[tokio::test]
async fn a_file_is_opened_by_its_path_while_it_stays_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("film.mp4");
    std::fs::write(&path, "one").unwrap();
    let sources = Sources::default();
    let location = Location::Path(path.clone());
    let described = sources.describe("film", &location).await.unwrap();
    let opened = sources.open(&described).await.unwrap();
    assert_eq!(opened.place(), Place::File(path.clone()));
    opened.check().unwrap();
    std::fs::write(&path, "two!").unwrap();
    let changed = sources.open(&described).await.unwrap_err();
    assert!(matches!(changed, SourceError::Changed(_)), "{changed:?}");
}

#[tokio::test]
async fn a_file_is_stored_in_segments_and_once() {
    let bench = Bench::new(PLENTY);
    let path = bench.dir.path().join("film.mp4");
    let bytes = noise((32 << 20) + 1);
    std::fs::write(&path, &bytes).unwrap();
    let job = reelmill_common::JobId::new("j").unwrap();
    let (store, dir) = (bench.store.as_ref(), bench.dir.path());
    let stored = store_file(store, &job, "film.mp4", &path, dir)
        .await
        .unwrap();
    assert_eq!(
        (stored.size, stored.segments.len()),
        (bytes.len() as u64, 3)
    );
    assert_eq!(stored.sha256, reelmill_common::Sha256::of(&bytes));
    let opened = bench.open("j").await;
    assert_eq!(ask(&address(&opened), "GET", "").await.body, bytes);

    // As after a kill: what is there stays, what is missing comes.
    store.delete(&segment("j", 1)).await.unwrap();
    store
        .delete(&reelmill_common::key::source(&job))
        .await
        .unwrap();
    let before = store.puts().len();
    let again = store_file(store, &job, "film.mp4", &path, dir)
        .await
        .unwrap();
    assert_eq!(again, stored);
    let put: Vec<_> = store
        .puts()
        .drain(before..)
        .map(|key| key.to_string())
        .collect();
    assert_eq!(put, ["raw/j/segment_00001", "raw/j/source.json"]);

    std::fs::write(&path, "another").unwrap();
    let other = store_file(store, &job, "film.mp4", &path, dir).await;
    assert_eq!(other.unwrap_err().code(), "source-changed");
}
