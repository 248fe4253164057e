//! A flag for every setting.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command};

use super::Values;
use super::keys::KEYS;
use super::layers::{Given, Layer, Origin};
use crate::failure::Failure;

/// `--config` and one flag for each setting.
#[derive(Clone, Debug)]
pub(crate) struct ConfigArgs {
    config: Option<PathBuf>,
    flags: Layer,
}

impl ConfigArgs {
    /// What holds with these flags in this process; `ffmpeg` is a flag of every command.
    pub(crate) fn values(&self, ffmpeg: Option<&std::path::Path>) -> Result<Values, Failure> {
        let mut flags = self.flags.clone();
        if let Some(path) = ffmpeg {
            let given = Given {
                text: path.to_string_lossy().into_owned(),
                origin: Origin::Flag("ffmpeg"),
            };
            flags.insert("ffmpeg", given);
        }
        let variable = || std::env::var_os("REELMILL_CONFIG").filter(|path| !path.is_empty());
        let config = self
            .config
            .clone()
            .or_else(|| variable().map(PathBuf::from));
        Values::gather(flags, config.as_deref())
    }
}

impl clap::FromArgMatches for ConfigArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |key: &&'static super::keys::Key| {
            let text = matches.try_get_one::<String>(key.name).ok()??.clone();
            let origin = Origin::Flag(key.flag);
            Some((key.name, Given { text, origin }))
        };
        Ok(Self {
            config: matches.get_one::<PathBuf>("config").cloned(),
            flags: own().filter_map(|key| given(&key)).collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for ConfigArgs {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("A TOML file of settings [default: $REELMILL_CONFIG, else none]");
        own().fold(command.arg(config), |command, key| {
            let default = match key.default {
                "" => "not set",
                default => default,
            };
            let arg = Arg::new(key.name)
                .long(key.flag)
                .value_name(key.value)
                .help(format!("{} [default: {default}]", key.about));
            command.arg(arg)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The settings whose flags are not those of every command.
fn own() -> impl Iterator<Item = &'static super::keys::Key> {
    KEYS.iter().filter(|key| key.name != "ffmpeg")
}
