//! Which part of the service a process is.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use reelmill_common::WorkerId;

use crate::config::{LedgerAt, Settings};
use crate::failure::Failure;

/// Which part of the service a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Whole,
    /// Takes uploads and gives outputs out; others do the work.
    Api,
    /// Does the work.
    Worker,
}

impl Part {
    /// Parts meet through the ports only, and each must reach all three.
    pub(super) fn fits(self, settings: &Settings) -> Result<(), Failure> {
        let embedded = settings.backends.embedded();
        if self == Self::Whole || embedded.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = embedded.iter().map(|name| format!("`{name}`")).collect();
        let verb = if names.len() == 1 { "is" } else { "are" };
        Err(Failure::usage(format!(
            "{} {verb} embedded, where no other process comes in: set kafka://, s3:// and redis:// addresses, or run `reelmill serve`, which is all in one",
            names.join(" and ")
        )))
    }

    /// Where it listens, and the flag that says so.
    pub(super) fn address(self, settings: &Settings) -> Option<(SocketAddr, &'static str)> {
        match self {
            Self::Whole | Self::Api => Some((settings.listen, "listen")),
            Self::Worker => Some((settings.metrics_listen?, "metrics-listen")),
        }
    }

    /// In whose name leases are held. Whoever has the ledger in a folder of its own is the only one
    /// there, so that the next one may take over at once; elsewhere there may be any number.
    pub(super) fn worker(settings: &Settings) -> Result<WorkerId, Failure> {
        let name = match settings.backends.ledger {
            LedgerAt::Embedded => "local".to_owned(),
            LedgerAt::Redis { .. } => unique(),
        };
        WorkerId::new(name).map_err(|error| Failure::failed(error.to_string()))
    }
}

/// The machine's name for people, and what no other process has at this moment.
fn unique() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host
        .to_ascii_lowercase()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .take(32)
        .collect();
    let host = match host.trim_matches('-') {
        "" => "worker",
        host => host,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_millis();
    format!("{host}-{}-{now:x}", std::process::id())
}
