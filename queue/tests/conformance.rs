//! The suite over every backend, bare and behind the decorator, which without faults, and with
//! faults and a caller that tries again, must look the same.
#![expect(clippy::unwrap_used, reason = "fixtures fail by panicking")]

use std::sync::Arc;
use std::time::Duration;

use reelmill_queue::conformance::Fixture;
use reelmill_queue::{Faults, FaultyQueue, Queue, SqliteQueue, When, queue_conformance};

mod broker;
mod retrying;
use broker::Cluster;
use retrying::Retrying;

fn over(wrap: impl FnOnce(Arc<dyn Queue>) -> Arc<dyn Queue>) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let queue = SqliteQueue::open(folder.path().join("queue.db")).unwrap();
    Fixture::new(wrap(Arc::new(queue)), folder)
}

async fn over_kafka(wrap: impl FnOnce(Arc<dyn Queue>) -> Arc<dyn Queue>) -> Fixture {
    let cluster = Cluster::new().await;
    let queue = wrap(cluster.connect().await);
    Fixture::new(queue, cluster).reaching_after(Duration::from_secs(1))
}

async fn sqlite() -> Fixture {
    over(|queue| queue)
}

async fn kafka() -> Fixture {
    over_kafka(|queue| queue).await
}

async fn faultless_decorator() -> Fixture {
    let faults = Faults::none().with_latency(Duration::from_micros(100));
    over(|queue| Arc::new(FaultyQueue::new(queue, faults)))
}

async fn failing_before_and_tried_again() -> Fixture {
    over(|queue| {
        let faulty = FaultyQueue::new(queue, Faults::first(2, When::Before));
        Arc::new(Retrying::new(Arc::new(faulty)))
    })
}

fn settling_without_an_answer(queue: Arc<dyn Queue>) -> Arc<dyn Queue> {
    let faults = Faults::fraction(500, 1, When::Either).only("settle");
    Arc::new(Retrying::new(Arc::new(FaultyQueue::new(queue, faults))))
}

fn receiving_without_an_answer(queue: Arc<dyn Queue>) -> Arc<dyn Queue> {
    let faults = Faults::fraction(300, 2, When::Either).only("receive");
    Arc::new(Retrying::new(Arc::new(FaultyQueue::new(queue, faults))))
}

async fn settling_without_an_answer_and_tried_again() -> Fixture {
    over(settling_without_an_answer)
}

async fn kafka_settling_without_an_answer_and_tried_again() -> Fixture {
    over_kafka(settling_without_an_answer).await
}

async fn receiving_without_an_answer_and_tried_again() -> Fixture {
    over(receiving_without_an_answer)
}

async fn kafka_receiving_without_an_answer_and_tried_again() -> Fixture {
    over_kafka(receiving_without_an_answer).await
}

queue_conformance!(sqlite_backend, sqlite);
queue_conformance!(decorator_without_faults, faultless_decorator);
queue_conformance!(faults_before_the_effect, failing_before_and_tried_again);
queue_conformance!(
    settles_whose_answer_is_lost,
    settling_without_an_answer_and_tried_again
);
queue_conformance!(
    receives_whose_answer_is_lost,
    receiving_without_an_answer_and_tried_again
);
queue_conformance!(kafka_backend, kafka, ignore = "needs REELMILL_TEST_KAFKA");
queue_conformance!(
    kafka_settles_whose_answer_is_lost,
    kafka_settling_without_an_answer_and_tried_again,
    ignore = "needs REELMILL_TEST_KAFKA"
);
queue_conformance!(
    kafka_receives_whose_answer_is_lost,
    kafka_receiving_without_an_answer_and_tried_again,
    ignore = "needs REELMILL_TEST_KAFKA"
);
