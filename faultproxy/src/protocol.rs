//! What the proxy must know of a protocol.

use std::fmt::Debug;
use std::future::Future;
use std::io;

use tokio::io::BufReader;
use tokio::net::TcpStream;

/// A connection to a client or to the server.
pub type Stream = BufReader<TcpStream>;

/// A protocol of requests and responses.
pub trait Protocol: 'static {
    /// A request, whole.
    type Request: Debug + Send + Sync + 'static;

    /// The scheme of the server's URLs.
    const SCHEME: &'static str;

    /// Whether a connection carries several requests, one after the other.
    const KEEPS_CONNECTIONS: bool;

    /// Reads a request; `None` where the client has closed the connection.
    fn read_request(
        stream: &mut Stream,
    ) -> impl Future<Output = io::Result<Option<Self::Request>>> + Send;

    /// Reads a response; `None` where the server has closed the connection.
    fn read_response(
        stream: &mut Stream,
    ) -> impl Future<Output = io::Result<Option<Response>>> + Send;

    /// The request as the server receives it.
    fn bytes(request: &Self::Request) -> Vec<u8>;

    /// What tests call the request.
    fn name(request: &Self::Request) -> String;
}

/// A response, whole.
#[derive(Debug)]
pub struct Response {
    /// The head and the body.
    pub bytes: Vec<u8>,
    /// Where the body begins.
    pub body: usize,
}

impl Response {
    /// The head and so many bytes of the body.
    pub(crate) fn first(&self, bytes: usize) -> &[u8] {
        &self.bytes[..self.bytes.len().min(self.body + bytes)]
    }
}
