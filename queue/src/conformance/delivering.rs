//! From publishing to receiving.

use std::collections::BTreeMap;
use std::task::Poll;
use std::time::Duration;

use reelmill_common::message::Topic;
use tokio::time::Instant;

use super::{
    DELAY, Fixture, PATIENCE, QUIET, ack, delayed, keys, keys_of, message, messages, receive_all,
    receive_nothing, receive_one,
};
use crate::{Consumer, Outgoing};

/// Clocks of two kinds measure a delay.
const CLOCK_SLACK: Duration = Duration::from_millis(10);

/// Topic, key and payload are what was published, also when nobody listened then.
pub async fn a_message_arrives_as_published(fixture: &Fixture) {
    fixture.publish(Topic::Chunks, &[message(7)]).await;
    let consumer = fixture.subscribe(&[Topic::Chunks]).await;
    let delivery = receive_one(&*consumer).await;
    assert_eq!(
        (delivery.topic, delivery.receipt.topic),
        (Topic::Chunks, Topic::Chunks)
    );
    assert_eq!(
        (delivery.key.as_str(), &*delivery.payload),
        ("j1/chunk-007", &b"payload 7"[..])
    );
    ack(&*consumer, &delivery).await;
    consumer.close().await.unwrap();
}

/// The queue carries bytes and does not read them.
pub async fn bytes_that_are_no_message_arrive_too(fixture: &Fixture) {
    let payloads = [
        vec![0xff, 0x00, 0xfe],
        vec![],
        b"{\"v\":".to_vec(),
        vec![0; 1000],
    ];
    let mut sent = BTreeMap::new();
    for (number, payload) in (0..).zip(payloads) {
        let message = Outgoing {
            payload,
            ..message(number)
        };
        fixture
            .publish(Topic::Ingest, std::slice::from_ref(&message))
            .await;
        sent.insert(message.key, message.payload);
    }
    let consumer = fixture.subscribe(&[Topic::Ingest]).await;
    let mut received = BTreeMap::new();
    for delivery in receive_all(&*consumer, sent.len()).await {
        ack(&*consumer, &delivery).await;
        received.insert(delivery.key, delivery.payload);
    }
    assert_eq!(received, sent);
    consumer.close().await.unwrap();
}

/// No messages are published by publishing no messages.
pub async fn publishing_nothing_does_nothing(fixture: &Fixture) {
    fixture.publish(Topic::Chunks, &[]).await;
    fixture.publish(Topic::Chunks, &[message(1)]).await;
    let consumer = fixture.subscribe(&[Topic::Chunks]).await;
    let delivery = receive_one(&*consumer).await;
    assert_eq!(delivery.key, message(1).key);
    ack(&*consumer, &delivery).await;
    receive_nothing(&*consumer).await;
    consumer.close().await.unwrap();
}

/// A key is a name for people: two messages of one key are two messages.
pub async fn messages_with_the_same_key_are_several(fixture: &Fixture) {
    let twin = Outgoing {
        payload: b"another".to_vec(),
        ..message(1)
    };
    fixture
        .publish(Topic::Chunks, &[message(1), twin, message(1)])
        .await;
    let consumer = fixture.subscribe(&[Topic::Chunks]).await;
    let mut payloads = vec![];
    for delivery in receive_all(&*consumer, 3).await {
        ack(&*consumer, &delivery).await;
        payloads.push(delivery.payload);
    }
    payloads.sort();
    assert_eq!(payloads, [&b"another"[..], b"payload 1", b"payload 1"]);
    receive_nothing(&*consumer).await;
    consumer.close().await.unwrap();
}

/// A consumer gets nothing from topics that it did not name.
pub async fn topics_are_apart(fixture: &Fixture) {
    for (number, topic) in (0..).zip(Topic::ALL) {
        fixture.publish(topic, &[message(number)]).await;
    }
    for (number, topic) in (0..).zip(Topic::ALL) {
        let consumer = fixture.subscribe(&[topic]).await;
        let delivery = receive_one(&*consumer).await;
        assert_eq!(
            (delivery.topic, delivery.key.clone()),
            (topic, message(number).key)
        );
        ack(&*consumer, &delivery).await;
        receive_nothing(&*consumer).await;
        consumer.close().await.unwrap();
    }
}

