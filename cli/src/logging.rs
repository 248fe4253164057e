//! Words for engineers, on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, Settings};
use crate::failure::Failure;

/// For commands that speak for themselves: silent unless `REELMILL_LOG` asks.
pub(crate) fn of_a_command() {
    let filter = EnvFilter::try_from_env("REELMILL_LOG").unwrap_or_else(|_unset| "off".into());
    start(filter, false);
}

/// For the service: what its settings ask for. Tells whether its lines are JSON.
pub(crate) fn of_the_service(settings: &Settings) -> Result<bool, Failure> {
    let filter = settings
        .log
        .parse::<EnvFilter>()
        .map_err(|error| Failure::usage(format!("`log`: {error}")))?;
    let json = match settings.log_format {
        LogFormat::Auto => !std::io::stderr().is_terminal(),
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    start(filter, json);
    Ok(json)
}

fn start(filter: EnvFilter, json: bool) {
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours && !json);
    // Whoever set up logging first in this process, a test say, has it.
    match json {
        // `spans` has the innermost one as well.
        true => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .try_init()
            .ok(),
        false => lines.try_init().ok(),
    };
}
