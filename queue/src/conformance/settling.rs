//! From receiving to the end of a message, or to its next delivery.

use std::time::Duration;

use reelmill_common::message::Topic;
use tokio::time::Instant;

use super::{
    DELAY, Fixture, PATIENCE, ack, bury, keys, keys_of, message, messages, receive_all,
    receive_nothing, receive_one, retry,
};
use crate::{DeadLetter, Outgoing, Settlement};

/// Nobody is given it again, now or after the consumer has left.
pub async fn what_is_acknowledged_is_gone(fixture: &Fixture) {
    fixture.publish(Topic::Chunks, &messages(0..3)).await;
    let consumer = fixture.subscribe(&[Topic::Chunks]).await;
    for delivery in receive_all(&*consumer, 3).await {
        ack(&*consumer, &delivery).await;
    }
    receive_nothing(&*consumer).await;
    consumer.close().await.unwrap();
    let next = fixture.subscribe(&[Topic::Chunks]).await;
    fixture.publish(Topic::Chunks, &[message(9)]).await;
    let delivery = receive_one(&*next).await;
    assert_eq!(delivery.key, message(9).key);
    ack(&*next, &delivery).await;
    next.close().await.unwrap();
}

/// The first settlement stays, whatever the second one says.
pub async fn settling_twice_has_no_effect(fixture: &Fixture) {
    fixture.publish(Topic::Chunks, &messages(0..3)).await;
    let consumer = fixture.subscribe(&[Topic::Chunks]).await;
    for delivery in receive_all(&*consumer, 3).await {
        ack(&*consumer, &delivery).await;
        ack(&*consumer, &delivery).await;
        retry(&*consumer, &delivery, Duration::ZERO).await;
        bury(&*consumer, &delivery, "after all").await;
    }
    receive_nothing(&*consumer).await;
    consumer.close().await.unwrap();
    let dead = fixture.subscribe(&[Topic::DeadLetters]).await;
    receive_nothing(&*dead).await;
    dead.close().await.unwrap();
}

/// Nor does the second one change a retry that nobody has been given yet.
pub async fn a_retry_cannot_be_taken_back(fixture: &Fixture) {
    fixture.publish(Topic::Chunks, &messages(0..2)).await;
    let consumer = fixture.subscribe(&[Topic::Chunks]).await;
    for delivery in receive_all(&*consumer, 2).await {
        retry(&*consumer, &delivery, DELAY).await;
        ack(&*consumer, &delivery).await;
        bury(&*consumer, &delivery, "after all").await;
    }
    for delivery in receive_all(&*consumer, 2).await {
        ack(&*consumer, &delivery).await;
    }
    receive_nothing(&*consumer).await;
    consumer.close().await.unwrap();
}

/// As it was, and with a receipt of its own.
pub async fn a_retry_comes_again(fixture: &Fixture) {
    fixture.publish(Topic::Merges, &[message(1)]).await;
    let consumer = fixture.subscribe(&[Topic::Merges]).await;
    let mut last = receive_one(&*consumer).await;
    for _ in 0..3 {
        retry(&*consumer, &last, Duration::ZERO).await;
        let next = receive_one(&*consumer).await;
        assert_eq!((next.topic, &next.key), (Topic::Merges, &last.key));
        assert_eq!(next.payload, last.payload);
        assert_ne!(next.receipt, last.receipt);
        last = next;
    }
    ack(&*consumer, &last).await;
    receive_nothing(&*consumer).await;
    consumer.close().await.unwrap();
}

/// Nobody is given it before its time, also when the consumer leaves meanwhile.
pub async fn a_retry_comes_after_its_delay(fixture: &Fixture) {
    fixture.publish(Topic::Chunks, &[message(1)]).await;
    let consumer = fixture.subscribe(&[Topic::Chunks]).await;
    let delivery = receive_one(&*consumer).await;
    let begin = Instant::now();
    retry(&*consumer, &delivery, DELAY).await;
    consumer.close().await.unwrap();
    let next = fixture.subscribe(&[Topic::Chunks]).await;
    let delivery = receive_one(&*next).await;
    let slack = Duration::from_millis(10);
    assert!(
        begin.elapsed() + slack >= DELAY,
        "came after {:?}",
        begin.elapsed()
    );
    ack(&*next, &delivery).await;
    next.close().await.unwrap();
}

