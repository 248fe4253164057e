//! What every ledger must do, one function for each promise.
//!
//! A backend runs all of it with [`ledger_conformance!`](crate::ledger_conformance). Each case gets
//! an empty ledger of its own that nobody else uses. Where the backend's clock can be moved no case
//! waits; where it cannot, a case waits some tens of milliseconds for a short lease to end.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reelmill_common::job::JobError;
use reelmill_common::request::JobOptions;
use reelmill_common::{JobId, TaskId, TaskKey, WorkerId};

use crate::{Claim, JobRecord, Lease, Ledger, NewJob};

mod claiming;
mod completing;
mod jobs;
mod showing;

pub use claiming::*;
pub use completing::*;
pub use jobs::*;
pub use showing::*;

/// An empty ledger.
#[derive(Debug)]
pub struct Fixture {
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    time: Time,
    _guard: Box<dyn Guard>,
}

/// How time passes for a ledger under test.
pub enum Time {
    /// By itself: cases wait for it.
    Real,
    /// By this much whenever called.
    Moved(Box<dyn Fn(Duration) + Send + Sync>),
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Real => "Real",
            Self::Moved(_) => "Moved",
        })
    }
}

/// Whatever must live as long as a ledger under test.
pub trait Guard: fmt::Debug + Send + Sync {}
impl<T: fmt::Debug + Send + Sync> Guard for T {}

impl Fixture {
    /// Wraps a ledger; `guard` is dropped after it, such as the directory that it lives in.
    #[must_use]
    pub fn new(ledger: Arc<dyn Ledger>, time: Time, guard: impl Guard + 'static) -> Self {
        Self {
            ledger,
            time,
            _guard: Box::new(guard),
        }
    }

    /// Lets time pass on the ledger's clock.
    async fn pass(&self, duration: Duration) {
        match &self.time {
            Time::Real => tokio::time::sleep(duration).await,
            Time::Moved(advance) => advance(duration),
        }
    }

    /// A job with `chunks` chunks of 100 frames each.
    async fn job(&self, id: &str, chunks: u32) -> JobId {
        let job = self.empty_job(id).await;
        let tasks: Vec<_> = (0..chunks).map(|index| (chunk(index), 100)).collect();
        self.ledger.extend(&job, &tasks, &[], &[]).await.unwrap();
        job
    }

    /// A job without a plan.
    async fn empty_job(&self, id: &str) -> JobId {
        let id = JobId::new(id).unwrap();
        let (profile, name) = ("web".to_owned(), format!("{id}.mp4"));
        let new = NewJob {
            id: id.clone(),
            profile,
            name,
            options: JobOptions::default(),
        };
        assert!(self.ledger.create_job(&new).await.unwrap());
        id
    }

    async fn record(&self, job: &JobId) -> JobRecord {
        self.ledger.job(job).await.unwrap().unwrap()
    }

    /// Claims with attempts to spare.
    async fn claim(&self, task: &TaskId, by: &str, ttl: Duration) -> Claim {
        self.ledger
            .claim(task, &worker(by), ttl, 100)
            .await
            .unwrap()
    }

    /// Claims what must be free.
    async fn claimed(&self, task: &TaskId, by: &str, ttl: Duration) -> (Lease, u32) {
        match self.claim(task, by, ttl).await {
            Claim::Claimed { lease, attempt } => (lease, attempt),
            other => panic!("`{task}` is not free: {other:?}"),
        }
    }

    /// Renews one lease; `true` when it is still its holder's.
    async fn renewed(&self, lease: &Lease, frames: u64, ttl: Duration) -> bool {
        let lost = self
            .ledger
            .renew(&[(lease.clone(), frames)], ttl)
            .await
            .unwrap();
        assert!(lost.is_empty() || lost == [lease.clone()], "{lost:?}");
        lost.is_empty()
    }
}

