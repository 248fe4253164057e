//! A caller that tries again whenever an error says that this may help.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reelmill_common::{ObjectKey, retry};
use reelmill_store::{ObjectMeta, Store, StoreError};

#[derive(Debug)]
pub(crate) struct Retrying(Arc<dyn Store>);

impl Retrying {
    pub(crate) fn new(inner: Arc<dyn Store>) -> Self {
        Self(inner)
    }
}

#[async_trait]
impl Store for Retrying {
    async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StoreError> {
        retry!(self.0.put(key, bytes.clone()))
    }
    async fn put_new(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StoreError> {
        retry!(self.0.put_new(key, bytes.clone()))
    }
    async fn put_file(&self, key: &ObjectKey, file: &Path) -> Result<(), StoreError> {
        retry!(self.0.put_file(key, file))
    }
    async fn get(&self, key: &ObjectKey) -> Result<Bytes, StoreError> {
        retry!(self.0.get(key))
    }
    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, StoreError> {
        retry!(self.0.get_range(key, range.clone()))
    }
    async fn get_file(&self, key: &ObjectKey, file: &Path) -> Result<(), StoreError> {
        retry!(self.0.get_file(key, file))
    }
    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        retry!(self.0.head(key))
    }
    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        retry!(self.0.delete(key))
    }
    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, StoreError> {
        retry!(self.0.list(prefix, after, limit))
    }
    async fn link(
        &self,
        key: &ObjectKey,
        content_type: Option<&str>,
        valid_for: Duration,
    ) -> Result<Option<String>, StoreError> {
        retry!(self.0.link(key, content_type, valid_for))
    }
    async fn clear_unfinished(&self, older_than: Duration) -> Result<u64, StoreError> {
        retry!(self.0.clear_unfinished(older_than))
    }
}
