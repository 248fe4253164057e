//! A proxy in front of a server under test. For each request, the test decides its [`Fate`]. Only tests
//! depend on this crate.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "helpers of tests fail by panicking"
)]

use std::fmt::{self, Debug};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub mod http;
mod protocol;
pub mod redis;

pub use protocol::{Protocol, Response, Stream};

/// How long [`Proxy::wait_for`] waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// The fate of a request `R`.
#[derive(Clone, Debug)]
pub enum Fate<R> {
    /// The server receives it, and the client receives the response.
    Pass,
    /// The client receives the response so much later.
    Delay(Duration),
    /// The connection is cut before the server receives the request.
    Lost,
    /// The connection is cut after the server has responded, and before the client receives anything.
    ResponseLost,
    /// The client receives so many bytes of the response's body, then the connection is cut.
    Cut(usize),
    /// The client receives so many bytes of the response's body, and the connection stays open.
    Stall(usize),
    /// The server never receives the request, and the connection stays open.
    Hang,
    /// The request waits for a permit, then passes.
    Hold(Arc<Semaphore>),
    /// The server receives the request as this function leaves it.
    Rewrite(fn(&mut R)),
    /// The proxy responds in the server's place and closes the connection.
    Respond(fn(&R) -> Vec<u8>),
}

type Judge<R> = Arc<dyn Fn(&R) -> Fate<R> + Send + Sync>;

/// A proxy that listens on a port of its own until it is dropped.
pub struct Proxy<P: Protocol> {
    address: SocketAddr,
    shared: Arc<Shared<P>>,
    _serving: JoinSet<()>,
}

struct Shared<P: Protocol> {
    server: String,
    judge: Mutex<Judge<P::Request>>,
    log: Mutex<Vec<(Event, String)>>,
}

/// What happened to a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Came,
    /// The server has responded, or closed its connection.
    Responded,
    /// The server works on it no longer.
    Over,
}

impl<P: Protocol> Debug for Proxy<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Proxy");
        debug.field("address", &self.address);
        debug.field("server", &self.shared.server);
        debug.finish_non_exhaustive()
    }
}

impl<P: Protocol> Proxy<P> {
    /// Listens in front of the server at an address such as `127.0.0.1:6379`. `judge` decides the fate
    /// of each request.
    pub async fn start(
        server: impl ToString,
        judge: impl Fn(&P::Request) -> Fate<P::Request> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server: server.to_string(),
            judge: Mutex::new(Arc::new(judge)),
            log: Mutex::default(),
        });
        let for_all = Arc::clone(&shared);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&for_all);
                // An error is a connection that one of the sides closed: the client notices by itself.
                connections.spawn(async move { shared.serve(client).await.is_ok() });
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            address,
            shared,
            _serving: serving,
        }
    }

    /// Decides the fate of later requests in another way.
    pub fn set(&self, judge: impl Fn(&P::Request) -> Fate<P::Request> + Send + Sync + 'static) {
        *self.shared.judge.lock().unwrap() = Arc::new(judge);
    }

    /// The URL that leads through the proxy.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", P::SCHEME, self.address)
    }

    /// Every request that has come, by [`Protocol::name`].
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.shared.logged(Event::Came)
    }

    /// How many requests have come that match.
    #[must_use]
    pub fn count(&self, matches: impl Fn(&str) -> bool) -> usize {
        let requests = self.requests();
        requests.iter().filter(|request| matches(request)).count()
    }

    /// Waits until so many requests have come that match.
    pub async fn wait_for(&self, count: usize, matches: impl Fn(&str) -> bool) {
        self.until(Event::Came, count, matches).await;
    }

    /// Waits until the server has responded to so many requests that match.
    pub async fn wait_for_responses(&self, count: usize, matches: impl Fn(&str) -> bool) {
        self.until(Event::Responded, count, matches).await;
    }

    async fn until(&self, event: Event, count: usize, matches: impl Fn(&str) -> bool) {
        let happened = async {
            let so_far = || {
                let names = self.shared.logged(event);
                names.iter().filter(|name| matches(name)).count()
            };
            while so_far() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let happened = tokio::time::timeout(PATIENCE, happened).await;
        happened.unwrap_or_else(|_| panic!("only these came: {:#?}", self.requests()));
    }

    /// The most requests that match and were under way at once.
    #[must_use]
    pub fn most_at_once(&self, matches: impl Fn(&str) -> bool) -> usize {
        let (mut now, mut most) = (0_usize, 0);
        for (event, name) in &*self.shared.log.lock().unwrap() {
            match event {
                Event::Came if matches(name) => now += 1,
                Event::Over if matches(name) => now -= 1,
                _ => {}
            }
            most = most.max(now);
        }
        most
    }
}

