//! Whose turn it is, and how long the oldest message has waited.

use std::time::Duration;

use reelmill_common::JobId;
use reelmill_common::message::Topic;
use reelmill_common::request::Priority;

use super::{DELAY, Fixture, ack, message, receive_all, receive_one, retry};
use crate::{Consumer, Outgoing};

fn of(job: &str, number: u32) -> Outgoing {
    Outgoing {
        job: JobId::new(job).unwrap(),
        key: format!("{job}/chunk-{number:03}"),
        ..message(number)
    }
}

fn long(job: &str, count: u32) -> Vec<Outgoing> {
    (0..count).map(|number| of(job, number)).collect()
}

/// The jobs of the next messages, each of which is settled before the next is asked for.
async fn jobs_served(consumer: &dyn Consumer, count: usize) -> Vec<String> {
    let mut jobs = vec![];
    for _ in 0..count {
        let delivery = receive_one(consumer).await;
        ack(consumer, &delivery).await;
        let job = delivery.key.split('/').next().unwrap_or_default();
        jobs.push(job.to_owned());
    }
    jobs
}

/// Whenever it was published, and also when it comes again.
pub async fn a_higher_priority_comes_first(fixture: &Fixture) {
    let with = |priority, job| Outgoing {
        priority,
        ..of(job, 0)
    };
    let sent = [
        with(Priority::Low, "low"),
        with(Priority::Normal, "normal"),
        with(Priority::High, "high"),
    ];
    let consumer = fixture.subscribe(&[Topic::Chunks]).await;
    fixture.publish(Topic::Chunks, &sent).await;
    fixture.at_hand().await;
    let first = receive_one(&*consumer).await;
    assert_eq!(first.key, "high/chunk-000");
    retry(&*consumer, &first, Duration::ZERO).await;
    fixture.at_hand().await;
    let served = jobs_served(&*consumer, 3).await;
    assert_eq!(served, ["high", "normal", "low"]);
    consumer.close().await.unwrap();
}

/// One with few messages, published behind one with many, is served within the next two
/// deliveries; then the two take turns.
pub async fn a_short_job_does_not_wait_for_a_long_one(fixture: &Fixture) {
    let consumer = fixture.subscribe(&[Topic::Chunks]).await;
    for part in long("long", 500).chunks(100) {
        fixture.publish(Topic::Chunks, part).await;
    }
    assert_eq!(jobs_served(&*consumer, 3).await, ["long"; 3]);
    fixture.publish(Topic::Chunks, &long("short", 3)).await;
    fixture.at_hand().await;
    let served = jobs_served(&*consumer, 6).await;
    assert!(served[..2].contains(&"short".to_owned()), "{served:?}");
    let of_short = served.iter().filter(|job| *job == "short").count();
    assert_eq!(of_short, 3, "{served:?}");
    assert_eq!(jobs_served(&*consumer, 2).await, ["long"; 2]);
    consumer.close().await.unwrap();
}

/// Also when they are handed out at once, and by turns again when both have as much in hand.
pub async fn a_job_with_work_in_hand_waits_for_one_without(fixture: &Fixture) {
    let consumer = fixture.subscribe(&[Topic::Chunks]).await;
    fixture.publish(Topic::Chunks, &long("a", 10)).await;
    let in_hand = receive_all(&*consumer, 3).await;
    fixture.publish(Topic::Chunks, &long("b", 10)).await;
    fixture.at_hand().await;
    let next = receive_all(&*consumer, 3).await;
    let keys: Vec<_> = next.iter().map(|delivery| delivery.key.as_str()).collect();
    assert!(keys.iter().all(|key| key.starts_with("b/")), "{keys:?}");
    let both = receive_all(&*consumer, 2).await;
    let of_a = both
        .iter()
        .filter(|delivery| delivery.key.starts_with("a/"));
    assert_eq!(of_a.count(), 1, "{both:?}");
    for delivery in in_hand.iter().chain(&next).chain(&both) {
        ack(&*consumer, delivery).await;
    }
    consumer.close().await.unwrap();
}

/// Since it was published, however often it was delivered; zero where nothing waits.
pub async fn the_age_of_the_oldest_message_is_told(fixture: &Fixture) {
    let oldest = async || {
        let backlog = fixture.queue.backlog(Topic::Chunks).await.unwrap();
        backlog.map(|backlog| backlog.oldest)
    };
    let Some(age) = oldest().await else {
        // Unknown is an answer.
        return;
    };
    assert_eq!(age, Duration::ZERO);
    let consumer = fixture.subscribe(&[Topic::Chunks]).await;
    let late = Outgoing {
        delay: DELAY,
        ..message(1)
    };
    fixture.publish(Topic::Chunks, &[late]).await;
    // It comes after its delay, and is at least as old by then, but for the clocks' grain.
    let delivery = receive_one(&*consumer).await;
    let grain = Duration::from_millis(5);
    assert!(oldest().await.unwrap() + grain >= DELAY);
    retry(&*consumer, &delivery, Duration::ZERO).await;
    assert!(oldest().await.unwrap() + grain >= DELAY);
    let delivery = receive_one(&*consumer).await;
    ack(&*consumer, &delivery).await;
    assert_eq!(oldest().await, Some(Duration::ZERO));
    consumer.close().await.unwrap();
}
