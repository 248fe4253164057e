//! The suite of all stores over buckets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use reelmill_common::ObjectKey;
use reelmill_store::conformance::Fixture;
use reelmill_store::{S3Options, store_conformance};

use super::harness::{connect, options, server, through};
use super::proxy::{Fate, Proxy, SLOW_DOWN};

async fn bucket() -> Fixture {
    Fixture::new(Arc::new(connect(&options()).await), ())
}

/// In a bucket where others have objects too, with names like ours.
async fn prefix() -> Fixture {
    let whole = options();
    let others = connect(&whole).await;
    for name in ["a/b", "mills/0", "mills/one-more/a", "mills/onf"] {
        let key = ObjectKey::new(name).unwrap();
        reelmill_store::Store::put(&others, &key, "another's".into())
            .await
            .unwrap();
    }
    let ours = S3Options {
        prefix: Some(ObjectKey::new("mills/one").unwrap()),
        ..whole
    };
    Fixture::new(Arc::new(connect(&ours).await), ())
}

/// Of ten requests one meets with trouble.
async fn trouble() -> Fixture {
    let count = AtomicU64::new(0);
    let proxy = Proxy::start(server(), move |_| {
        let drawn = draw(count.fetch_add(1, Ordering::Relaxed));
        match drawn % 50 {
            0 => SLOW_DOWN,
            1 => Fate::Lost,
            2 => Fate::ResponseLost,
            3 => Fate::Cut(0),
            4 => Fate::Cut(1000),
            _ => Fate::Pass,
        }
    })
    .await;
    let store = connect(&through(&proxy, &options())).await;
    Fixture::new(Arc::new(store), proxy)
}

/// SplitMix64, so that trouble does not come at regular times.
fn draw(count: u64) -> u64 {
    let mut z = (count + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

store_conformance!(s3, bucket, #[ignore = "needs REELMILL_TEST_S3"]);
store_conformance!(s3_with_a_prefix, prefix, #[ignore = "needs REELMILL_TEST_S3"]);
store_conformance!(s3_in_trouble, trouble, #[ignore = "needs REELMILL_TEST_S3"]);
