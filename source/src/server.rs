//! Serves stored sources to the programs of this machine: HTTP range requests on loopback, each
//! opened source at an address that nobody can guess and that ends with the opening.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, IF_RANGE, RANGE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::serve::ListenerExt as _;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reelmill_common::LoopbackUrl;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::SourceError;
use crate::cache::Cache;
use crate::range::{Wanted, wanted};
use crate::reader::Reader;
use crate::stored::Stored;

/// What a name may hold in an address as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Characters of a name that are kept, the last ones: an ending may tell ffmpeg what it is.
const NAME_CHARS: usize = 200;

/// Bytes on their way to one reader. Left to itself the kernel takes megabytes in, which are read
/// for nothing when ffmpeg seeks, and look as if ffmpeg read on.
const SEND_BUFFER: u32 = 256 * 1024;

/// Connections that wait to be taken.
const BACKLOG: u32 = 1024;

/// The server of this process; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    port: u16,
    routes: Arc<Routes>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Routes {
    cache: Arc<Cache>,
    by_path: Mutex<HashMap<String, Arc<Route>>>,
}

/// One opening of a source.
#[derive(Debug)]
struct Route {
    source: Arc<Stored>,
    is_closed: AtomicBool,
    failure: Mutex<Option<Arc<SourceError>>>,
}

/// Keeps an address working for as long as it lives.
#[derive(Debug)]
pub(crate) struct Registration {
    path: String,
    route: Arc<Route>,
    routes: Arc<Routes>,
}

impl Server {
    /// Starts to listen, within a runtime.
    pub(crate) fn start(cache: Cache) -> Result<Self, SourceError> {
        let listener = listen().map_err(SourceError::Serve)?;
        let port = listener.local_addr().map_err(SourceError::Serve)?.port();
        let listener = listener.tap_io(|stream| {
            // Only makes it faster.
            stream.set_nodelay(true).ok();
        });
        let routes = Arc::new(Routes {
            cache: Arc::new(cache),
            by_path: Mutex::default(),
        });
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&routes));
        let task = tokio::spawn(async move {
            // Never ends by itself.
            axum::serve(listener, router).await.ok();
        });
        Ok(Self { port, routes, task })
    }

    /// Gives a source an address.
    pub(crate) fn register(&self, source: Stored) -> (LoopbackUrl, Registration) {
        let name = source.list.name.clone();
        let secret = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let path = format!("/{secret}/{}", file_name(&name));
        let route = Arc::new(Route {
            source: Arc::new(source),
            is_closed: AtomicBool::new(false),
            failure: Mutex::default(),
        });
        let routes = Arc::clone(&self.routes);
        routes.lock().insert(path.clone(), Arc::clone(&route));
        let url = LoopbackUrl::new(self.port, path.clone(), name);
        let registration = Registration {
            path,
            route,
            routes,
        };
        (url, registration)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Registration {
    /// The first reason for which a reader was not given what it asked for.
    pub(crate) fn failure(&self) -> Option<Arc<SourceError>> {
        self.route.failure().clone()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.routes.lock().remove(&self.path);
        self.route.is_closed.store(true, Ordering::Relaxed);
    }
}

impl Routes {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Route>>> {
        self.by_path.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Route {
    fn failure(&self) -> MutexGuard<'_, Option<Arc<SourceError>>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket on loopback, on a port that was free.
fn listen() -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    socket.listen(BACKLOG)
}

/// A name as the last part of an address: demuxers go by its ending as they do by that of a file.
fn file_name(name: &str) -> String {
    let skip = name.chars().count().saturating_sub(NAME_CHARS);
    let kept: String = name.chars().skip(skip).collect();
    if kept.chars().all(|c| c == '.') {
        return "source".to_owned();
    }
    utf8_percent_encode(&kept, PLAIN).to_string()
}

async fn answer(State(routes): State<Arc<Routes>>, request: Request) -> Response {
    let asked = request
        .uri()
        .path_and_query()
        .map_or("", |path| path.as_str());
    let route = routes.lock().get(asked).map(Arc::clone);
    let Some(route) = route else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, HEAD")]).into_response();
    }
    let headers = request.headers();
    let size = route.source.list.size;
    // Nothing here has a validator that a condition could name.
    let is_conditional = headers.contains_key(IF_RANGE);
    let header = headers.get(RANGE).filter(|_| !is_conditional);
    let (status, range) = match wanted(header.and_then(|value| value.to_str().ok()), size) {
        Wanted::Whole => (StatusCode::OK, 0..size),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Wanted::Nothing => {
            let all = format!("bytes */{size}");
            return (StatusCode::RANGE_NOT_SATISFIABLE, [(CONTENT_RANGE, all)]).into_response();
        }
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    // No content type: demuxers would go by it, and by path there is none.
    let headers = response.headers_mut();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_LENGTH, (range.end - range.start).into());
    if status == StatusCode::PARTIAL_CONTENT {
        let part = format!("bytes {}-{}/{size}", range.start, range.end - 1);
        if let Ok(part) = HeaderValue::try_from(part) {
            headers.insert(CONTENT_RANGE, part);
        }
    }
    if request.method() == Method::GET {
        *response.body_mut() = body(&routes.cache, route, range);
    }
    response
}

/// The bytes of a range, read as the other side takes them. An error breaks the connection off,
/// since it is too late to say it in any other way; ffmpeg may take that for the end, so that it is
/// remembered.
fn body(cache: &Arc<Cache>, route: Arc<Route>, range: std::ops::Range<u64>) -> Body {
    let reader = Reader::new(Arc::clone(cache), Arc::clone(&route.source), range);
    let pieces = futures::stream::try_unfold((reader, route), |(mut reader, route)| async move {
        if route.is_closed.load(Ordering::Relaxed) {
            return Err(std::io::Error::other("the source was closed"));
        }
        match reader.next().await {
            Ok(piece) => Ok(piece.map(|piece| (piece, (reader, route)))),
            Err(error) => {
                let told = std::io::Error::other(Arc::clone(&error));
                route.failure().get_or_insert(error);
                Err(told)
            }
        }
    });
    Body::from_stream(pieces)
}
