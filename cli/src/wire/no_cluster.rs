//! In place of the backends of a cluster in a reelmill that was built without them.

use std::sync::Arc;
use std::time::Duration;

use reelmill_ledger::Ledger;
use reelmill_queue::Queue;
use reelmill_store::Store;

use crate::config::{Kafka, S3, Secret};
use crate::failure::Failure;

#[expect(clippy::unused_async, reason = "as where there is a cluster")]
pub(super) async fn store(s3: &S3) -> Result<Arc<dyn Store>, Failure> {
    Err(missing(&format!("the bucket `{}`", s3.bucket)))
}

#[expect(clippy::unused_async, reason = "as where there is a cluster")]
pub(super) async fn queue(kafka: &Kafka) -> Result<Arc<dyn Queue>, Failure> {
    Err(missing(&format!("Kafka at `{}`", kafka.brokers)))
}

#[expect(clippy::unused_async, reason = "as where there is a cluster")]
pub(super) async fn ledger(_url: &Secret, _kept: Duration) -> Result<Arc<dyn Ledger>, Failure> {
    Err(missing("Redis"))
}

fn missing(what: &str) -> Failure {
    Failure::usage(format!(
        "this reelmill was built without the backends of a cluster and cannot reach {what}: build it with the feature `cluster`, which is on by default"
    ))
}
