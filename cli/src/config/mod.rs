//! The settings of the service, and where each came from.
//!
//! Every layer is text until the end: a value is checked in one place, whichever layer it came
//! from, and an error points at that layer. What is in [`keys::KEYS`] is all there is.

mod args;
mod backends;
mod keys;
mod layers;
mod value;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use args::ConfigArgs;
#[cfg(feature = "cluster")]
pub(crate) use args::PortArgs;
pub(crate) use backends::{Backends, Kafka, LedgerAt, QueueAt, Role, S3, StoreAt};
pub(crate) use keys::{KEYS, Key};
pub(crate) use layers::{Given, Layer};
pub(crate) use value::{duration, window};

use reelmill_splitter::WorkBounds;

use crate::failure::Failure;
use layers::{common_variables, defaults, file, variables};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    Text,
    Json,
}

/// A text that no `Debug` shows.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

/// The settings of the service, checked; `keys.rs` says what each is.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) data: PathBuf,
    pub(crate) backends: Backends,
    pub(crate) roles: Vec<Role>,
    pub(crate) output_links: bool,
    pub(crate) metrics_listen: Option<SocketAddr>,
    pub(crate) listen: SocketAddr,
    pub(crate) slots: u32,
    pub(crate) window_ms: Option<u32>,
    pub(crate) ffmpeg: Option<PathBuf>,
    pub(crate) default_profile: String,
    pub(crate) profiles_dir: Option<PathBuf>,
    pub(crate) max_upload: u64,
    pub(crate) upload_expiry: Duration,
    pub(crate) retention: Option<Duration>,
    pub(crate) source_cache: u64,
    pub(crate) bounds: WorkBounds,
    pub(crate) api_key: Option<Secret>,
    pub(crate) api_keys_file: Option<PathBuf>,
    /// Certificate chain and private key.
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    pub(crate) cors_origins: Vec<String>,
    pub(crate) max_connections: usize,
    pub(crate) max_requests: usize,
    pub(crate) header_timeout: Duration,
    pub(crate) body_stall_timeout: Duration,
    pub(crate) shutdown_grace: Duration,
    pub(crate) lease: Duration,
    pub(crate) log: String,
    pub(crate) log_format: LogFormat,
}

/// All layers laid over each other, each value as it was written.
#[derive(Clone, Debug)]
pub(crate) struct Values(Layer);

impl Values {
    /// What holds for a command with these flags in this process.
    /// `in_parts` is for the processes of a service in parts: they heed [`keys::COMMON_VARIABLES`].
    pub(crate) fn gather(
        flags: Layer,
        config: Option<&Path>,
        in_parts: bool,
    ) -> Result<Self, Failure> {
        let mut values = defaults();
        if in_parts {
            values.extend(common_variables(std::env::vars_os()));
        }
        if let Some(path) = config {
            values.extend(file(path)?);
        }
        values.extend(variables(std::env::vars_os())?);
        values.extend(flags);
        Ok(Self(values))
    }

    /// What holds where there is nothing but a file.
    pub(crate) fn of_file(path: &Path) -> Result<Self, Failure> {
        let mut values = defaults();
        values.extend(file(path)?);
        Ok(Self(values))
    }

