//! The connection to the server: one, shared by all calls, and made anew when it is of no more use.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{
    Client, ErrorKind, IntoConnectionInfo as _, RedisError, ScriptInvocation, ServerErrorKind,
    TlsCertificates, Value,
};

use super::RedisOptions;
use super::failure::Failure;

/// Oftener than what forgets idle connections on the way does so.
const KEEPALIVE: Duration = Duration::from_secs(60);

pub(super) struct Connection {
    client: Client,
    config: ConnectionManagerConfig,
    /// Without user and password; for sentences.
    address: String,
    current: Mutex<Current>,
}

struct Current {
    manager: ConnectionManager,
    /// How often it was replaced, so that of many calls that fail at once one does it.
    serial: u64,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects, and makes sure that the server is one that keeps leases.
    pub(super) async fn open(options: &RedisOptions) -> Result<Self, Failure> {
        let client = client(options).map_err(Failure::Address)?;
        let address = client.get_connection_info().addr().to_string();
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(options.connect_timeout))
            .set_response_timeout(Some(options.response_timeout))
            // Callers try again by their own rules: an outage is to be told soon.
            .set_number_of_retries(1);
        let manager = ConnectionManager::new_with_config(client.clone(), config.clone()).await;
        let manager = manager.map_err(|error| Failure::of(&address, error))?;
        refuse_eviction(&address, manager.clone()).await?;
        Ok(Self {
            client,
            config,
            address,
            current: Mutex::new(Current { manager, serial: 0 }),
        })
    }

    pub(super) async fn call(&self, script: &ScriptInvocation<'_>) -> Result<Value, Failure> {
        let (mut manager, serial) = {
            let current = self.current();
            (current.manager.clone(), current.serial)
        };
        let answer = script.invoke_async(&mut manager).await;
        answer.map_err(|error| {
            // The manager connects anew by itself when a connection is dropped, but only then. One
            // that is swallowed on the way, leads to a server that was demoted, or could not log in
            // would fail for ever.
            if !error.is_connection_dropped() {
                self.replace(serial);
            }
            Failure::of(&self.address, error)
        })
    }

    fn replace(&self, serial: u64) {
        let mut current = self.current();
        if current.serial != serial {
            return;
        }
        let manager =
            ConnectionManager::new_lazy_with_config(self.client.clone(), self.config.clone());
        // It does not connect yet and so cannot fail; if it did, the old one stays.
        if let Ok(manager) = manager {
            let serial = serial.wrapping_add(1);
            *current = Current { manager, serial };
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn client(options: &RedisOptions) -> Result<Client, RedisError> {
    let tcp = TcpSettings::default()
        // Many small calls share the connection: none is to wait for the answer to another.
        .set_nodelay(true)
        .set_keepalive(TcpKeepalive::new().with_time(KEEPALIVE));
    let info = options.url.as_str().into_connection_info()?;
    let info = info.set_tcp_settings(tcp);
    match &options.certificates {
        None => Client::open(info),
        Some(certificates) => {
            let certificates = TlsCertificates {
                client_tls: None,
                root_cert: Some(certificates.clone()),
            };
            Client::build_with_tls(info, certificates)
        }
    }
}

/// A lease that the server dropped to make room would let two workers encode the same chunk, and a
/// dropped list of tasks would make a job whole too early. Neither has an expiry: only the keys of
/// jobs that have ended do. So the policies that take no others are fine, and all that a full
/// server loses by them is what would be forgotten soon.
async fn refuse_eviction(address: &str, mut manager: ConnectionManager) -> Result<(), Failure> {
    const SETTING: &str = "maxmemory-policy";
    let mut ask = redis::cmd("CONFIG");
    ask.arg("GET").arg(SETTING);
    let answer = ask
        .query_async::<HashMap<String, String>>(&mut manager)
        .await;
    let why = match answer {
        Ok(settings) => match settings.get(SETTING) {
            Some(policy) if policy == "noeviction" || policy.starts_with("volatile-") => {
                return Ok(());
            }
            Some(policy) => {
                let (address, policy) = (address.to_owned(), policy.clone());
                return Err(Failure::Evicting { address, policy });
            }
            None => "it has no such setting".to_owned(),
        },
        // Managed servers do not let everybody read their settings.
        Err(error) if is_refusal(&error) => error.to_string(),
        Err(error) => return Err(Failure::of(address, error)),
    };
    tracing::warn!(
        address,
        why,
        "cannot read `maxmemory-policy` of redis: make sure that it is `noeviction`"
    );
    Ok(())
}

fn is_refusal(error: &RedisError) -> bool {
    use ServerErrorKind::{NoPerm, ResponseError};
    matches!(error.kind(), ErrorKind::Server(NoPerm | ResponseError))
}
