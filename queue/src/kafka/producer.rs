//! Sends records, and waits until they are durable.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::Client;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::{DeliveryFuture, FutureProducerContext};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use reelmill_common::message::Topic;

use super::blocking;
use super::error::Trouble;
use super::metadata::partitions;
use super::options::KafkaOptions;
use super::record::Record;
use super::report::Reporter;
use super::stream::Stream;

/// How long to wait for the client to have room.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// How long the number of a topic's partitions is taken for known.
const PARTITIONS_ARE_KNOWN_FOR: Duration = Duration::from_secs(60);

type KafkaProducer = FutureProducer<Reporter>;

/// A producer that replaces its client when that can go on no more.
pub(super) struct Producer {
    options: Arc<KafkaOptions>,
    reporter: Reporter,
    client: Mutex<Arc<KafkaProducer>>,
    partitions: Mutex<HashMap<Stream, Known>>,
}

/// How many partitions a topic has, and when that was asked; it may be out of date.
#[derive(Clone, Copy, Debug)]
struct Known {
    count: u32,
    asked_at: Option<Instant>,
}

impl Known {
    fn is_fresh(&self) -> bool {
        let asked_at = self.asked_at;
        asked_at.is_some_and(|asked_at| asked_at.elapsed() < PARTITIONS_ARE_KNOWN_FOR)
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").finish_non_exhaustive()
    }
}

impl Producer {
    pub(super) fn start(options: &Arc<KafkaOptions>) -> Result<Self, Trouble> {
        let reporter = Reporter::new("producer");
        Ok(Self {
            client: Mutex::new(Self::connect(options, &reporter)?),
            options: Arc::clone(options),
            reporter,
            partitions: Mutex::default(),
        })
    }

    fn connect(options: &KafkaOptions, reporter: &Reporter) -> Result<Arc<KafkaProducer>, Trouble> {
        let client = options.producer().create_with_context(reporter.clone());
        client
            .map(Arc::new)
            .map_err(|error| Trouble::of(&error, &options.brokers, None))
    }

    /// Sends records, and returns when all of them are durable.
    pub(super) async fn send(&self, records: &[Record]) -> Result<(), Trouble> {
        let client = self.client();
        let mut reports = vec![];
        for record in records {
            let partitions = self.partitions(record.stream).await?;
            let report = self.enqueue(&client, record, partitions).await;
            let report = report.map_err(|error| self.failed(&client, record.stream, &error))?;
            reports.push((record.stream, report));
        }
        for (stream, report) in reports {
            match report.await {
                Ok(Ok(_)) => {}
                Ok(Err((error, _))) => return Err(self.failed(&client, stream, &error)),
                Err(_) => return Err(self.failed(&client, stream, &KafkaError::Canceled)),
            }
        }
        Ok(())
    }

    async fn enqueue(
        &self,
        client: &KafkaProducer,
        record: &Record,
        partitions: u32,
    ) -> Result<DeliveryFuture, KafkaError> {
        let topic = record.stream.name(&self.options.topic_prefix);
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in &record.headers {
            let value = Some(value);
            headers = headers.insert(Header { key, value });
        }
        let partition = record.spread % partitions;
        let mut message = FutureRecord {
            topic: &topic,
            partition: Some(i32::try_from(partition).unwrap_or_default()),
            payload: record.payload.as_ref(),
            key: Some(&record.key),
            timestamp: None,
            headers: Some(headers),
        };
        loop {
            match client.send_result(message) {
                Ok(report) => return Ok(report),
                Err((KafkaError::MessageProduction(Code::QueueFull), refused)) => {
                    message = refused;
                    tokio::time::sleep(FULL_PAUSE).await;
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    /// The meaning of a failure, after which the next try begins afresh.
    fn failed(&self, client: &Arc<KafkaProducer>, stream: Stream, error: &KafkaError) -> Trouble {
        self.forget(stream);
        // One that could not send for so long may hold on to a leader of an earlier topic of the same
        // name, of which it believes only what has no lower epoch.
        let is_stuck = error.rdkafka_error_code() == Some(Code::MessageTimedOut);
        if is_stuck || client.client().fatal_error().is_some() {
            self.replace(client);
        }
        let topic = stream.name(&self.options.topic_prefix);
        Trouble::of(error, &self.options.brokers, Some(&topic))
    }

    /// After some errors an idempotent client can send nothing more, because it could not do so in
    /// order and once; a new one can. Whoever waits for the old one keeps it until then.
    fn replace(&self, broken: &Arc<KafkaProducer>) {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&client, broken) {
            return;
        }
        match Self::connect(&self.options, &self.reporter) {
            Ok(new) => *client = new,
            Err(error) => tracing::warn!(%error, "cannot replace the producer"),
        }
    }

    fn client(&self) -> Arc<KafkaProducer> {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&client)
    }

    /// Asks for the partitions afresh next time.
    pub(super) fn forget(&self, stream: Stream) {
        if let Some(known) = self.known().get_mut(&stream) {
            known.asked_at = None;
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Stream, Known>> {
        let known = self.partitions.lock();
        known.unwrap_or_else(PoisonError::into_inner)
    }

    /// How many partitions a topic has: at least one.
    pub(super) async fn partitions(&self, stream: Stream) -> Result<u32, Trouble> {
        let known = self.known().get(&stream).copied();
        if let Some(known) = known.filter(Known::is_fresh) {
            return Ok(known.count);
        }
        let topic = stream.name(&self.options.topic_prefix);
        let (client, options) = (self.client(), Arc::clone(&self.options));
        let reporter = self.reporter.clone();
        let count = move || count_partitions(client.client(), &topic, &options, &reporter);
        match (blocking(count).await, known) {
            (Ok(count), _) => {
                let asked_at = Some(Instant::now());
                self.known().insert(stream, Known { count, asked_at });
                Ok(count)
            }
            // Records wait for the brokers longer than a question does.
            (Err(Trouble::Unreachable { .. }), Some(known)) => Ok(known.count),
            (Err(trouble), _) => Err(trouble),
        }
    }

    /// Whether a broker answers.
    pub(super) async fn ping(&self) -> Result<(), Trouble> {
        match self.partitions(Stream::main(Topic::Chunks)).await {
            // Topics may be made later.
            Ok(_) | Err(Trouble::NoTopic { .. }) => Ok(()),
            Err(trouble) => Err(trouble),
        }
    }
}

/// Asks a broker how many partitions a topic has.
fn count_partitions(
    client: &Client<FutureProducerContext<Reporter>>,
    topic: &str,
    options: &KafkaOptions,
    reporter: &Reporter,
) -> Result<u32, Trouble> {
    let metadata = client
        .fetch_metadata(Some(topic), options.request_timeout)
        .map_err(|error| {
            let trouble = Trouble::of(&error, &options.brokers, Some(topic));
            trouble.because(reporter.last_reason())
        })?;
    let partitions = partitions(&metadata, topic)
        .map_err(|code| Trouble::of_code(code, &options.brokers, Some(topic)))?;
    Ok(u32::try_from(partitions.len()).unwrap_or(u32::MAX))
}
