//! The life of the service: what it refuses to begin with, how it says where it is, how it ends.
#![cfg(test)]

mod common;

use std::time::Duration;

use common::*;
use nix::sys::signal::Signal;

#[test]
fn an_address_for_others_wants_a_key() {
    let dir = folder();
    let data = dir.path().join("data");
    let mut command = reelmill();
    command.args(["serve", "--listen", "0.0.0.0:0", "--data"]);
    command.arg(&data);
    let words = [
        "0.0.0.0:0",
        "REELMILL_API_KEY",
        "api_keys_file",
        "127.0.0.1",
    ];
    run(&mut command).refused(2, &words);
    assert!(!is_there(&data));
}

#[test]
fn a_missing_ffmpeg_ends_with_3() {
    let dir = folder();
    let mut command = serve(&dir.path().join("data"));
    run(command.args(["--ffmpeg", "/nowhere/ffmpeg"])).refused(3, &["/nowhere/ffmpeg"]);
}

#[test]
fn wrong_profiles_are_refused_at_the_start() {
    let dir = folder();
    let data = dir.path().join("data");
    let mut command = serve(&data);
    let ran = run(command.args(["--default-profile", "h264-360p"])).ended(2);
    assert!(
        ran.sentence().contains("there is no profile `h264-360p`"),
        "{ran:#?}"
    );

    let profiles = dir.path().join("profiles");
    std::fs::create_dir(&profiles).unwrap();
    std::fs::write(profiles.join("mine.toml"), "[video]\ncodec = \"h265\"\n").unwrap();
    let mut command = serve(&data);
    let ran = run(command.arg("--profiles-dir").arg(&profiles)).ended(2);
    assert!(ran.sentence().contains("mine.toml:2"), "{ran:#?}");
}

#[test]
fn the_service_says_where_it_is_and_ends_well_when_told_to() {
    let dir = folder();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (service, url) = started(&mut serve(&dir.path().join("data")));
        let port: u16 = url
            .strip_prefix("http://127.0.0.1:")
            .unwrap()
            .parse()
            .unwrap();
        assert_ne!(port, 0);
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        service.signal(signal);
        let ran = service.wait(Duration::from_secs(15)).ended(0);
        assert_eq!(ran.stdout.lines().count(), 1, "{ran:#?}");
        // Standard error is no terminal here, so every line of it is JSON.
        let says = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["message"] == format!("listening on {url}")
        };
        assert_eq!(
            ran.stderr.lines().filter(|line| says(line)).count(),
            1,
            "{ran:#?}"
        );
    }
}

#[test]
fn logs_can_be_text() {
    let dir = folder();
    let mut command = serve(&dir.path().join("data"));
    let (service, url) = started(command.args(["--log-format", "text", "--log", "warn"]));
    service.signal(Signal::SIGTERM);
    let ran = service.wait(Duration::from_secs(15)).ended(0);
    assert_eq!(ran.stderr, format!("listening on {url}\n"));
}

#[test]
fn a_folder_has_one_service_at_a_time() {
    let dir = folder();
    let data = dir.path().join("data");
    let (service, _) = started(&mut serve(&data));
    run(&mut serve(&data)).refused(1, &["is busy", "--data"]);
    service.kill();
    // The lock ends with the process, however that ends.
    let (service, _) = started(&mut serve(&data));
    service.signal(Signal::SIGTERM);
    service.wait(Duration::from_secs(15)).ended(0);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let dir = folder();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = reelmill();
    command.args(["serve", "--listen", &address, "--data"]);
    command.arg(dir.path().join("data"));
    run(&mut command).refused(1, &[&address, "--listen"]);
}

/// Where nobody listens, every command of the client says so and what to do.
#[test]
fn no_service_is_a_dependency_that_is_missing() {
    let dir = folder();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let source = second().display().to_string();
    let out = dir.path().display().to_string();
    for args in [
        &["jobs", "list"][..],
        &["jobs", "status", "a"],
        &["jobs", "watch", "a"],
        &["jobs", "stats"],
        &["jobs", "submit", &source],
        &["workers", "status"],
        &["outputs", "get", "a", "-o", &out],
    ] {
        let ran = run(reelmill().args(args).args(["--server", &url]));
        ran.refused(3, &[&url, "reelmill serve", "--server"]);
    }
    let ran = run(reelmill().args(["jobs", "list", "--server", "nonsense"]));
    ran.refused(2, &["nonsense", "http://127.0.0.1:8080"]);
}
