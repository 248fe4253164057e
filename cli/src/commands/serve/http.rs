//! The service's front: who may come in, and the one place where it is started.

use std::path::PathBuf;
use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use reelmill_api::server::{Limits, serve, tls};
use reelmill_api::{Api, Keys, health, router};
use reelmill_common::profile::Profile;
use reelmill_stage::{Ports, Shutdown};
use tokio::net::TcpListener;

use super::Part;
use crate::config::Settings;
use crate::failure::{Exit, Failure, io};

/// Keys and certificates: what must be right before anything is begun.
#[derive(Debug)]
pub(super) struct Front {
    part: Part,
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
    /// Reads keys and certificates. What a worker answers needs neither.
    pub(super) fn read(settings: &Settings, part: Part) -> Result<Self, Failure> {
        if part == Part::Worker {
            return Ok(Self {
                part,
                keys: None,
                tls: None,
            });
        }
        let keys = match (&settings.api_key, &settings.api_keys_file) {
            (Some(key), _) => {
                let keys = Keys::single(&key.0);
                Some(keys.map_err(|error| Failure::usage(error.to_string()))?)
            }
            (None, Some(file)) => {
                let text = std::fs::read_to_string(file).map_err(|error| Failure {
                    exit: Exit::Usage,
                    ..io("read", file)(error)
                })?;
                let keys = Keys::parse(&text);
                Some(
                    keys.map_err(|error| Failure::usage(format!("`{}`: {error}", file.display())))?,
                )
            }
            (None, None) => None,
        };
        let tls = match &settings.tls {
            Some((certificate, key)) => {
                let tls = tls(certificate, key);
                Some(tls.map_err(|error| Failure::usage(error.to_string()))?)
            }
            None => None,
        };
        Ok(Self { part, keys, tls })
    }

    /// Where the service is reached.
    pub(super) fn url(&self, listener: &TcpListener) -> Result<String, Failure> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let address = listener
            .local_addr()
            .map_err(|error| Failure::failed(format!("cannot tell where it listens: {error}")))?;
        Ok(format!("{scheme}://{address}"))
    }
}

/// Serves until shutdown, then until the requests in hand are answered. Without a listener it only
/// waits.
pub(super) async fn start_http(
    listener: Option<TcpListener>,
    front: Front,
    service: Service,
    settings: Settings,
) {
    let Some(listener) = listener else {
        let mut shutdown = service.shutdown;
        return shutdown.wait().await;
    };
    let limits = Limits {
        header_timeout: settings.header_timeout,
        stall_timeout: settings.body_stall_timeout,
        max_connections: settings.max_connections,
        grace: settings.shutdown_grace,
        ..Limits::default()
    };
    let how = reelmill_api::Settings {
        scratch: service.scratch,
        max_upload_bytes: settings.max_upload,
        upload_expiry: settings.upload_expiry,
        retention: settings.retention,
        slots: settings.slots,
        window_ms: settings.window_ms,
        profiles: service.profiles,
        default_profile: settings.default_profile,
        output_links: settings.output_links,
        cors_origins: settings.cors_origins,
        max_requests: settings.max_requests,
    };
    let metrics = service.metrics;
    let mut api = Api::new(service.ports, how, service.shutdown.clone());
    api.keys = front.keys;
    api.metrics = Arc::new(move || metrics.render());
    let router = match front.part {
        Part::Whole | Part::Api => router(Arc::new(api)),
        Part::Worker => health(Arc::new(api)),
    };
    serve(listener, front.tls, limits, router, service.shutdown).await;
}
