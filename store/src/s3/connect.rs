//! What must hold before a bucket is used: it is there, we may use it, and it is known whether the
//! service honours conditions.

use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use bytes::Bytes;
use uuid::Uuid;

use super::bucket::Bucket;
use super::options::S3Options;
use super::refusal::Refusal;
use crate::StoreError;

/// The folder of probes; no part of a key begins with a dot, so no key can name anything in it.
pub(super) const PROBES: &str = ".reelmill/probe-";

/// Makes sure that the bucket can be used, and makes it where that is asked for.
pub(super) async fn open(bucket: &Bucket, options: &S3Options) -> Result<(), StoreError> {
    match look(bucket).await {
        Err(refusal) if options.create_bucket && is_missing_bucket(&refusal) => {
            create(bucket, &options.region).await?;
            look(bucket)
                .await
                .map_err(|refusal| failed(bucket, refusal))
        }
        looked => looked.map_err(|refusal| failed(bucket, refusal)),
    }
}

/// Asks for one name of a listing. HEAD would do, but its answers have no body that would tell a
/// wrong key from a missing permission.
async fn look(bucket: &Bucket) -> Result<(), Refusal> {
    let request = bucket.client.list_objects_v2().bucket(&bucket.name);
    request.prefix(&bucket.root).max_keys(1).send().await?;
    Ok(())
}

async fn create(bucket: &Bucket, region: &str) -> Result<(), StoreError> {
    // The first region is the one that must not be named.
    let place = (region != "us-east-1").then(|| {
        CreateBucketConfiguration::builder()
            .location_constraint(BucketLocationConstraint::from(region))
            .build()
    });
    let request = bucket.client.create_bucket().bucket(&bucket.name);
    let created = request.set_create_bucket_configuration(place).send().await;
    match created.map_err(Refusal::from) {
        Ok(_) => {
            tracing::info!(bucket = %bucket.name, "made the bucket");
            Ok(())
        }
        // Another process was faster. Should it be a stranger's, looking tells.
        Err(refusal) if refusal.means_conflict() => Ok(()),
        Err(refusal) => Err(refusal.about_name("make", bucket.uri.clone(), &bucket.place)),
    }
}

fn is_missing_bucket(refusal: &Refusal) -> bool {
    refusal.has_code("NoSuchBucket")
}

/// The error of a bucket that cannot be opened, with a way out where the reason is known.
fn failed(bucket: &Bucket, refusal: Refusal) -> StoreError {
    let way_out = if is_missing_bucket(&refusal) {
        "make it, or let `create_bucket` do so"
    } else if refusal.has_code("InvalidAccessKeyId") || refusal.has_code("XAdminUserNotFound") {
        "check the access key"
    } else if refusal.has_code("SignatureDoesNotMatch") {
        "check the secret key"
    } else if refusal.has_code("RequestTimeTooSkewed") {
        "set this machine's clock"
    } else if refusal.has_status(301) || refusal.has_code("AuthorizationHeaderMalformed") {
        "check the region"
    } else if refusal.has_status(403) {
        "check both keys, and that they may list, read, write and delete there"
    } else if refusal.is_retryable() {
        "see that the service runs, the endpoint is right and, over TLS, this machine trusts it"
    } else {
        return refusal.about_name("open", bucket.uri.clone(), &bucket.place);
    };
    StoreError::Backend {
        action: "open",
        key: bucket.uri.clone(),
        retryable: refusal.is_retryable(),
        source: format!("{} {refusal}: {way_out}", bucket.place).into(),
    }
}

/// Finds out whether the service refuses to replace an object where a request says so: some take
/// the header and do not mind it.
pub(super) async fn honours_conditions(bucket: &Bucket) -> Result<bool, StoreError> {
    let probe = format!("{}{PROBES}{}", bucket.root, Uuid::now_v7());
    let content = Bytes::from_static(b"does this service honour conditions?");
    let mut honours = false;
    for _ in 0..2 {
        match bucket.put(&probe, content.clone(), None, true).await {
            Ok(()) => {}
            // Also at first, when only the answer to an earlier attempt was lost.
            Err(refusal) if refusal.means_condition_failed() || refusal.means_conflict() => {
                honours = true;
                break;
            }
            Err(refusal) if refusal.has_status(501) || refusal.has_code("NotImplemented") => break,
            Err(refusal) => return Err(failed(bucket, refusal)),
        }
    }
    let request = bucket.client.delete_object().bucket(&bucket.name);
    if let Err(error) = request.key(&probe).send().await {
        let error = Refusal::from(error);
        tracing::debug!(probe, %error, "a probe was left behind, to be cleared later");
    }
    Ok(honours)
}
