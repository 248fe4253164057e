//! What writers that died left in the bucket.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::primitives::DateTime;

use super::bucket::{Bucket, whole_seconds};
use super::connect::PROBES;
use super::refusal::Refusal;
use crate::StoreError;

/// Clears uploads that were never completed, and probes; see [`crate::Store::clear_unfinished`].
pub(super) async fn clear(bucket: &Bucket, older_than: Duration) -> Result<u64, StoreError> {
    let newest = SystemTime::now().checked_sub(older_than);
    let newest = newest.unwrap_or(SystemTime::UNIX_EPOCH);
    let cleared =
        async { Ok(clear_uploads(bucket, newest).await? + clear_probes(bucket, newest).await?) };
    cleared
        .await
        .map_err(|refusal: Refusal| refusal.about_name("clear", bucket.uri.clone(), &bucket.place))
}

async fn clear_uploads(bucket: &Bucket, newest: SystemTime) -> Result<u64, Refusal> {
    let (mut cleared, mut key_marker, mut id_marker) = (0, None, None);
    loop {
        let request = bucket.client.list_multipart_uploads().bucket(&bucket.name);
        let answer = request
            .prefix(&bucket.root)
            .set_key_marker(key_marker)
            .set_upload_id_marker(id_marker)
            .send()
            .await?;
        for upload in answer.uploads() {
            let (Some(name), Some(id)) = (upload.key(), upload.upload_id()) else {
                continue;
            };
            // An upload under a name that is no key of ours is somebody else's.
            if is_old(upload.initiated(), newest) && bucket.key_of(name).is_some() {
                abort(bucket, name, id).await?;
                tracing::info!(name, "cleared an unfinished upload");
                cleared += 1;
            }
        }
        if answer.is_truncated() != Some(true) {
            return Ok(cleared);
        }
        key_marker = answer.next_key_marker().map(str::to_owned);
        id_marker = answer.next_upload_id_marker().map(str::to_owned);
    }
}

async fn clear_probes(bucket: &Bucket, newest: SystemTime) -> Result<u64, Refusal> {
    let (mut cleared, mut next) = (0, None);
    loop {
        let request = bucket.client.list_objects_v2().bucket(&bucket.name);
        let answer = request
            .prefix(format!("{}{PROBES}", bucket.root))
            .set_continuation_token(next)
            .send()
            .await?;
        for probe in answer.contents() {
            let Some(name) = probe.key() else { continue };
            if is_old(probe.last_modified(), newest) {
                let request = bucket.client.delete_object().bucket(&bucket.name);
                request.key(name).send().await?;
                cleared += 1;
            }
        }
        next = answer.next_continuation_token().map(str::to_owned);
        if next.is_none() {
            return Ok(cleared);
        }
    }
}

/// What has no time is not known to be old.
fn is_old(time: Option<&DateTime>, newest: SystemTime) -> bool {
    time.is_some() && whole_seconds(time) <= newest
}

/// Clears an upload; one that is gone is fine.
pub(super) async fn abort(bucket: &Bucket, name: &str, id: &str) -> Result<(), Refusal> {
    let request = bucket.client.abort_multipart_upload().bucket(&bucket.name);
    match request.key(name).upload_id(id).send().await {
        Ok(_) => Ok(()),
        Err(error) => match Refusal::from(error) {
            refusal if refusal.means_no_upload() => Ok(()),
            refusal => Err(refusal),
        },
    }
}
