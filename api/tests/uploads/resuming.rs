//! Uploads by tus that break off anywhere, in clients and in the service, and go on.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{SEGMENT, Service, pattern};
use crate::tus::{create_of, head, is_done, job_of, offset, patch};

/// Sends the head of a `PATCH` and a part of its body, and leaves the line open.
async fn send_part(service: &Service, path: &str, at: usize, len: usize, part: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(service.addr).await.unwrap();
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: {at}\r\n\
         Content-Type: application/offset+octet-stream\r\nContent-Length: {}\r\n\r\n",
        len - at
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(part).await.unwrap();
    stream
}

/// Sends all that is missing from `at` on.
async fn send_rest(service: &Service, path: &str, at: usize, data: &[u8]) {
    let answer = patch(service, path, at, &data[at..]).send().await.unwrap();
    is_done(&answer, path, data.len());
}

/// How often a client asks again while a request of its own, whose line is cut, is still under way.
const ASKS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// How far the upload has come. The service may read a request that was cut after this question,
/// and says then that the upload is busy: clients ask again.
async fn ask(service: &Service, path: &str) -> usize {
    for _ in 0..ASKS {
        let answer = head(service, path).await;
        if answer.status() != 423 {
            return offset(&answer);
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("the upload stays busy");
}

/// Sends what lies between two places and gives the place that is told. Where a request that was cut
/// is still under way, or has brought the upload further, clients ask and go on from there.
async fn send(service: &Service, path: &str, from: usize, to: usize, data: &[u8]) -> usize {
    let (mut at, mut end) = (from, to);
    for _ in 0..ASKS {
        let answer = patch(service, path, at, &data[at..end]).send().await;
        let answer = answer.unwrap();
        if !matches!(answer.status().as_u16(), 409 | 423) {
            assert_eq!(offset(&answer), end);
            return end;
        }
        at = ask(service, path).await;
        end = end.max(at);
    }
    panic!("the upload stays busy");
}

/// Ends the service wherever it is, and starts another on what it leaves.
async fn restarted(service: Service) -> Service {
    let folder = tokio::task::spawn_blocking(|| service.kill())
        .await
        .unwrap();
    Service::start_on(folder, |_| {}, |store| store)
}

#[tokio::test]
async fn a_new_request_takes_over_from_a_dead_one() {
    let service = Service::start();
    let data = pattern(SEGMENT + 1000, 11);
    let path = create_of(&service, data.len()).await;
    // Its line is dead, and nobody has told the service.
    let mut dead = send_part(&service, &path, 0, data.len(), &data[..SEGMENT + 500]).await;
    service.gets_a_segment().await;
    let at = offset(&head(&service, &path).await);
    assert!(at >= SEGMENT, "{at}");
    let mut answer = String::new();
    dead.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 423"), "{answer}");
    send_rest(&service, &path, at, &data).await;
    service.holds(&job_of(&path), &data).await;
}

#[tokio::test]
async fn two_writers_at_once_never_mix() {
    let service = Service::start();
    let data = pattern(SEGMENT + 100_000, 12);
    for _ in 0..10 {
        let path = create_of(&service, data.len()).await;
        let send = || patch(&service, &path, 0, &data).send();
        let (one, other) = tokio::join!(send(), send());
        let mut statuses = [one, other].map(|answer| answer.map_or(0, |a| a.status().as_u16()));
        statuses.sort_unstable();
        // The later one may find the upload begun, or whole.
        assert!(
            statuses.contains(&204) || statuses.contains(&409),
            "{statuses:?}"
        );
        let at = offset(&head(&service, &path).await);
        if at < data.len() {
            send_rest(&service, &path, at, &data).await;
        }
        service.holds(&job_of(&path), &data).await;
    }
}

#[tokio::test]
async fn an_upload_cut_anywhere_goes_on() {
    let mut service = Service::start();
    let data = pattern(3 * SEGMENT + 4321, 13);
    let mut random = 0x1234_5678_9abc_def1_u64;
    let mut next = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % below as u64).unwrap()
    };
    let path = create_of(&service, data.len()).await;
    let mut acknowledged = 0;
    for cut in 0..50 {
        let at = ask(&service, &path).await;
        assert!(
            at >= acknowledged,
            "{acknowledged} were acknowledged and {at} are there"
        );
        // 50 steps stay below the end.
        let len = next(data.len() / 60).max(1).min(data.len() - at - 1);
        match cut % 4 {
            // The client goes away.
            0 => drop(send_part(&service, &path, at, data.len(), &data[at..at + len]).await),
            // The service ends in the middle of a request.
            1 => {
                let _open = send_part(&service, &path, at, data.len(), &data[at..at + len]).await;
                service = restarted(service).await;
            }
            // A whole request, and then the service ends.
            2 => {
                acknowledged = send(&service, &path, at, at + len, &data).await;
                service = restarted(service).await;
            }
            _ => acknowledged = send(&service, &path, at, at + len, &data).await,
        }
    }
    let at = ask(&service, &path).await;
    assert!(at >= acknowledged);
    send_rest(&service, &path, at, &data).await;
    service.holds(&job_of(&path), &data).await;
}

#[tokio::test]
async fn what_a_kill_left_between_two_steps_is_mended() {
    let service = Service::start();
    let data = pattern(SEGMENT + 10, 14);
    let path = create_of(&service, data.len()).await;
    let job = job_of(&path);
    patch(&service, &path, 0, &data[..SEGMENT + 5])
        .send()
        .await
        .unwrap();
    // A kill after a segment was stored and before its partial object was removed, and one that
    // left a segment behind a gap.
    let store = service.store();
    let stray = reelmill_common::key::partial(&job, 0);
    store.put(&stray, "stray".into()).await.unwrap();
    let gap = reelmill_common::key::segment(&job, 3);
    store.put(&gap, "gap".into()).await.unwrap();
    assert_eq!(offset(&head(&service, &path).await), SEGMENT + 5);

    // A kill after the last bytes were stored and before the upload was said to be whole: a client
    // that asks is told that all is there, and will not come again.
    let partial = reelmill_common::key::partial(&job, 1);
    let rest = bytes::Bytes::copy_from_slice(&data[SEGMENT..]);
    store.put(&partial, rest).await.unwrap();
    let service = restarted(service).await;
    assert_eq!(offset(&head(&service, &path).await), data.len());
    service.holds(&job, &data).await;
}