/// All its topics reach a consumer, each message with its own.
pub async fn a_consumer_of_several_topics_gets_all(fixture: &Fixture) {
    let topics = [Topic::Merges, Topic::Ingest, Topic::Chunks];
    let consumer = fixture.subscribe(&topics).await;
    for (number, topic) in (0..).zip(topics) {
        fixture.publish(topic, &[message(number)]).await;
    }
    let received = receive_all(&*consumer, 3).await;
    for delivery in &received {
        ack(&*consumer, delivery).await;
    }
    let found: BTreeMap<_, _> = received.into_iter().map(|d| (d.key, d.topic)).collect();
    let expected = (0..)
        .zip(topics)
        .map(|(number, topic)| (message(number).key, topic))
        .collect();
    assert_eq!(found, expected);
    consumer.close().await.unwrap();
}

/// Never more than `max`, and one when asked for none.
pub async fn receive_gives_at_most_as_many_as_asked(fixture: &Fixture) {
    let sent = messages(0..6);
    fixture.publish(Topic::Chunks, &sent).await;
    let consumer = fixture.subscribe(&[Topic::Chunks]).await;
    let mut all = vec![];
    for (max, most) in [(0, 1), (1, 1), (2, 2), (1000, 1000)] {
        let got = consumer.receive(max, PATIENCE).await.unwrap();
        assert!(
            (1..=most).contains(&got.len()),
            "{} of at most {max}",
            got.len()
        );
        all.extend(got);
    }
    all.extend(receive_all(&*consumer, sent.len() - all.len()).await);
    assert_eq!(keys(&all), keys_of(&sent));
    for delivery in &all {
        ack(&*consumer, delivery).await;
    }
    consumer.close().await.unwrap();
}

/// With nothing there, receive returns empty, not sooner than asked and not much later.
pub async fn receive_gives_up_after_its_wait(fixture: &Fixture) {
    let consumer = fixture.subscribe(&[Topic::Chunks]).await;
    for wait in [Duration::ZERO, Duration::from_millis(60)] {
        let begin = Instant::now();
        assert_eq!(consumer.receive(1, wait).await.unwrap(), []);
        assert!(
            (wait..PATIENCE).contains(&begin.elapsed()),
            "{:?}",
            begin.elapsed()
        );
    }
    consumer.close().await.unwrap();
}

/// A consumer that waits is woken, however long it meant to wait.
pub async fn receive_returns_when_a_message_comes(fixture: &Fixture) {
    let consumer = fixture.subscribe(&[Topic::Chunks]).await;
    let begin = Instant::now();
    let forever = consumer.receive(1, Duration::MAX);
    let publish = async {
        tokio::task::yield_now().await;
        fixture.publish(Topic::Chunks, &[message(1)]).await;
    };
    let (received, ()) = tokio::join!(forever, publish);
    let received = received.unwrap();
    assert_eq!(keys(&received), keys_of(&[message(1)]));
    assert!(begin.elapsed() < PATIENCE);
    ack(&*consumer, &received[0]).await;
    consumer.close().await.unwrap();
}

/// A future dropped at any moment takes no message with it.
pub async fn receiving_given_up_loses_nothing(fixture: &Fixture) {
    let sent = messages(0..30);
    let consumer = fixture.subscribe(&[Topic::Chunks]).await;
    let mut all = vec![];
    for (round, message) in (0..).zip(&sent) {
        fixture
            .publish(Topic::Chunks, std::slice::from_ref(message))
            .await;
        let receive = consumer.receive(3, PATIENCE);
        // Between every two steps of the future.
        if let Some(received) = give_up_after(round % 10, receive).await {
            all.extend(received.unwrap());
        }
    }
    if all.len() < sent.len() {
        all.extend(receive_all(&*consumer, sent.len() - all.len()).await);
    }
    assert_eq!(keys(&all), keys_of(&sent));
    for delivery in &all {
        ack(&*consumer, delivery).await;
    }
    receive_nothing(&*consumer).await;
    consumer.close().await.unwrap();
}

/// Drops a future that is not ready after so many polls.
async fn give_up_after<T>(polls: u32, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut polled = 0;
    let steps = std::future::poll_fn(|context| {
        if polled == polls {
            return Poll::Ready(None);
        }
        polled += 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if polled == polls => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    });
    steps.await
}

