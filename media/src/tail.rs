//! The last of a process's words, however many there were.

use reelmill_common::LoopbackUrl;

/// Bytes of standard error that are kept.
const KEEP: usize = 4096;

/// Keeps the end of a text and counts the lines that ffmpeg marks as errors
/// (`-loglevel repeat+level+warning`).
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail {
    kept: Vec<u8>,
    line: Vec<u8>,
    complaints: u64,
    /// What the words must not tell.
    secret: Option<LoopbackUrl>,
}

impl Tail {
    pub(crate) fn new(secret: Option<LoopbackUrl>) -> Self {
        Self {
            secret,
            ..Self::default()
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' || byte == b'\r' {
                self.end_line();
            } else if self.line.len() < KEEP {
                self.line.push(byte);
            }
        }
    }

    /// Takes in what came without a line end.
    pub(crate) fn finish(&mut self) {
        self.end_line();
    }

    fn end_line(&mut self) {
        if self.line.is_empty() {
            return;
        }
        let text = String::from_utf8_lossy(&self.line);
        if ["[error]", "[fatal]", "[panic]"]
            .iter()
            .any(|mark| text.contains(mark))
        {
            self.complaints += 1;
        }
        self.kept.append(&mut self.line);
        self.kept.push(b'\n');
        if self.kept.len() > 2 * KEEP {
            self.kept.drain(..self.kept.len() - KEEP);
        }
    }

    pub(crate) fn complaints(&self) -> u64 {
        self.complaints
    }

    /// The kept words: whole lines, errors without ffmpeg's addresses.
    pub(crate) fn text(&self) -> String {
        let start = self.kept.len().saturating_sub(KEEP);
        let text = String::from_utf8_lossy(self.kept.get(start..).unwrap_or_default());
        let lines: Vec<_> = text.lines().map(without_address).collect();
        let text = lines.join("\n");
        match &self.secret {
            Some(secret) => secret.hide(&text),
            None => text,
        }
    }
}

/// `[h264 @ 0x55d0] [error] x` → `[h264] [error] x`: an address differs in every run.
fn without_address(line: &str) -> String {
    match (line.find(" @ 0x"), line.find(']')) {
        (Some(at), Some(close)) if at < close => {
            let (before, after) = (line.get(..at), line.get(close..));
            format!(
                "{}{}",
                before.unwrap_or_default(),
                after.unwrap_or_default()
            )
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_end_and_counts_errors() {
        let mut tail = Tail::default();
        for n in 0..10_000 {
            tail.push(format!("[h264 @ 0x5581] [error] bad {n}\n").as_bytes());
        }
        tail.push(b"[warning] last");
        tail.finish();
        assert_eq!(tail.complaints(), 10_000);
        let text = tail.text();
        assert!(text.len() <= KEEP && text.ends_with("[h264] [error] bad 9999\n[warning] last"));
    }

    #[test]
    fn the_address_of_a_source_is_not_told() {
        let url = LoopbackUrl::new(4040, "/s3cret/film.mp4", "film.mp4");
        let mut tail = Tail::new(Some(url.clone()));
        tail.push(format!("{}: Invalid data found\n", url.secret()).as_bytes());
        assert_eq!(tail.text(), "film.mp4: Invalid data found");
    }

    #[test]
    fn a_line_without_end_does_not_grow() {
        let mut tail = Tail::default();
        tail.push(&vec![b'x'; 10 * KEEP]);
        tail.finish();
        assert!(tail.text().len() <= KEEP);
    }
}
