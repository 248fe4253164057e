//! Many uploads at once. Alone in its binary, since it measures the process.
#![cfg(test)]

#[path = "uploads/harness.rs"]
mod harness;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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
