//! Every file in `profiles/invalid` is refused with exactly the message beside it.
//!
//! After a deliberate change run the tests with `REELMILL_BLESS=1` and read the difference.

use std::path::Path;

use reelmill_common::profile::parse;

#[test]
fn invalid_profiles_are_refused_with_these_words() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/profiles/invalid");
    let bless = std::env::var_os("REELMILL_BLESS").is_some();
    let mut checked = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let error = parse(&text, &name).expect_err(&name);
        let message = format!("{error}\n");
        let golden = path.with_extension("txt");
        if bless {
            std::fs::write(&golden, &message).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).expect(&name);
        assert_eq!(message, expected, "{name}");
        let line = text.lines().nth(error.line() - 1).unwrap_or_default();
        assert!(
            message.contains(line.trim_end()),
            "{name}: the line is not shown"
        );
        assert!(
            !error.message().ends_with('.') && !error.message().contains('\n'),
            "{name}"
        );
        checked += 1;
    }
    assert!(checked >= 15, "{checked}");
}
