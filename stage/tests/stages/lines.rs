//! The log lines of one test while others run beside it; the tests of `api` use this as well.

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};

use tracing::Level;
use tracing::dispatcher::{DefaultGuard, Dispatch};
use tracing::subscriber::NoSubscriber;
use tracing_subscriber::fmt::MakeWriter;

/// What this thread logs, until this is dropped.
pub(crate) struct Lines {
    written: Written,
    _guard: DefaultGuard,
}

impl Lines {
    /// Begins to take down what is at least of this level.
    pub(crate) fn catch(level: Level) -> Self {
        // While there is only one subscriber, tracing asks that of the thread which first comes to
        // a line whether anybody wants it, and keeps the answer for all threads. That of another
        // test has none, and the line would never be shown. With a second one, all are asked.
        static SECOND: OnceLock<Dispatch> = OnceLock::new();
        SECOND.get_or_init(|| Dispatch::new(NoSubscriber::new()));
        let written = Written::default();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(level)
            .with_writer(written.clone())
            .finish();
        Self {
            written,
            _guard: tracing::subscriber::set_default(subscriber),
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.written.0.lock().unwrap().clone()).unwrap()
    }
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Written {
    type Writer = Self;
    fn make_writer(&self) -> Self {
        self.clone()
    }
}
