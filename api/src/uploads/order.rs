//! What a client wants of its upload: the parameters of a query, the fields of a form or the pairs
//! of `Upload-Metadata`, all with the same names.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use reelmill_common::profile::{Profile, builtin, builtins};
use reelmill_common::request::{JobOptions, Priority};
use reelmill_common::streams::{StreamChoice, StreamList, StreamListError};
use reelmill_common::upload::Order;

use crate::query::pairs;
use crate::{Problem, Settings};

/// The parameters, beside `metadata.KEY`.
const NAMES: [&str; 7] = [
    "profile",
    "name",
    "priority",
    "time_limit_s",
    "video_stream",
    "audio_streams",
    "metadata",
];

/// Pairs of metadata that are kept.
const MAX_PAIRS: usize = 50;

/// Bytes of a pair's key.
const MAX_KEY: usize = 64;

/// Bytes of a pair's value.
const MAX_VALUE: usize = 1024;

/// Characters of a name.
const MAX_NAME: usize = 255;

/// An order on its way.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    profile: Option<Profile>,
    name: Option<String>,
    file_name: Option<String>,
    priority: Option<Priority>,
    time_limit_s: Option<u64>,
    video_stream: Option<StreamChoice>,
    audio_streams: Option<StreamList>,
    metadata: BTreeMap<String, String>,
}

impl Draft {
    /// Of a query's parameters.
    pub(super) fn of_query(query: Option<&str>, settings: &Settings) -> Result<Self, Problem> {
        let mut draft = Self::default();
        for (name, value) in pairs(query)? {
            draft.set(&name, value, settings)?;
        }
        Ok(draft)
    }

    /// Of tus metadata. Names that mean nothing here are the client's own and are kept with the job.
    pub(super) fn of_tus(
        said: &BTreeMap<String, String>,
        settings: &Settings,
    ) -> Result<Self, Problem> {
        let mut draft = Self::default();
        for (name, value) in said {
            match name.as_str() {
                "filename" => draft.set_file_name(value),
                // Uppy says the file's name twice.
                "name" if said.get("filename") == Some(value) => {}
                known if NAMES.contains(&known) || key_of(known).is_some() => {
                    draft.set(known, value.clone(), settings)?;
                }
                own => draft.add_metadata(own, value.clone())?,
            }
        }
        Ok(draft)
    }

    /// The name of the file, for where no other name is given.
    pub(super) fn set_file_name(&mut self, name: &str) {
        self.file_name = display_name(name);
    }

    /// Takes one parameter.
    pub(super) fn set(
        &mut self,
        name: &str,
        value: String,
        settings: &Settings,
    ) -> Result<(), Problem> {
        let is_repeated = match name {
            "profile" => {
                let profile = find_profile(&value, settings)?;
                self.profile.replace(profile).is_some()
            }
            "name" => {
                let name = display_name(&value).ok_or_else(|| {
                    invalid(
                        "name",
                        "it must have at least one character that can be shown",
                    )
                })?;
                self.name.replace(name).is_some()
            }
            "priority" => {
                let priority = value
                    .parse()
                    .map_err(|error| bad("priority-unknown", format!("{error}")))?;
                self.priority.replace(priority).is_some()
            }
            "time_limit_s" => {
                let limit = value.parse().ok().filter(|limit| *limit > 0);
                let limit = limit.ok_or_else(|| {
                    invalid("time_limit_s", "a whole number of seconds is expected")
                })?;
                self.time_limit_s.replace(limit).is_some()
            }
            "video_stream" => {
                let stream = value.parse();
                let stream =
                    stream.map_err(|error: StreamListError| invalid(name, &error.to_string()))?;
                self.video_stream.replace(stream).is_some()
            }
            "audio_streams" => {
                let streams = value.parse();
                let streams =
                    streams.map_err(|error: StreamListError| invalid(name, &error.to_string()))?;
                self.audio_streams.replace(streams).is_some()
            }
            "metadata" => {
                let pairs: BTreeMap<String, String> =
                    serde_json::from_str(&value).map_err(|_not_for_clients| {
                        invalid("metadata", "a JSON object of strings is expected")
                    })?;
                for (key, value) in pairs {
                    self.add_metadata(&key, value)?;
                }
                false
            }
            other => match key_of(other) {
                Some(key) => return self.add_metadata(key, value),
                None => return Err(unknown(other)),
            },
        };
        match is_repeated {
            true => Err(bad(
                "parameter-repeated",
                format!("`{name}` is given twice: give it once"),
            )),
            false => Ok(()),
        }
    }

