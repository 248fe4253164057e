//! SHA-256 of what is stored and delivered.

use std::io::Read;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::hexadecimal::written_in_hex;

/// A SHA-256 digest, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256([u8; 32]);

/// Why a string is not a digest.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a SHA-256 digest: 64 hexadecimal digits are expected")]
pub struct InvalidDigest(String);

impl Sha256 {
    /// The digest of bytes in memory.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// The digest of all that a reader still gives, and how many bytes that was.
    ///
    /// # Errors
    /// The reader's own error.
    pub fn of_reader(reader: &mut impl Read) -> std::io::Result<(Self, u64)> {
        let mut hasher = Hasher::default();
        read_all(reader, |bytes| hasher.update(bytes))?;
        Ok(hasher.finish())
    }
}

/// Gives all that a reader still has, piece by piece.
pub(crate) fn read_all(reader: &mut impl Read, mut each: impl FnMut(&[u8])) -> std::io::Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => each(buffer.get(..n).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Computes a digest piece by piece.
#[derive(Clone, Debug, Default)]
pub struct Hasher {
    inner: sha2::Sha256,
    len: u64,
}

impl Hasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.inner.update(bytes);
        self.len += bytes.len() as u64;
    }

    /// The digest of all bytes added, and how many they were.
    #[must_use]
    pub fn finish(self) -> (Sha256, u64) {
        (Sha256(self.inner.finalize().into()), self.len)
    }
}

written_in_hex!(Sha256, InvalidDigest);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_of_nothing_is_the_known_one() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Sha256::of(b"").to_string(), empty);
        assert_eq!(
            Sha256::of_reader(&mut &b""[..]).unwrap(),
            (Sha256::of(b""), 0)
        );
        assert_eq!(Sha256::try_from(empty.to_owned()).unwrap(), Sha256::of(b""));
        assert!(Sha256::try_from("00".to_owned()).is_err());
    }
}
