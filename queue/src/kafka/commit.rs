//! Tells the broker how far everything is settled.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};

use super::error::Trouble;
use super::watcher::Watcher;

/// Among so many commits one says all, and not only news: a broker that deletes a topic may forget,
/// late, what was committed of the one that was made anew.
const SAYING_ALL: u32 = 10;

/// The thread that commits.
///
/// A commit waits for the broker's answer, while the thread that polls may wait for nothing; and
/// this client tells of no commit that is not waited for how it ended. The thread ends when this is
/// dropped.
pub(super) struct Committer {
    /// Whoever asks for a commit at once sends where to tell that it was tried.
    requests: Sender<Sender<()>>,
}

impl Committer {
    pub(super) fn start(
        consumer: Arc<BaseConsumer<Watcher>>,
        every: Duration,
    ) -> Result<Self, Trouble> {
        let (requests, asked) = channel();
        std::thread::Builder::new()
            .name("kafka-commit".to_owned())
            .spawn(move || run(&consumer, &asked, every))
            .map_err(|error| Trouble::Start(error.to_string()))?;
        Ok(Self { requests })
    }

    /// Has a commit made at once, and waits until it was tried, or the time is up.
    pub(super) fn commit_now(&self, within: Duration) {
        let (tried, is_tried) = channel();
        let waited = self.requests.send(tried).is_ok() && is_tried.recv_timeout(within).is_ok();
        if !waited {
            tracing::debug!("the last commit has no answer");
        }
    }
}

fn run(consumer: &BaseConsumer<Watcher>, asked: &Receiver<Sender<()>>, every: Duration) {
    let mut all_said_at = Instant::now();
    loop {
        let asker = match asked.recv_timeout(every) {
            Ok(asker) => Some(asker),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let is_all = all_said_at.elapsed() >= SAYING_ALL * every;
        if is_all {
            all_said_at = Instant::now();
        }
        commit(consumer, is_all);
        if asker.is_some_and(|asker| asker.send(()).is_err()) {
            tracing::debug!("nobody waited for the last commit");
        }
    }
}

/// Commits what the broker does not know, or all that it should know.
fn commit(consumer: &BaseConsumer<Watcher>, is_all: bool) {
    let watcher = consumer.context();
    let (shared, stream) = (watcher.shared(), watcher.stream());
    // While a partition goes to somebody else, nothing older is committed after the last word.
    let _turn = watcher.commit_turn();
    let commits = match is_all {
        true => shared.member().settled(stream),
        false => shared.member().uncommitted(stream),
    };
    if commits.is_empty() {
        return;
    }
    match consumer.commit(&shared.commits(&commits), CommitMode::Sync) {
        Ok(()) => shared.member().committed(&commits),
        // Normal in a rebalance, and when the coordinator moves.
        Err(error) => tracing::debug!(%stream, %error, "a commit was refused; tried again"),
    }
}