/// A receipt names one delivery, not the message.
pub async fn a_late_settle_of_an_old_delivery_has_no_effect(fixture: &Fixture) {
    fixture.publish(Topic::Chunks, &[message(1)]).await;
    let consumer = fixture.subscribe(&[Topic::Chunks]).await;
    let old = receive_one(&*consumer).await;
    retry(&*consumer, &old, Duration::ZERO).await;
    let new = receive_one(&*consumer).await;
    ack(&*consumer, &old).await;
    bury(&*consumer, &old, "too late").await;
    // The new delivery is still open: it can be handed back, and comes again.
    retry(&*consumer, &new, Duration::ZERO).await;
    let last = receive_one(&*consumer).await;
    assert_eq!(last.key, message(1).key);
    ack(&*consumer, &last).await;
    receive_nothing(&*consumer).await;
    consumer.close().await.unwrap();
}

/// One that has left, and whose message somebody else works on, cannot end it.
pub async fn a_late_settle_by_another_consumer_has_no_effect(fixture: &Fixture) {
    fixture.publish(Topic::Chunks, &[message(1)]).await;
    let first = fixture.subscribe(&[Topic::Chunks]).await;
    let old = receive_one(&*first).await;
    first.close().await.unwrap();
    let second = fixture.subscribe(&[Topic::Chunks]).await;
    let new = receive_one(&*second).await;
    assert_eq!(new.key, old.key);
    first.settle(&old.receipt, Settlement::Ack).await.unwrap();
    second.close().await.unwrap();
    let third = fixture.subscribe(&[Topic::Chunks]).await;
    let last = receive_one(&*third).await;
    assert_eq!(last.key, old.key);
    ack(&*third, &last).await;
    third.close().await.unwrap();
}

/// Exactly what was not settled comes to others.
pub async fn a_closed_consumer_gives_back_what_is_open(fixture: &Fixture) {
    let sent = messages(0..4);
    fixture.publish(Topic::Chunks, &sent).await;
    let first = fixture.subscribe(&[Topic::Chunks]).await;
    let received = receive_all(&*first, 4).await;
    let settled = received
        .iter()
        .find(|delivery| delivery.key == sent[2].key)
        .unwrap();
    ack(&*first, settled).await;
    first.close().await.unwrap();
    let next = fixture.subscribe(&[Topic::Chunks]).await;
    let again = receive_all(&*next, 3).await;
    let open = [sent[0].clone(), sent[1].clone(), sent[3].clone()];
    assert_eq!(keys(&again), keys_of(&open));
    for delivery in &again {
        ack(&*next, delivery).await;
    }
    receive_nothing(&*next).await;
    next.close().await.unwrap();
}

/// What a consumer had that was dropped without a word comes to one that was there all the time.
pub async fn a_lost_consumer_loses_no_message(fixture: &Fixture) {
    let sent = messages(0..4);
    fixture.publish(Topic::Chunks, &sent).await;
    let lost = fixture.subscribe(&[Topic::Chunks]).await;
    let received = receive_all(&*lost, 4).await;
    assert_eq!(keys(&received), keys_of(&sent));
    let other = fixture.subscribe(&[Topic::Chunks]).await;
    drop(lost);
    let again = receive_all(&*other, 4).await;
    assert_eq!(keys(&again), keys_of(&sent));
    for delivery in &again {
        ack(&*other, delivery).await;
    }
    receive_nothing(&*other).await;
    other.close().await.unwrap();
}

/// A second close changes nothing, for the consumer and for others.
pub async fn closing_twice_is_closing(fixture: &Fixture) {
    fixture.publish(Topic::Chunks, &[message(1)]).await;
    let first = fixture.subscribe(&[Topic::Chunks]).await;
    receive_one(&*first).await;
    first.close().await.unwrap();
    let next = fixture.subscribe(&[Topic::Chunks]).await;
    let delivery = receive_one(&*next).await;
    first.close().await.unwrap();
    receive_nothing(&*next).await;
    ack(&*next, &delivery).await;
    next.close().await.unwrap();
}

