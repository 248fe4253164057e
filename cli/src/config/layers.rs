//! Where settings come from: flags over environment over file over defaults.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{COMMON_VARIABLES, KEYS, Key, OTHER_VARIABLES, find, way_out};
use crate::failure::{Exit, Failure, io};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    File { file: String, line: usize },
    Variable(String),
    Flag(&'static str),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, line } => write!(f, "{file}:{line}"),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(flag) => write!(f, "--{flag}"),
        }
    }
}

/// A value as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    /// Empty where it is not set.
    pub(crate) text: String,
    pub(crate) origin: Origin,
}

impl Given {
    /// Whether nobody said anything.
    pub(crate) fn is_default(&self) -> bool {
        self.origin == Origin::Default
    }
}

/// One layer, or all of them laid over each other: values by the names of their settings.
pub(crate) type Layer = BTreeMap<&'static str, Given>;

/// What is where nobody said anything.
pub(crate) fn defaults() -> Layer {
    let given = |key: &Key| Given {
        text: key.default.to_owned(),
        origin: Origin::Default,
    };
    KEYS.iter().map(|key| (key.name, given(key))).collect()
}

/// What a file says.
pub(crate) fn file(path: &Path) -> Result<Layer, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure {
        exit: Exit::Usage,
        ..io("read", path)(error)
    })?;
    parse(&text, &path.display().to_string())
}

fn parse(text: &str, file: &str) -> Result<Layer, Failure> {
    let line_of = |at: usize| {
        let before = text
            .as_bytes()
            .get(..at.min(text.len()))
            .unwrap_or_default();
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    };
    let table = DeTable::parse(text).map_err(|error| {
        let line = line_of(error.span().map_or(0, |span| span.start));
        Failure::usage(format!(
            "{file}:{line}: not TOML: {}",
            one_line(error.message())
        ))
    })?;
    let mut entries: Vec<_> = table.get_ref().iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    let mut layer = Layer::new();
    for (name, value) in entries {
        let line = line_of(name.span().start);
        let place = format!("{file}:{line}");
        let known = find(name.get_ref()).ok_or_else(|| {
            let names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
            let shown = one_line(name.get_ref());
            let way_out = way_out(name.get_ref(), &names);
            Failure::usage(format!("{place}: `{shown}` is not a setting: {way_out}"))
        })?;
        let text = words(value).ok_or_else(|| {
            let what = "neither text, a number, nor a list of texts";
            Failure::usage(format!("{place}: `{}` is {what}", known.name))
        })?;
        let (file, origin) = (file.to_owned(), |file| Origin::File { file, line });
        let origin = origin(file);
        layer.insert(known.name, Given { text, origin });
    }
    Ok(layer)
}

/// A value as it would be written in a variable.
fn words(value: &Spanned<DeValue<'_>>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Array(items) => {
            let items = items.iter().map(|item| match item.get_ref() {
                DeValue::String(text) => Some(text.to_string()),
                _ => None,
            });
            items
                .collect::<Option<Vec<_>>>()
                .map(|items| items.join(","))
        }
        _ => None,
    }
}

/// What variables say. One that is set to nothing says nothing.
pub(crate) fn variables(all: impl Iterator<Item = (OsString, OsString)>) -> Result<Layer, Failure> {
    let mut layer = Layer::new();
    for (name, value) in all {
        let Some(name) = name.to_str().filter(|name| name.starts_with("REELMILL_")) else {
            continue;
        };
        if OTHER_VARIABLES.contains(&name) {
            continue;
        }
        let Some(key) = KEYS.iter().find(|key| key.variable() == name) else {
            let known: Vec<String> = KEYS.iter().map(Key::variable).collect();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let way_out = way_out(name, &[&known, OTHER_VARIABLES].concat());
            let name = one_line(name);
            return Err(Failure::usage(format!(
                "the variable `{name}` is not a setting: {way_out}"
            )));
        };
        let Some(text) = value.to_str() else {
            return Err(Failure::usage(format!(
                "the variable `{name}` is not UTF-8"
            )));
        };
        if !text.is_empty() {
            let (text, origin) = (text.to_owned(), Origin::Variable(name.to_owned()));
            layer.insert(key.name, Given { text, origin });
        }
    }
    Ok(layer)
}

/// What the variables of [`COMMON_VARIABLES`] say.
pub(crate) fn common_variables(all: impl Iterator<Item = (OsString, OsString)>) -> Layer {
    let mut layer = Layer::new();
    for (name, value) in all {
        let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else {
            continue;
        };
        let known = COMMON_VARIABLES.iter().find(|(common, _)| *common == name);
        let Some((_, setting)) = known.filter(|_| !value.is_empty()) else {
            continue;
        };
        // Brokers are written as they are, without a scheme.
        let text = match *setting == "queue" && !value.contains("://") {
            true => format!("kafka://{value}"),
            false => value.to_owned(),
        };
        let origin = Origin::Variable(name.to_owned());
        layer.insert(setting, Given { text, origin });
    }
    layer
}

/// Text from outside in one line of bounded length.
fn one_line(text: &str) -> String {
    let shown = text.chars().take(80);
    shown
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
