//! Whose turn it is among the messages that a consumer has at hand.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use reelmill_common::request::Priority;

/// Messages that were fetched and not delivered yet.
///
/// Given out is one of the highest priority, of the job that has the fewest messages in hand, then
/// of the one that was served longest ago, then of the one that came first; of its messages the
/// oldest. Messages that are not due yet hold up no other. Times are milliseconds since 1970.
#[derive(Debug)]
pub(super) struct Buffer<M> {
    jobs: HashMap<u64, Job<M>>,
    ids: HashMap<String, u64>,
    last_id: u64,
    last_served: u64,
    /// By priority, the jobs that have messages of it.
    turns: [BTreeSet<Turn>; PRIORITIES],
    ready: usize,
    /// By when it is due, then by when it came.
    parked: BTreeMap<(u64, u64), Waiting<M>>,
    last_parked: u64,
}

const PRIORITIES: usize = 3;

/// A job's place in the order; the smallest is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    in_hand: usize,
    served: u64,
    id: u64,
}

#[derive(Debug)]
struct Job<M> {
    name: String,
    turn: Turn,
    waiting: [VecDeque<M>; PRIORITIES],
}

/// A message on its way into the buffer.
#[derive(Debug)]
pub(super) struct Waiting<M> {
    pub(super) job: String,
    pub(super) priority: Priority,
    /// Nobody is given it before; zero is at once, whatever the clock does.
    pub(super) due: u64,
    pub(super) message: M,
}

impl<M> Default for Buffer<M> {
    fn default() -> Self {
        Self {
            jobs: HashMap::new(),
            ids: HashMap::new(),
            last_id: 0,
            last_served: 0,
            turns: Default::default(),
            ready: 0,
            parked: BTreeMap::new(),
            last_parked: 0,
        }
    }
}

impl<M> Buffer<M> {
    pub(super) fn add(&mut self, waiting: Waiting<M>, now: u64) {
        if waiting.due > now {
            self.last_parked += 1;
            self.parked.insert((waiting.due, self.last_parked), waiting);
        } else {
            self.make_ready(waiting);
        }
    }

    /// The message whose turn it is. It counts as in hand until [`end`](Self::end).
    pub(super) fn take(&mut self, now: u64) -> Option<M> {
        self.unpark(now);
        let level = (0..PRIORITIES)
            .rev()
            .find(|level| !self.turns[*level].is_empty())?;
        let id = self.turns[level].first()?.id;
        self.last_served += 1;
        let served = self.last_served;
        let message = self.change(id, |job| {
            job.turn.in_hand += 1;
            job.turn.served = served;
            job.waiting[level].pop_front()
        })?;
        self.ready -= 1;
        Some(message)
    }

    /// A message of the job is no longer in hand.
    pub(super) fn end(&mut self, job: &str) {
        if let Some(id) = self.ids.get(job).copied() {
            self.change(id, |job| {
                job.turn.in_hand = job.turn.in_hand.saturating_sub(1);
                Some(())
            });
        }
    }

