//! A service under test.

use std::path::Path;
use std::time::Duration;

use super::{Running, reelmill, until};

/// `reelmill serve` on a free port.
pub(crate) fn serve(data: &Path) -> std::process::Command {
    let mut command = reelmill();
    command.arg("serve").arg("--data").arg(data);
    command.args(["--listen", "127.0.0.1:0", "--slots", "1"]);
    command
}

/// Starts a service and waits until it says where it is.
#[track_caller]
pub(crate) fn started(command: &mut std::process::Command) -> (Running, String) {
    let mut service = Running::start(command);
    let mut url = String::new();
    until("the service's address", Duration::from_secs(30), || {
        url = service.stdout_so_far();
        assert!(
            url.ends_with('\n') || !service.has_ended(),
            "it ended: {service:?}"
        );
        url.ends_with('\n')
    });
    (service, url.trim().to_owned())
}

/// The body of an answer to `GET`, asked with a key. Without a client library, so that nothing of
/// ours is in between.
pub(crate) fn fetch(url: &str, path: &str, key: &str) -> String {
    use std::io::{Read as _, Write as _};
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let head = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nX-Api-Key: {key}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 200 "), "{head}");
    body.to_owned()
}
