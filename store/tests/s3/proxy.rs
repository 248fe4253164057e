//! A proxy in front of the server that lets a test decide what becomes of each request.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::harness::{ACCESS_KEY, SECRET_KEY};
use super::http::Message;

mod signing;

/// What becomes of a request.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    Pass,
    /// The service is asked too much.
    SlowDown,
    /// The connection is cut before the service hears of it.
    Lost,
    /// The service does it, and the connection is cut before it can tell.
    AnswerLost,
    /// As many bytes of the answer's body arrive, then the connection is cut.
    Cut(usize),
    /// As many bytes of the answer's body arrive, and then nothing for ever.
    Stall(usize),
    /// The service never hears of it, and the connection stays open.
    Hang,
    /// It waits until the test lets one through.
    Hold(Arc<Semaphore>),
    /// The service hears nothing of the condition that a new object is wanted.
    Unconditional,
    /// There is no such bucket any more.
    NoBucket,
    /// Another writer is at it.
    Conflict,
}

/// Seen from a test, a request is its method and its target: `PUT /bucket/key?partNumber=1…`.
type Judge = dyn Fn(&Message) -> Fate + Send + Sync;

#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    seen: Arc<Seen>,
    _serving: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Seen {
    requests: Mutex<Vec<String>>,
    answered: Mutex<Vec<String>>,
    parts: AtomicUsize,
    most_parts: AtomicUsize,
}

impl Proxy {
    pub(crate) async fn start(
        server: SocketAddr,
        judge: impl Fn(&Message) -> Fate + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, judge): (_, Arc<Judge>) = (Arc::new(Seen::default()), Arc::new(judge));
        let mut serving = JoinSet::new();
        let shared = Arc::clone(&seen);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (seen, judge) = (Arc::clone(&shared), Arc::clone(&judge));
                connections.spawn(async move {
                    // An error here is a connection that one of the sides closed.
                    let served = serve(client, server, &seen, &*judge).await;
                    drop(served);
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            address,
            seen,
            _serving: serving,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request that has come, as method and target.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// How many requests have come that this is true of.
    pub(crate) fn count(&self, is_one: impl Fn(&str) -> bool) -> usize {
        let requests = self.requests();
        requests.iter().filter(|request| is_one(request)).count()
    }

    /// Waits until as many such requests have come.
    pub(crate) async fn wait_for(&self, count: usize, is_one: impl Fn(&str) -> bool) {
        let come = async {
            while self.count(&is_one) < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let come = tokio::time::timeout(Duration::from_secs(30), come).await;
        come.unwrap_or_else(|_| panic!("only these came: {:#?}", self.requests()));
    }

    /// Waits until the service has answered as many such requests.
    pub(crate) async fn wait_for_answers(&self, count: usize, is_one: impl Fn(&str) -> bool) {
        let answers = || {
            let answered = self.seen.answered.lock().unwrap();
            answered.iter().filter(|line| is_one(line)).count()
        };
        let answered = async {
            while answers() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let answered = tokio::time::timeout(Duration::from_secs(30), answered).await;
        answered.unwrap_or_else(|_| panic!("only these came: {:#?}", self.requests()));
    }

    /// How many parts of uploads were under way at once, at most.
    pub(crate) fn most_parts(&self) -> usize {
        self.seen.most_parts.load(Ordering::SeqCst)
    }
}

pub(crate) fn is_part(request: &str) -> bool {
    request.starts_with("PUT") && request.contains("partNumber=")
}

/// Clearing an upload.
pub(crate) fn is_abort(request: &str) -> bool {
    request.starts_with("DELETE") && request.contains("uploadId=")
}

/// The last request of an upload.
pub(crate) fn is_complete(request: &str) -> bool {
    request.starts_with("POST") && request.contains("uploadId=")
}

/// The first request of an upload.
pub(crate) fn is_begin(request: &str) -> bool {
    request.starts_with("POST") && request.contains("uploads")
}

async fn serve(
    mut client: TcpStream,
    server: SocketAddr,
    seen: &Seen,
    judge: &Judge,
) -> std::io::Result<()> {
    let Some(mut request) = Message::read(&mut client).await? else {
        return Ok(());
    };
    let line = request.first.trim_end_matches(" HTTP/1.1").to_owned();
    let part = is_part(&line).then(|| Part::count(seen));
    seen.requests.lock().unwrap().push(line.clone());
    let mut fate = judge(&request);
    if let Fate::Hold(gate) = fate {
        gate.acquire().await.unwrap().forget();
        fate = Fate::Pass;
    }
    match fate {
        Fate::SlowDown => {
            let message = (
                "503 Slow Down",
                "SlowDown",
                "Please reduce your request rate.",
            );
            return refuse(&mut client, &line, message).await;
        }
        Fate::Conflict => {
            let message = ("409 Conflict", "ConditionalRequestConflict", "Come back.");
            return refuse(&mut client, &line, message).await;
        }
        Fate::NoBucket => {
            let message = (
                "404 Not Found",
                "NoSuchBucket",
                "The bucket does not exist.",
            );
            return refuse(&mut client, &line, message).await;
        }
        Fate::Lost => return Ok(()),
        Fate::Hang => return silence(&mut client).await,
        Fate::Unconditional => signing::drop_condition(&mut request, ACCESS_KEY, SECRET_KEY),
        _ => {}
    }
    let answer = ask(server, &request).await;
    drop(part);
    seen.answered.lock().unwrap().push(line);
    let answer = answer?;
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let head = head.map_or(answer.len(), |at| at + 4);
    match fate {
        Fate::AnswerLost => Ok(()),
        Fate::Cut(bytes) => {
            client
                .write_all(&answer[..answer.len().min(head + bytes)])
                .await
        }
        Fate::Stall(bytes) => {
            let some = &answer[..answer.len().min(head + bytes)];
            client.write_all(some).await?;
            silence(&mut client).await
        }
        _ => {
            client.write_all(&answer).await?;
            client.shutdown().await
        }
    }
}

/// The service's answer, whole.
async fn ask(server: SocketAddr, request: &Message) -> std::io::Result<Vec<u8>> {
    let mut upstream = TcpStream::connect(server).await?;
    upstream.write_all(&request.bytes()).await?;
    let mut answer = vec![];
    upstream.read_to_end(&mut answer).await?;
    Ok(answer)
}

/// Says nothing until the client goes away.
async fn silence(client: &mut TcpStream) -> std::io::Result<()> {
    let mut rest = vec![];
    client.read_to_end(&mut rest).await?;
    Ok(())
}

/// Answers in the service's place.
async fn refuse(
    client: &mut TcpStream,
    line: &str,
    (status, code, message): (&str, &str, &str),
) -> std::io::Result<()> {
    let body = match line.starts_with("HEAD") {
        true => String::new(),
        false => format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>"),
    };
    let answer = Message {
        first: format!("HTTP/1.1 {status}"),
        headers: vec![
            ("content-type".to_owned(), "application/xml".to_owned()),
            ("content-length".to_owned(), body.len().to_string()),
            ("x-amz-request-id".to_owned(), "from-the-proxy".to_owned()),
        ],
        body: body.into(),
    };
    client.write_all(&answer.bytes()).await?;
    client.shutdown().await
}

/// Counts a part for as long as it is under way.
struct Part<'a>(&'a Seen);

impl<'a> Part<'a> {
    fn count(seen: &'a Seen) -> Self {
        let now = seen.parts.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most_parts.fetch_max(now, Ordering::SeqCst);
        Self(seen)
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        self.0.parts.fetch_sub(1, Ordering::SeqCst);
    }
}
