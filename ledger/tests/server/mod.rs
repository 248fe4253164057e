//! A Redis server of a test's own, to be set up, killed and started again.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Child, ChildStdout, Command, Stdio};

use reelmill_ledger::RedisOptions;
use tempfile::TempDir;

pub(crate) struct Server {
    port: u16,
    arguments: Vec<String>,
    /// Its working directory, though nothing is saved there.
    folder: TempDir,
    running: Option<(Child, BufReader<ChildStdout>)>,
}

impl Server {
    /// Starts one with these settings, as they are written on its command line. `PORT` stands for
    /// its port.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let arguments: Vec<_> = arguments
            .iter()
            .map(|argument| (*argument).to_owned())
            .collect();
        for _ in 0..5 {
            let port = free_port();
            let folder = tempfile::tempdir().unwrap();
            let running = run(port, &arguments, &folder);
            // Somebody else may have taken the port in the meantime.
            if running.is_some() {
                return Self {
                    port,
                    arguments,
                    folder,
                    running,
                };
            }
        }
        panic!("redis-server does not start with {arguments:?}");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn options(&self) -> RedisOptions {
        RedisOptions::new(format!("redis://127.0.0.1:{}", self.port))
    }

    /// Runs a command as an operator does.
    pub(crate) fn tell(&self, words: &[&str]) {
        let client = redis::Client::open(self.options().url).unwrap();
        let mut connection = client.get_connection().unwrap();
        let (command, arguments) = words.split_first().unwrap();
        let done = redis::cmd(command).arg(arguments).exec(&mut connection);
        done.unwrap();
    }

    pub(crate) fn kill(&mut self) {
        if let Some((mut process, _)) = self.running.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    pub(crate) fn start_again(&mut self) {
        self.running = run(self.port, &self.arguments, &self.folder);
        assert!(self.running.is_some(), "redis-server starts again");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A server that accepts connections, or none.
fn run(
    port: u16,
    arguments: &[String],
    folder: &TempDir,
) -> Option<(Child, BufReader<ChildStdout>)> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the server under test is no tool of the product's"
    )]
    let mut command = Command::new("redis-server");
    if !arguments.iter().any(|argument| argument == "PORT") {
        command.args(["--port", "PORT"].map(|word| word.replace("PORT", &port.to_string())));
    }
    let arguments = arguments
        .iter()
        .map(|word| word.replace("PORT", &port.to_string()));
    let mut process = command
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(arguments)
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("redis-server is to be installed: {error}"));
    let mut said = BufReader::new(process.stdout.take().unwrap());
    let mut line = String::new();
    while said.read_line(&mut line).unwrap() > 0 {
        if line.contains("Ready to accept connections") {
            return Some((process, said));
        }
        line.clear();
    }
    process.wait().unwrap();
    None
}
