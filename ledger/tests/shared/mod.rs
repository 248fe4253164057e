//! The Redis server that all tests share, and a part of it for each.

use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use reelmill_ledger::RedisOptions;

const VARIABLE: &str = "REELMILL_TEST_REDIS";

static PARTS: AtomicU64 = AtomicU64::new(0);

/// Keys that begin in a way that nobody else's do; removed in the end.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) options: RedisOptions,
}

impl Part {
    pub(crate) fn new() -> Self {
        let url = std::env::var(VARIABLE).unwrap_or_else(|_| {
            panic!("{VARIABLE} is to name a server to test with, such as redis://127.0.0.1:16379")
        });
        let time = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        let number = PARTS.fetch_add(1, Ordering::Relaxed);
        let (process, nanos) = (process::id(), time.subsec_nanos());
        let mut options = RedisOptions::new(url);
        options.prefix = format!("test-{process}-{nanos}-{number}:");
        Self { options }
    }

    /// A connection to look behind the ledger.
    pub(crate) fn look(&self) -> redis::Connection {
        let client = redis::Client::open(self.options.url.as_str()).unwrap();
        client.get_connection().unwrap()
    }

    /// The keys that are there, without their prefix.
    pub(crate) fn keys(&self) -> Vec<String> {
        let prefix = &self.options.prefix;
        let mut keys: Vec<String> = redis::cmd("KEYS")
            .arg(format!("{prefix}*"))
            .query(&mut self.look())
            .unwrap();
        keys.sort();
        let bare = keys
            .iter()
            .filter_map(|key| key.strip_prefix(prefix.as_str()));
        bare.map(str::to_owned).collect()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for key in self.keys() {
            let key = format!("{}{key}", self.options.prefix);
            let removed = redis::cmd("UNLINK").arg(key).exec(&mut self.look());
            removed.unwrap();
        }
    }
}
