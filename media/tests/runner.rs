//! The runner against real processes: what it bounds, what it denies, whom it kills.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reelmill_common::LoopbackUrl;
use reelmill_media::MediaError;
use reelmill_media::process::{Confinement, Invocation, Limits, capture, confinement, run};

const LIMITS: Limits = Limits {
    wall: Duration::from_secs(20),
    idle: Duration::MAX,
    cpu: Duration::from_secs(20),
    memory: 4 << 30,
    file_size: 1 << 20,
};

fn shell(dir: &Path, script: &str) -> Invocation {
    Invocation {
        action: "run a test",
        program: PathBuf::from("/bin/sh"),
        args: vec!["-c".into(), script.into()],
        dir: dir.to_path_buf(),
        reads: Vec::new(),
        connects: None,
        limits: LIMITS,
    }
}

#[tokio::test]
async fn both_streams_are_drained_whatever_their_size() {
    let dir = tempfile::tempdir().unwrap();
    let script = "i=0; while [ $i -lt 20000 ]; do echo out $i; echo \"[error] err $i\" >&2; i=$((i+1)); done";
    let mut lines = 0;
    let ended = run(shell(dir.path(), script), &mut |_| lines += 1)
        .await
        .unwrap();
    assert_eq!((lines, ended.complaints), (20_000, 20_000));
    assert!(ended.tail.ends_with("err 19999") && ended.tail.len() <= 4096);
}

#[tokio::test]
async fn the_environment_is_cleared_and_standard_input_closed() {
    let dir = tempfile::tempdir().unwrap();
    let (text, _) = capture(shell(dir.path(), "env; cat; pwd"), 1 << 20)
        .await
        .unwrap();
    assert!(!text.contains("CARGO"), "{text}");
    assert!(
        text.contains(&format!("HOME={}", dir.path().display())),
        "{text}"
    );
}

#[test]
fn a_command_line_has_the_name_of_its_source_and_not_the_address() {
    let address = LoopbackUrl::new(80, "/secret/a%20b.mp4", "a b.mp4");
    let invocation = Invocation {
        args: ["-protocol_whitelist", "http,tcp", "-i", &address.secret()]
            .map(Into::into)
            .to_vec(),
        connects: Some(address),
        ..shell(Path::new("."), "")
    };
    assert_eq!(
        invocation.command(),
        "sh -protocol_whitelist file -i 'a b.mp4'"
    );
}

#[tokio::test]
async fn each_way_to_end_badly_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let result = run(shell(dir.path(), "echo why >&2; exit 7"), &mut |_| {}).await;
    match result {
        Err(MediaError::Failed { code: 7, words, .. }) => {
            assert_eq!(words.tail, "why");
            assert_eq!(words.command, "sh -c 'echo why >&2; exit 7'");
        }
        other => panic!("{other:?}"),
    }

    let result = run(shell(dir.path(), "kill -9 $$"), &mut |_| {}).await;
    assert!(matches!(result, Err(MediaError::Killed { signal: 9, .. })));

    let result = run(
        shell(dir.path(), "head -c 3000000 /dev/zero > big"),
        &mut |_| {},
    )
    .await;
    assert!(
        matches!(
            result,
            Err(MediaError::TooLarge { .. } | MediaError::Failed { .. })
        ),
        "{result:?}"
    );
    assert!(std::fs::metadata(dir.path().join("big")).unwrap().len() <= 1 << 20);

    let limits = Limits {
        cpu: Duration::from_secs(1),
        ..LIMITS
    };
    let busy = Invocation {
        limits,
        ..shell(dir.path(), "while :; do :; done")
    };
    let result = run(busy, &mut |_| {}).await;
    assert!(
        matches!(result, Err(MediaError::TooMuchCpu { .. })),
        "{result:?}"
    );

    let missing = Invocation {
        program: PathBuf::from("/nowhere/ffmpeg"),
        ..shell(dir.path(), "")
    };
    assert!(matches!(
        run(missing, &mut |_| {}).await,
        Err(MediaError::Missing { .. })
    ));
}

#[tokio::test]
async fn a_stuck_process_is_ended_with_its_group() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        wall: Duration::from_millis(300),
        ..LIMITS
    };
    let stuck = Invocation {
        limits,
        ..shell(dir.path(), "sleep 3600 & echo $!; wait")
    };
    let mut child = None;
    let began = Instant::now();
    let result = run(stuck, &mut |line| child = line.parse::<u32>().ok()).await;
    assert!(
        matches!(result, Err(MediaError::TimedOut { .. })),
        "{result:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(10));
    wait_until_gone(child.unwrap());
}

