//! Who may import whom, as in docs/architecture.md: asked of cargo, so that no manifest gets round
//! it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// Each crate and the crates of this workspace that it may import.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("common", &[]),
    ("sqlite", &[]),
    ("queue", &["common", "sqlite"]),
    ("store", &["common"]),
    ("ledger", &["common", "sqlite"]),
    ("source", &["common", "store"]),
    ("media", &["common"]),
    ("stage", &["common", "ledger", "queue", "store"]),
    ("api", &["common", "ledger", "queue", "stage", "store"]),
    ("splitter", STAGE),
    ("worker", STAGE),
    ("merger", STAGE),
    (
        "cli",
        &[
            "api", "common", "ledger", "media", "merger", "queue", "source", "splitter", "stage",
            "store", "worker",
        ],
    ),
    // Not shipped: what tests put in front of a server.
    ("faultproxy", &[]),
    // Not shipped. It looks at reelmill from outside, as a user does.
    ("testing", &["common", "media"]),
];

/// What each of the three stages may import: never another one.
const STAGE: &[&str] = &[
    "common", "ledger", "media", "queue", "source", "stage", "store",
];

/// The features that bring a backend in, by port, that of one machine and that of a cluster: only
/// `cli` knows backends, and those of a cluster by a feature of its own.
const BACKENDS: &[(&str, &str, &str)] = &[
    ("ledger", "sqlite", "redis"),
    ("queue", "sqlite", "kafka"),
    ("store", "directory", "s3"),
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
    features: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `dev` or `build`; a normal one has none.
    kind: Option<String>,
    features: Vec<String>,
    uses_default_features: bool,
}

impl Dependency {
    fn is_dev(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }
}

/// The crate's name without the product's.
fn short(name: &str) -> &str {
    name.strip_prefix("reelmill-").unwrap_or(name)
}

/// The members of this workspace with their dependencies on each other.
fn workspace() -> Result<Vec<Package>> {
    let mut packages = serde_json::from_slice::<Metadata>(&cargo_metadata()?)?.packages;
    for package in &mut packages {
        package
            .dependencies
            .retain(|dependency| dependency.name.starts_with("reelmill-"));
    }
    Ok(packages)
}

#[expect(
    clippy::disallowed_methods,
    reason = "asks cargo, which is no part of the product"
)]
fn cargo_metadata() -> Result<Vec<u8>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .output()
        .context("cannot start cargo")?;
    ensure!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}

#[test]
fn every_crate_is_in_the_table() {
    let packages = workspace().unwrap();
    let members: BTreeSet<_> = packages.iter().map(|p| short(&p.name)).collect();
    let table: BTreeSet<_> = MAY_IMPORT.iter().map(|(name, _)| *name).collect();
    assert_eq!(members, table);
}

#[test]
fn crates_import_only_what_the_table_allows() {
    let mut broken = Vec::new();
    for package in workspace().unwrap() {
        let name = short(&package.name);
        let allowed = MAY_IMPORT
            .iter()
            .find(|(of, _)| *of == name)
            .map_or(&[][..], |(_, allowed)| allowed);
        for dependency in &package.dependencies {
            let other = short(&dependency.name);
            // A port's own tests enable its features so, and break its server.
            let for_tests = [name, "faultproxy"].contains(&other) && dependency.is_dev();
            if !for_tests && !allowed.contains(&other) {
                broken.push(format!("`{name}` may not import `{other}`"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn only_cli_knows_backends() {
    let packages = workspace().unwrap();
    let mut broken = Vec::new();
    for package in &packages {
        let name = short(&package.name);
        for dependency in package.dependencies.iter().filter(|d| !d.is_dev()) {
            let port = short(&dependency.name);
            let Some((_, embedded, cluster)) = BACKENDS.iter().find(|(of, ..)| *of == port) else {
                continue;
            };
            let enabled = |feature: &str| dependency.features.iter().any(|f| f == feature);
            for (backend, expected) in [(embedded, name == "cli"), (cluster, false)] {
                match (expected, enabled(backend)) {
                    (true, true) | (false, false) => {}
                    (true, false) => broken.push(format!("`{name}` lacks `{port}/{backend}`")),
                    (false, true) => broken.push(format!("`{name}` enables `{port}/{backend}`")),
                }
            }
            if dependency.uses_default_features {
                broken.push(format!(
                    "`{name}` takes the default features of `{port}`, which are its backends"
                ));
            }
        }
        // A feature of one crate can switch on another's: that would be a back door.
        for (feature, of) in package.features.iter().filter(|_| name != "cli") {
            for port in BACKENDS.iter().map(|(port, ..)| port) {
                let reaches = |what: &String| {
                    what.starts_with(&format!("reelmill-{port}/"))
                        || what.starts_with(&format!("reelmill-{port}?/"))
                };
                if of.iter().any(reaches) {
                    broken.push(format!(
                        "feature `{feature}` of `{name}` reaches into `{port}`"
                    ));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_features_named_here_are_all_the_backends_there_are() {
    for package in workspace().unwrap() {
        let Some((port, embedded, cluster)) = BACKENDS
            .iter()
            .find(|(port, ..)| *port == short(&package.name))
        else {
            continue;
        };
        let features: BTreeSet<_> = package
            .features
            .keys()
            .map(String::as_str)
            .filter(|feature| !["default", "conformance"].contains(feature))
            .collect();
        let named = BTreeSet::from([*embedded, *cluster]);
        assert_eq!(features, named, "features of `{port}`");
    }
}

#[test]
fn a_cluster_is_one_feature_of_cli() {
    let packages = workspace().unwrap();
    let cli = packages.iter().find(|p| short(&p.name) == "cli").unwrap();
    let all: BTreeSet<_> = BACKENDS
        .iter()
        .map(|(port, _, cluster)| format!("reelmill-{port}/{cluster}"))
        .collect();
    let named: BTreeSet<_> = cli.features["cluster"].iter().cloned().collect();
    assert_eq!(named, all);
}
