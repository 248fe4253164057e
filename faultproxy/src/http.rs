//! As much of HTTP/1.1 as the proxy and a plain client need.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{Protocol, Response, Stream};

/// HTTP/1.1 with one request on each connection.
#[derive(Clone, Copy, Debug)]
pub struct Http;

impl Protocol for Http {
    type Request = Message;
    const SCHEME: &'static str = "http";
    const KEEPS_CONNECTIONS: bool = false;

    async fn read_request(stream: &mut Stream) -> io::Result<Option<Message>> {
        Message::read(stream).await
    }

    async fn read_response(stream: &mut Stream) -> io::Result<Option<Response>> {
        let mut bytes = vec![];
        stream.read_to_end(&mut bytes).await?;
        let head = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let body = head.map_or(bytes.len(), |at| at + 4);
        Ok(Some(Response { bytes, body }))
    }

    fn bytes(request: &Message) -> Vec<u8> {
        request.bytes()
    }

    /// The method and the target: `PUT /bucket/key?partNumber=1…`.
    fn name(request: &Message) -> String {
        request.first.trim_end_matches(" HTTP/1.1").to_owned()
    }
}

/// A request or a response, whole.
#[derive(Clone, Debug)]
pub struct Message {
    /// The first line.
    pub first: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The bytes behind the head.
    pub body: Vec<u8>,
}

impl Message {
    /// Reads a message's head and body; `None` when the other side has closed.
    ///
    /// # Errors
    /// The stream fails, or the head is no text.
    pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Self>> {
        let mut bytes = vec![];
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(None);
            }
        };
        let body = bytes.split_off(end);
        let head = String::from_utf8(bytes).map_err(io::Error::other)?;
        let mut lines = head.trim_end().split("\r\n");
        let first = lines.next().unwrap_or_default().to_owned();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut message = Self {
            first,
            headers,
            body,
        };
        if let Some(len) = message.header("content-length") {
            let len: usize = len.parse().map_err(io::Error::other)?;
            message.body.reserve(len);
            while message.body.len() < len && stream.read_buf(&mut message.body).await? > 0 {}
        }
        Ok(Some(message))
    }

    /// The value of a header by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(given, _)| given == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The message as it is sent, on a connection that carries no second one.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{}\r\n", self.first);
        for (name, value) in &self.headers {
            if name != "connection" {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        head.push_str("connection: close\r\n\r\n");
        [head.into_bytes(), self.body.clone()].concat()
    }

    /// A response's status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.first.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

/// Fetches a URL, as any client would.
pub async fn fetch(url: &str, headers: &[(&str, &str)]) -> Message {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    let request = Message {
        first: format!("GET /{path} HTTP/1.1"),
        headers: [("host", host)]
            .iter()
            .chain(headers)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body: vec![],
    };
    let mut stream = TcpStream::connect(host).await.unwrap();
    stream.write_all(&request.bytes()).await.unwrap();
    Message::read(&mut stream).await.unwrap().unwrap()
}
