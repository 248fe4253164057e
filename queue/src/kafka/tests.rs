//! What needs no broker: messages on their way, and what a consumer knows.

use std::time::Duration;

use reelmill_common::JobId;
use reelmill_common::message::Topic;
use reelmill_common::request::Priority;

use super::member::{Commit, Member};
use super::record::{Content, Incoming, Record, now};
use super::stream::{Place, Stream};
use super::tracker::Tracker;
use crate::{Cause, DeadLetter, Delivery, Outgoing};

const NOW: u64 = 1_700_000_000_000;

const CHUNKS: Stream = Stream {
    topic: Topic::Chunks,
    retry: false,
};

fn outgoing(delay: Duration) -> Outgoing {
    Outgoing {
        job: JobId::new("j1").unwrap(),
        priority: Priority::High,
        key: "j1/chunk-003".to_owned(),
        spread: 3,
        payload: b"payload".to_vec(),
        delay,
    }
}

fn place(topic: Topic, partition: i32) -> Place {
    let stream = Stream::main(topic);
    Place { stream, partition }
}

/// What a consumer gets of a record that lies there.
fn arrived(record: &Record, partition: i32, offset: i64) -> Incoming {
    let place = Place {
        stream: record.stream,
        partition,
    };
    let content = Content {
        key: record.key.clone(),
        payload: record.payload.clone(),
        headers: record.headers.clone(),
    };
    Incoming::new(place, offset, NOW + 5, content)
}

fn header(record: &Record, name: &str) -> Option<String> {
    let header = record.headers.iter().find(|(found, _)| found == name)?;
    Some(String::from_utf8(header.1.clone()).unwrap())
}

#[test]
fn a_message_says_all_that_the_queue_must_know() {
    let record = Record::first(Topic::Chunks, &outgoing(Duration::ZERO), NOW, 0);
    assert_eq!(record.stream, CHUNKS);
    let headers = ["job", "priority", "first_ms", "not_before_ms"];
    let headers = headers.map(|name| header(&record, name));
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        headers,
        [text("j1"), text("high"), text("1700000000000"), None]
    );
    let message = arrived(&record, 3, 17);
    assert_eq!(
        (message.job.as_str(), message.priority),
        ("j1", Priority::High)
    );
    assert_eq!(
        (message.key.as_str(), message.first, message.due),
        ("j1/chunk-003", NOW, 0)
    );
    assert_eq!(message.payload.as_deref(), Some(&b"payload"[..]));
}

/// Partitions are found by this in every version, or a job's messages pile up while one runs
/// beside the other.
#[test]
fn a_job_begins_at_the_same_partition_for_ever() {
    let spread = |job: &str, spread| {
        let message = Outgoing {
            job: JobId::new(job).unwrap(),
            spread,
            ..outgoing(Duration::ZERO)
        };
        Record::first(Topic::Chunks, &message, NOW, 0).spread
    };
    // The published test vectors of 32-bit FNV-1a.
    assert_eq!(spread("a", 0), 0xe40c_292c);
    assert_eq!(spread("foobar", 0), 0xbf9c_f968);
    assert_eq!(spread("foobar", 5), 0xbf9c_f96d);
}

#[test]
fn a_retry_is_the_same_message_later() {
    let mut record = Record::first(Topic::Chunks, &outgoing(Duration::ZERO), NOW, 0);
    record.headers.push(("traceparent".to_owned(), vec![0xff]));
    let mut message = arrived(&record, 3, 17);
    for retries in 1..3 {
        let again = Record::again(&message, Duration::from_secs(10), NOW + 1000);
        assert_eq!(again.stream, Stream::later(Topic::Chunks));
        assert_eq!((&again.key, &again.payload), (&record.key, &record.payload));
        assert_eq!(header(&again, "retries"), Some(retries.to_string()));
        let before = message;
        message = arrived(&again, 3, 99);
        assert_eq!(message.due, NOW + 11_000);
        assert_eq!((message.first, &message.job), (NOW, &before.job));
        assert_eq!(message.others, [("traceparent".to_owned(), vec![0xff])]);
    }
    let at_once = Record::again(&message, Duration::ZERO, NOW);
    assert_eq!(arrived(&at_once, 3, 100).due, 0, "whatever the clocks do");
}

