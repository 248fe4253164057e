//! The service's front: who may come in, and the one place where it is started.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use reelmill_api::server::{self, Limits};
use reelmill_api::{Api, Keys};
use reelmill_common::profile::Profile;
use reelmill_stage::{Ports, Shutdown};
use tokio::net::TcpListener;

use crate::config::Settings;
use crate::failure::{Failure, io};

/// What must be right before anything is begun.
#[derive(Debug)]
pub(super) struct Front {
    keys: Option<Keys>,
    tls: Option<Arc<rustls::ServerConfig>>,
}

/// What the service works with.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) ports: Ports,
    /// Where bytes wait until they are a whole segment.
    pub(super) scratch: PathBuf,
    pub(super) profiles: Vec<Profile>,
    pub(super) metrics: PrometheusHandle,
    pub(super) shutdown: Shutdown,
}

impl Front {
    /// Reads keys and certificates.
    pub(super) fn read(settings: &Settings) -> Result<Self, Failure> {
        let tls = settings.tls.as_ref();
        let tls = tls.map(|(certificate, key)| {
            let config = server::tls(certificate, key);
            config.map_err(|error| Failure::usage(error.to_string()))
        });
        Ok(Self {
            keys: keys(settings)?,
            tls: tls.transpose()?,
        })
    }

    /// Where the service is reached.
    pub(super) fn url(&self, listener: &TcpListener) -> Result<String, Failure> {
        let address = listener
            .local_addr()
            .map_err(|error| Failure::failed(format!("cannot tell where it listens: {error}")))?;
        let scheme = match self.tls {
            Some(_) => "https",
            None => "http",
        };
        Ok(format!("{scheme}://{address}"))
    }
}

/// The keys of the file, or the one key of the settings.
fn keys(settings: &Settings) -> Result<Option<Keys>, Failure> {
    let keys = match (&settings.api_keys_file, &settings.api_key) {
        (Some(path), _) => {
            let text = String::from_utf8_lossy(&read(path)?).into_owned();
            let keys = Keys::parse(&text);
            keys.map_err(|error| Failure::usage(format!("`{}`: {error}", path.display())))?
        }
        (None, Some(key)) => {
            Keys::single(&key.0).map_err(|error| Failure::usage(error.to_string()))?
        }
        (None, None) => return Ok(None),
    };
    Ok(Some(keys))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::usage(io("read", path)(error).message))
}

/// Serves until shutdown, then until the requests in hand are answered.
pub(super) async fn start_http(
    listener: TcpListener,
    front: Front,
    service: Service,
    settings: Settings,
) {
    let metrics = service.metrics;
    let limits = Limits {
        header_timeout: settings.header_timeout,
        stall_timeout: settings.body_stall_timeout,
        max_connections: settings.max_connections,
        grace: settings.shutdown_grace,
        ..Limits::default()
    };
    let settings = reelmill_api::Settings {
        scratch: service.scratch,
        max_upload_bytes: settings.max_upload,
        upload_expiry: settings.upload_expiry,
        retention: settings.retention,
        slots: settings.slots,
        profiles: service.profiles,
        default_profile: settings.default_profile,
        cors_origins: settings.cors_origins,
        max_requests: settings.max_requests,
    };
    let mut api = Api::new(service.ports, settings, service.shutdown.clone());
    api.keys = front.keys;
    api.metrics = Arc::new(move || metrics.render());
    let router = reelmill_api::router(Arc::new(api));
    server::serve(listener, front.tls, limits, router, service.shutdown).await;
}
