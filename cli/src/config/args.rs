//! A flag for every setting.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command};

use super::Values;
use super::keys::{KEYS, Key};
use super::layers::{Given, Layer, Origin};
use crate::failure::Failure;

/// `--config` and one flag for each setting.
#[derive(Clone, Debug)]
pub(crate) struct ConfigArgs {
    config: Option<PathBuf>,
    flags: Layer,
}

#[cfg(feature = "cluster")]
/// The same with the flags of the three ports alone, for commands that look into them.
#[derive(Clone, Debug)]
pub(crate) struct PortArgs(pub(crate) ConfigArgs);

impl ConfigArgs {
    /// What holds with these flags in this process; `ffmpeg` is a flag of every command, `in_parts` as
    /// for [`Values::gather`].
    pub(crate) fn values(&self, ffmpeg: Option<&Path>, in_parts: bool) -> Result<Values, Failure> {
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
        Values::gather(flags, config.as_deref(), in_parts)
    }

    fn of(matches: &ArgMatches, has_flag: fn(&Key) -> bool) -> Self {
        let given = |key: &'static Key| {
            let text = matches.try_get_one::<String>(key.name).ok()??.clone();
            let origin = Origin::Flag(key.flag);
            Some((key.name, Given { text, origin }))
        };
        let keys = KEYS.iter().filter(|key| has_flag(key));
        Self {
            config: matches.get_one::<PathBuf>("config").cloned(),
            flags: keys.filter_map(given).collect(),
        }
    }
}

/// Whether a setting's flag is not one of every command.
fn of_the_service(key: &Key) -> bool {
    key.name != "ffmpeg"
}

#[cfg(feature = "cluster")]
fn of_the_ports(key: &Key) -> bool {
    let ports = ["queue", "store", "ledger"];
    ports.contains(&key.name) || key.name.starts_with("kafka_") || key.name.starts_with("s3_")
}

fn augment(command: Command, has_flag: fn(&Key) -> bool) -> Command {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help("A TOML file of settings [default: $REELMILL_CONFIG, else none]");
    let keys = KEYS.iter().filter(|key| has_flag(key));
    keys.fold(command.arg(config), |command, key| {
        let default = match key.default {
            "" => "not set",
            default => default,
        };
        let arg = Arg::new(key.name)
            .long(key.flag)
            .value_name(key.value)
            .hide(!key.is_shown())
            .help(format!("{} [default: {default}]", key.about));
        command.arg(arg)
    })
}

impl clap::FromArgMatches for ConfigArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self::of(matches, of_the_service))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for ConfigArgs {
    fn augment_args(command: Command) -> Command {
        augment(command, of_the_service)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

#[cfg(feature = "cluster")]
impl clap::FromArgMatches for PortArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(ConfigArgs::of(matches, of_the_ports)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(feature = "cluster")]
impl clap::Args for PortArgs {
    fn augment_args(command: Command) -> Command {
        augment(command, of_the_ports)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