#[test]
fn a_dead_letter_has_all_to_try_again() {
    let mut record = Record::first(Topic::Chunks, &outgoing(Duration::ZERO), NOW, 0);
    record
        .headers
        .push(("traceparent".to_owned(), b"x".to_vec()));
    let message = arrived(&record, 3, 17);
    let buried = Record::letter(&message, Cause::new("why"), NOW + 9).unwrap();
    assert_eq!(buried.stream, Stream::main(Topic::DeadLetters));
    assert_eq!(buried.key, b"video-chunks/3/17@1700000000005");
    assert_eq!(header(&buried, "source").unwrap(), "video-chunks/3/17");
    let letter = DeadLetter::decode(buried.payload.as_deref().unwrap()).unwrap();
    let expected = DeadLetter {
        topic: Topic::Chunks,
        key: "j1/chunk-003".to_owned(),
        payload: b"payload".to_vec(),
        cause: Cause::new("why"),
        at: NOW + 9,
    };
    assert_eq!(letter, expected);
    // It is known by the key of the message, and revived as that.
    let lying = arrived(&buried, 0, 5);
    assert_eq!(lying.key, "j1/chunk-003");
    let revived = Record::revived(&letter, &lying, NOW + 100);
    assert_eq!(
        (&revived.key, &revived.payload),
        (&record.key, &record.payload)
    );
    let again = arrived(&revived, 3, 18);
    assert_eq!(
        (&again.job, again.priority),
        (&message.job, message.priority)
    );
    assert_eq!((again.first, again.due), (NOW + 100, 0));
    assert_eq!(again.others, message.others);
    // The letter keeps its name wherever it goes.
    let later = Record::again(&lying, Duration::from_secs(1), NOW);
    assert_eq!((&later.key, later.stream), (&buried.key, buried.stream));
    assert_eq!(arrived(&later, 0, 6).key, "j1/chunk-003");
}

#[test]
fn a_message_from_elsewhere_is_taken_as_it_is() {
    let of = |key: &[u8], headers: Vec<(String, Vec<u8>)>| {
        let content = Content {
            key: key.to_vec(),
            payload: None,
            headers,
        };
        Incoming::new(place(Topic::Chunks, 0), 0, NOW, content)
    };
    let plain = of(b"j9/chunk-001", vec![]);
    assert_eq!(
        (plain.job.as_str(), plain.priority),
        ("j9", Priority::Normal)
    );
    assert_eq!((plain.first, plain.due), (NOW, 0));
    let odd = of(b"\xff", vec![("priority".to_owned(), b"\xfe".to_vec())]);
    assert_eq!((odd.job.as_str(), odd.priority), ("", Priority::Normal));
    let again = Record::again(&odd, Duration::ZERO, NOW);
    assert_eq!(
        again.key, b"\xff",
        "bytes that are no text stay as they are"
    );
}

fn member_of(partitions: &[i32]) -> Member {
    let mut member = Member::new();
    let places: Vec<Place> = partitions
        .iter()
        .map(|number| place(Topic::Chunks, *number))
        .collect();
    member.assign(CHUNKS, &places, &Tracker::default());
    member
}

fn fetch(member: &mut Member, partition: i32, offsets: std::ops::Range<i64>) {
    for offset in offsets {
        let record = Record::first(Topic::Chunks, &outgoing(Duration::ZERO), NOW, 0);
        member.take_in(arrived(&record, partition, offset));
    }
}

fn offsets(commits: &[Commit]) -> Vec<(i32, i64)> {
    let commits = commits.iter();
    commits
        .map(|commit| (commit.place.partition, commit.offset))
        .collect()
}

fn end(member: &mut Member, delivery: &Delivery) {
    member.end(delivery.receipt.delivery);
}

#[test]
fn a_partition_that_is_taken_takes_along_what_is_known_of_it() {
    let mut member = member_of(&[0, 1]);
    fetch(&mut member, 0, 0..3);
    let given = member.give_out(2);
    fetch(&mut member, 1, 0..1);
    end(&mut member, &given[0]);
    let last = member.revoke(&[place(Topic::Chunks, 0)]);
    assert_eq!(offsets(&last), [(0, 1)]);
    assert!(
        member.open(&given[1].receipt).is_none(),
        "to settle it has no effect"
    );
    let rest = member.give_out(9);
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0].receipt.partition, 1);
    // It comes back, and the same offset is another delivery.
    member.assign(CHUNKS, &[place(Topic::Chunks, 0)], &Tracker::default());
    fetch(&mut member, 0, 1..3);
    let again = member.give_out(9);
    assert_eq!(again.len(), 2);
    assert!(again[0].receipt.delivery > given[1].receipt.delivery);
    end(&mut member, &given[1]);
    assert_eq!(member.watermark(place(Topic::Chunks, 0)), Some(1));
}