/// Expands to a module with one test for each case of the suite. `$fixture` names an async function
/// without arguments that returns a [`Fixture`]. With `ignore = "why"` the tests are left out unless
/// they are asked for.
#[macro_export]
macro_rules! ledger_conformance {
    ($module:ident, $fixture:ident $(, ignore = $why:literal)?) => {
        $crate::ledger_conformance! { @cases $module, $fixture, { $(#[ignore = $why])? }:
            a_claim_gives_a_lease
            a_held_task_is_held_for_everybody
            of_eight_claimers_one_wins
            tasks_are_claimed_one_by_one
            ingest_and_finalize_may_be_claimed_unnamed
            a_chunk_that_nobody_named_is_unknown
            an_expired_lease_gives_way_to_a_higher_epoch
            an_expired_lease_that_nobody_wanted_is_renewed
            a_renewed_lease_holds
            a_renewal_tells_which_leases_are_lost
            renewing_nothing_loses_nothing
            epochs_always_grow
            attempts_run_out
            a_release_frees_at_once
            a_refund_takes_the_attempt_back
            a_lease_is_refunded_once
            a_lost_lease_cannot_be_released
            a_dead_worker_gives_all_back
            a_name_has_one_holder
            a_dead_worker_holds_nothing
            the_last_completion_makes_it_whole
            whole_is_told_until_the_end
            completing_again_counts_once
            a_completion_needs_no_lease
            a_late_completion_ends_the_lease_of_another
            completions_at_once_all_count
            nothing_is_whole_without_a_plan
            extending_again_changes_nothing
            many_may_extend_at_once
            extending_knows_what_is_done
            completions_may_come_before_the_plan
            retired_tasks_are_not_needed
            retired_tasks_stay_retired
            a_retired_task_is_no_work
            frames_are_those_of_complete_and_of_running_tasks
            a_job_is_created_once
            an_unknown_job_is_unknown_everywhere
            a_phase_shows_while_running
            the_first_end_stays
            an_ended_job_gives_no_work
            an_error_is_kept_word_for_word
            a_failed_or_cancelled_job_can_be_retried
            other_jobs_cannot_be_retried
            leases_from_before_a_retry_are_lost
            a_forgotten_job_is_unknown
            changes_show_in_the_time_of_the_last_one
            jobs_are_listed_newest_first
            jobs_are_listed_by_status
            pages_make_the_whole_list
            workers_that_report_are_alive
            a_job_tells_what_was_chosen_and_when_it_was_busy
            attempts_are_added_up
            phases_are_kept_in_order
            jobs_are_counted_by_status
        }
    };
    (@cases $module:ident, $fixture:ident, $attributes:tt: $($case:ident)*) => {
        mod $module {
            $( $crate::ledger_conformance! { @case $fixture, $attributes, $case } )*
        }
    };
    (@case $fixture:ident, { $($attribute:tt)* }, $case:ident) => {
        $($attribute)*
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let fixture = super::$fixture().await;
            $crate::conformance::$case(&fixture).await;
        }
    };
}

/// A lease that no case lives to see the end of.
const LONG: Duration = Duration::from_secs(600);

/// A lease that has ended once [`OVER`] has passed. No case relies on its being held before that.
const SHORT: Duration = Duration::from_millis(40);
const OVER: Duration = Duration::from_millis(50);

fn worker(name: &str) -> WorkerId {
    WorkerId::new(name).unwrap()
}

fn chunk(index: u32) -> TaskKey {
    TaskKey::Chunk {
        index,
        generation: 0,
    }
}

fn task(job: &JobId, key: TaskKey) -> TaskId {
    TaskId {
        job: job.clone(),
        key,
    }
}

fn failure(message: &str) -> JobError {
    JobError {
        code: "broken".to_owned(),
        message: message.to_owned(),
        retryable: false,
        detail: String::new(),
        task: None,
    }
}

#[cfg(test)]
mod tests {
    /// A case that the macro forgets would never run.
    #[test]
    fn the_macro_names_every_case() {
        let sources = concat!(
            include_str!("conformance/claiming.rs"),
            include_str!("conformance/completing.rs"),
            include_str!("conformance/jobs.rs"),
            include_str!("conformance/showing.rs"),
        );
        let listed = include_str!("conformance.rs");
        for line in sources.lines() {
            if let Some(rest) = line.strip_prefix("pub async fn ") {
                let name = rest.split('(').next().unwrap();
                assert!(
                    listed.lines().any(|line| line.trim() == name),
                    "`{name}` is not listed"
                );
            }
        }
    }
}
