//! Stands in for what other parts bring.

use reelmill_common::key;
use reelmill_common::manifest::Location;
use reelmill_common::request::{self, JobRequest};
use reelmill_common::upload::Upload;
use reelmill_stage::{Ports, StageError, submit};

/// Makes a job of a whole upload.
pub(super) async fn submit_upload(
    ports: &Ports,
    upload: &Upload,
    slots: u32,
) -> Result<(), StageError> {
    let request = JobRequest {
        version: request::VERSION,
        name: upload.order.name.clone(),
        location: Location::Stored {
            job: upload.job.clone(),
        },
        profile: upload.order.profile.clone(),
        proof: upload.order.proof,
        slots,
        window_ms: None,
        trusted: false,
        options: upload.order.options.clone(),
    };
    submit(ports, &upload.job, &request).await?;
    Ok(ports.store.delete(&key::upload(&upload.job)).await?)
}