/// Once, in the envelope that all backends share, and it is gone from its topic.
pub async fn a_dead_letter_tells_where_it_came_from(fixture: &Fixture) {
    fixture.publish(Topic::Chunks, &[message(1)]).await;
    let consumer = fixture.subscribe(&[Topic::Chunks]).await;
    let delivery = receive_one(&*consumer).await;
    bury(&*consumer, &delivery, "every attempt is used up: 4 of 4").await;
    bury(&*consumer, &delivery, "said again").await;
    receive_nothing(&*consumer).await;
    consumer.close().await.unwrap();
    let dead = fixture.subscribe(&[Topic::DeadLetters]).await;
    let delivery = receive_one(&*dead).await;
    assert_eq!(
        (delivery.topic, delivery.key.as_str()),
        (Topic::DeadLetters, "j1/chunk-001")
    );
    let letter = DeadLetter::decode(&delivery.payload).unwrap();
    assert_eq!(
        (letter.topic, letter.key.as_str()),
        (Topic::Chunks, "j1/chunk-001")
    );
    assert_eq!(letter.payload, b"payload 1");
    assert_eq!(letter.cause.reason, "every attempt is used up: 4 of 4");
    ack(&*dead, &delivery).await;
    receive_nothing(&*dead).await;
    dead.close().await.unwrap();
}

/// Bytes that are no text survive the envelope, which is text.
pub async fn a_dead_letter_keeps_any_payload(fixture: &Fixture) {
    let payloads = [
        vec![0xff, 0xfe, 0x00],
        vec![],
        "\u{e9}\"\\\n".as_bytes().to_vec(),
    ];
    let consumer = fixture.subscribe(&[Topic::Ingest]).await;
    let dead = fixture.subscribe(&[Topic::DeadLetters]).await;
    for (number, payload) in (0..).zip(payloads) {
        let sent = Outgoing {
            payload,
            ..message(number)
        };
        fixture
            .publish(Topic::Ingest, std::slice::from_ref(&sent))
            .await;
        let delivery = receive_one(&*consumer).await;
        bury(&*consumer, &delivery, "no message").await;
        let delivery = receive_one(&*dead).await;
        let letter = DeadLetter::decode(&delivery.payload).unwrap();
        assert_eq!((letter.key, letter.payload), (sent.key, sent.payload));
        ack(&*dead, &delivery).await;
    }
    consumer.close().await.unwrap();
    dead.close().await.unwrap();
}

/// What an operator does after mending the cause.
pub async fn a_dead_letter_can_be_published_again(fixture: &Fixture) {
    fixture.publish(Topic::Merges, &[message(1)]).await;
    let consumer = fixture.subscribe(&[Topic::Merges]).await;
    let delivery = receive_one(&*consumer).await;
    bury(&*consumer, &delivery, "no space is left").await;
    let dead = fixture.subscribe(&[Topic::DeadLetters]).await;
    let delivery = receive_one(&*dead).await;
    let DeadLetter {
        topic,
        key,
        payload,
        ..
    } = DeadLetter::decode(&delivery.payload).unwrap();
    fixture
        .publish(
            topic,
            &[Outgoing {
                key,
                payload,
                ..message(1)
            }],
        )
        .await;
    ack(&*dead, &delivery).await;
    let again = receive_one(&*consumer).await;
    assert_eq!(
        (again.key, again.payload),
        (message(1).key, message(1).payload)
    );
    consumer
        .settle(&again.receipt, Settlement::Ack)
        .await
        .unwrap();
    consumer.close().await.unwrap();
    dead.close().await.unwrap();
}

/// Where it is known, it becomes right: what is being worked on counts, what is settled does not.
pub async fn lag_counts_what_is_not_settled(fixture: &Fixture) {
    fixture.publish(Topic::Chunks, &messages(0..3)).await;
    fixture.publish(Topic::Merges, &[message(9)]).await;
    let consumer = fixture.subscribe(&[Topic::Chunks]).await;
    let received = receive_all(&*consumer, 3).await;
    lag_becomes(fixture, 3).await;
    for (delivery, left) in received.iter().zip([2, 1, 0]) {
        ack(&*consumer, delivery).await;
        lag_becomes(fixture, left).await;
    }
    consumer.close().await.unwrap();
}

async fn lag_becomes(fixture: &Fixture, expected: u64) {
    let begin = Instant::now();
    while let Some(backlog) = fixture.queue.backlog(Topic::Chunks).await.unwrap() {
        let lag = backlog.messages;
        if lag == expected {
            break;
        }
        assert!(
            begin.elapsed() < PATIENCE,
            "the lag stays {lag} instead of {expected}"
        );
        // An estimate may follow with some delay.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
