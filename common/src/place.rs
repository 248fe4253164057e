//! Where a source that was opened can be read by programs on this machine.

use std::path::PathBuf;

/// What a tool is told to open. It is of this machine and of this moment, and never stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An absolute path.
    File(PathBuf),
    /// Range requests to this very process.
    Loopback(LoopbackUrl),
}

/// An address on this machine's loopback. Whoever knows it may read the source, so that it is
/// printed as the source's name unless it is asked for.
#[derive(Clone, PartialEq, Eq)]
pub struct LoopbackUrl {
    port: u16,
    path: String,
    name: String,
}

impl LoopbackUrl {
    /// An address; `path` begins with a slash and is percent-encoded, `name` is for people.
    #[must_use]
    pub fn new(port: u16, path: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            port,
            path: path.into(),
            name: name.into(),
        }
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The whole address, which is a secret.
    #[must_use]
    pub fn secret(&self) -> String {
        format!("http://127.0.0.1:{}{}", self.port, self.path)
    }

    /// A text without the secret.
    #[must_use]
    pub fn hide(&self, text: &str) -> String {
        text.replace(&self.secret(), &self.name)
            .replace(&self.path, &self.name)
    }
}

impl std::fmt::Debug for LoopbackUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LoopbackUrl(`{}` on port {})", self.name, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_stays_out_of_texts() {
        let url = LoopbackUrl::new(80, "/secret/a%20b.mp4", "a b.mp4");
        assert_eq!(url.secret(), "http://127.0.0.1:80/secret/a%20b.mp4");
        let words = format!("{}: Invalid data ({url:?})", url.secret());
        let hidden = url.hide(&words);
        assert!(hidden.starts_with("a b.mp4: Invalid data"), "{hidden}");
        assert!(!hidden.contains("secret"), "{hidden}");
    }
}
