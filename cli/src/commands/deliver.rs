//! From the store to the output folder: all or nothing, the certificate last.

use std::path::Path;

use reelmill_common::certificate::{Certificate, CertifiedOutput};
use reelmill_common::{JobId, key};
use reelmill_stage::{Ports, load_json};

use crate::failure::{Failure, io};
use crate::folder::{CERTIFICATE, HLS, OutputFolder, output_path, remove, sync_folder};

/// Puts the outputs of a finished job into the folder. Interrupted, it can be done again.
pub(crate) async fn deliver(
    ports: &Ports,
    job: &JobId,
    folder: &OutputFolder,
) -> Result<Certificate, Failure> {
    let store = ports.store.as_ref();
    let Some(certificate) = load_json::<Certificate>(store, &key::certificate(job)).await? else {
        return Err(Failure::failed(
            "the job ended without a certificate: run it again",
        ));
    };
    // From here on the folder is not finished until the new certificate is in it.
    folder.set_aside_certificate()?;
    for output in &certificate.outputs {
        let target = folder.path.join(&output.path);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent).map_err(io("make", parent))?;
        }
        let key =
            key::output(job, &output.path).map_err(|error| Failure::failed(error.to_string()))?;
        store
            .get_file(&key, &target)
            .await
            .map_err(|error| Failure::of(&error))?;
    }
    let is_ours = |path: &str| certificate.outputs.iter().any(|ours| ours.path == path);
    for left in folder.replaced()?.iter().flat_map(|old| &old.outputs) {
        // A certificate is a file that anybody may have edited: files of this folder are removed,
        // and nothing else.
        let path = output_path(&folder.path, &left.path).filter(|path| !path.is_dir());
        if let Some(path) = path.filter(|_| !is_ours(&left.path)) {
            remove(&path)?;
        }
    }
    let hls = folder.path.join(HLS);
    match certificate
        .outputs
        .iter()
        .any(|output| Path::new(&output.path).starts_with(HLS))
    {
        true => sync_folder(&hls)?,
        // Fails when something else is in it, which is somebody's.
        false => drop(std::fs::remove_dir(&hls)),
    }
    let target = folder.path.join(CERTIFICATE);
    store
        .get_file(&key::certificate(job), &target)
        .await
        .map_err(|error| Failure::of(&error))?;
    sync_folder(&folder.path)?;
    Ok(certificate)
}

/// The first output that is missing or of another length than certified, as half a sentence.
pub(crate) fn first_change(folder: &Path, certificate: &Certificate) -> Option<String> {
    let changed = |output: &CertifiedOutput| match std::fs::metadata(folder.join(&output.path)) {
        Ok(meta) if meta.len() == output.bytes => None,
        Ok(_) => Some(format!("`{}` has changed", output.path)),
        Err(_) => Some(format!("`{}` has gone", output.path)),
    };
    certificate.outputs.iter().find_map(changed)
}
