//! The job that tests of one job have.

use reelmill_common::request::JobOptions;
use reelmill_common::{JobId, TaskId, TaskKey, WorkerId};
use reelmill_ledger::NewJob;

pub(crate) fn job() -> JobId {
    JobId::new("j1").unwrap()
}

pub(crate) fn new_job() -> NewJob {
    NewJob {
        id: job(),
        profile: "web".to_owned(),
        name: "a film.mp4".to_owned(),
        options: JobOptions::default(),
    }
}

pub(crate) fn chunk(index: u32) -> TaskId {
    TaskId {
        job: job(),
        key: TaskKey::Chunk {
            index,
            generation: 0,
        },
    }
}

pub(crate) fn worker() -> WorkerId {
    WorkerId::new("w1").unwrap()
}
