//! The cache on disk under many readers: its bound, and what is fetched how often.
#![cfg(test)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::*;
use tokio::io::AsyncReadExt as _;

const SEGMENT: usize = 100_000;

/// Bytes of all files below a folder.
fn size(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let sizes = entries.filter_map(Result::ok).map(|entry| {
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => size(&entry.path()),
            // What was removed meanwhile takes no room.
            meta => meta.map_or(0, |meta| meta.len()),
        }
    });
    sizes.sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tiny_cache_serves_eight_readers_and_keeps_its_bound() {
    let limit = 2 * SEGMENT as u64;
    let bench = Arc::new(Bench::new(limit));
    let bytes = Arc::new(noise(20 * SEGMENT + 7));
    bench.store("j", "film.mp4", &bytes, SEGMENT).await;
    let most = Arc::new(AtomicU64::new(0));
    let mut readers = tokio::task::JoinSet::new();
    for reader in 0..8 {
        let (bench, bytes, most) = (Arc::clone(&bench), Arc::clone(&bytes), Arc::clone(&most));
        readers.spawn(async move {
            let opened = bench.open("j").await;
            let to = address(&opened);
            let mut at = reader * 250_007 % bytes.len();
            for _ in 0..6 {
                let until = (at + 3 * SEGMENT + 11).min(bytes.len());
                assert!(get(&to, at..until).await == bytes[at..until]);
                most.fetch_max(size(&bench.dir.path().join("cache")), Ordering::Relaxed);
                at = (at + 1_234_567) % bytes.len();
            }
            opened.check().unwrap();
        });
    }
    while let Some(reader) = readers.join_next().await {
        reader.unwrap();
    }
    // Each reader may hold one segment and wait for one.
    let most = most.load(Ordering::Relaxed);
    assert!(most <= limit + 16 * SEGMENT as u64, "{most} bytes");
    // A last, small read lets go of all that was held.
    let opened = bench.open("j").await;
    get(&address(&opened), 0..10).await;
    drop(opened);
    let left = size(&bench.dir.path().join("cache"));
    assert!(left <= limit, "{left} bytes are left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_many_ask_for_is_fetched_once() {
    let bench = Arc::new(Bench::new(1 << 30));
    let bytes = Arc::new(noise(10 * SEGMENT));
    bench.store("j", "film.mp4", &bytes, SEGMENT).await;
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (bench, bytes) = (Arc::clone(&bench), Arc::clone(&bytes));
        readers.spawn(async move {
            let opened = bench.open("j").await;
            assert!(ask(&address(&opened), "GET", "").await.body == *bytes);
        });
    }
    while let Some(reader) = readers.join_next().await {
        reader.unwrap();
    }
    let fetches: Vec<_> = (0..10)
        .map(|n| bench.store.fetches(&segment("j", n)))
        .collect();
    assert_eq!(fetches, [1; 10]);
}

#[tokio::test]
async fn the_segment_that_was_not_read_for_longest_goes() {
    let bench = Bench::new(3 * SEGMENT as u64);
    let bytes = noise(4 * SEGMENT);
    bench.store("j", "film.mp4", &bytes, SEGMENT).await;
    let opened = bench.open("j").await;
    let to = address(&opened);
    for index in [0, 1, 2, 0, 3, 0, 1] {
        let at = index * SEGMENT;
        assert_eq!(get(&to, at..at + 5).await, bytes[at..at + 5]);
    }
    let fetches = [0, 1, 2, 3].map(|n| bench.store.fetches(&segment("j", n)));
    assert_eq!(fetches, [1, 2, 1, 1], "3 should have pushed out 1");
}

#[tokio::test]
async fn seeking_about_is_cheap_and_no_failure() {
    let bench = Bench::new(1 << 30);
    let bytes = noise(30 * SEGMENT);
    bench.store("j", "film.mp4", &bytes, SEGMENT).await;
    let opened = bench.open("j").await;
    let to = address(&opened);
    for step in 0..300_usize {
        let at = step * 1_299_709 % (bytes.len() - 16);
        let mut stream = begin(&to, "GET", &format!("Range: bytes={at}-\r\n")).await;
        if step % 3 > 0 {
            let mut head = [0; 16];
            stream.read_exact(&mut head).await.unwrap();
        }
        drop(stream);
    }
    assert!(ask(&to, "GET", "").await.body == bytes);
    opened.check().unwrap();
    for index in 0..30 {
        assert_eq!(bench.store.fetches(&segment("j", index)), 1, "{index}");
    }
}

#[tokio::test]
async fn whoever_reads_on_finds_the_next_segments_here() {
    const LARGE: usize = 2 << 20;
    let bench = Bench::new(1 << 30);
    let bytes = noise(5 * LARGE);
    bench.store("j", "film.mp4", &bytes, LARGE).await;
    let opened = bench.open("j").await;
    let to = address(&opened);
    // A look at the beginning says nothing of what comes.
    let mut look = begin(&to, "GET", "Range: bytes=0-\r\n").await;
    look.read_exact(&mut [0; 1000]).await.unwrap();
    get(&to, 0..1000).await;
    assert_eq!(bench.store.fetches(&segment("j", 1)), 0);
    drop(look);
    get(&to, 0..LARGE - 10).await;
    bench.store.asked_for(&segment("j", 1)).await;
    bench.store.asked_for(&segment("j", 2)).await;
    assert_eq!(bench.store.fetches(&segment("j", 3)), 0);
    assert!(ask(&to, "GET", "").await.body == bytes);
    for index in 0..5 {
        assert_eq!(bench.store.fetches(&segment("j", index)), 1, "{index}");
    }
}

#[tokio::test]
async fn what_is_removed_behind_its_back_is_fetched_again() {
    let bench = Bench::new(1 << 30);
    let bytes = noise(3 * SEGMENT);
    bench.store("j", "film.mp4", &bytes, SEGMENT).await;
    let opened = bench.open("j").await;
    assert_eq!(ask(&address(&opened), "GET", "").await.body, bytes);
    let cached = bench.dir.path().join("cache/segments/j/segment_00001");
    std::fs::remove_file(&cached).unwrap();
    assert_eq!(ask(&address(&opened), "GET", "").await.body, bytes);
    assert!(cached.is_file());
    opened.check().unwrap();
}

#[tokio::test]
async fn what_another_process_left_is_removed_and_nothing_else() {
    let bench = Bench::new(1 << 30);
    let cache = bench.dir.path().join("cache");
    std::fs::create_dir_all(cache.join("segments/old")).unwrap();
    std::fs::write(cache.join("segments/old/segment_00000"), "stale").unwrap();
    std::fs::write(cache.join("mine.txt"), "keep").unwrap();
    bench.store("j", "film.mp4", b"x", SEGMENT).await;
    let opened = bench.open("j").await;
    assert!(!cache.join("segments/old").is_dir());
    assert!(cache.join("mine.txt").is_file());
    // A second process must not clear it under the first.
    let settings = reelmill_source::SourceSettings {
        cache,
        cache_bytes: 1 << 30,
    };
    let store = Arc::clone(&bench.store) as Arc<dyn reelmill_store::Store>;
    let second = reelmill_source::Sources::new(store, settings);
    let error = second.open(&bench.describe("j").await).await.unwrap_err();
    assert!(matches!(error, reelmill_source::SourceError::Cache { .. }));
    assert_eq!(ask(&address(&opened), "GET", "").await.body, b"x");
}
