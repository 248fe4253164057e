//! Members that come, go and die.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use reelmill_common::message::Topic;
use reelmill_queue::{Delivery, Queue as _, Settlement};

use crate::broker::{Cluster, PARTITIONS};
use crate::helpers::{
    PATIENCE, QUIET, ack, eventually, keys, message, receive, receive_nothing, waiting,
};

/// Names the topics of the process that is to be killed.
const VICTIM: &str = "REELMILL_TEST_KAFKA_VICTIM";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs REELMILL_TEST_KAFKA"]
async fn whoever_joins_takes_no_work_from_the_hands_of_others() {
    let cluster = Cluster::new().await;
    let queue = cluster.connect().await;
    let first = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    let sent: Vec<_> = (0..4 * PARTITIONS).map(message).collect();
    queue.publish(Topic::Chunks, &sent).await.unwrap();
    let held = receive(&*first, sent.len()).await;
    let second = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    // Half of the partitions move, and what is not settled there is delivered again there.
    let moved = receive(&*second, sent.len() / 2).await;
    receive_nothing(&*second).await;
    receive_nothing(&*first).await;
    let mut of_partition: BTreeMap<i32, usize> = BTreeMap::new();
    for delivery in &moved {
        *of_partition.entry(delivery.receipt.partition).or_default() += 1;
    }
    assert_eq!(
        of_partition.len(),
        PARTITIONS as usize / 2,
        "{of_partition:?}"
    );
    // To whom the partition was given decides; the other one's word has no effect.
    for delivery in &held {
        first
            .settle(&delivery.receipt, Settlement::Ack)
            .await
            .unwrap();
    }
    eventually(moved.len() as u64, async || {
        waiting(&*queue, Topic::Chunks).await
    })
    .await;
    for delivery in held.iter().filter(|held| keys(&moved).contains(&held.key)) {
        let delay = Duration::ZERO;
        first
            .settle(&delivery.receipt, Settlement::Retry { delay })
            .await
            .unwrap();
    }
    receive_nothing(&*second).await;
    for delivery in &moved {
        ack(&*second, delivery).await;
    }
    assert_eq!(waiting(&*queue, Topic::Chunks).await, 0);
    first.close().await.unwrap();
    receive_nothing(&*second).await;
    second.close().await.unwrap();
}

/// Whatever is in hand is settled by those who have it, and nobody is given what is settled.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs REELMILL_TEST_KAFKA"]
async fn members_come_and_go_and_no_message_is_lost() {
    let cluster = Cluster::new().await;
    let queue = cluster.connect().await;
    let mut consumers = vec![];
    let mut settled: BTreeMap<String, u32> = BTreeMap::new();
    let mut published = 0;
    for joins in [true, true, true, false, false, true, false, false] {
        match joins {
            true => consumers.push(queue.subscribe(&[Topic::Chunks]).await.unwrap()),
            false => {
                let leaving = consumers.remove(0);
                leaving.close().await.unwrap();
            }
        }
        let sent: Vec<_> = (published..published + 40).map(message).collect();
        published += 40;
        queue.publish(Topic::Chunks, &sent).await.unwrap();
        // What was read when the next one comes or goes is not all.
        let begin = Instant::now();
        while begin.elapsed() < QUIET {
            for consumer in &consumers {
                for delivery in consumer
                    .receive(3, Duration::from_millis(10))
                    .await
                    .unwrap()
                {
                    *settled.entry(delivery.key.clone()).or_default() += 1;
                    ack(&**consumer, &delivery).await;
                }
            }
        }
    }
    let last = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    for consumer in consumers {
        consumer.close().await.unwrap();
    }
    let begin = Instant::now();
    while settled.len() < published as usize {
        assert!(
            begin.elapsed() < PATIENCE,
            "{} of {published} came",
            settled.len()
        );
        for delivery in last.receive(9, QUIET).await.unwrap() {
            *settled.entry(delivery.key.clone()).or_default() += 1;
            ack(&*last, &delivery).await;
        }
    }
    eventually(0, async || waiting(&*queue, Topic::Chunks).await).await;
    last.close().await.unwrap();
    let twice = settled.values().filter(|times| **times > 1).count();
    // Settled in the moment in which its partition went; it happens, and rarely.
    assert!(twice <= 16, "{twice} of {published} came twice");
}

/// The worker is gone before it can say anything.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs REELMILL_TEST_KAFKA"]
async fn what_a_killed_process_had_comes_to_others() {
    if let Ok(prefix) = std::env::var(VICTIM) {
        return hold_until_killed(&prefix).await;
    }
    let cluster = Cluster::new().await;
    let queue = cluster.connect().await;
    let sent: Vec<_> = (0..PARTITIONS).map(message).collect();
    queue.publish(Topic::Chunks, &sent).await.unwrap();
    let mut victim = start_victim(&cluster.options.topic_prefix);
    let output = BufReader::new(victim.stdout.take().unwrap());
    let has_all = output
        .lines()
        .map_while(Result::ok)
        .any(|line| line.contains("has all"));
    assert!(has_all, "the other process got no messages");
    let heir = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    victim.kill().unwrap();
    victim.wait().unwrap();
    let again: Vec<Delivery> = receive(&*heir, sent.len()).await;
    let expected = sent.iter().map(|message| message.key.clone()).collect();
    assert_eq!(keys(&again), expected);
    for delivery in &again {
        ack(&*heir, delivery).await;
    }
    heir.close().await.unwrap();
    assert_eq!(waiting(&*queue, Topic::Chunks).await, 0);
}

/// This test once more, in a process of its own.
#[expect(clippy::disallowed_methods, reason = "a process that can be killed")]
fn start_victim(prefix: &str) -> std::process::Child {
    std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "rebalancing::what_a_killed_process_had_comes_to_others",
        ])
        .args(["--include-ignored", "--nocapture"])
        .env(VICTIM, prefix)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[expect(clippy::print_stdout, reason = "the other process reads it")]
async fn hold_until_killed(prefix: &str) {
    let mut cluster = std::mem::ManuallyDrop::new(Cluster::empty());
    cluster.options.topic_prefix = prefix.to_owned();
    cluster.options.group = prefix.trim_end_matches('.').to_owned();
    let queue = cluster.connect().await;
    let consumer = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    receive(&*consumer, PARTITIONS as usize).await;
    println!("has all");
    std::future::pending::<()>().await;
}
