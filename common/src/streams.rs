//! Which of a source's streams are transcoded, where the submitter chooses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Streams by their index in the source, as ffprobe counts them; none of them is written `none`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StreamList(Vec<u32>);

/// More streams than any source has that is transcoded.
const MOST: usize = 64;

impl StreamList {
    /// The indices, in the order in which they were given.
    #[must_use]
    pub fn indices(&self) -> &[u32] {
        &self.0
    }
}

/// What cannot be read as a list of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamListError {
    /// Neither numbers nor `none`.
    #[error("`none` or stream indices as ffprobe prints them are expected, such as `1` or `1,3`")]
    Malformed,
    /// One index more than once.
    #[error("stream {0} is given twice: give it once")]
    Repeated(u32),
    /// More than are ever delivered.
    #[error("at most {MOST} streams can be chosen")]
    TooMany,
    /// More than one where one is all that can be.
    #[error("one stream index or `none` is expected")]
    NotOne,
}

impl FromStr for StreamList {
    type Err = StreamListError;

    fn from_str(text: &str) -> Result<Self, StreamListError> {
        if text == "none" {
            return Ok(Self::default());
        }
        let mut indices = Vec::new();
        for word in text.split(',') {
            // `parse` would take a sign.
            let is_number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
            let index = word.parse().ok().filter(|_| is_number);
            let index = index.ok_or(StreamListError::Malformed)?;
            if indices.contains(&index) {
                return Err(StreamListError::Repeated(index));
            }
            indices.push(index);
            if indices.len() > MOST {
                return Err(StreamListError::TooMany);
            }
        }
        Ok(Self(indices))
    }
}

impl fmt::Display for StreamList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let words: Vec<String> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&words.join(","))
    }
}

impl TryFrom<String> for StreamList {
    type Error = StreamListError;

    fn try_from(text: String) -> Result<Self, StreamListError> {
        text.parse()
    }
}

impl From<StreamList> for String {
    fn from(list: StreamList) -> Self {
        list.to_string()
    }
}

/// One stream by its index in the source, or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StreamChoice(Option<u32>);

impl StreamChoice {
    /// The index; `None` where none was chosen.
    #[must_use]
    pub fn index(self) -> Option<u32> {
        self.0
    }
}

impl FromStr for StreamChoice {
    type Err = StreamListError;

    fn from_str(text: &str) -> Result<Self, StreamListError> {
        let list: StreamList = text.parse()?;
        match list.indices() {
            [] => Ok(Self(None)),
            [index] => Ok(Self(Some(*index))),
            _ => Err(StreamListError::NotOne),
        }
    }
}

impl fmt::Display for StreamChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(index) => write!(f, "{index}"),
            None => f.write_str("none"),
        }
    }
}

impl TryFrom<String> for StreamChoice {
    type Error = StreamListError;

    fn try_from(text: String) -> Result<Self, StreamListError> {
        text.parse()
    }
}

impl From<StreamChoice> for String {
    fn from(choice: StreamChoice) -> Self {
        choice.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_they_are_written() {
        for text in ["none", "0", "3,1", "4294967295"] {
            assert_eq!(text.parse::<StreamList>().unwrap().to_string(), text);
        }
        for text in ["none", "0", "7"] {
            assert_eq!(text.parse::<StreamChoice>().unwrap().to_string(), text);
        }
        let json = serde_json::to_string(&"2,1".parse::<StreamList>().unwrap()).unwrap();
        assert_eq!(json, "\"2,1\"");
        let list: StreamList = serde_json::from_str(&json).unwrap();
        assert_eq!(list.indices(), [2, 1]);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        use StreamListError::{Malformed, NotOne, Repeated, TooMany};
        for text in [
            "",
            "a",
            "-1",
            "+1",
            "1,",
            "1,,2",
            "1 2",
            "none,1",
            "4294967296",
        ] {
            assert_eq!(text.parse::<StreamList>(), Err(Malformed), "{text:?}");
        }
        assert_eq!("1,2,1".parse::<StreamList>(), Err(Repeated(1)));
        assert_eq!("1,2".parse::<StreamChoice>(), Err(NotOne));
        let many: Vec<String> = (0..=MOST).map(|index| index.to_string()).collect();
        assert_eq!(many.join(",").parse::<StreamList>(), Err(TooMany));
    }
}
