//! What a run of `transcode` is to do, by what it was asked for and what lies in its folder.

use std::path::Path;

use reelmill_common::certificate::Certificate;
use reelmill_common::manifest::{Manifest, Proof, SourceInfo};
use reelmill_common::{JobId, Sha256};
use reelmill_media::Tools;
use reelmill_store::Store as _;

use super::deliver;
use crate::failure::{Exit, Failure};
use crate::folder::OutputFolder;
use crate::wire;

/// More plans than this in one folder are not looked at: one is all that a run leaves.
const MOST_PLANS: usize = 1000;

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Intent<'a> {
    /// The same source, profile, proof and choice of streams are the same job, so that its certificate is the same.
    pub(crate) job: JobId,
    pub(crate) source: &'a SourceInfo,
    pub(crate) profile_digest: Sha256,
    pub(crate) proof: Proof,
    /// The source as it was named.
    pub(crate) input: &'a Path,
    /// Whether what is there of other jobs may go.
    pub(crate) force: bool,
}

impl Intent<'_> {
    /// The certificate of the folder's outputs, where they are those that were asked for.
    pub(crate) fn done(&self, folder: &OutputFolder) -> Option<Certificate> {
        if self.force {
            return None;
        }
        // One that cannot be read is refused by `unfinished`.
        let certificate = folder.certificate().ok().flatten()?;
        let whole = deliver::first_change(&folder.path, &certificate).is_none();
        (whole && self.is_of(&certificate)).then_some(certificate)
    }

    /// The plan of this very job that an earlier run left, whatever else is in the folder: it was
    /// begun with `--force` then. Without one there is no other work in the folder afterwards, and
    /// no outputs that may not be overwritten.
    pub(crate) async fn unfinished(
        &self,
        folder: &OutputFolder,
        tools: &Tools,
    ) -> Result<Option<Manifest>, Failure> {
        let plans = match plans(folder).await {
            // Work that cannot be understood is nobody's.
            Err(failure) if self.force && failure.is_about_a_plan() => Vec::new(),
            plans => plans?,
        };
        let fits = |plan: &Manifest| self.same_job(plan, folder, tools);
        if let [plan] = plans.as_slice()
            && fits(plan).is_ok()
        {
            return Ok(Some(plan.clone()));
        }
        if !self.force {
            self.keep_outputs(folder, plans.is_empty())?;
            plans.iter().try_for_each(fits)?;
        }
        // Above all the message of a job that was killed before it had a plan: it would be worked on
        // beside this one.
        folder.discard_work()?;
        Ok(None)
    }

    /// Whether an earlier run left work of another job.
    pub(crate) async fn others_work(&self, folder: &OutputFolder) -> bool {
        let plans = plans(folder).await;
        plans.is_ok_and(|plans| plans.iter().any(|plan| plan.job != self.job))
    }

    fn is_of(&self, certificate: &Certificate) -> bool {
        certificate.source.sha256 == self.source.sha256
            && certificate.profile_digest == self.profile_digest
            && certificate.proof == self.proof
            && certificate.job == self.job
    }

    /// Refuses to overwrite outputs.
    fn keep_outputs(&self, folder: &OutputFolder, unplanned: bool) -> Result<(), Failure> {
        let name = folder.path.display();
        let refuse = |what: String| {
            let message = format!("{what}: choose another folder, or overwrite it with --force");
            Err(Failure::new(Exit::Failed, "folder-in-use", message))
        };
        let Some(certificate) = folder.certificate()? else {
            return match folder.uncertified()?.filter(|_| unplanned) {
                Some(output) => refuse(format!("`{name}` holds `{output}` without a certificate")),
                None => Ok(()),
            };
        };
        if certificate.source.sha256 != self.source.sha256 {
            return refuse(format!(
                "`{name}` holds the outputs of another source, `{}`",
                certificate.source.name
            ));
        }
        if !self.is_of(&certificate) {
            return refuse(format!(
                "`{name}` holds outputs of this source made with profile `{}` and `--proof {}`, or with another choice of streams",
                certificate.profile,
                certificate.proof.as_str()
            ));
        }
        match deliver::first_change(&folder.path, &certificate) {
            Some(changed) => refuse(format!("`{name}` was finished, but {changed} since")),
            None => Ok(()),
        }
    }

    /// Whether unfinished work is that of this very command.
    fn same_job(
        &self,
        plan: &Manifest,
        folder: &OutputFolder,
        tools: &Tools,
    ) -> Result<(), Failure> {
        let folder = folder.path.display();
        let way_out = "begin anew with --force";
        let refuse = |code, what: String| Err(Failure::new(Exit::Failed, code, what));
        if plan.source.sha256 != self.source.sha256 {
            return refuse(
                "source-changed",
                format!(
                    "`{}` is not the file that the unfinished work in `{folder}` was begun with: put the old one back, or {way_out}",
                    self.input.display()
                ),
            );
        }
        if plan.job != self.job {
            return refuse(
                "profile-changed",
                format!(
                    "the unfinished work in `{folder}` was begun with profile `{}` and `--proof {}`, or with another choice of streams: use those, or {way_out}",
                    plan.profile,
                    plan.proof.as_str()
                ),
            );
        }
        if plan.ffmpeg != tools.version {
            return refuse(
                "ffmpeg-differs",
                format!(
                    "the unfinished work in `{folder}` was begun with ffmpeg {}, this is {}: use that one, or {way_out}",
                    plan.ffmpeg, tools.version
                ),
            );
        }
        Ok(())
    }
}

/// The plans that earlier runs left in a folder.
async fn plans(folder: &OutputFolder) -> Result<Vec<Manifest>, Failure> {
    if !folder.has_plan()? {
        return Ok(Vec::new());
    }
    let store = wire::store(&folder.work())?;
    let listed = store.list("chunks/", None, MOST_PLANS).await;
    let mut plans = Vec::new();
    for object in listed.map_err(|error| Failure::of(&error))? {
        let parts: Vec<&str> = object.key.as_str().split('/').collect();
        if let [_, job, "manifest.json"] = parts.as_slice()
            && let Ok(job) = JobId::new(*job)
        {
            plans.extend(reelmill_stage::manifest(&store, &job).await?);
        }
    }
    Ok(plans)
}
