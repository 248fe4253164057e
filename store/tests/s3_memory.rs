//! How much memory a large file takes on its way up and down: a process of its own, so that
//! nothing else counts.
#![cfg(all(feature = "s3", target_os = "linux"))]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use reelmill_common::ObjectKey;
use reelmill_store::{S3Credentials, S3Options, S3Store, Store};

const MIB: u64 = 1024 * 1024;

/// The most memory that the process has held so far, in bytes.
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs REELMILL_TEST_S3"]
async fn memory_is_bounded_whatever_the_length() {
    let endpoint = std::env::var("REELMILL_TEST_S3")
        .expect("set REELMILL_TEST_S3 to the URL of an S3 server, such as http://127.0.0.1:19000");
    let options = S3Options {
        endpoint: Some(endpoint),
        create_bucket: true,
        ..S3Options::new(
            format!("test-memory-{}", std::process::id()),
            S3Credentials::new("reelmill", "reelmill-secret"),
        )
    };
    let store = S3Store::connect(&options).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (up, down) = (folder.path().join("up"), folder.path().join("down"));
    let key = ObjectKey::new("large").unwrap();
    let before = most_memory();

    let size = 256 * MIB;
    let file = std::fs::File::create(&up).unwrap();
    file.set_len(size).unwrap();
    drop(file);
    store.put_file(&key, &up).await.unwrap();
    store.get_file(&key, &down).await.unwrap();
    assert_eq!(std::fs::metadata(&down).unwrap().len(), size);

    let more = most_memory() - before;
    // Three parts of 8 MiB, and what their buffers and the allocator add.
    assert!(more < 64 * MIB, "it took {} MiB more", more / MIB);
    store.delete(&key).await.unwrap();
}
