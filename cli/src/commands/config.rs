//! `reelmill config`: what holds, where it came from, whether a file is right.

use serde_json::{Map, json};

use crate::args::{ConfigCommand, ToolArgs};
use crate::config::{Given, Values};
use crate::failure::Failure;
use crate::report::{print_json, print_line};

pub(crate) fn run(tools: &ToolArgs, command: &ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Print { settings, json } => {
            let values = settings.values(tools.ffmpeg.as_deref(), false)?;
            let checked = values.settings()?;
            let shown = |name: &str, secret: bool, given: &Given| match given.text.as_str() {
                "" => None,
                // A default is no secret.
                _ if secret && !given.is_default() => Some("(hidden)".to_owned()),
                "auto" if name == "slots" => Some(checked.slots.to_string()),
                text => Some(text.to_owned()),
            };
            if *json {
                let entry = |(key, given): (&'static crate::config::Key, &Given)| {
                    let value = shown(key.name, key.secret, given);
                    let from = given.origin.to_string();
                    (key.name.to_owned(), json!({ "value": value, "from": from }))
                };
                print_json(&values.iter().map(entry).collect::<Map<_, _>>());
                return Ok(());
            }
            for (key, given) in values.iter() {
                let value = shown(key.name, key.secret, given);
                let value = value.unwrap_or_else(|| "(not set)".to_owned());
                print_line(&format!("{:<19} {value:<24} {}", key.name, given.origin));
            }
            Ok(())
        }
        ConfigCommand::Check { file, json } => {
            Values::of_file(file)?.settings()?;
            match json {
                true => print_json(&json!({ "ok": true })),
                false => print_line(&format!("`{}` is right", file.display())),
            }
            Ok(())
        }
    }
}