impl<P: Protocol> Shared<P> {
    fn log(&self, event: Event, name: &str) {
        self.log.lock().unwrap().push((event, name.to_owned()));
    }

    fn logged(&self, event: Event) -> Vec<String> {
        let log = self.log.lock().unwrap();
        let of_kind = log.iter().filter(|(kind, _)| *kind == event);
        of_kind.map(|(_, name)| name.clone()).collect()
    }

    async fn serve(&self, client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let (mut client, mut server) = (BufReader::new(client), None);
        // One after the other, so that a fault meets one request that can be named.
        while let Some(mut request) = P::read_request(&mut client).await? {
            let name = P::name(&request);
            let under_way = UnderWay::new(self, &name);
            let judge = Arc::clone(&*self.judge.lock().unwrap());
            let fate = judge(&request);
            match &fate {
                Fate::Lost => return Ok(()),
                Fate::Hang => return silence(&mut client).await,
                Fate::Hold(gate) => gate.acquire().await.unwrap().forget(),
                Fate::Rewrite(change) => change(&mut request),
                Fate::Respond(respond) => {
                    client.write_all(&respond(&request)).await?;
                    return client.shutdown().await;
                }
                _ => {}
            }
            let response = self.ask(&mut server, &request).await;
            drop(under_way);
            self.log(Event::Responded, &name);
            let Some(response) = response? else {
                return Ok(());
            };
            match fate {
                Fate::ResponseLost => return Ok(()),
                Fate::Cut(bytes) => return client.write_all(response.first(bytes)).await,
                Fate::Stall(bytes) => {
                    client.write_all(response.first(bytes)).await?;
                    return silence(&mut client).await;
                }
                Fate::Delay(delay) => tokio::time::sleep(delay).await,
                _ => {}
            }
            client.write_all(&response.bytes).await?;
            if !P::KEEPS_CONNECTIONS {
                return client.shutdown().await;
            }
        }
        Ok(())
    }

    /// Sends a request to the server; its response, `None` where the server closed the connection.
    async fn ask(
        &self,
        server: &mut Option<Stream>,
        request: &P::Request,
    ) -> io::Result<Option<Response>> {
        let stream = match server {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(&self.server).await?;
                stream.set_nodelay(true)?;
                server.insert(BufReader::new(stream))
            }
        };
        stream.write_all(&P::bytes(request)).await?;
        P::read_response(stream).await
    }
}

/// A request from its arrival to the server's response, or to its end without one.
struct UnderWay<'a, P: Protocol>(&'a Shared<P>, &'a str);

impl<'a, P: Protocol> UnderWay<'a, P> {
    fn new(shared: &'a Shared<P>, name: &'a str) -> Self {
        shared.log(Event::Came, name);
        Self(shared, name)
    }
}

impl<P: Protocol> Drop for UnderWay<'_, P> {
    fn drop(&mut self) {
        self.0.log(Event::Over, self.1);
    }
}

/// Sends nothing until the client closes the connection.
async fn silence(client: &mut Stream) -> io::Result<()> {
    let mut rest = vec![];
    client.read_to_end(&mut rest).await?;
    Ok(())
}
