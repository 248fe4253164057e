//! Buckets of the server under test.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use reelmill_common::ObjectKey;
use reelmill_store::{S3Credentials, S3Options, S3Store, StoreError};
use uuid::Uuid;

use super::proxy::Proxy;

pub(crate) const ACCESS_KEY: &str = "reelmill";
pub(crate) const SECRET_KEY: &str = "reelmill-secret";

pub(crate) const MIB: usize = 1024 * 1024;

/// The URL of the server.
pub(crate) fn endpoint() -> String {
    std::env::var("REELMILL_TEST_S3").expect(
        "set REELMILL_TEST_S3 to the URL of an S3 server with the keys `reelmill` and `reelmill-secret`, such as http://127.0.0.1:19000",
    )
}

/// The server's address, for the proxy.
pub(crate) fn server() -> SocketAddr {
    let url = endpoint();
    let address = url.strip_prefix("http://").expect("the server speaks http");
    address
        .parse()
        .expect("the server's URL has an address and a port")
}

/// A bucket that no other test has, to be made when it is opened.
pub(crate) fn options() -> S3Options {
    let credentials = S3Credentials::new(ACCESS_KEY, SECRET_KEY);
    S3Options {
        endpoint: Some(endpoint()),
        create_bucket: true,
        ..S3Options::new(format!("test-{}", Uuid::now_v7()), credentials)
    }
}

/// The same bucket on the way through a proxy, with a client that tries often.
pub(crate) fn through(proxy: &Proxy, options: &S3Options) -> S3Options {
    S3Options {
        endpoint: Some(proxy.url()),
        attempts: 8,
        ..options.clone()
    }
}

/// With a client that does not wait long.
pub(crate) fn impatient(options: S3Options) -> S3Options {
    S3Options {
        patience: Duration::from_secs(1),
        ..options
    }
}

pub(crate) async fn connect(options: &S3Options) -> S3Store {
    S3Store::connect(options).await.unwrap()
}

pub(crate) fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

/// Bytes that differ from place to place, so that a shifted or swapped part shows.
pub(crate) fn pattern(len: usize, seed: u8) -> Bytes {
    let byte = |i: usize| (i % 251) as u8 ^ (i >> 8) as u8 ^ (i >> 20) as u8 ^ seed;
    (0..len).map(byte).collect::<Vec<u8>>().into()
}

/// An error with its causes, as an operator reads it.
pub(crate) fn told(error: &StoreError) -> String {
    let mut told = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        told = format!("{told}: {error}");
        cause = error.source();
    }
    told
}
