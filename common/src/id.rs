//! Identifiers that travel in keys, messages and Redis hashes, validated where they are made.

use serde::{Deserialize, Serialize};

/// Why a string is not an identifier.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{value}` is not a valid {kind}: use 1 to 64 of a-z, 0-9 and -, beginning with a letter or digit"
)]
pub struct InvalidId {
    kind: &'static str,
    value: String,
}

fn is_id(value: &str) -> bool {
    (1..=64).contains(&value.len())
        && value
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !value.starts_with('-')
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Makes the identifier from a string of 1 to 64 of `a-z`, `0-9` and `-`.
            ///
            /// # Errors
            /// [`InvalidId`] when the string is anything else.
            pub fn new(value: impl Into<String>) -> Result<Self, InvalidId> {
                let value = value.into();
                if is_id(&value) { Ok(Self(value)) } else { Err(InvalidId { kind: $kind, value }) }
            }

            /// The identifier as it is written in keys and messages.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(value: String) -> Result<Self, InvalidId> {
                Self::new(value)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// One source and one profile, from upload to certificate.
    JobId,
    "job id"
);
id!(
    /// One process that works on chunks; leases are held in its name.
    WorkerId,
    "worker id"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_cannot_leave_their_place_in_a_key() {
        for good in ["a", "job-1", "0f3c"] {
            assert!(JobId::new(good).is_ok(), "{good}");
        }
        let long = "a".repeat(65);
        for bad in ["", "-a", "A", "a/b", "..", "a b", "é", long.as_str()] {
            assert!(JobId::new(bad).is_err(), "{bad}");
        }
    }
}