#[test]
fn a_topic_made_anew_is_read_from_its_beginning() {
    // Noticed by the client, or by the offsets.
    for is_told in [true, false] {
        let mut member = member_of(&[0]);
        fetch(&mut member, 0, 0..5);
        let old = member.give_out(2);
        let asked = member.uncommitted(CHUNKS);
        assert_eq!(offsets(&asked), [(0, 0)]);
        if is_told {
            let only = place(Topic::Chunks, 0);
            member.drop_stream(CHUNKS);
            assert_eq!(offsets(&member.settled(CHUNKS)), []);
            member.assign(CHUNKS, &[only], &Tracker::of_the_beginning());
        }
        fetch(&mut member, 0, 0..1);
        // The answer to what was said of the old topic says nothing of the new one.
        member.committed(&asked);
        assert_eq!(offsets(&member.uncommitted(CHUNKS)), [(0, 0)]);
        assert!(member.open(&old[0].receipt).is_none());
        let new = member.give_out(9);
        assert_eq!(new.len(), 1, "what was fetched of the old one is gone");
        end(&mut member, &old[0]);
        assert_eq!(member.watermark(place(Topic::Chunks, 0)), Some(0));
        end(&mut member, &new[0]);
        assert_eq!(offsets(&member.uncommitted(CHUNKS)), [(0, 1)]);
    }
}

#[test]
fn what_was_not_committed_is_committed_again() {
    let mut member = member_of(&[0, 1]);
    fetch(&mut member, 0, 0..1);
    fetch(&mut member, 1, 0..1);
    let both = member.uncommitted(CHUNKS);
    assert_eq!(offsets(&both), [(0, 0), (1, 0)]);
    member.committed(&both[1..]);
    assert_eq!(offsets(&member.uncommitted(CHUNKS)), [(0, 0)]);
    for delivery in member.give_out(9) {
        end(&mut member, &delivery);
    }
    assert_eq!(offsets(&member.uncommitted(CHUNKS)), [(0, 1), (1, 1)]);
    assert_eq!(member.uncommitted(Stream::later(Topic::Chunks)), []);
}

#[test]
fn a_receipt_of_another_consumer_names_nothing() {
    let mut first = member_of(&[0]);
    fetch(&mut first, 0, 0..1);
    let mut second = member_of(&[0]);
    fetch(&mut second, 0, 0..1);
    let given = first.give_out(1);
    let mut forged = second.give_out(1)[0].receipt.clone();
    assert!(second.open(&forged).is_some());
    forged.offset += 1;
    assert!(second.open(&forged).is_none());
    let numbers = [given[0].receipt.delivery >> 20, now()];
    assert!(
        numbers[1] - numbers[0] < 60_000,
        "later consumers count from higher"
    );
}

/// Also while a great many messages wait that are not due.
#[test]
fn fetching_stops_only_where_it_helps() {
    let mut member = member_of(&[0, 1]);
    let later = Place {
        stream: Stream::later(Topic::Chunks),
        partition: 0,
    };
    member.assign(later.stream, &[later], &Tracker::default());
    for offset in 0..10 {
        let record = Record::first(
            Topic::Chunks,
            &outgoing(Duration::from_secs(3600)),
            now(),
            0,
        );
        member.take_in(arrived(&record, 0, offset));
    }
    fetch(&mut member, 0, 0..1);
    assert!(member.is_full(later.stream, 10));
    assert_eq!(member.to_pause(later.stream, 10), [later]);
    assert_eq!(member.to_pause(CHUNKS, 10), []);
    member.regulated(later, true);
    fetch(&mut member, 0, 1..10);
    // Nothing was fetched from the other one yet: the client would lose its place.
    let chunks = place(Topic::Chunks, 0);
    assert_eq!(member.to_pause(CHUNKS, 10), [chunks]);
    member.regulated(chunks, true);
    assert_eq!(member.to_pause(CHUNKS, 10), []);
    assert_eq!(member.to_resume(CHUNKS, 10), []);
    for delivery in member.give_out(5) {
        end(&mut member, &delivery);
    }
    // The client may lose the word to go on, so it is told some times.
    let mut told = 0;
    while member.to_resume(CHUNKS, 10) == [chunks] {
        member.regulated(chunks, false);
        told += 1;
    }
    assert_eq!(told, 6);
    // And the word to stop: a message comes all the same.
    fetch(&mut member, 0, 10..15);
    member.regulated(chunks, true);
    fetch(&mut member, 0, 15..16);
    assert_eq!(member.to_pause(CHUNKS, 10), [chunks]);
}

#[test]
fn a_letter_that_was_handled_is_not_delivered() {
    let mut member = Member::new();
    member.assign(
        Stream::main(Topic::DeadLetters),
        &[place(Topic::DeadLetters, 0)],
        &Tracker::default(),
    );
    let handled = Record::handled(0, b"video-chunks/3/17@1");
    member.take_in(arrived(&handled, 0, 4));
    assert_eq!(member.give_out(9), []);
    assert_eq!(member.watermark(place(Topic::DeadLetters, 0)), Some(5));
}
