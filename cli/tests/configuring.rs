//! Settings of the service as a user meets them: where they come from, what is refused.
#![cfg(test)]

mod common;

use std::path::Path;

use common::*;
use serde_json::{Value, json};

fn config_file(dir: &Path, text: &str) -> String {
    let path = dir.join("reelmill.toml");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// What `config print --json` says of a setting.
#[track_caller]
fn setting(answer: &Value, name: &str) -> (Value, String) {
    let entry = &answer[name];
    let from = entry["from"]
        .as_str()
        .unwrap_or_else(|| panic!("{name}: {answer}"));
    (entry["value"].clone(), from.to_owned())
}

#[test]
fn flags_count_before_variables_before_the_file_before_defaults() {
    let dir = folder();
    let file = config_file(
        dir.path(),
        "# mine\nlisten = \"127.0.0.1:1\"\nslots = 3\nretention = \"7d\"\n",
    );
    let mut command = reelmill();
    command.args(["config", "print", "--json", "--config", &file]);
    command.args(["--listen", "127.0.0.1:3"]);
    command.env("REELMILL_LISTEN", "127.0.0.1:2");
    command.env("REELMILL_SLOTS", "5");
    command.env("REELMILL_MAX_UPLOAD", "");
    let answer = run(&mut command).ended(0).json();
    let of = |name| setting(&answer, name);
    assert_eq!(of("listen"), (json!("127.0.0.1:3"), "--listen".to_owned()));
    assert_eq!(of("slots"), (json!("5"), "REELMILL_SLOTS".to_owned()));
    assert_eq!(of("retention"), (json!("7d"), format!("{file}:4")));
    assert_eq!(of("max_upload"), (json!("50 GiB"), "default".to_owned()));
    assert_eq!(of("tls_cert"), (Value::Null, "default".to_owned()));

    // The variable names the file as the flag does, and the flag counts.
    let mut command = reelmill();
    command.args(["config", "print", "--json"]);
    let answer = run(command.env("REELMILL_CONFIG", &file)).ended(0).json();
    assert_eq!(setting(&answer, "slots"), (json!("3"), format!("{file}:3")));
}

#[test]
fn print_is_a_table_that_hides_secrets() {
    let secret = "this-is-a-very-secret-key";
    let mut command = reelmill();
    command.args(["config", "print", "--listen", "0.0.0.0:8080"]);
    let ran = run(command.env("REELMILL_API_KEY", secret)).ended(0);
    assert!(
        !ran.stdout.contains(secret) && !ran.stderr.contains(secret),
        "{ran:#?}"
    );
    let line = |name: &str| {
        let line = ran.stdout.lines().find(|line| line.starts_with(name));
        let words: Vec<String> = line
            .unwrap()
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        words.join(" ")
    };
    assert_eq!(line("api_key "), "api_key (hidden) REELMILL_API_KEY");
    assert_eq!(line("listen "), "listen 0.0.0.0:8080 --listen");
    assert_eq!(line("data "), "data reelmill-data default");
    assert_eq!(line("tls_key "), "tls_key (not set) default");
}

#[test]
fn what_is_wrong_is_refused_with_its_place_and_the_way_out() {
    let dir = folder();
    let file = config_file(dir.path(), "slots = 2\n\nlisen = \"127.0.0.1:80\"\n");
    let expected = format!("{file}:3: `lisen` is not a setting: did you mean `listen`?");
    for args in [
        &["config", "check"][..],
        &["config", "print", "--config"],
        &["serve", "--config"],
    ] {
        let ran = run(reelmill().args(args).arg(&file)).ended(2);
        assert_eq!(ran.sentence(), expected);
        assert_eq!(ran.stdout, "");
    }
    let print = || {
        let mut command = reelmill();
        command.args(["config", "print"]);
        command
    };
    let ran = run(print().env("REELMILL_SLOT", "2")).ended(2);
    assert_eq!(
        ran.sentence(),
        "the variable `REELMILL_SLOT` is not a setting: did you mean `REELMILL_SLOTS`?"
    );
    let ran = run(print().env("REELMILL_RETENTION", "soon")).ended(2);
    assert_eq!(
        ran.sentence(),
        "REELMILL_RETENTION: `retention`: `soon` is not a time: write one such as `30s`, `12h` or `7d`, or `none`"
    );
    let ran = run(print().args(["--max-upload", "lots"])).ended(2);
    assert_eq!(
        ran.sentence(),
        "--max-upload: `max_upload`: `lots` is not a size: write one such as `500 MB` or `50 GiB`"
    );
    run(print().args(["--config", "/nowhere.toml"])).refused(2, &["/nowhere.toml"]);
    let ran = run(reelmill().args(["serve", "--slot", "2"])).ended(2);
    assert!(ran.stderr.contains("--slots"), "{ran:#?}");
}

#[test]
fn a_right_file_is_right() {
    let dir = folder();
    let file = config_file(
        dir.path(),
        "slots = 2\ncors_origins = [\"https://a.example\"]\n",
    );
    let ran = run(reelmill().args(["config", "check", &file])).ended(0);
    assert_eq!(ran.stdout.trim(), format!("`{file}` is right"));
    let ran = run(reelmill().args(["config", "check", "--json", &file])).ended(0);
    assert_eq!(ran.json(), json!({ "ok": true }));
}

/// The file that docs/configuration.md shows is one.
#[test]
fn the_documented_file_is_right() {
    let docs = include_str!("../../docs/configuration.md");
    let after = docs.split("```toml\n").nth(1).unwrap();
    let example = after.split("```").next().unwrap();
    let dir = folder();
    let file = config_file(dir.path(), example);
    run(reelmill().args(["config", "check", &file])).ended(0);
}

#[test]
fn parts_of_a_service_want_ports_that_others_reach() {
    for part in ["api", "worker"] {
        let ran = run(reelmill().arg(part)).ended(2);
        assert!(
            ran.stderr.contains(
                "`queue` and `store` and `ledger` are embedded, where no other process comes in"
            ),
            "{ran:#?}"
        );
        // The variables that such programs have in common are heeded, and their secrets are not shown.
        let mut command = reelmill();
        command
            .arg(part)
            .env("KAFKA_BROKERS", "localhost:9092")
            .env("REDIS_URL", "redis://:very-secret@localhost:6379");
        let ran = run(&mut command).ended(2);
        assert!(ran.stderr.contains("`store` is embedded"), "{ran:#?}");
        assert!(!ran.stderr.contains("very-secret"), "{ran:#?}");
    }
    let mut command = reelmill();
    command.args(["worker", "--store", "s3://videos", "--queue", "kafka://a:1"]);
    let ran = run(command.env("REDIS_URL", "redis://a:1")).ended(2);
    assert!(
        ran.stderr.contains("the bucket `videos` wants a key"),
        "{ran:#?}"
    );
}

#[test]
fn a_whole_service_does_not_heed_the_variables_of_others() {
    let mut command = reelmill();
    command.args(["config", "print", "--json"]);
    command.env("KAFKA_BROKERS", "localhost:9092");
    command.env("REDIS_URL", "redis://localhost:6379");
    let answer = run(&mut command).ended(0).json();
    for port in ["queue", "ledger"] {
        assert_eq!(
            setting(&answer, port),
            (json!("embedded"), "default".to_owned())
        );
    }
    let mut command = reelmill();
    command.args(["config", "print", "--json"]);
    command.args(["--ledger", "redis://:very-secret@localhost:6379"]);
    let ran = run(&mut command).ended(0);
    assert!(!ran.stdout.contains("very-secret"), "{ran:#?}");
    assert_eq!(setting(&ran.json(), "ledger").0, json!("(hidden)"));
}

#[cfg(feature = "cluster")]
#[test]
fn an_embedded_queue_has_no_topics() {
    for command in [["topics", "check"], ["dlq", "list"]] {
        let ran = run(reelmill().args(command)).ended(2);
        assert!(
            ran.stderr
                .contains("`queue` is embedded, which has no topics"),
            "{ran:#?}"
        );
    }
}