    fn add_metadata(&mut self, key: &str, value: String) -> Result<(), Problem> {
        if key.is_empty() || key.len() > MAX_KEY || value.len() > MAX_VALUE {
            let detail = format!("a key has 1 to {MAX_KEY} bytes and a value at most {MAX_VALUE}");
            return Err(invalid("metadata", &detail));
        }
        if self.metadata.insert(key.to_owned(), value).is_some() {
            let detail = format!("`metadata.{key}` is given twice: give it once");
            return Err(bad("parameter-repeated", detail));
        }
        match self.metadata.len() > MAX_PAIRS {
            true => Err(invalid(
                "metadata",
                &format!("it may have {MAX_PAIRS} pairs"),
            )),
            false => Ok(()),
        }
    }

    /// The order, with defaults for what was not said.
    pub(super) fn order(&self, settings: &Settings) -> Result<Order, Problem> {
        let profile = match &self.profile {
            Some(profile) => profile.clone(),
            None => find_profile(&settings.default_profile, settings)?,
        };
        let name = self.name.as_ref().or(self.file_name.as_ref());
        Ok(Order {
            name: name.cloned().unwrap_or_else(|| "upload".to_owned()),
            profile,
            proof: Default::default(),
            window_ms: settings.window_ms,
            options: JobOptions {
                priority: self.priority.unwrap_or_default(),
                metadata: self.metadata.clone(),
                time_limit_s: self.time_limit_s,
                video_stream: self.video_stream,
                audio_streams: self.audio_streams.clone(),
            },
        })
    }
}

/// `KEY` of `metadata.KEY` or `metadata[KEY]`.
fn key_of(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("metadata")?;
    rest.strip_prefix('.')
        .or_else(|| rest.strip_prefix('[')?.strip_suffix(']'))
}

fn find_profile(name: &str, settings: &Settings) -> Result<Profile, Problem> {
    if let Some(own) = settings.profiles.iter().find(|own| own.name == name) {
        return Ok(own.clone());
    }
    if let Some(builtin) = builtin(name) {
        return builtin.profile().map_err(|error| {
            Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "profile-malformed",
                error.to_string(),
            )
        });
    }
    let own = settings.profiles.iter().map(|own| own.name.as_str());
    let names = own.chain(builtins().iter().map(|builtin| builtin.name));
    let way_out = match nearest(name, names) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`GET /v1/profiles` lists those that there are".to_owned(),
    };
    let shown = display_name(name).unwrap_or_default();
    Err(bad(
        "profile-unknown",
        format!("there is no profile `{shown}`: {way_out}"),
    ))
}

fn unknown(name: &str) -> Problem {
    let way_out = match nearest(name, NAMES.into_iter()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("use `{}` or `metadata.KEY`", NAMES.join("`, `")),
    };
    let shown = display_name(name).unwrap_or_default();
    bad(
        "parameter-unknown",
        format!("there is no parameter `{shown}`: {way_out}"),
    )
}

fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    // The distance costs the square of the length, and nothing longer is near to any name.
    if name.len() > MAX_KEY {
        return None;
    }
    known
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .filter(|(distance, known)| *distance <= 1.max(known.len() / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// A name as it may be shown: without folders and what no terminal or page should be given.
fn display_name(name: &str) -> Option<String> {
    let last = name
        .rsplit(['/', '\\'])
        .find(|part| !part.trim().is_empty())?;
    let is_odd = |c: &char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let shown: String = last.chars().filter(|c| !is_odd(c)).collect();
    let shown = shown.trim();
    let skip = shown.chars().count().saturating_sub(MAX_NAME);
    // The ending says more than the beginning.
    let shown: String = shown.chars().skip(skip).collect();
    (!shown.is_empty()).then_some(shown)
}

fn invalid(name: &str, detail: &str) -> Problem {
    bad(
        "parameter-invalid",
        format!("`{name}` is not valid: {detail}"),
    )
}

fn bad(code: &str, detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, code, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_fit_to_be_shown() {
        let cases = [
            ("movie.mp4", Some("movie.mp4")),
            ("/etc/passwd", Some("passwd")),
            ("..\\..\\a b.mov", Some("a b.mov")),
            ("a\u{202e}4pm.exe\r\n", Some("a4pm.exe")),
            ("Фильм.mkv", Some("Фильм.mkv")),
            ("dir/", Some("dir")),
            (" \t", None),
            ("", None),
        ];
        for (name, shown) in cases {
            assert_eq!(display_name(name).as_deref(), shown, "{name:?}");
        }
        let long = format!("{}.mp4", "x".repeat(400));
        let shown = display_name(&long).unwrap();
        assert!(shown.ends_with("x.mp4") && shown.len() == MAX_NAME);
    }
}
