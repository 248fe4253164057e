//! Every command block of README.md, CONTRIBUTING.md and docs/: what can run here is run, line by
//! line as a reader would type it; the rest says in an invisible comment why not, and is parsed.
//!
//! `<!-- not run: REASON -->` stands before a block of which no line runs, `<!-- not run (WORD):
//! REASON -->` before one of which the lines that begin with that word do not.
#![cfg(test)]

mod common;

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use common::*;

/// The address of the documented service.
const ADDRESS: &str = "127.0.0.1:8080";

/// One block of commands.
#[derive(Debug, Default)]
struct Block {
    /// `README.md:17`.
    place: String,
    lines: Vec<String>,
    /// Why no line of it runs.
    not_run: Option<String>,
    /// First words of lines that do not run, each with the reason.
    not_run_lines: Vec<(String, String)>,
}

impl Block {
    fn runs(&self, line: &str) -> bool {
        let first = line.split_whitespace().next().unwrap_or_default();
        self.not_run.is_none() && !self.not_run_lines.iter().any(|(word, _)| word == first)
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The pages, by their paths from the root.
fn pages() -> Vec<String> {
    let docs = names(&root().join("docs")).into_iter();
    let docs = docs.filter(|name| name.ends_with(".md"));
    let docs = docs.map(|name| format!("docs/{name}"));
    let first = ["README.md", "CONTRIBUTING.md"].map(str::to_owned);
    first.into_iter().chain(docs).collect()
}

/// The command blocks of a page.
fn blocks(page: &str) -> Vec<Block> {
    let text = std::fs::read_to_string(root().join(page)).unwrap();
    blocks_of(page, &text)
}

fn blocks_of(page: &str, text: &str) -> Vec<Block> {
    let (mut blocks, mut pending) = (Vec::new(), Block::default());
    let mut language: Option<&str> = None;
    for (number, line) in (1..).zip(text.lines()) {
        match (language, line.trim()) {
            (Some("sh"), "```") => {
                blocks.push(std::mem::take(&mut pending));
                language = None;
            }
            (Some(_), "```") => language = None,
            (Some("sh"), _) => pending.lines.push(line.to_owned()),
            (Some(_), _) => {}
            (None, trimmed) => {
                if let Some(named) = trimmed.strip_prefix("```") {
                    assert_ne!(named, "", "{page}:{number}: the block has no language");
                    for shell in ["bash", "shell", "console"] {
                        assert_ne!(named, shell, "{page}:{number}: write `sh`");
                    }
                    pending.place = format!("{page}:{number}");
                    language = Some(named);
                    if named != "sh" {
                        pending = Block::default();
                    }
                } else if let Some(comment) = trimmed.strip_prefix("<!-- not run") {
                    let comment = comment.strip_suffix("-->");
                    let comment = comment.unwrap_or_else(|| panic!("{page}:{number}: one line"));
                    mark(&mut pending, comment.trim());
                } else if !trimmed.is_empty() {
                    // A mark belongs to the block that follows at once.
                    pending = Block::default();
                }
            }
        }
    }
    blocks
}

/// Takes the rest of a mark: `: REASON` or `(WORD): REASON`.
fn mark(block: &mut Block, comment: &str) {
    let (word, reason) = comment.split_once(':').unwrap_or((comment, ""));
    let reason = reason.trim().to_owned();
    assert!(reason.len() > 5, "a mark without a reason: {comment}");
    match word
        .strip_prefix('(')
        .and_then(|word| word.strip_suffix(')'))
    {
        Some(word) => block.not_run_lines.push((word.to_owned(), reason)),
        None => block.not_run = Some(reason),
    }
}

/// A port without a listener.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A picture of 1080 lines, so that renditions have the names that the pages say, and sound.
fn film() -> PathBuf {
    clip("1920x1080", "25", "1")
}

/// A folder in which a reader may have begun.
fn reader() -> tempfile::TempDir {
    let dir = folder();
    std::fs::copy(film(), dir.path().join("movie.mp4")).unwrap();
    dir
}

/// The lines of a page that run, as one script: it stops at the first that fails. A service that is
/// started in the background is waited for.
fn script(page: &str, port: u16) -> String {
    let mut script = format!(
        "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n\
         up() {{ until curl -sfo /dev/null http://127.0.0.1:{port}/livez; do kill -0 \"$1\"; done; }}\n"
    );
    for block in blocks(page) {
        for line in block.lines.iter().filter(|line| block.runs(line)) {
            let code = line.split('#').next().unwrap_or_default().trim();
            script += &format!(
                "echo {} >&2\n",
                shell_word(&format!("{}: {code}", block.place))
            );
            let line = line.replace(ADDRESS, &format!("127.0.0.1:{port}"));
            script += &match code {
                // Whether this machine has memory and room to spare is no matter of the page.
                "reelmill doctor" => format!("{code} || [ $? = 1 ]"),
                _ => line,
            };
            script.push('\n');
            if code.ends_with('&') {
                script += "up $!\n";
            }
        }
    }
    script
}

/// A word that a shell takes as it is.
fn shell_word(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A shell that finds the reelmill under test, in a folder.
fn shell(dir: &Path) -> std::process::Command {
    let mut command = program(on_path("bash").expect("bash"));
    without_settings(&mut command);
    let own = Path::new(env!("CARGO_BIN_EXE_reelmill")).parent().unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(own.to_owned()).chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(paths).unwrap());
    command.current_dir(dir);
    command
}

/// Runs a page's lines; the folder in which they ran.
fn run_page(page: &str, service: bool) -> tempfile::TempDir {
    let dir = reader();
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let data = dir.path().join("data");
    // A page that does not start one supposes a service.
    let _service = service.then(|| {
        let mut command = reelmill();
        command.arg("serve").arg("--data").arg(&data);
        started(command.args(["--listen", &address]))
    });
    let mut command = shell(dir.path());
    command.env("REELMILL_LISTEN", &address);
    command.env("REELMILL_SERVER", format!("http://{address}"));
    command.arg("-c").arg(script(page, port));
    Running::start(&mut command).wait(LONG).ended(0);
    dir
}

#[test]
fn the_readme_runs_as_it_is_written() {
    let dir = run_page("README.md", false);
    for made in ["out/output_1080p.mp4", "out/certificate.json"] {
        assert!(is_there(&dir.path().join(made)), "{made}");
    }
}

#[test]
fn the_page_of_http_runs_as_it_is_written() {
    let dir = run_page("docs/http.md", true);
    assert!(is_there(&dir.path().join("output_1080p.mp4")));
}

#[test]
fn the_page_of_uploads_runs_as_it_is_written() {
    run_page("docs/uploads.md", true);
}

#[test]
fn the_page_of_profiles_runs_as_it_is_written() {
    let dir = run_page("docs/profiles.md", false);
    assert!(is_there(&dir.path().join("out/output_1080p.mp4")));
}

/// Pages with lines that run and no test above would be forgotten.
#[test]
fn no_page_is_forgotten() {
    let run = [
        "README.md",
        "docs/http.md",
        "docs/uploads.md",
        "docs/profiles.md",
    ];
    for page in pages() {
        for block in blocks(&page) {
            let runs = block.lines.iter().any(|line| block.runs(line));
            assert!(
                !runs || run.contains(&page.as_str()),
                "{} is neither run nor marked",
                block.place
            );
            for (word, _) in &block.not_run_lines {
                let begins = |line: &String| line.split_whitespace().next() == Some(word);
                assert!(
                    block.lines.iter().any(begins),
                    "{}: no `{word}`",
                    block.place
                );
            }
        }
    }
}

/// Of lines that do not run, the shell understands the syntax, reelmill its own arguments, and
/// scripts that are named are there.
#[test]
fn what_does_not_run_is_right_as_far_as_can_be_told() {
    let dir = folder();
    let mut asked = 0;
    for page in pages() {
        for block in blocks(&page) {
            let text = block.lines.join("\n");
            let parsed = run(shell(dir.path()).args(["-n", "-c", &text]));
            assert_eq!(
                (parsed.code, parsed.stderr.as_str()),
                (Some(0), ""),
                "{}",
                block.place
            );
            for line in block.lines.iter().filter(|line| !block.runs(line)) {
                let words: Vec<&str> = line.split_whitespace().collect();
                let first = words.first().copied().unwrap_or_default();
                if first.starts_with("scripts/") || first.starts_with(".ci/") {
                    assert!(is_there(&root().join(first)), "{}: `{first}`", block.place);
                }
                if first == "reelmill" {
                    let code = line.split(" #").next().unwrap_or_default();
                    let code = code.trim().trim_end_matches('&');
                    // clap reads what stands before it, and refuses what it does not know.
                    let ran = run(shell(dir.path()).arg("-c").arg(format!("{code} --help")));
                    assert_eq!(ran.code, Some(0), "{}: {line}: {ran:#?}", block.place);
                    asked += 1;
                }
            }
        }
    }
    assert!(asked > 5, "{asked}");
    let bogus = run(shell(dir.path())
        .arg("-c")
        .arg("reelmill api --bogus --help"));
    assert_eq!(bogus.code, Some(2), "{bogus:#?}");
}

#[test]
fn blocks_and_their_marks_are_found() {
    let page = "text\n<!-- not run: needs a moon -->\n\n```sh\na\n```\n\n<!-- not run: of no block -->\nbetween\n\
                ```toml\nb = 1\n```\n<!-- not run (d): needs a screen -->\n```sh\nc\nd e\n```\n";
    let blocks = blocks_of("x.md", page);
    assert_eq!(blocks.len(), 2);
    assert_eq!(blocks[0].place, "x.md:4");
    assert_eq!(blocks[0].not_run.as_deref(), Some("needs a moon"));
    assert!(!blocks[0].runs("a"));
    assert_eq!(blocks[1].not_run, None);
    assert!(blocks[1].runs("c") && !blocks[1].runs("d e"));
}
