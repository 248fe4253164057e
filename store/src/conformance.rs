//! What every store must do, one function for each promise.
//!
//! A backend runs all of it with [`store_conformance!`](crate::store_conformance). Each case gets
//! an empty store of its own.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use reelmill_common::ObjectKey;
use tempfile::TempDir;

use crate::{Store, StoreError};

mod objects;
mod readers;
mod writers;

pub use objects::*;
pub use readers::*;
pub use writers::*;

/// An empty store and a folder for files.
#[derive(Debug)]
pub struct Fixture {
    /// The store.
    pub store: Arc<dyn Store>,
    scratch: TempDir,
    _guard: Box<dyn Guard>,
}

/// Whatever must live as long as a store under test.
pub trait Guard: std::fmt::Debug + Send + Sync {}
impl<T: std::fmt::Debug + Send + Sync> Guard for T {}

impl Fixture {
    /// Wraps a store; `guard` is dropped after it, such as the directory that it lives in.
    ///
    /// # Panics
    /// No folder for temporary files can be made.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, guard: impl Guard + 'static) -> Self {
        let scratch = tempfile::tempdir().expect("a temporary folder can be made");
        Self {
            store,
            scratch,
            _guard: Box::new(guard),
        }
    }

    /// A file with these bytes, given away to whoever asks.
    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// How many files the scratch folder holds: nothing may be left behind in it.
    fn files(&self) -> usize {
        std::fs::read_dir(self.scratch.path()).unwrap().count()
    }
}

/// Expands to a module with one test for each case of the suite. `$fixture` names an async function
/// without arguments that returns a [`Fixture`]; attributes after it, such as `#[ignore]` with the
/// reason, are for every test.
#[macro_export]
macro_rules! store_conformance {
    ($module:ident, $fixture:ident $(, $(#[$attribute:meta])+)?) => {
        $crate::store_conformance! { @cases $module, $fixture, [$($(#[$attribute])+)?]:
            an_object_reads_as_written
            an_empty_object_is_an_object
            a_large_object_is_whole
            an_object_knows_when_it_was_written
            a_put_replaces
            put_is_idempotent
            a_missing_object_is_not_found
            delete_is_idempotent
            a_deleted_object_can_be_put_again
            keys_differ_by_case_and_by_every_character
            put_new_fails_where_an_object_is
            of_eight_writers_one_wins
            readers_never_see_a_part
            a_put_given_up_leaves_all_or_nothing
            put_file_stores_the_file
            put_file_replaces
            put_file_without_a_file_leaves_nothing
            put_file_of_a_fetched_file_stores_it
            get_file_makes_a_file
            get_file_replaces_a_file
            get_file_of_nothing_leaves_the_file
            a_fetched_file_outlives_its_object
            ranges_end_at_the_end
            ranges_may_be_empty
            a_listing_is_sorted_by_the_whole_key
            a_prefix_may_end_within_a_name
            a_prefix_is_only_text
            pages_make_the_whole_listing
            a_listing_shows_what_changed
            writers_and_deleters_do_not_disturb_each_other
            clearing_what_is_unfinished_touches_no_object
        }
    };
    (@cases $module:ident, $fixture:ident, $attributes:tt: $($case:ident)*) => {
        mod $module {
            $($crate::store_conformance! { @case $fixture, $case, $attributes })*
        }
    };
    (@case $fixture:ident, $case:ident, [$($attribute:tt)*]) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $($attribute)*
        async fn $case() {
            let fixture = super::$fixture().await;
            $crate::conformance::$case(&fixture).await;
        }
    };
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

/// Bytes that differ from place to place, so that a shifted or swapped piece shows.
fn pattern(len: usize, seed: u8) -> Bytes {
    (0..len)
        .map(|i| (i % 251) as u8 ^ (i >> 8) as u8 ^ seed)
        .collect::<Vec<u8>>()
        .into()
}

#[track_caller]
fn assert_not_found<T: std::fmt::Debug>(answer: Result<T, StoreError>, expected: &ObjectKey) {
    match answer {
        Err(StoreError::NotFound(key)) => assert_eq!(key, *expected),
        other => panic!("expected `{expected}` not to be found, got {other:?}"),
    }
}

#[track_caller]
fn assert_already_exists(answer: Result<(), StoreError>, expected: &ObjectKey) {
    match answer {
        Err(StoreError::AlreadyExists(key)) => assert_eq!(key, *expected),
        other => panic!("expected `{expected}` to exist already, got {other:?}"),
    }
}

async fn listed(store: &dyn Store, prefix: &str) -> Vec<String> {
    let page = store.list(prefix, None, 1000).await.unwrap();
    page.into_iter().map(|meta| meta.key.to_string()).collect()
}

#[cfg(test)]
mod tests {
    /// A case that the macro forgets would never run.
    #[test]
    fn the_macro_names_every_case() {
        let sources = concat!(
            include_str!("conformance/objects.rs"),
            include_str!("conformance/readers.rs"),
            include_str!("conformance/writers.rs"),
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