/// Nobody is given it before its time, somebody soon after.
pub async fn a_delayed_message_comes_late(fixture: &Fixture) {
    let consumer = fixture.subscribe(&[Topic::Chunks]).await;
    let begin = Instant::now();
    fixture.publish(Topic::Chunks, &[delayed(1, DELAY)]).await;
    let delivery = receive_one(&*consumer).await;
    assert!(
        begin.elapsed() + CLOCK_SLACK >= DELAY,
        "came after {:?}",
        begin.elapsed()
    );
    ack(&*consumer, &delivery).await;
    consumer.close().await.unwrap();
}

/// Messages behind a delayed one come at once.
pub async fn a_delayed_message_holds_up_no_other(fixture: &Fixture) {
    let hour = Duration::from_secs(3600);
    let late = Outgoing {
        spread: 0,
        ..delayed(1, hour)
    };
    let soon = Outgoing {
        spread: 0,
        ..message(2)
    };
    fixture.publish(Topic::Chunks, &[late, soon.clone()]).await;
    let consumer = fixture.subscribe(&[Topic::Chunks]).await;
    let delivery = receive_one(&*consumer).await;
    assert_eq!(delivery.key, soon.key);
    ack(&*consumer, &delivery).await;
    receive_nothing(&*consumer).await;
    consumer.close().await.unwrap();
}

/// Some hundred messages, more than are asked for at once: each arrives, none twice.
pub async fn many_messages_arrive_once(fixture: &Fixture) {
    let sent = messages(0..300);
    for part in sent.chunks(100) {
        fixture.publish(Topic::Chunks, part).await;
    }
    let consumer = fixture.subscribe(&[Topic::Chunks]).await;
    let mut all = vec![];
    while all.len() < sent.len() {
        let got = consumer.receive(32, PATIENCE).await.unwrap();
        assert!(
            !got.is_empty(),
            "{} of {} messages came",
            all.len(),
            sent.len()
        );
        for delivery in &got {
            ack(&*consumer, delivery).await;
        }
        all.extend(got);
    }
    assert_eq!((all.len(), keys(&all)), (sent.len(), keys_of(&sent)));
    receive_nothing(&*consumer).await;
    consumer.close().await.unwrap();
}

/// Between the members of a settled group no message is given to two, however long it is kept.
pub async fn two_consumers_share(fixture: &Fixture) {
    let one = fixture.subscribe(&[Topic::Chunks]).await;
    let two = fixture.subscribe(&[Topic::Chunks]).await;
    wait_until_both_are_served(fixture, &*one, &*two).await;

    let sent = messages(1000..1040);
    fixture.publish(Topic::Chunks, &sent).await;
    let (mut held_by_one, mut held_by_two) = (vec![], vec![]);
    let begin = Instant::now();
    while held_by_one.len() + held_by_two.len() < sent.len() {
        assert!(
            begin.elapsed() < PATIENCE,
            "{held_by_one:?} {held_by_two:?}"
        );
        held_by_one.extend(one.receive(1, QUIET / 10).await.unwrap());
        held_by_two.extend(two.receive(1, QUIET / 10).await.unwrap());
    }
    receive_nothing(&*one).await;
    receive_nothing(&*two).await;
    assert!(
        !held_by_one.is_empty() && !held_by_two.is_empty(),
        "both were given work"
    );
    assert!(keys(&held_by_one).is_disjoint(&keys(&held_by_two)));
    assert_eq!(&keys(&held_by_one) | &keys(&held_by_two), keys_of(&sent));
    for delivery in &held_by_one {
        ack(&*one, delivery).await;
    }
    for delivery in &held_by_two {
        ack(&*two, delivery).await;
    }
    one.close().await.unwrap();
    two.close().await.unwrap();
}

/// Members may be known to each other only some time after they joined; until then duplicates
/// are right.
async fn wait_until_both_are_served(fixture: &Fixture, one: &dyn Consumer, two: &dyn Consumer) {
    let begin = Instant::now();
    let mut served = [false, false];
    while served != [true, true] {
        assert!(begin.elapsed() < PATIENCE, "served: {served:?}");
        fixture.publish(Topic::Chunks, &messages(0..16)).await;
        let mut has_more = true;
        while has_more {
            has_more = false;
            for (consumer, served) in [one, two].into_iter().zip(&mut served) {
                for delivery in consumer.receive(1, QUIET).await.unwrap() {
                    ack(consumer, &delivery).await;
                    (*served, has_more) = (true, true);
                }
            }
        }
    }
}
