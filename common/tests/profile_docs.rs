//! What docs/profiles.md says is what profile files are.

use reelmill_common::profile::{KEYS, Rate, VideoCodec, builtins, parse};

const DOCS: &str = include_str!("../../docs/profiles.md");

/// The fenced blocks of one language.
fn blocks<'a>(language: &str, text: &'a str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    text.split(fence.as_str())
        .skip(1)
        .filter_map(|rest| rest.split("\n```").next())
        .collect()
}

#[test]
fn the_example_is_a_profile() {
    let examples = blocks("toml", DOCS);
    assert_eq!(examples.len(), 1);
    let profile = parse(examples[0], "example.toml").unwrap_or_else(|error| panic!("{error}"));
    let [full, half, av1] = profile.video.as_slice() else {
        panic!()
    };
    assert_eq!(
        full.settings.rate,
        Rate::CappedCrf {
            crf: 20,
            max_kbps: 6000
        }
    );
    assert_eq!(
        half.settings.options["x264-params"],
        "aq-mode=3:deblock=-1,-1"
    );
    assert_eq!(av1.settings.codec, VideoCodec::Av1);
    assert!(av1.settings.options.is_empty());
}

#[test]
fn the_error_shown_is_the_error_given() {
    let shown = blocks("text", DOCS);
    let text = "[video]\ncodec = \"h264\"\npresett = \"fast\"\n";
    assert_eq!(parse(text, "mine.toml").unwrap_err().to_string(), shown[0]);
}

#[test]
fn every_key_has_a_row_and_every_built_in_profile_too() {
    for key in KEYS {
        let row = format!("\n| `{}` |", key.name);
        let table = key.kind.contains("table") && key.section.is_empty();
        assert!(
            table || DOCS.contains(&row),
            "{} of {}",
            key.name,
            key.section
        );
        assert!(DOCS.contains(&format!("`{}`", key.name)), "{}", key.name);
        assert!(
            key.section.is_empty() || DOCS.contains(key.section),
            "{}",
            key.section
        );
    }
    for builtin in builtins() {
        assert!(
            DOCS.contains(&format!("\n| `{}`", builtin.name)),
            "{}",
            builtin.name
        );
    }
}

/// The example of each key, which errors show, is itself right.
#[test]
fn every_example_of_a_key_is_toml() {
    for key in KEYS {
        let line = key.example;
        let header = line.starts_with('[');
        assert!(header || line.starts_with(key.name), "{line}");
        let parsed: Result<toml::Table, _> = toml::from_str(line);
        assert!(parsed.is_ok(), "{line}");
    }
}
