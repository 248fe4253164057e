//! What a job's end and second life take, until `reelmill_stage` has it.

use reelmill_common::job::JobStatus;
use reelmill_common::request::JobRequest;
use reelmill_common::{JobId, key};
use reelmill_stage::{
    Ports, StageError, load_json, manifest, publish_missing, rebuild, revisions, submit,
};

/// Ends a job that has not ended.
pub(crate) async fn cancel(ports: &Ports, job: &JobId) -> Result<(), StageError> {
    ports.ledger.finish(job, JobStatus::Cancelled, None).await?;
    Ok(())
}

/// Brings a failed or cancelled job back; only what is missing is done. `false` when it is in no
/// such state.
pub(crate) async fn retry(ports: &Ports, job: &JobId) -> Result<bool, StageError> {
    let store = ports.store.as_ref();
    if rebuild(ports, job).await? {
        let revived = ports.ledger.retry(job).await?;
        if let (true, Some(manifest)) = (revived, manifest(store, job).await?) {
            let revisions = revisions(store, job).await?;
            publish_missing(ports, &manifest, &revisions).await?;
        }
        return Ok(revived);
    }
    let Some(request) = load_json::<JobRequest>(store, &key::request(job)).await? else {
        return Ok(false);
    };
    let revived = ports.ledger.retry(job).await?;
    if revived {
        submit(ports, job, &request).await?;
    }
    Ok(revived)
}
