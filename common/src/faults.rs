//! When and how the decorator lets a call fail.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Awaits a call again and again, up to twenty times, while its error is
/// [retryable](crate::Retryable): what a caller of a port may do.
#[macro_export]
macro_rules! retry {
    ($call:expr) => {{
        let mut tries = 1;
        loop {
            match $call.await {
                Err(error) if $crate::Retryable::is_retryable(&error) && tries < 20 => tries += 1,
                result => break result,
            }
        }
    }};
}

/// On which side of the effect a call fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// Nothing happened.
    #[default]
    Before,
    /// All happened, only the answer is lost.
    After,
    /// The one or the other, by the seed.
    Either,
}

/// Which calls fail. The default is none.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    first: u32,
    per_mille: u32,
    seed: u64,
    when: When,
    only: Option<&'static str>,
    latency: Duration,
}

impl Faults {
    /// No call fails.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The first `calls` calls of each operation fail.
    #[must_use]
    pub fn first(calls: u32, when: When) -> Self {
        Self {
            first: calls,
            when,
            ..Self::default()
        }
    }

    /// Of a thousand calls about `per_mille` fail; the same seed gives the same failures to the
    /// same sequence of calls.
    #[must_use]
    pub fn fraction(per_mille: u32, seed: u64, when: When) -> Self {
        Self {
            per_mille,
            seed,
            when,
            ..Self::default()
        }
    }

    /// Only the calls of one operation, by the name of its method, may fail.
    #[must_use]
    pub fn only(mut self, operation: &'static str) -> Self {
        self.only = Some(operation);
        self
    }

    /// Every call takes this much longer.
    #[must_use]
    pub fn with_latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }
}

/// The source of every error that a decorator makes up.
#[derive(Debug, thiserror::Error)]
#[error("a fault was injected into `{operation}`")]
pub struct InjectedFault {
    operation: &'static str,
}

impl InjectedFault {
    /// The fault of a call of this operation.
    #[must_use]
    pub fn in_operation(operation: &'static str) -> Self {
        Self { operation }
    }
}

/// Counts calls and decides their fate.
#[derive(Debug)]
pub struct Injector {
    faults: Faults,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    calls: HashMap<&'static str, u32>,
    random: u64,
}

impl Injector {
    /// An injector that has let no call fail yet.
    #[must_use]
    pub fn new(faults: Faults) -> Self {
        let state = Mutex::new(State {
            calls: HashMap::new(),
            random: faults.seed,
        });
        Self { faults, state }
    }

    /// Makes a call, or fails before or after it.
    ///
    /// # Errors
    /// The call's own, or the injected fault.
    pub async fn run<T, E: From<InjectedFault>>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let fate = self.begin(operation).await;
        if fate == Some(When::Before) {
            return Err(InjectedFault::in_operation(operation).into());
        }
        let answer = call.await?;
        if fate.is_some() {
            Err(InjectedFault::in_operation(operation).into())
        } else {
            Ok(answer)
        }
    }

    /// Takes the time that a call takes and tells where it is to fail: never [`When::Either`].
    pub async fn begin(&self, operation: &'static str) -> Option<When> {
        if !self.faults.latency.is_zero() {
            tokio::time::sleep(self.faults.latency).await;
        }
        self.fate(operation)
    }

    fn fate(&self, operation: &'static str) -> Option<When> {
        if self.faults.only.is_some_and(|only| only != operation) {
            return None;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = state.calls.entry(operation).or_default();
        *calls = calls.saturating_add(1);
        let among_first = *calls <= self.faults.first;
        let drawn = next(&mut state.random) % 1000 < u64::from(self.faults.per_mille);
        if !among_first && !drawn {
            return None;
        }
        Some(match self.faults.when {
            When::Either if next(&mut state.random).is_multiple_of(2) => When::Before,
            When::Either => When::After,
            when => when,
        })
    }
}

/// SplitMix64: enough randomness for tests, and no dependency.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_calls_of_each_operation_fail_and_no_other() {
        let injector = Injector::new(Faults::first(2, When::After));
        for operation in ["a", "b"] {
            let fates: Vec<_> = (0..4).map(|_| injector.fate(operation)).collect();
            assert_eq!(fates, [Some(When::After), Some(When::After), None, None]);
        }
        let injector = Injector::new(Faults::first(1, When::Before).only("b"));
        assert_eq!(injector.fate("a"), None);
        assert_eq!(injector.fate("b"), Some(When::Before));
    }

    #[test]
    fn a_fraction_is_about_right_and_follows_its_seed() {
        let fates = |seed| {
            let injector = Injector::new(Faults::fraction(300, seed, When::Either));
            (0..1000).map(|_| injector.fate("a")).collect::<Vec<_>>()
        };
        let failed = fates(7).iter().flatten().count();
        assert!((200..400).contains(&failed), "{failed}");
        assert!(fates(7).contains(&Some(When::Before)) && fates(7).contains(&Some(When::After)));
        assert_eq!(fates(7), fates(7));
        assert_ne!(fates(7), fates(8));
        assert!(Injector::new(Faults::none()).fate("a").is_none());
    }
}