    /// Forgets the messages that are not to be kept.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&M) -> bool) {
        self.parked.retain(|_, waiting| keep(&waiting.message));
        let ids: Vec<u64> = self.jobs.keys().copied().collect();
        for id in ids {
            self.change(id, |job| {
                for waiting in &mut job.waiting {
                    waiting.retain(&mut keep);
                }
                Some(())
            });
        }
        let waiting = self.jobs.values().flat_map(|job| &job.waiting);
        self.ready = waiting.map(VecDeque::len).sum();
    }

    /// When the next of the messages that wait is due.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.parked.first_key_value().map(|((due, _), _)| *due)
    }

    /// How many messages could be given out.
    pub(super) fn ready(&self) -> usize {
        self.ready
    }

    /// How many are not due yet.
    pub(super) fn parked(&self) -> usize {
        self.parked.len()
    }

    fn unpark(&mut self, now: u64) {
        while let Some(entry) = self.parked.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let waiting = entry.remove();
            self.make_ready(waiting);
        }
    }

    fn make_ready(&mut self, waiting: Waiting<M>) {
        let id = match self.ids.get(&waiting.job) {
            Some(id) => *id,
            None => self.add_job(waiting.job),
        };
        self.ready += 1;
        self.change(id, |job| {
            job.waiting[waiting.priority as usize].push_back(waiting.message);
            Some(())
        });
    }

    fn add_job(&mut self, name: String) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        self.ids.insert(name.clone(), id);
        let turn = Turn {
            in_hand: 0,
            served: 0,
            id,
        };
        let waiting = Default::default();
        self.jobs.insert(
            id,
            Job {
                name,
                turn,
                waiting,
            },
        );
        id
    }

    /// Changes a job and puts it where it then belongs; one that has nothing left is forgotten.
    fn change<T>(&mut self, id: u64, change: impl FnOnce(&mut Job<M>) -> Option<T>) -> Option<T> {
        let job = self.jobs.get_mut(&id)?;
        for turns in &mut self.turns {
            turns.remove(&job.turn);
        }
        let answer = change(job);
        for (turns, waiting) in self.turns.iter_mut().zip(&job.waiting) {
            if !waiting.is_empty() {
                turns.insert(job.turn);
            }
        }
        if job.turn.in_hand == 0 && job.waiting.iter().all(VecDeque::is_empty) {
            let job = self.jobs.remove(&id)?;
            self.ids.remove(&job.name);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    fn waiting(job: &str, priority: Priority, due: u64, number: u32) -> Waiting<String> {
        Waiting {
            job: job.to_owned(),
            priority,
            due,
            message: format!("{job}{number}"),
        }
    }

    fn with(jobs: &[(&str, Priority, u32)]) -> Buffer<String> {
        let mut buffer = Buffer::default();
        for (job, priority, count) in jobs {
            for number in 0..*count {
                buffer.add(waiting(job, *priority, 0, number), NOW);
            }
        }
        buffer
    }

    /// The next messages; each is done with before the next is taken.
    fn served(buffer: &mut Buffer<String>, count: usize) -> Vec<String> {
        let mut served = vec![];
        for _ in 0..count {
            let Some(message) = buffer.take(NOW) else {
                break;
            };
            buffer.end(&message[..1]);
            served.push(message);
        }
        served
    }

    #[test]
    fn jobs_take_turns_and_each_gives_its_oldest_message() {
        let mut buffer = with(&[
            ("a", Priority::Normal, 4),
            ("b", Priority::Normal, 2),
            ("c", Priority::Normal, 1),
        ]);
        let expected = ["a0", "b0", "c0", "a1", "b1", "a2", "a3"];
        assert_eq!(served(&mut buffer, 9), expected);
        assert_eq!(
            (buffer.ready(), buffer.jobs.len(), buffer.ids.len()),
            (0, 0, 0)
        );
    }

    #[test]
    fn a_higher_priority_comes_first_whenever_it_came() {
        let mut buffer = with(&[
            ("a", Priority::Low, 1),
            ("b", Priority::Normal, 2),
            ("c", Priority::High, 2),
            ("b", Priority::High, 1),
        ]);
        // Of the same priority, the job that was there first.
        assert_eq!(served(&mut buffer, 9), ["b0", "c0", "c1", "b0", "b1", "a0"]);
    }

    #[test]
    fn a_job_with_work_in_hand_waits_for_one_without() {
        let mut buffer = with(&[("a", Priority::Normal, 6)]);
        let in_hand: Vec<_> = (0..2).map(|_| buffer.take(NOW).unwrap()).collect();
        assert_eq!(in_hand, ["a0", "a1"]);
        for number in 0..6 {
            buffer.add(waiting("b", Priority::Normal, 0, number), NOW);
        }
        let next: Vec<_> = (0..4).map(|_| buffer.take(NOW).unwrap()).collect();
        assert_eq!(next, ["b0", "b1", "a2", "b2"]);
        buffer.end("a");
        buffer.end("a");
        assert_eq!(buffer.take(NOW).unwrap(), "a3");
    }

    #[test]
    fn what_is_not_due_holds_up_nothing_and_comes_when_it_is() {
        let mut buffer = Buffer::default();
        buffer.add(waiting("a", Priority::High, NOW + 20, 2), NOW);
        buffer.add(waiting("a", Priority::High, NOW + 10, 1), NOW);
        buffer.add(waiting("b", Priority::Low, NOW, 0), NOW);
        assert_eq!((buffer.ready(), buffer.parked()), (1, 2));
        assert_eq!(buffer.take(NOW).unwrap(), "b0");
        assert_eq!(
            (buffer.take(NOW + 9), buffer.next_due()),
            (None, Some(NOW + 10))
        );
        assert_eq!(buffer.take(NOW + 10).unwrap(), "a1");
        assert_eq!(buffer.take(NOW + 25).unwrap(), "a2");
        assert_eq!((buffer.parked(), buffer.next_due()), (0, None));
    }

    #[test]
    fn what_is_taken_away_is_forgotten_wherever_it_is() {
        let mut buffer = with(&[("a", Priority::Normal, 3), ("b", Priority::High, 1)]);
        buffer.add(waiting("c", Priority::Normal, NOW + 1, 0), NOW);
        buffer.retain(|message| message == "a1");
        assert_eq!((buffer.ready(), buffer.parked()), (1, 0));
        assert_eq!(served(&mut buffer, 9), ["a1"]);
        assert_eq!(buffer.jobs.len(), 0);
    }

    /// Whatever happens, every message comes once, and none of a lower priority before a higher.
    #[test]
    fn nothing_is_lost_or_doubled() {
        let mut random = 7_u64;
        let mut draw = move |below: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 33) % below
        };
        let levels = [Priority::Low, Priority::Normal, Priority::High];
        for _ in 0..50 {
            let mut buffer = Buffer::default();
            let (mut added, mut taken, mut in_hand) = (vec![], vec![], vec![]);
            for number in 0..400 {
                let job = ["a", "b", "c", "d"][draw(4) as usize].to_owned();
                match draw(3) {
                    0 => {
                        let priority = levels[draw(3) as usize];
                        let message = (job.clone(), priority, number);
                        added.push(message.clone());
                        let waiting = Waiting {
                            job,
                            priority,
                            due: NOW + draw(3) * 100,
                            message,
                        };
                        buffer.add(waiting, NOW + number);
                    }
                    1 => {
                        let highest = |buffer: &Buffer<(String, Priority, u64)>| {
                            buffer.turns.iter().rposition(|turns| !turns.is_empty())
                        };
                        buffer.unpark(NOW + number);
                        let expected = highest(&buffer);
                        let message = buffer.take(NOW + number);
                        let level = message.as_ref().map(|(_, priority, _)| *priority as usize);
                        assert_eq!(level, expected);
                        in_hand.extend(message.iter().map(|(job, ..)| job.clone()));
                        taken.extend(message);
                    }
                    _ => {
                        if let Some(job) = in_hand.pop() {
                            buffer.end(&job);
                        }
                    }
                }
                assert_eq!(buffer.ready() + buffer.parked() + taken.len(), added.len());
            }
            while let Some(message) = buffer.take(u64::MAX) {
                taken.push(message);
            }
            added.sort();
            taken.sort();
            assert_eq!(taken, added);
        }
    }
}
