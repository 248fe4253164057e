//! Every generated case can be made and is what it claims to be.

use std::collections::BTreeSet;
use std::path::Path;

use reelmill_testing::cases::{Case, all, cache_folder, make_all, viewer};
use reelmill_testing::facts::Facts;
use reelmill_testing::ffmpeg::Ffmpeg;

/// Every case, whatever judges it.
fn every() -> Vec<Case> {
    all().into_iter().chain(viewer()).collect()
}

#[test]
fn names_are_unique_and_there_are_enough() {
    let cases = every();
    // Scripts pick cases by name: one name with two extensions would be two cases.
    let names: BTreeSet<_> = cases.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases.len());
    assert!(cases.len() >= 50, "{} cases", cases.len());
    assert!(cases.iter().all(|case| !case.checks.is_empty()));
}

#[test]
fn every_case_is_what_it_claims() {
    let ffmpeg = Ffmpeg::new(Path::new("ffmpeg")).unwrap();
    let cases = every();
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let paths = make_all(&cases, &ffmpeg, &cache_folder(), jobs);
    let mut broken = Vec::new();
    for (case, path) in cases.iter().zip(&paths) {
        let facts = match path {
            Ok(path) => Facts::new(&ffmpeg, path).unwrap(),
            Err(error) => {
                broken.push(format!("{error:#}"));
                continue;
            }
        };
        for check in &case.checks {
            match (check.holds)(&facts) {
                Ok(true) => {}
                Ok(false) => broken.push(format!("{}: not so: {}", case.name, check.claim)),
                Err(error) => broken.push(format!("{}: {}: {error:#}", case.name, check.claim)),
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
