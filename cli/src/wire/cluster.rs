//! The backends of a cluster: Kafka, S3 and Redis.

use std::sync::Arc;
use std::time::Duration;

use reelmill_ledger::{Ledger, RedisLedger, RedisOptions};
use reelmill_queue::{KafkaOptions, KafkaQueue, Queue};
use reelmill_store::{S3Credentials, S3Options, S3Store, Store};

use crate::config::{Kafka, S3, Secret};
use crate::failure::Failure;

pub(super) async fn store(s3: &S3) -> Result<Arc<dyn Store>, Failure> {
    let credentials = S3Credentials {
        access_key: s3.access_key.clone(),
        secret_key: s3.secret_key.0.clone(),
        session_token: s3.session_token.as_ref().map(|token| token.0.clone()),
    };
    let options = S3Options {
        prefix: s3.prefix.clone(),
        endpoint: s3.endpoint.clone(),
        link_endpoint: s3.link_endpoint.clone(),
        region: s3.region.clone(),
        path_style: s3.path_style,
        ..S3Options::new(&s3.bucket, credentials)
    };
    let store = S3Store::connect(&options).await;
    Ok(Arc::new(store.map_err(|error| Failure::of(&error))?))
}

pub(super) async fn queue(kafka: &Kafka) -> Result<Arc<dyn Queue>, Failure> {
    Ok(Arc::new(self::kafka(kafka).await?))
}

/// The queue with what only Kafka has.
pub(crate) async fn kafka(kafka: &Kafka) -> Result<KafkaQueue, Failure> {
    let property = |(name, value): (&String, &Secret)| (name.clone(), value.0.clone());
    let options = KafkaOptions {
        brokers: kafka.brokers.clone(),
        group: kafka.group.clone(),
        properties: kafka.properties.iter().map(property).collect(),
        ..KafkaOptions::default()
    };
    let queue = KafkaQueue::connect(&options).await;
    queue.map_err(|error| Failure::of(&error))
}

/// The ledger; `kept` is how long it knows jobs that have ended.
pub(super) async fn ledger(url: &Secret, kept: Duration) -> Result<Arc<dyn Ledger>, Failure> {
    let options = RedisOptions {
        retention: kept,
        ..RedisOptions::new(&url.0)
    };
    let ledger = RedisLedger::connect(&options).await;
    Ok(Arc::new(ledger.map_err(|error| Failure::of(&error))?))
}
