//! How a fixed number of bytes is written in words: as lower-case hexadecimal digits.

/// Gives a type around an array of bytes its text form; `$invalid` is what is said of any other text.
macro_rules! written_in_hex {
    ($type:ident, $invalid:ident) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($type), "({})"), self)
            }
        }

        impl TryFrom<String> for $type {
            type Error = $invalid;
            fn try_from(text: String) -> Result<Self, $invalid> {
                let mut value = Self(Default::default());
                match hex::decode_to_slice(&text, &mut value.0) {
                    Ok(()) => Ok(value),
                    Err(_) => Err($invalid(text)),
                }
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    };
}

pub(crate) use written_in_hex;
