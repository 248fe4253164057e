use super::*;

/// What a file of this text does.
fn of_text(text: &str) -> Result<Settings, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let settings = Values::of_file(file.path()).and_then(|values| values.settings());
    let name = file.path().display().to_string();
    settings.map_err(|failure| failure.message.replace(&name, "FILE"))
}

#[test]
fn nothing_said_is_right() {
    let settings = of_text("").unwrap();
    assert_eq!(settings.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.retention, None);
    assert_eq!(settings.ffmpeg, None);
    assert!(settings.slots >= 1);
}

#[test]
fn a_file_may_say_everything() {
    let text = r#"
        data = "/srv/reelmill"
        listen = "0.0.0.0:443"
        slots = 4
        retention = "7d"
        max_upload = "2 TB"
        api_key = "0123"
        tls_cert = "cert.pem"
        tls_key = "key.pem"
        cors_origins = ["https://a.example", "https://b.example"]
        log_format = "json"
    "#;
    let settings = of_text(text).unwrap();
    assert_eq!(settings.slots, 4);
    assert_eq!(settings.retention, Some(Duration::from_secs(604_800)));
    assert_eq!(settings.max_upload, 2_000_000_000_000);
    assert_eq!(settings.api_key, Some(Secret("0123".to_owned())));
    assert_eq!(settings.cors_origins.len(), 2);
    assert_eq!(settings.log_format, LogFormat::Json);
    assert!(!format!("{settings:?}").contains("0123"));
}

/// Each error is one sentence that points at the line and says the way out.
#[test]
fn wrong_files_are_refused_with_the_line() {
    let cases = [
        (
            "# mine\nlisten = \"127.0.0.1:80\"\nmax_uplaod = \"1 GB\"\n",
            "FILE:3: `max_uplaod` is not a setting: did you mean `max_upload`?",
        ),
        (
            "slots = \"many\"",
            "FILE:1: `slots`: `many` is not a whole number from 1 to 1024, nor `auto`",
        ),
        (
            "\nretention = 7",
            "FILE:2: `retention`: `7` is not a time: write one such as `30s`, `12h` or `7d`, or `none`",
        ),
        ("data = \"\"", "FILE:1: `data`: it must not be empty"),
        (
            "slots = true",
            "FILE:1: `slots` is neither text, a number, nor a list of texts",
        ),
        (
            "tls_cert = \"a.pem\"",
            "FILE:1: `tls_cert` is of no use without `tls_key`: set both, or neither",
        ),
        (
            "listen = \"0.0.0.0:80\"",
            "FILE:1: `0.0.0.0:80` is reached from other machines, and anybody there could use the service: set `api_key` (or REELMILL_API_KEY) or `api_keys_file`, or listen on 127.0.0.1",
        ),
        (
            "log_format = \"xml\"",
            "FILE:1: `log_format`: `xml` is none of `auto`, `text` and `json`",
        ),
        ("lease = \"1s\"", "FILE:1: `lease`: `1s` is shorter than 5s"),
    ];
    for (text, error) in cases {
        assert_eq!(of_text(text).unwrap_err(), error, "{text}");
    }
    let broken = of_text("slots = 1\nlisten =\n").unwrap_err();
    assert!(broken.starts_with("FILE:2: not TOML: "), "{broken}");
    let far = of_text("banana = 1").unwrap_err();
    assert!(far.contains("there are data, listen, slots"), "{far}");
}

/// docs/configuration.md has one row for each setting, with the default that the code has.
#[test]
fn the_documented_defaults_are_those_of_the_code() {
    let docs = include_str!("../../../docs/configuration.md");
    let rows: Vec<Vec<&str>> = docs
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let documented: Vec<(&str, &str)> = rows
        .iter()
        .filter(|row| row.len() == 6)
        .map(|row| (row[1].trim_matches('`'), row[3].trim_matches('`')))
        .collect();
    let shown = |key: &Key| match key.default {
        "" => "not set",
        default => default,
    };
    let code: Vec<(&str, &str)> = KEYS.iter().map(|key| (key.name, shown(key))).collect();
    assert_eq!(documented, code);
    for (row, key) in rows.iter().filter(|row| row.len() == 6).zip(KEYS) {
        assert_eq!(row[2].trim_matches('`'), format!("--{}", key.flag));
    }
}

#[test]
fn a_flag_is_its_key_with_dashes() {
    for key in KEYS {
        assert_eq!(key.flag, key.name.replace('_', "-"));
    }
}