    /// Every value in the order of [`KEYS`], without unset settings that
    /// this build does not use.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static Key, &Given)> {
        let given = |key: &'static Key| Some((key, self.0.get(key.name)?));
        let pairs = KEYS.iter().filter_map(given);
        pairs.filter(|(key, given)| key.is_shown() || !given.is_default())
    }

    fn given(&self, name: &str) -> Result<&Given, Failure> {
        let missing = || Failure::failed(format!("there is no setting `{name}`"));
        self.0.get(name).ok_or_else(missing)
    }

    /// A value that is always there.
    fn get<T>(&self, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<T, Failure> {
        let given = self.given(name)?;
        read(&given.text)
            .map_err(|refusal| Failure::usage(format!("{}: `{name}`: {refusal}", given.origin)))
    }

    /// A value that need not be set.
    fn optional<T>(&self, name: &str, make: impl Fn(&str) -> T) -> Result<Option<T>, Failure> {
        let text = &self.given(name)?.text;
        Ok((!text.is_empty()).then(|| make(text)))
    }

    fn path(&self, name: &str) -> Result<Option<PathBuf>, Failure> {
        self.optional(name, |text| PathBuf::from(text))
    }

    /// By default the tools are looked for as every other command looks for them.
    fn ffmpeg(&self) -> Result<Option<PathBuf>, Failure> {
        match self.given("ffmpeg")?.is_default() {
            true => Ok(None),
            false => self.path("ffmpeg"),
        }
    }

    /// The settings, each checked, and those that need each other as well.
    pub(crate) fn settings(&self) -> Result<Settings, Failure> {
        let not_empty = |text: &str| match text.is_empty() {
            true => Err("it must not be empty".to_owned()),
            false => Ok(text.to_owned()),
        };
        let settings = Settings {
            data: self.get("data", not_empty)?.into(),
            backends: self.backends()?,
            roles: self.get("roles", backends::roles)?,
            output_links: self.get("output_links", value::yes_or_no)?,
            metrics_listen: match self.given("metrics_listen")?.text.is_empty() {
                true => None,
                false => Some(self.get("metrics_listen", value::address)?),
            },
            listen: self.get("listen", value::address)?,
            slots: self.get("slots", value::slots)?,
            window_ms: self.get("window", value::window_or_auto)?,
            ffmpeg: self.ffmpeg()?,
            default_profile: self.get("default_profile", not_empty)?,
            profiles_dir: self.path("profiles_dir")?,
            max_upload: self.get("max_upload", value::size)?,
            upload_expiry: self.get("upload_expiry", value::duration)?,
            retention: self.get("retention", value::duration_or_none)?,
            source_cache: self.get("source_cache", value::size)?,
            bounds: WorkBounds {
                frame_megapixels: self.get("max_frame_megapixels", value::pixels)?,
                decode_gigapixels: self.get("max_decode_gigapixels", value::pixels)?,
            },
            api_key: self.optional("api_key", |text| Secret(text.to_owned()))?,
            api_keys_file: self.path("api_keys_file")?,
            tls: self.tls()?,
            cors_origins: self.get("cors_origins", |text| Ok(value::list(text)))?,
            max_connections: self.get("max_connections", value::count)?,
            max_requests: self.get("max_requests", value::count)?,
            header_timeout: self.get("header_timeout", value::duration)?,
            body_stall_timeout: self.get("body_stall_timeout", value::duration)?,
            shutdown_grace: self.get("shutdown_grace", value::duration)?,
            lease: self.get("lease", lease)?,
            log: self.get("log", filter)?,
            log_format: self.get("log_format", log_format)?,
        };
        if settings.api_key.is_some() && settings.api_keys_file.is_some() {
            return Err(self.too_much("api_key", "api_keys_file"));
        }
        self.reachable_only_with_a_key(&settings)?;
        Ok(settings)
    }

    fn tls(&self) -> Result<Option<(PathBuf, PathBuf)>, Failure> {
        match (self.path("tls_cert")?, self.path("tls_key")?) {
            (None, None) => Ok(None),
            (Some(cert), Some(key)) => Ok(Some((cert, key))),
            (Some(_), None) => Err(self.half("tls_cert", "tls_key")),
            (None, Some(_)) => Err(self.half("tls_key", "tls_cert")),
        }
    }

    fn too_much(&self, one: &str, other: &str) -> Failure {
        let origin = |name| {
            let given = self.0.get(name);
            given
                .map(|given| given.origin.to_string())
                .unwrap_or_default()
        };
        Failure::usage(format!(
            "`{one}` ({}) and `{other}` ({}) are both set: one of them is enough",
            origin(one),
            origin(other)
        ))
    }

    fn half(&self, set: &str, missing: &str) -> Failure {
        let origin = self.0.get(set).map(|given| &given.origin);
        let origin = origin.map(ToString::to_string).unwrap_or_default();
        Failure::usage(format!(
            "{origin}: `{set}` is of no use without `{missing}`: set both, or neither"
        ))
    }

    /// Whoever reaches the service may fill its disk and read all that is on it.
    fn reachable_only_with_a_key(&self, settings: &Settings) -> Result<(), Failure> {
        let open = settings.api_key.is_none() && settings.api_keys_file.is_none();
        if settings.listen.ip().is_loopback() || !open {
            return Ok(());
        }
        let origin = &self.given("listen")?.origin;
        Err(Failure::usage(format!(
            "{origin}: `{}` is reached from other machines, and anybody there could use the service: set `api_key` (or REELMILL_API_KEY) or `api_keys_file`, or listen on 127.0.0.1",
            settings.listen
        )))
    }
}

/// Leases are renewed twice a second; a shorter one would be lost to any hiccup.
fn lease(text: &str) -> Result<Duration, String> {
    match value::duration(text)? {
        lease if lease >= Duration::from_secs(5) => Ok(lease),
        _ => Err(format!("`{text}` is shorter than 5s")),
    }
}

fn filter(text: &str) -> Result<String, String> {
    match text.parse::<tracing_subscriber::EnvFilter>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!(
            "`{text}` is not a filter: {error}; write one such as `info` or `info,reelmill_stage=debug`"
        )),
    }
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "auto" => Ok(LogFormat::Auto),
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("`{text}` is none of `auto`, `text` and `json`")),
    }
}

#[cfg(test)]
mod tests;
