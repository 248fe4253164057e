//! Redis keeps numbers where SQLite counts rows: whatever is done, both must say the same.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::time::Duration;

use reelmill_common::job::{JobError, JobStatus, Phase};
use reelmill_common::request::JobOptions;
use reelmill_common::{JobId, TaskId, TaskKey, WorkerId};
use reelmill_ledger::{Claim, JobRecord, Lease, Ledger, NewJob, RedisLedger, SqliteLedger};

mod shared;
use shared::Part;

const SEEDS: u64 = 40;

/// A little of everything: the same seed makes the same calls.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u32) -> u32 {
        // Of a congruential generator the high bits are the good ones.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.0 >> 33).unwrap() % sides
    }

    fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        let index = self.below(u32::try_from(choices.len()).unwrap());
        choices[index as usize].clone()
    }

    fn job(&mut self) -> JobId {
        JobId::new(self.one_of(&["j1", "j2"])).unwrap()
    }

    fn worker(&mut self) -> WorkerId {
        WorkerId::new(self.one_of(&["w1", "w2", "w3"])).unwrap()
    }

    fn key(&mut self) -> TaskKey {
        let index = self.below(6);
        let generation = self.below(2);
        self.one_of(&[
            TaskKey::Chunk {
                index,
                generation: 0,
            },
            TaskKey::Chunk { index, generation },
            TaskKey::Audio { track: 0 },
            TaskKey::Ingest,
            TaskKey::Finalize,
        ])
    }

    fn keys(&mut self, most: u32) -> Vec<TaskKey> {
        (0..self.below(most + 1)).map(|_| self.key()).collect()
    }

    /// A lease that has ended already, or one that outlives the test.
    fn ttl(&mut self) -> Duration {
        self.one_of(&[Duration::ZERO, Duration::from_secs(600)])
    }
}

/// What must be the same: all but times, which belong to the clock of each.
fn comparable(record: &JobRecord) -> JobRecord {
    let mut record = record.clone();
    record.created_at = 0;
    record.updated_at = 0;
    record.started_at = record.started_at.map(|_| 0);
    record.ended_at = record.ended_at.map(|_| 0);
    for start in &mut record.phases {
        start.at = 0;
    }
    record
}

fn without_epoch(claim: &Claim) -> Claim {
    match claim.clone() {
        Claim::Claimed { mut lease, attempt } => {
            lease.epoch = 0;
            Claim::Claimed { lease, attempt }
        }
        Claim::Held { .. } => Claim::Held {
            remaining: Duration::ZERO,
        },
        other => other,
    }
}

struct Pair {
    sqlite: SqliteLedger,
    redis: RedisLedger,
    /// The same lease in the one and in the other, in the order of their claims.
    leases: Vec<(Lease, Lease)>,
}

/// Makes a call of both and compares the answers.
macro_rules! both {
    ($pair:ident.$method:ident($($argument:expr),*)) => {{
        let one = $pair.sqlite.$method($($argument),*).await.unwrap();
        let other = $pair.redis.$method($($argument),*).await.unwrap();
        assert_eq!(one, other, stringify!($method));
    }};
}

