//! XXH3 of what is stored in pieces: tells whether a piece is still what was written.
//!
//! Whoever may change a piece may change the list of checksums beside it, so that a cryptographic
//! digest would find no more here. This one costs a twentieth of SHA-256 and is no brake on
//! uploads.

use std::io::Read;

use serde::{Deserialize, Serialize};

use crate::digest::read_all;
use crate::hexadecimal::written_in_hex;

/// An XXH3 checksum of 128 bits, written as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Checksum([u8; 16]);

/// Why a string is not a checksum.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not an XXH3 checksum: 32 hexadecimal digits are expected")]
pub struct InvalidChecksum(String);

impl Checksum {
    /// The checksum of bytes in memory.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut summer = Summer::default();
        summer.update(bytes);
        summer.finish().0
    }

    /// The checksum of all that a reader still gives, and how many bytes that was.
    ///
    /// # Errors
    /// The reader's own error.
    pub fn of_reader(reader: &mut impl Read) -> std::io::Result<(Self, u64)> {
        let mut summer = Summer::default();
        read_all(reader, |bytes| summer.update(bytes))?;
        Ok(summer.finish())
    }
}

/// Computes a checksum piece by piece.
#[derive(Clone, Default)]
pub struct Summer {
    inner: twox_hash::xxhash3_128::Hasher,
    len: u64,
}

impl Summer {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.inner.write(bytes);
        self.len += bytes.len() as u64;
    }

    /// The checksum of all bytes added, and how many they were.
    #[must_use]
    pub fn finish(self) -> (Checksum, u64) {
        (Checksum(self.inner.finish_128().to_be_bytes()), self.len)
    }
}

impl std::fmt::Debug for Summer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Summer")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

written_in_hex!(Checksum, InvalidChecksum);

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of XXH3's own sanity test for no and for one zero byte, which `xxh128sum` prints.
    #[test]
    fn checksums_are_the_known_ones() {
        let empty = "99aa06d3014798d86001c324468d497f";
        assert_eq!(Checksum::of(b"").to_string(), empty);
        assert_eq!(
            Checksum::of_reader(&mut &b""[..]).unwrap(),
            (Checksum::of(b""), 0)
        );
        assert_eq!(
            Checksum::try_from(empty.to_owned()).unwrap(),
            Checksum::of(b"")
        );
        assert!(Checksum::try_from("00".to_owned()).is_err());
    }

    #[test]
    fn pieces_do_not_matter() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
        let mut summer = Summer::default();
        for piece in bytes.chunks(977) {
            summer.update(piece);
        }
        assert_eq!(summer.finish(), (Checksum::of(&bytes), 100_000));
    }
}
