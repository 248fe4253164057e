//! Errors of profile files: one sentence, and the place it is about.

use std::fmt::Write as _;
use std::ops::Range;

use crate::retry::Retryable;

/// Columns of a line that are shown; a longer line is cut around the place.
const SHOWN: usize = 96;

/// Why a profile file was refused, and where.
///
/// Its text is several lines: the file, the line and one sentence that says the way out, then the
/// line itself with the place underlined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileError {
    file: String,
    line: usize,
    column: usize,
    message: String,
    excerpt: Excerpt,
}

/// A part of one line, and which of its characters are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Excerpt {
    text: String,
    caret: usize,
    width: usize,
}

impl ProfileError {
    /// An error about the bytes `span` of `text`; a span outside it means its end.
    pub(super) fn new(file: &str, text: &str, span: Range<usize>, message: String) -> Self {
        let mut start = span.start.min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        // An error at the very end is about the last line that holds something.
        if start == text.len() {
            start = text.trim_end().len();
        }
        let (before, rest) = text.split_at(start);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = rest
            .find('\n')
            .map_or(text.len(), |newline| start + newline);
        let shown = |part: &str| -> Vec<char> {
            let line = part.trim_end_matches('\r');
            // Tabs and control characters would move or hide what stands under the line.
            line.chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect()
        };
        let line = shown(text.get(line_start..line_end).unwrap_or_default());
        let column = shown(text.get(line_start..start).unwrap_or_default()).len();
        let marked = text
            .get(start..span.end.clamp(start, line_end))
            .unwrap_or_default();
        Self {
            file: file
                .chars()
                .map(|c| if c.is_control() { '?' } else { c })
                .collect(),
            line: before.matches('\n').count() + 1,
            column: column + 1,
            message,
            excerpt: Excerpt::around(&line, column, shown(marked).len().max(1)),
        }
    }

    /// The file's name as it was given to [`parse`](super::parse).
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line, counted from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// The character within the line, counted from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        self.column
    }

    /// The sentence alone.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl Excerpt {
    fn around(line: &[char], column: usize, width: usize) -> Self {
        let first = if line.len() <= SHOWN {
            0
        } else {
            column.saturating_sub(SHOWN / 2)
        };
        let last = line.len().min(first + SHOWN);
        let mut text = String::new();
        if first > 0 {
            text.push('…');
        }
        let caret = column - first + text.chars().count();
        text.extend(line.get(first..last).unwrap_or_default());
        if last < line.len() {
            text.push('…');
        }
        let width = width.min(last.saturating_sub(column)).max(1);
        Self {
            text: text.trim_end().to_owned(),
            caret,
            width,
        }
    }
}

impl std::fmt::Display for ProfileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Excerpt { text, caret, width } = &self.excerpt;
        let number = self.line.to_string();
        let margin = number.len();
        writeln!(
            f,
            "{}:{}:{}: {}",
            self.file, self.line, self.column, self.message
        )?;
        writeln!(f, "{:margin$} |", "")?;
        writeln!(f, "{number} | {text}")?;
        write!(f, "{:margin$} | {:caret$}", "", "")?;
        (0..*width).try_for_each(|_| f.write_char('^'))
    }
}

impl std::error::Error for ProfileError {}

impl Retryable for ProfileError {
    fn is_retryable(&self) -> bool {
        false
    }

    fn code(&self) -> &'static str {
        "profile-invalid"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn display(text: &str, span: Range<usize>) -> String {
        ProfileError::new("p.toml", text, span, "wrong".to_owned()).to_string()
    }

    #[test]
    fn points_at_characters_not_bytes() {
        let text = "a = 1\nb = \"é\" # x\n";
        let at = text.find('#').unwrap();
        assert_eq!(
            display(text, at..at + 1),
            "p.toml:2:9: wrong\n  |\n2 | b = \"é\" # x\n  |         ^"
        );
    }

    #[test]
    fn any_span_of_any_text_gives_an_error_with_a_caret() {
        for text in ["", "\n", "é", "\r\n\r\n", "a\tb", "x = 1"] {
            for start in 0..8 {
                for end in start..9 {
                    assert!(
                        display(text, start..end).ends_with('^'),
                        "{text:?} {start}..{end}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{}HERE{}", "-".repeat(500), "+".repeat(500));
        let shown = display(&text, 500..504);
        let lines: Vec<&str> = shown.lines().collect();
        assert!(
            lines.iter().all(|line| line.chars().count() < 120),
            "{shown}"
        );
        let caret = lines[3].find('^').unwrap();
        assert_eq!(
            lines[2].chars().skip(caret).take(4).collect::<String>(),
            "HERE"
        );
        assert!(lines[3].ends_with("^^^^"));
    }
}