impl Pair {
    async fn step(&mut self, dice: &mut Dice) {
        let job = dice.job();
        match dice.below(40) {
            0..6 => {
                let mut tasks = vec![];
                for key in dice.keys(4) {
                    tasks.push((key, u64::from(dice.below(50))));
                }
                let (done, retired) = (dice.keys(1), dice.keys(1));
                both!(self.extend(&job, &tasks, &done, &retired));
            }
            6..16 => {
                let (key, worker, ttl) = (dice.key(), dice.worker(), dice.ttl());
                self.claim(&TaskId { job, key }, &worker, ttl).await;
            }
            16..22 => {
                let ttl = dice.ttl();
                self.renew(dice, ttl).await;
            }
            22..27 => {
                let task = TaskId {
                    job,
                    key: dice.key(),
                };
                both!(self.complete(&task));
            }
            27..31 => {
                let refund = dice.below(2) == 0;
                if let Some((one, other)) = self.some_lease(dice) {
                    self.sqlite.release(&one, refund).await.unwrap();
                    self.redis.release(&other, refund).await.unwrap();
                }
            }
            31 => {
                let worker = dice.worker();
                both!(self.release_all(&worker));
            }
            32 => {
                let phase = dice.one_of(&[Phase::Scanning, Phase::Transcoding]);
                both!(self.set_phase(&job, phase));
            }
            33 => {
                let end = dice.one_of(&[
                    JobStatus::Completed,
                    JobStatus::Failed,
                    JobStatus::Cancelled,
                ]);
                let error = JobError {
                    code: "broken".to_owned(),
                    message: "it broke".to_owned(),
                    retryable: false,
                    detail: String::new(),
                    task: Some(dice.key()),
                };
                let error = (end == JobStatus::Failed).then_some(&error);
                both!(self.finish(&job, end, error));
            }
            34 | 35 => both!(self.retry(&job)),
            36 if dice.below(4) == 0 => both!(self.forget(&job)),
            36..39 => {
                let new = NewJob {
                    id: job,
                    profile: "web".to_owned(),
                    name: "a.mp4".to_owned(),
                    options: JobOptions::default(),
                };
                both!(self.create_job(&new));
            }
            _ => {
                let (worker, ttl) = (dice.worker(), dice.ttl());
                both!(self.hold("sweeper", &worker, ttl));
            }
        }
    }

    async fn claim(&mut self, task: &TaskId, worker: &WorkerId, ttl: Duration) {
        let one = self.sqlite.claim(task, worker, ttl, 4).await.unwrap();
        let other = self.redis.claim(task, worker, ttl, 4).await.unwrap();
        assert_eq!(without_epoch(&one), without_epoch(&other));
        if let (Claim::Claimed { lease: one, .. }, Claim::Claimed { lease: other, .. }) =
            (one, other)
        {
            self.leases.push((one, other));
        }
    }

    fn some_lease(&self, dice: &mut Dice) -> Option<(Lease, Lease)> {
        let recent = self.leases.len().saturating_sub(6);
        let recent = &self.leases[recent..];
        (!recent.is_empty()).then(|| dice.one_of(recent))
    }

    async fn renew(&self, dice: &mut Dice, ttl: Duration) {
        let (mut of_sqlite, mut of_redis) = (vec![], vec![]);
        for _ in 0..dice.below(3) {
            let Some((one, other)) = self.some_lease(dice) else {
                continue;
            };
            let frames = u64::from(dice.below(60));
            of_sqlite.push((one, frames));
            of_redis.push((other, frames));
        }
        let one = self.sqlite.renew(&of_sqlite, ttl).await.unwrap();
        let other = self.redis.renew(&of_redis, ttl).await.unwrap();
        let tasks = |lost: Vec<Lease>| -> Vec<TaskId> {
            lost.into_iter().map(|lease| lease.task).collect()
        };
        assert_eq!(tasks(one), tasks(other), "renew");
    }

    async fn compare(&self) {
        let one = self.sqlite.jobs(None, None, 9).await.unwrap();
        let other = self.redis.jobs(None, None, 9).await.unwrap();
        let one: Vec<_> = one.iter().map(comparable).collect();
        let other: Vec<_> = other.iter().map(comparable).collect();
        assert_eq!(one, other);
        let mut one = self.sqlite.counts().await.unwrap();
        let mut other = self.redis.counts().await.unwrap();
        one.retain(|_, jobs| *jobs > 0);
        other.retain(|_, jobs| *jobs > 0);
        assert_eq!(one, other);
    }
}

#[tokio::test]
#[ignore = "needs REELMILL_TEST_REDIS"]
async fn redis_says_what_sqlite_says() {
    for seed in 0..SEEDS {
        let part = Part::new();
        let folder = tempfile::tempdir().unwrap();
        let mut pair = Pair {
            sqlite: SqliteLedger::open(folder.path().join("ledger.db")).unwrap(),
            redis: RedisLedger::connect(&part.options).await.unwrap(),
            leases: vec![],
        };
        let mut dice = Dice(seed);
        // Only a failure is shown.
        println!("seed {seed}");
        for _ in 0..150 {
            pair.step(&mut dice).await;
            pair.compare().await;
        }
    }
}
