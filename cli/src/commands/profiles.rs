//! `reelmill profiles`: list, show, check.

use reelmill_common::profile::{self, Profile};
use serde_json::json;

use super::read_profile;
use crate::args::{ProfilesArgs, ProfilesCommand};
use crate::failure::Failure;
use crate::report::{print_json, print_line};

pub(crate) fn run(args: &ProfilesArgs) -> Result<(), Failure> {
    match &args.command {
        ProfilesCommand::List { json } => list(*json),
        ProfilesCommand::Show { name, json } => show(name, *json),
        ProfilesCommand::Check { file, json } => {
            let profile = read_profile(file)?;
            if *json {
                print_json(&profile);
            } else {
                print_line(&format!(
                    "`{}` is right: {}",
                    file.display(),
                    describe(&profile)
                ));
            }
            Ok(())
        }
    }
}

fn list(json: bool) -> Result<(), Failure> {
    let mut profiles = Vec::new();
    for builtin in profile::builtins() {
        profiles.push(
            builtin
                .profile()
                .map_err(|error| Failure::usage(error.to_string()))?,
        );
    }
    if json {
        print_json(&profiles);
        return Ok(());
    }
    for profile in &profiles {
        let mark = if profile.name == profile::DEFAULT {
            " (default)"
        } else {
            ""
        };
        print_line(&format!(
            "{:<12} {}{mark}",
            profile.name, profile.description
        ));
    }
    Ok(())
}

fn show(name: &str, json: bool) -> Result<(), Failure> {
    let Some(builtin) = profile::builtin(name) else {
        let names: Vec<&str> = profile::builtins()
            .iter()
            .map(|builtin| builtin.name)
            .collect();
        let names = names.join(", ");
        return Err(Failure::usage(format!(
            "there is no built-in profile `{name}`: there are {names}"
        )));
    };
    if json {
        let profile = builtin
            .profile()
            .map_err(|error| Failure::usage(error.to_string()))?;
        print_json(&json!({ "name": builtin.name, "file": builtin.text, "profile": profile }));
    } else {
        print_line(builtin.text.trim_end());
    }
    Ok(())
}

fn describe(profile: &Profile) -> String {
    let rungs: Vec<&str> = profile
        .video
        .iter()
        .map(|rung| rung.name.as_str())
        .collect();
    let picture = if rungs.is_empty() {
        "no picture".to_owned()
    } else {
        rungs.join(", ")
    };
    let sound = if profile.audio.is_some() {
        "audio"
    } else {
        "no audio"
    };
    format!("profile `{}` with {picture} and {sound}", profile.name)
}
