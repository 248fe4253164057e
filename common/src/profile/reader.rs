//! Reads typed values out of a TOML document and says where a wrong one stands.

use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ProfileError;

/// A value and the bytes of the file that hold it.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// A profile file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doc<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
}

impl Doc<'_> {
    pub(super) fn error(&self, span: Range<usize>, message: impl Into<String>) -> ProfileError {
        ProfileError::new(self.file, self.text, span, message.into())
    }
}

/// A key that a profile file may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Where it stands: empty for the top of the file, else `[audio]`, `[video]` or `[[rung]]`.
    pub section: &'static str,
    /// The key.
    pub name: &'static str,
    /// What its value is, such as `a whole number`.
    pub kind: &'static str,
    /// A line that sets it.
    pub example: &'static str,
}

/// What people write who know another tool, and what it is called here.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("bitrate", "kbps"),
    ("maxrate", "max_kbps"),
    ("max_bitrate", "max_kbps"),
    ("quality", "crf"),
    ("height", "short_side"),
    ("width", "short_side"),
    ("size", "short_side"),
    ("resolution", "short_side"),
    ("encoder", "codec"),
    ("speed", "preset"),
    ("pix_fmt", "pixel_format"),
    ("params", "options"),
    ("rungs", "rung"),
    ("renditions", "rung"),
    ("formats", "outputs"),
    ("segment_seconds", "fragment_seconds"),
];

/// One table of the file.
#[derive(Clone, Debug)]
pub(super) struct Section<'a> {
    pub(super) doc: Doc<'a>,
    /// As in [`Key::section`].
    pub(super) name: &'static str,
    pub(super) table: &'a DeTable<'a>,
    /// Its header, for errors about what is missing.
    pub(super) span: Range<usize>,
    pub(super) keys: &'static [Key],
}

impl<'a> Section<'a> {
    /// Refuses the first key in the file that this section does not know.
    pub(super) fn refuse_unknown_keys(&self) -> Result<(), ProfileError> {
        let known = |name: &str| self.own_keys().any(|key| key.name == name);
        let first = self
            .table
            .iter()
            .map(|(key, _)| key)
            .filter(|key| !known(key.get_ref()))
            .min_by_key(|key| key.span().start);
        match first {
            None => Ok(()),
            Some(key) => Err(self.doc.error(key.span(), self.unknown_key(key.get_ref()))),
        }
    }

    fn own_keys(&self) -> impl Iterator<Item = &'static Key> + use<'_> {
        self.keys.iter().filter(|key| key.section == self.name)
    }

