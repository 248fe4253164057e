//! A store that can be made to hang.

use std::sync::Arc;

use reelmill_api::Api;
use tokio::sync::Notify;

type Key = reelmill_common::ObjectKey;
type Outcome<T> = Result<T, reelmill_store::StoreError>;

/// A store that waits before it tells anything of the objects whose keys end in `at`.
#[derive(Debug)]
pub(crate) struct Slow {
    store: Arc<dyn reelmill_store::Store>,
    at: &'static str,
    gate: Arc<Gate>,
}

/// Where a slow store waits.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// Lets those go on that wait.
    pub(crate) open: Notify,
    /// Told when somebody begins to wait.
    pub(crate) came: Notify,
}

impl Slow {
    /// Makes the store of a service slow.
    pub(crate) fn at(at: &'static str) -> (impl FnOnce(&mut Api), Arc<Gate>) {
        let gate = Arc::<Gate>::default();
        let change = {
            let gate = Arc::clone(&gate);
            move |api: &mut Api| {
                let store = Arc::clone(&api.ports.store);
                api.ports.store = Arc::new(Self { store, at, gate });
            }
        };
        (change, gate)
    }

    async fn pass(&self, key: &Key) {
        if key.as_str().ends_with(self.at) {
            let open = self.gate.open.notified();
            self.gate.came.notify_one();
            open.await;
        }
    }
}

#[async_trait::async_trait]
impl reelmill_store::Store for Slow {
    async fn put(&self, key: &Key, bytes: bytes::Bytes) -> Outcome<()> {
        self.store.put(key, bytes).await
    }
    async fn put_new(&self, key: &Key, bytes: bytes::Bytes) -> Outcome<()> {
        self.store.put_new(key, bytes).await
    }
    async fn put_file(&self, key: &Key, file: &std::path::Path) -> Outcome<()> {
        self.store.put_file(key, file).await
    }
    async fn get(&self, key: &Key) -> Outcome<bytes::Bytes> {
        self.pass(key).await;
        self.store.get(key).await
    }
    async fn get_range(&self, key: &Key, range: std::ops::Range<u64>) -> Outcome<bytes::Bytes> {
        self.store.get_range(key, range).await
    }
    async fn get_file(&self, key: &Key, file: &std::path::Path) -> Outcome<()> {
        self.store.get_file(key, file).await
    }
    async fn head(&self, key: &Key) -> Outcome<reelmill_store::ObjectMeta> {
        self.pass(key).await;
        self.store.head(key).await
    }
    async fn delete(&self, key: &Key) -> Outcome<()> {
        self.store.delete(key).await
    }
    async fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> Outcome<Vec<reelmill_store::ObjectMeta>> {
        self.store.list(prefix, after, limit).await
    }
}
