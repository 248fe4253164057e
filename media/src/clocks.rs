//! How long a process may run, and how long without a sign of life.

use std::time::Duration;

use nix::unistd::Pid;
use tokio::time::Instant;

/// How often the clocks are looked at, at least.
const TICK: Duration = Duration::from_secs(1);

/// A look that comes later than this finds that our own process stood still: it was stopped, or its
/// machine was. What is due meanwhile says nothing of the child.
const STOOD_STILL: Duration = Duration::from_secs(2);

/// The bounds of one process as they run down.
#[derive(Debug)]
pub(crate) struct Clocks {
    wall: Duration,
    idle: Duration,
    deadline: Option<Instant>,
    /// When it last showed that it works.
    last_sign: Instant,
    /// The processor time that it had used when that was last a sign.
    used: Duration,
    looked: Instant,
}

impl Clocks {
    pub(crate) fn new(wall: Duration, idle: Duration, now: Instant) -> Self {
        Self {
            wall,
            idle,
            deadline: now.checked_add(wall),
            last_sign: now,
            used: Duration::ZERO,
            looked: now,
        }
    }

    /// It said something.
    pub(crate) fn sign(&mut self, now: Instant) {
        self.last_sign = now;
    }

    /// When to look again at the latest.
    pub(crate) fn wake(&self) -> Instant {
        let idle = self.last_sign.checked_add(self.idle);
        let due = self.deadline.into_iter().chain(idle);
        due.fold(self.looked + TICK, Instant::min)
    }

    /// The bound that has run out. `used` tells its processor time so far, where it can be told: a
    /// process that decodes its way to the first frame says nothing and works.
    pub(crate) fn look(
        &mut self,
        now: Instant,
        used: impl FnOnce() -> Option<Duration>,
    ) -> Option<Duration> {
        let wake = self.wake();
        if now < wake {
            return None;
        }
        let late = now - wake;
        if late > STOOD_STILL {
            self.deadline = self.deadline.and_then(|at| at.checked_add(late));
            self.last_sign = now;
        }
        self.looked = now;
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            return Some(self.wall);
        }
        let silent = now.saturating_duration_since(self.last_sign);
        // Asked late, since the answer is looked up among all processes there are.
        if silent >= self.idle / 4
            && let Some(used) = used()
        {
            // A hundredth of a core: less is a process that only wakes up to wait again.
            if used.saturating_sub(self.used) >= silent / 100 {
                self.last_sign = now;
                self.used = used;
                return None;
            }
            self.used = self.used.min(used);
        }
        (silent >= self.idle).then_some(self.idle)
    }
}

/// The processor time that a process group has used, its ended children included; `None` where
/// there is no `/proc`.
pub(crate) fn processor_time(group: Pid) -> Option<Duration> {
    let ticks_per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    let mut ticks = 0;
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let is_process = entry.file_name().to_string_lossy().parse::<u32>().is_ok();
        if is_process && let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) {
            ticks += ticks_in(&stat, group).unwrap_or(0);
        }
    }
    Some(Duration::from_secs_f64(
        ticks as f64 / ticks_per_second.max(1) as f64,
    ))
}

/// The clock ticks of one process and of its children that ended, where it belongs to the group.
fn ticks_in(stat: &str, group: Pid) -> Option<u64> {
    // The name before it may hold anything, brackets and blanks too.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    if fields.nth(2)?.parse() != Ok(group.as_raw()) {
        return None;
    }
    let times = fields.skip(8).take(4);
    Some(times.filter_map(|ticks| ticks.parse::<u64>().ok()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Looks once a second, as `run` does, until a bound has run out or `until` is reached.
    fn watch(
        clocks: &mut Clocks,
        began: Instant,
        until: u64,
        busy: f64,
    ) -> Option<(u64, Duration)> {
        (1..=until).find_map(|second| {
            let used = s(second).mul_f64(busy);
            let limit = clocks.look(began + s(second), || Some(used));
            limit.map(|limit| (second, limit))
        })
    }

    #[test]
    fn silence_is_no_sign_of_death_while_it_works() {
        let began = Instant::now();
        let mut clocks = Clocks::new(s(1000), s(120), began);
        assert_eq!(watch(&mut clocks, began, 2000, 0.9), Some((1000, s(1000))));
    }

    #[test]
    fn one_that_does_nothing_is_ended() {
        let began = Instant::now();
        let mut clocks = Clocks::new(s(1000), s(120), began);
        assert_eq!(watch(&mut clocks, began, 2000, 0.001), Some((120, s(120))));

        let mut clocks = Clocks::new(s(1000), s(120), began);
        clocks.sign(began + s(50));
        assert_eq!(watch(&mut clocks, began, 2000, 0.0), Some((170, s(120))));
    }

    #[test]
    fn time_in_which_we_stood_still_does_not_count() {
        let began = Instant::now();
        let mut clocks = Clocks::new(s(300), s(120), began);
        assert_eq!(watch(&mut clocks, began, 100, 0.0), None);
        let hour_later = began + s(3700);
        assert_eq!(clocks.look(hour_later, || Some(s(0))), None);
        // Both go on from there: the wall clock where it was, the other one anew.
        assert_eq!(
            watch(&mut clocks, hour_later, 300, 0.0),
            Some((120, s(120)))
        );
        let mut clocks = Clocks::new(s(300), Duration::MAX, began);
        assert_eq!(watch(&mut clocks, began, 100, 0.0), None);
        assert_eq!(clocks.look(hour_later, || None), None);
        assert_eq!(
            watch(&mut clocks, hour_later, 300, 0.0),
            Some((199, s(300)))
        );
    }

    #[test]
    fn the_own_group_has_used_time_and_no_other_counts() {
        let stat = "12 (a b) c) S 1 77 77 0 -1 4194304 1 2 3 4 50 6 7 8 20 0 1 0 5 6 7";
        assert_eq!(ticks_in(stat, Pid::from_raw(77)), Some(71));
        assert_eq!(ticks_in(stat, Pid::from_raw(1)), None);
    }
}
