//! A disk that fills up. It is a small one in memory that only the test's own processes see.
#![cfg(test)]

mod common;

use std::path::Path;

use common::*;

/// Mounts a small disk at `$1`, runs the rest of the arguments again and again with a little more
/// room each time, until it succeeds, then copies the folder `$1/out` to `$2`.
const GROWING: &str = r#"
set -eu
disk=$1 result=$2 log=$3; shift 3
mount -t tmpfs -o size=64k none "$disk"
kib=200
while :; do
    mount -o remount,size=${kib}k none "$disk"
    rc=0; "$@" >"$log/stdout-$kib" 2>"$log/stderr-$kib" || rc=$?
    echo "$rc" >"$log/rc-$kib"
    [ "$rc" -eq 1 ] || break
    ls -A "$disk/out" >"$log/left-$kib" 2>/dev/null || :
    kib=$((kib + kib / 4))
    [ "$kib" -lt 200000 ] || break
done
cp -r "$disk/out" "$result"
"#;

/// Fills the disk but for `$4` KiB, runs, frees it, runs again.
const FREED: &str = r#"
set -eu
disk=$1 result=$2 log=$3 free=$4; shift 4
mount -t tmpfs -o size=100m none "$disk"
head -c $((100 * 1048576 - free * 1024)) /dev/zero >"$disk/filler"
rc=0; "$@" >"$log/stdout-1" 2>"$log/stderr-1" || rc=$?
echo "$rc" >"$log/rc-1"
rm "$disk/filler"
rc=0; "$@" >"$log/stdout-2" 2>"$log/stderr-2" || rc=$?
echo "$rc" >"$log/rc-2"
cp -r "$disk/out" "$result"
"#;

/// A job, what an undisturbed run makes of it, and a place for a small disk.
struct Desk {
    dir: tempfile::TempDir,
    profile: std::path::PathBuf,
}

impl Desk {
    fn new() -> Self {
        let dir = folder();
        let text = quick_profile("1", &[240], "[\"mp4\", \"hls\"]");
        let profile = profile_file(dir.path(), "quick.toml", &text);
        for name in ["disk", "log"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let desk = Self { dir, profile };
        run(&mut desk.command(&desk.at("undisturbed"))).ended(0);
        desk
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, out: &Path) -> std::process::Command {
        let source = clip("320x240", "25", "10");
        let mut command = transcode(&source, out, &self.profile);
        command.args(["--window", "1", "--json"]);
        command
    }

    /// Runs a script in a mount namespace of its own.
    fn script(&self, text: &str, more: &[&str]) {
        let command = self.command(&self.at("disk/out"));
        let mut unshare = program("unshare");
        without_settings(&mut unshare);
        unshare.args(["--map-root-user", "--mount", "sh", "-c", text, "sh"]);
        unshare
            .args([self.at("disk"), self.at("result"), self.at("log")])
            .args(more);
        unshare.arg(command.get_program()).args(command.get_args());
        run(&mut unshare).ended(0);
    }

    /// A run's place in the log: exit code, standard output and error.
    fn ran(&self, which: &str) -> Ran {
        let read = |what: &str| {
            let path = self.at("log").join(format!("{what}-{which}"));
            std::fs::read_to_string(path).unwrap()
        };
        Ran {
            code: read("rc").trim().parse().ok(),
            stdout: read("stdout"),
            stderr: read("stderr"),
            took: std::time::Duration::ZERO,
        }
    }

    fn ended_well(&self) {
        assert_eq!(
            snapshot(&self.at("result")),
            snapshot(&self.at("undisturbed"))
        );
    }
}

#[track_caller]
fn is_about_room(ran: Ran) {
    let ran = ran.ended(1);
    let sentence = ran.sentence();
    assert!(
        sentence.contains("space") || sentence.contains("full"),
        "a full disk is not named: {ran:#?}"
    );
    assert_eq!(ran.json()["code"], "disk-full", "{ran:#?}");
}

#[test]
#[ignore = "needs user namespaces"]
fn wherever_the_room_ends_the_same_command_goes_on_with_more() {
    let desk = Desk::new();
    desk.script(GROWING, &[]);
    let mut sizes: Vec<u32> = names(&desk.at("log"))
        .iter()
        .filter_map(|name| name.strip_prefix("rc-")?.parse().ok())
        .collect();
    sizes.sort_unstable();
    let last = sizes.pop().unwrap();
    assert!(sizes.len() >= 5, "too few sizes were too small: {sizes:?}");
    let mut resumed = 0;
    for size in sizes {
        let ran = desk.ran(&size.to_string());
        println!("{size} KiB: {}", ran.sentence());
        resumed += u64::from(ran.stderr.contains("going on: "));
        is_about_room(ran);
        let left = std::fs::read_to_string(desk.at("log").join(format!("left-{size}"))).unwrap();
        assert!(!left.contains("certificate.json"), "{left}");
    }
    let ran = desk.ran(&last.to_string()).ended(0);
    println!("{last} KiB are enough");
    assert!(
        resumed > 0 && ran.json()["chunks_resumed"].as_u64().unwrap() > 0,
        "{ran:#?}"
    );
    desk.ended_well();
}

#[test]
#[ignore = "needs user namespaces"]
fn a_disk_that_was_freed_is_used_again() {
    let desk = Desk::new();
    desk.script(FREED, &["900"]);
    is_about_room(desk.ran("1"));
    desk.ran("2").ended(0);
    desk.ended_well();
}