    fn unknown_key(&self, name: &str) -> String {
        let elsewhere: Vec<String> = self
            .keys
            .iter()
            .filter(|key| key.name == name)
            .map(|key| describe_section(key.section))
            .collect();
        if !elsewhere.is_empty() {
            let here = if self.name.is_empty() {
                "here".to_owned()
            } else {
                describe_section(self.name)
            };
            return format!(
                "`{name}` belongs {}, not {here}: move it",
                elsewhere.join(" or ")
            );
        }
        let names: Vec<&str> = self.own_keys().map(|key| key.name).collect();
        let translated = OTHER_WORDS
            .iter()
            .find(|(theirs, ours)| *theirs == name && names.contains(ours))
            .map(|(_, ours)| *ours);
        let way_out = match translated.or_else(|| nearest(name, names.iter().copied())) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("its keys are {}", list(names)),
        };
        format!(
            "there is no key `{}` {}: {way_out}",
            shorten(name),
            describe_section(self.name)
        )
    }

    fn get(&self, name: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table
            .iter()
            .find(|(key, _)| key.get_ref() == name)
            .map(|(_, value)| value)
    }

    /// An error about a value of the wrong type, with an example of a right one.
    pub(super) fn mismatch(&self, name: &str, value: &Spanned<DeValue<'_>>) -> ProfileError {
        let found = match value.get_ref() {
            DeValue::String(_) => "text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let (kind, example) = self
            .own_keys()
            .find(|key| key.name == name)
            .map_or(("something else", name), |key| (key.kind, key.example));
        let message = format!("`{name}` is {kind}, not {found}: write it as in `{example}`");
        self.doc.error(value.span(), message)
    }

    /// The value as it stands, and an error for it should its type be wrong.
    pub(super) fn any(&self, name: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.get(name)
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<At<&'a str>>, ProfileError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match value.get_ref() {
            DeValue::String(text) => Ok(Some(At {
                value: text.as_ref(),
                span: value.span(),
            })),
            _ => Err(self.mismatch(name, value)),
        }
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<At<bool>>, ProfileError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match value.get_ref() {
            DeValue::Boolean(flag) => Ok(Some(At {
                value: *flag,
                span: value.span(),
            })),
            _ => Err(self.mismatch(name, value)),
        }
    }

    /// A whole number; one too large for any use becomes the largest or smallest there is.
    pub(super) fn whole(&self, name: &str) -> Result<Option<At<i64>>, ProfileError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match value.get_ref() {
            DeValue::Integer(number) => {
                let digits = number.as_str();
                let saturated = if digits.starts_with('-') {
                    i64::MIN
                } else {
                    i64::MAX
                };
                let number = i64::from_str_radix(digits, number.radix()).unwrap_or(saturated);
                Ok(Some(At {
                    value: number,
                    span: value.span(),
                }))
            }
            _ => Err(self.mismatch(name, value)),
        }
    }

    pub(super) fn decimal(&self, name: &str) -> Result<Option<At<f64>>, ProfileError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let number = match value.get_ref() {
            DeValue::Float(number) => number.as_str().parse().unwrap_or(f64::NAN),
            DeValue::Integer(number) => {
                let number = i32::from_str_radix(number.as_str(), number.radix());
                number.map_or(f64::NAN, f64::from)
            }
            _ => return Err(self.mismatch(name, value)),
        };
        Ok(Some(At {
            value: number,
            span: value.span(),
        }))
    }

    /// A table inside this one.
    pub(super) fn table(&self, name: &str) -> Result<Option<At<&'a DeTable<'a>>>, ProfileError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match value.get_ref() {
            DeValue::Table(table) => Ok(Some(At {
                value: table,
                span: value.span(),
            })),
            _ => Err(self.mismatch(name, value)),
        }
    }
}

impl At<i64> {
    /// The number when it lies in `range`; `whose` says who takes that range, `unit` of what.
    pub(super) fn within(
        &self,
        doc: Doc<'_>,
        name: &str,
        range: RangeInclusive<u32>,
        whose: &str,
        unit: &str,
    ) -> Result<u32, ProfileError> {
        u32::try_from(self.value)
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                let written = doc.text.get(self.span.clone()).unwrap_or_default();
                doc.error(
                    self.span.clone(),
                    format!(
                        "`{name} = {}` is out of range: {whose} takes {} to {}{unit}",
                        shorten(written),
                        range.start(),
                        range.end()
                    ),
                )
            })
    }
}

fn describe_section(section: &str) -> String {
    if section.is_empty() {
        "at the top of the file, above the first `[...]`".to_owned()
    } else {
        format!("in `{section}`")
    }
}

/// Names in backticks, with commas between.
pub(super) fn list<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// A word of the file as an error repeats it: bounded, and on one line.
pub(super) fn shorten(word: &str) -> String {
    let mut shown: String = word
        .chars()
        .take(40)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if word.chars().nth(40).is_some() {
        shown.push('…');
    }
    shown
}

/// The name that was probably meant: at most a third of it mistyped.
pub(super) fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    // Nothing longer is near to any name, and the distance costs the square of the length.
    if name.len() > 64 {
        return None;
    }
    known
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1.max(candidate.len() / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Letters to change, add, drop or swap with their neighbour to get from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &to) in b.iter().enumerate() {
            let mut cost = (last[j] + usize::from(from != to))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            let swapped = i > 0 && j > 0 && from == b[j - 1] && a[i - 1] == to;
            if swapped {
                cost = cost.min(before_last[j - 1] + 1);
            }
            row.push(cost);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_slip_costs_one() {
        assert_eq!(distance("preset", "preset"), 0);
        assert_eq!(distance("presett", "preset"), 1);
        assert_eq!(distance("perset", "preset"), 1);
        assert_eq!(distance("", "crf"), 3);
        assert_eq!(
            nearest("fragment_second", ["fragment_seconds"].into_iter()),
            Some("fragment_seconds")
        );
        assert_eq!(nearest("banana", ["crf", "preset"].into_iter()), None);
    }
}
