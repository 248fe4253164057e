//! A store whose calls fail as often as asked.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reelmill_common::ObjectKey;

use crate::{ObjectMeta, Store, StoreError};
use reelmill_common::faults::{Faults, InjectedFault, Injector, When};

/// Wraps a store and injects faults.
///
/// Keeps the contract whatever fails: a call that fails after its effect is one whose answer was
/// lost.
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    injector: Injector,
}

impl FaultyStore {
    /// Wraps `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, faults: Faults) -> Self {
        Self {
            inner,
            injector: Injector::new(faults),
        }
    }
}

impl From<InjectedFault> for StoreError {
    fn from(fault: InjectedFault) -> Self {
        Self::Backend {
            action: "reach",
            key: "any object".to_owned(),
            retryable: true,
            source: Box::new(fault),
        }
    }
}

#[async_trait]
#[deny(
    clippy::missing_trait_methods,
    reason = "a default would hide what the inner store does"
)]
impl Store for FaultyStore {
    async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StoreError> {
        self.injector.run("put", self.inner.put(key, bytes)).await
    }

    async fn put_new(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StoreError> {
        self.injector
            .run("put_new", self.inner.put_new(key, bytes))
            .await
    }

    async fn put_file(&self, key: &ObjectKey, file: &Path) -> Result<(), StoreError> {
        let lost = || Err(InjectedFault::in_operation("put_file").into());
        match self.injector.begin("put_file").await {
            None => self.inner.put_file(key, file).await,
            Some(When::Before) => lost(),
            // After an error the caller still has its file, so the backend is given another one.
            Some(When::After | When::Either) => {
                let copy = copy_beside(file, key).await?;
                let answer = self.inner.put_file(key, &copy).await;
                if let Err(error) = tokio::fs::remove_file(&copy).await
                    && error.kind() != std::io::ErrorKind::NotFound
                {
                    tracing::debug!(file = %copy.display(), %error, "a copy was left behind");
                }
                answer.and_then(|()| lost())
            }
        }
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes, StoreError> {
        self.injector.run("get", self.inner.get(key)).await
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.injector
            .run("get_range", self.inner.get_range(key, range))
            .await
    }

    async fn get_file(&self, key: &ObjectKey, file: &Path) -> Result<(), StoreError> {
        // On any failure the file is as it was, so there is no failing after the effect.
        match self.injector.begin("get_file").await {
            None => self.inner.get_file(key, file).await,
            Some(_) => Err(InjectedFault::in_operation("get_file").into()),
        }
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        self.injector.run("head", self.inner.head(key)).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.injector.run("delete", self.inner.delete(key)).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, StoreError> {
        self.injector
            .run("list", self.inner.list(prefix, after, limit))
            .await
    }

    async fn link(
        &self,
        key: &ObjectKey,
        content_type: Option<&str>,
        valid_for: Duration,
    ) -> Result<Option<String>, StoreError> {
        self.injector
            .run("link", self.inner.link(key, content_type, valid_for))
            .await
    }

    async fn clear_unfinished(&self, older_than: Duration) -> Result<u64, StoreError> {
        self.injector
            .run("clear_unfinished", self.inner.clear_unfinished(older_than))
            .await
    }
}

async fn copy_beside(file: &Path, key: &ObjectKey) -> Result<PathBuf, StoreError> {
    let mut copy = file.as_os_str().to_owned();
    copy.push(".lost-answer");
    let copy = PathBuf::from(copy);
    match tokio::fs::copy(file, &copy).await {
        Ok(_) => Ok(copy),
        Err(source) => Err(StoreError::Backend {
            action: "write",
            key: key.to_string(),
            retryable: false,
            source: Box::new(source),
        }),
    }
}
