//! Puts the router behind a socket, plain or with TLS, and bounds what a client may take.

mod stall;
mod tls;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use reelmill_stage::Shutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

pub use stall::BodyStalled;
pub use tls::{TlsError, tls};

use stall::{CutBody, CutStream};

/// What clients may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a client may take for a request's head, for a TLS handshake, and between two
    /// requests on one connection.
    pub header_timeout: Duration,
    /// How long a client may send nothing of a body that it began, or take nothing of an answer.
    pub stall_timeout: Duration,
    /// The longest head of a request in bytes, at least 8 KiB.
    pub max_header_bytes: usize,
    /// How many connections there are at once; more wait in the kernel's queue.
    pub max_connections: usize,
    /// How long requests may go on once the service shuts down.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(60),
            max_header_bytes: 32 * 1024,
            max_connections: 1024,
            grace: Duration::from_secs(20),
        }
    }
}

/// Serves `router` to whoever connects, until the shutdown: then it takes no more, lets requests
/// finish within [`Limits::grace`], and cuts off what is left.
///
/// Event streams end by [`Api::closing`](crate::Api::closing), which should be the same switch.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    limits: Limits,
    router: Router,
    mut shutdown: Shutdown,
) {
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(
        limits.max_connections.clamp(1, Semaphore::MAX_PERMITS),
    ));
    let acceptor = tls.map(TlsAcceptor::from);
    let mut connections = JoinSet::new();
    loop {
        // First the room, then the client: whoever finds none waits in the kernel's queue.
        let next = async {
            let room = Arc::clone(&room).acquire_owned().await;
            (room, listener.accept().await)
        };
        let (room, accepted) = tokio::select! {
            () = shutdown.wait() => break,
            next = next => next,
            Some(_ended) = connections.join_next() => continue,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of files, or the client has gone already. Neither is for ever.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let client = Client {
            limits,
            peer,
            router: router.clone(),
            watcher: graceful.watcher(),
        };
        let acceptor = acceptor.clone();
        connections.spawn(async move {
            client.connected(stream, acceptor).await;
            drop(room);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.grace, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!(grace = ?limits.grace, "requests are cut off by the shutdown");
    }
    connections.shutdown().await;
}

/// One connection.
struct Client {
    limits: Limits,
    peer: SocketAddr,
    router: Router,
    watcher: Watcher,
}

impl Client {
    async fn connected(self, stream: TcpStream, acceptor: Option<TlsAcceptor>) {
        // Events and small answers are not to wait for more; without it they are only later.
        stream.set_nodelay(true).ok();
        let stream = Box::pin(CutStream::new(stream, self.limits.stall_timeout));
        let Some(acceptor) = acceptor else {
            return self.serve(stream).await;
        };
        let peer = self.peer;
        let handshake = acceptor.accept(stream);
        match tokio::time::timeout(self.limits.header_timeout, handshake).await {
            Ok(Ok(stream)) => self.serve(stream).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
            Err(_elapsed) => tracing::debug!(%peer, "a TLS handshake took too long"),
        }
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + 'static) {
        let Self {
            limits,
            peer,
            router,
            watcher,
        } = self;
        let service = service_fn(move |request: Request<Incoming>| {
            let router = router.clone();
            async move {
                let request =
                    request.map(|body| Body::new(CutBody::new(body, limits.stall_timeout)));
                let answer: Result<Response<Body>, _> = router.oneshot(request).await;
                answer
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(limits.max_header_bytes.max(MAX_BUFFER))
            .max_header_size(limits.max_header_bytes.max(8 * 1024))
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = pin!(watcher.watch(connection)).await {
            // The client's own doing, most often: it went away, or was too slow.
            tracing::debug!(%peer, %error, "a connection ended early");
        }
    }
}

/// How much hyper may read or write ahead on a connection.
const MAX_BUFFER: usize = 256 * 1024;
