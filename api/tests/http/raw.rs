//! A client that sends whatever bytes it likes.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Long enough for a busy machine; what should come sooner is asserted where it is.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) async fn to(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// All that comes until the service closes the connection.
    pub(crate) async fn rest(&mut self) -> String {
        let mut bytes = vec![];
        let read = self.0.read_to_end(&mut bytes);
        match tokio::time::timeout(PATIENCE, read).await.unwrap() {
            Ok(_) => {}
            // Closed with something of ours unread.
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What has come when `end` is among it.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        let mut text = String::new();
        while !text.contains(end) {
            let mut bytes = [0; 4096];
            let read = tokio::time::timeout(PATIENCE, self.0.read(&mut bytes));
            let read = read.await.unwrap().unwrap();
            assert_ne!(read, 0, "closed before `{end}`: {text}");
            text.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
        text
    }
}
