//! Messages that somebody else published.

use std::ffi::CString;
use std::time::Duration;

use rdkafka::bindings::{rd_kafka_produceva, rd_kafka_vtype_t, rd_kafka_vu_t};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use reelmill_common::message::Topic;
use reelmill_queue::{Queue as _, Settlement};

use crate::broker::Cluster;
use crate::helpers::{PATIENCE, ack, message, receive, waiting};

fn send(producer: &BaseProducer, topic: &str, key: Option<&[u8]>, payload: Option<&[u8]>) {
    let mut record = BaseRecord::<[u8], [u8]>::to(topic);
    record.key = key;
    record.payload = payload;
    producer.send(record).map_err(|(error, _)| error).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs REELMILL_TEST_KAFKA"]
async fn bytes_of_any_kind_arrive_unharmed() {
    let cluster = Cluster::new().await;
    let producer: BaseProducer = cluster.client().create().unwrap();
    let topic = cluster.topic("video-ingest");
    let payload: Vec<u8> = (0..=255).collect();
    for (key, payload) in [
        (Some(&b"j9/ingest"[..]), Some(&*payload)),
        (Some(b"\xff\xfe"), Some(b"no text as its key")),
        (None, Some(b"no key")),
        (Some(b"no payload"), None),
    ] {
        send(&producer, &topic, key, payload);
    }
    producer.flush(PATIENCE).unwrap();
    let queue = cluster.connect().await;
    let consumer = queue.subscribe(&[Topic::Ingest]).await.unwrap();
    let expected = [
        ("".to_owned(), b"no key".to_vec()),
        ("j9/ingest".to_owned(), payload),
        ("no payload".to_owned(), vec![]),
        (
            "\u{fffd}\u{fffd}".to_owned(),
            b"no text as its key".to_vec(),
        ),
    ];
    // As often as they are put back.
    for round in 0..3 {
        let got = receive(&*consumer, 4).await;
        let mut found: Vec<_> = got
            .iter()
            .map(|d| (d.key.clone(), d.payload.clone()))
            .collect();
        found.sort();
        assert_eq!(found, expected, "round {round}");
        for delivery in got {
            let settlement = match round {
                2 => Settlement::Ack,
                _ => Settlement::Retry {
                    delay: Duration::ZERO,
                },
            };
            consumer
                .settle(&delivery.receipt, settlement)
                .await
                .unwrap();
        }
    }
    consumer.close().await.unwrap();
    assert_eq!(waiting(&*queue, Topic::Ingest).await, 0);
}

/// One message must not be able to end every worker.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs REELMILL_TEST_KAFKA"]
async fn a_header_whose_name_is_no_text_stops_nobody() {
    let cluster = Cluster::new().await;
    let producer: BaseProducer = cluster.client().create().unwrap();
    send_with_header(&producer, &cluster.topic("video-chunks"), b"\xff\xfe");
    producer.flush(PATIENCE).unwrap();
    let queue = cluster.connect().await;
    let consumer = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    queue.publish(Topic::Chunks, &[message(1)]).await.unwrap();
    let got = receive(&*consumer, 2).await;
    for delivery in &got {
        ack(&*consumer, delivery).await;
    }
    assert!(
        got.iter().any(|delivery| delivery.payload == b"odd"),
        "{got:?}"
    );
    consumer.close().await.unwrap();
}

/// The safe interface makes only headers whose names are text.
#[expect(unsafe_code, reason = "nothing else can send such a message")]
fn send_with_header(producer: &BaseProducer, topic: &str, name: &[u8]) {
    use rd_kafka_vtype_t::{
        RD_KAFKA_VTYPE_HEADER, RD_KAFKA_VTYPE_MSGFLAGS, RD_KAFKA_VTYPE_TOPIC, RD_KAFKA_VTYPE_VALUE,
    };
    let (topic, name) = (CString::new(topic).unwrap(), CString::new(name).unwrap());
    let value = b"odd";
    // SAFETY: every part is of the type that its tag says, the strings end in NUL and live until
    // the call returns, and the client copies what it keeps, as the flag asks.
    unsafe {
        let part = |tag| {
            let mut part: rd_kafka_vu_t = std::mem::zeroed();
            part.vtype = tag;
            part
        };
        let mut parts = [
            part(RD_KAFKA_VTYPE_TOPIC),
            part(RD_KAFKA_VTYPE_VALUE),
            part(RD_KAFKA_VTYPE_HEADER),
            part(RD_KAFKA_VTYPE_MSGFLAGS),
        ];
        parts[0].u.cstr = topic.as_ptr();
        parts[1].u.mem.ptr = value.as_ptr().cast_mut().cast();
        parts[1].u.mem.size = value.len();
        parts[2].u.header.name = name.as_ptr();
        parts[2].u.header.val = value.as_ptr().cast();
        parts[2].u.header.size = 3;
        parts[3].u.i = rdkafka::bindings::RD_KAFKA_MSG_F_COPY;
        let client = producer.client().native_ptr();
        let error = rd_kafka_produceva(client, parts.as_ptr(), parts.len());
        assert!(error.is_null());
    }
}
