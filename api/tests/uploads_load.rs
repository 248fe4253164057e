//! Many uploads at once, and one as fast as it goes. Alone in its binary, since it measures the
//! process.
#![cfg(test)]

#[path = "uploads/harness.rs"]
mod harness;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use harness::Service;

/// The process's memory in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes * 1024
}

/// Sends `len` bytes from one small buffer and returns the answer's first line.
fn put(addr: std::net::SocketAddr, len: u64) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    let head = format!(
        "PUT /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let block = vec![0x5a; 64 * 1024];
    let mut left = len;
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        stream.write_all(&block[..now]).unwrap();
        left -= now as u64;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn ten_uploads_at_once_stay_small() {
    let service = Service::start();
    let (addr, len) = (service.addr, 200_000_000);
    let running = AtomicU64::new(10);
    let mut peak = 0;
    std::thread::scope(|scope| {
        let uploads: Vec<_> = (0..10)
            .map(|_| {
                scope.spawn(|| {
                    let answer = put(addr, len);
                    running.fetch_sub(1, Ordering::SeqCst);
                    answer
                })
            })
            .collect();
        while running.load(Ordering::SeqCst) > 0 {
            peak = peak.max(resident());
            std::thread::sleep(Duration::from_millis(5));
        }
        for upload in uploads {
            assert_eq!(upload.join().unwrap(), "HTTP/1.1 202 Accepted");
        }
    });
    println!("at most {} MiB", peak >> 20);
    assert!(peak < 128 << 20, "{} MiB", peak >> 20);
}

#[test]
#[ignore = "a measurement of some gigabytes, for people to read"]
fn throughput() {
    let len: u64 = 1 << 30;
    for _ in 0..3 {
        let service = Service::start();
        let begun = Instant::now();
        assert_eq!(put(service.addr, len), "HTTP/1.1 202 Accepted");
        report("upload", len, begun.elapsed());
        drop(service);

        let folder = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let begun = Instant::now();
        let plain = std::thread::scope(|scope| {
            scope.spawn(|| put(addr, len));
            let (mut stream, _) = listener.accept().unwrap();
            let mut file = std::fs::File::create(folder.path().join("plain")).unwrap();
            let mut block = vec![0; 256 * 1024];
            let mut got = 0;
            while got < len {
                let now = stream.read(&mut block).unwrap();
                file.write_all(&block[..now]).unwrap();
                got += now as u64;
            }
            file
        });
        report("plain", len, begun.elapsed());
        plain.sync_all().unwrap();
        report("plain, synced", len, begun.elapsed());
    }
}

fn report(what: &str, len: u64, took: Duration) {
    println!("{what}: {:.0} MB/s", len as f64 / 1e6 / took.as_secs_f64());
}
