//! A proxy before a Redis server, whose connections can be slow, be cut, or swallow all.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// What happens to calls of the ledger.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    /// Every answer comes so much later.
    Slow(Duration),
    /// Every so many calls one cuts its connection and does not reach the server.
    CutBefore(u32),
    /// Every so many calls one cuts its connection once the server has answered.
    CutAfter(u32),
    /// Nothing is answered any more, and nothing says so. Connections that met this stay so.
    Swallow,
}

#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    server: String,
    mode: Mutex<Mode>,
    calls: AtomicU32,
}

enum Fate {
    Passed(Duration),
    CutBefore,
    CutAfter,
    Swallowed,
}

impl Proxy {
    /// Begins to listen, in front of the server at `url`.
    pub(crate) async fn start(url: &str, mode: Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = url.trim_start_matches("redis://").to_owned();
        let shared = Arc::new(Shared {
            server,
            mode: Mutex::new(mode),
            calls: AtomicU32::new(0),
        });
        let for_all = Arc::clone(&shared);
        let listening = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&for_all);
                // However it ends, the client sees that in its connection.
                connections.spawn(async move { shared.serve(client).await.is_ok() });
            }
        });
        Self {
            address,
            shared,
            listening,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.shared.mode.lock().unwrap() = mode;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Shared {
    async fn serve(&self, client: TcpStream) -> io::Result<()> {
        let server = TcpStream::connect(&self.server).await?;
        for stream in [&client, &server] {
            stream.set_nodelay(true)?;
        }
        let (mut client, mut server) = (BufReader::new(client), BufReader::new(server));
        // One after the other, so that a cut meets one call that can be named.
        while let Some(request) = frame(&mut client).await? {
            let fate = self.fate(&request);
            if let Fate::CutBefore = fate {
                return Ok(());
            }
            server.get_mut().write_all(&request).await?;
            let Some(answer) = frame(&mut server).await? else {
                return Ok(());
            };
            match fate {
                Fate::Passed(delay) => tokio::time::sleep(delay).await,
                Fate::CutBefore | Fate::CutAfter => return Ok(()),
                Fate::Swallowed => std::future::pending().await,
            }
            client.get_mut().write_all(&answer).await?;
        }
        Ok(())
    }

    fn fate(&self, request: &[u8]) -> Fate {
        let mode = *self.mode.lock().unwrap();
        if let Mode::Swallow = mode {
            return Fate::Swallowed;
        }
        let is_call = request.windows(7).any(|word| word == b"EVALSHA");
        if !is_call {
            return Fate::Passed(Duration::ZERO);
        }
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        match mode {
            Mode::Slow(delay) => Fate::Passed(delay),
            Mode::CutBefore(every) if call.is_multiple_of(every) => Fate::CutBefore,
            Mode::CutAfter(every) if call.is_multiple_of(every) => Fate::CutAfter,
            _ => Fate::Passed(Duration::ZERO),
        }
    }
}

/// One request or answer in Redis' protocol; `None` where the stream ends before one.
async fn frame(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Vec<u8>>> {
    let mut frame = vec![];
    let mut values = 1;
    while values > 0 {
        values -= 1;
        let begin = frame.len();
        if stream.read_until(b'\n', &mut frame).await? == 0 {
            return Ok(None);
        }
        let line = &frame[begin..];
        let number = || {
            std::str::from_utf8(&line[1..])
                .unwrap()
                .trim()
                .parse::<i64>()
        };
        match line[0] {
            b'*' => values += number().unwrap().max(0),
            b'$' => {
                if let Ok(length) = usize::try_from(number().unwrap()) {
                    let begin = frame.len();
                    frame.resize(begin + length + 2, 0);
                    stream.read_exact(&mut frame[begin..]).await?;
                }
            }
            _ => {}
        }
    }
    Ok(Some(frame))
}