#[tokio::test]
async fn silence_is_fatal_only_to_one_that_does_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        idle: Duration::from_secs(1),
        ..LIMITS
    };
    let script = |script: &str| Invocation {
        limits,
        ..shell(dir.path(), script)
    };
    let busy = "end=$(($(date +%s) + 4)); while [ $(date +%s) -lt $end ]; do :; done; echo done";
    let (text, _) = capture(script(busy), 100).await.unwrap();
    assert_eq!(text, "done\n");

    let result = run(script("sleep 3600"), &mut |_| {}).await;
    match result {
        Err(MediaError::TimedOut { limit, .. }) => assert_eq!(limit, limits.idle),
        other => panic!("{other:?}"),
    }
    // However much it has to say, it ends in time.
    let limits = Limits {
        wall: Duration::from_secs(2),
        ..LIMITS
    };
    let endless = Invocation {
        limits,
        ..shell(dir.path(), "while :; do echo more; done")
    };
    let result = run(endless, &mut |_| {}).await;
    assert!(
        matches!(result, Err(MediaError::TimedOut { .. })),
        "{result:?}"
    );
}

#[tokio::test]
async fn dropping_the_future_kills() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let invocation = shell(dir.path(), "echo $$; sleep 3600");
    let running = tokio::spawn(async move {
        run(invocation, &mut |line| {
            sender.send(line.to_owned()).unwrap();
        })
        .await
    });
    let pid = receiver.recv().await.unwrap().parse().unwrap();
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    wait_until_gone(pid);
}

#[tokio::test]
async fn only_the_own_folder_and_what_was_named_can_be_reached() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let secret = other.path().join("secret");
    std::fs::write(&secret, "x").unwrap();
    let read = format!("cat {}", secret.display());
    let named = Invocation {
        reads: vec![secret.clone()],
        ..shell(dir.path(), &read)
    };
    let (text, _) = capture(named, 1 << 20).await.unwrap();
    assert_eq!(text, "x\n");

    must_be_confined();
    let result = run(shell(dir.path(), &read), &mut |_| {}).await;
    assert!(
        matches!(result, Err(MediaError::Failed { .. })),
        "{result:?}"
    );
    let write = format!("echo y > {}/new", other.path().display());
    assert!(run(shell(dir.path(), &write), &mut |_| {}).await.is_err());

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let connect = Invocation {
        program: PathBuf::from("/bin/bash"),
        ..shell(dir.path(), &format!("exec 3<>/dev/tcp/127.0.0.1/{port}"))
    };
    assert!(run(connect, &mut |_| {}).await.is_err());
    assert!(
        listener.accept().is_err(),
        "a sandboxed process reached the network"
    );

    let named = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let allowed = named.local_addr().unwrap().port();
    let with_one_port = |port: u16| Invocation {
        program: PathBuf::from("/bin/bash"),
        connects: Some(LoopbackUrl::new(allowed, "/", "a source")),
        ..shell(dir.path(), &format!("exec 3<>/dev/tcp/127.0.0.1/{port}"))
    };
    run(with_one_port(allowed), &mut |_| {}).await.unwrap();
    assert!(run(with_one_port(port), &mut |_| {}).await.is_err());
    assert!(
        listener.accept().is_err(),
        "a sandboxed process reached another port than its own"
    );
}

/// A program of someone's own is started with its libraries and sees nothing else in its folder.
#[tokio::test]
async fn a_program_of_ones_own_opens_its_libraries_and_not_its_folder() {
    must_be_confined();
    let (dir, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at = |name: &str| home.path().join(name);
    std::fs::create_dir(at("bin")).unwrap();
    std::fs::create_dir(at("lib")).unwrap();
    std::fs::copy("/bin/cat", at("bin/cat")).unwrap();
    for name in ["lib/libown.so", "bin/libown.so.5", "bin/key", "key"] {
        std::fs::write(at(name), name).unwrap();
    }
    let cat = |program: &str, file: PathBuf| Invocation {
        program: at(program),
        args: vec![file.into()],
        ..shell(dir.path(), "")
    };
    for library in ["lib/libown.so", "bin/libown.so.5"] {
        let (text, _) = capture(cat("bin/cat", at(library)), 100).await.unwrap();
        assert_eq!(text.trim(), library);
    }
    for secret in [at("bin/key"), at("key"), "/dev/full".into()] {
        let result = run(cat("bin/cat", secret), &mut |_| {}).await;
        match result {
            Err(MediaError::Failed { words, .. }) => {
                assert!(words.tail.contains("denied"), "{words:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    std::fs::copy("/bin/cat", at("cat")).unwrap();
    assert!(run(cat("cat", at("key")), &mut |_| {}).await.is_err());
    let (zeros, _) = capture(shell(dir.path(), "head -c 3 /dev/zero | wc -c"), 100)
        .await
        .unwrap();
    assert_eq!(zeros.trim(), "3");
}

/// What these tests show needs a kernel that enforces it: without one they would show nothing.
fn must_be_confined() {
    let all = Confinement {
        files: true,
        network: true,
    };
    assert_eq!(
        confinement(),
        all,
        "run this test on Linux 6.7 or newer with Landlock"
    );
}

/// Waits for a process to be gone or a zombie; fails when it stays.
fn wait_until_gone(pid: u32) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Err(_) => return,
            Ok(stat) if stat.contains(") Z ") => return,
            Ok(_) => std::thread::yield_now(),
        }
    }
    panic!("process {pid} outlived its runner");
}
