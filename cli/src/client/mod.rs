//! Talks to a service: one request, one answer, one sentence where it went wrong.

mod events;
mod view;

use std::path::Path;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Certificate, Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;

use crate::args::ServerArgs;
use crate::failure::{Exit, Failure};

pub(crate) use events::Events;
pub(crate) use view::{JobView, OutputView};

/// How long an answer that is not a file may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A service and how to be let in.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    base: Url,
    http: reqwest::Client,
}

/// What a service says of a request that it did not answer as asked.
#[derive(Debug, Deserialize)]
struct Problem {
    code: String,
    detail: String,
    #[serde(default)]
    request_id: String,
}

impl Client {
    pub(crate) fn new(args: &ServerArgs) -> Result<Self, Failure> {
        let given = args.server.trim_end_matches('/');
        let refuse = || {
            Failure::usage(format!(
                "`{given}` is not the address of a service: write one such as `http://127.0.0.1:8080`"
            ))
        };
        let base = Url::parse(given).map_err(|_not_one| refuse())?;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err(refuse());
        }
        let mut headers = reqwest::header::HeaderMap::new();
        if let Some(key) = args.api_key.as_ref().filter(|key| !key.is_empty()) {
            let mut value = HeaderValue::try_from(format!("Bearer {key}")).map_err(|_odd| {
                Failure::usage("the API key holds characters that no header may hold")
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("reelmill/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .connect_timeout(Duration::from_secs(10));
        // Fails where there is one already, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        if base.scheme() == "http" {
            // A machine without any certificates can still ask by plain HTTP.
            builder = builder.tls_certs_only([]);
        } else if let Some(file) = &args.cacert {
            builder = builder.tls_certs_only(certificates(file)?);
        }
        if is_this_machine(&base) {
            // A proxy would look for the service on its own machine.
            builder = builder.no_proxy();
        }
        let http = builder
            .build()
            .map_err(|error| Failure::failed(format!("cannot set up HTTP: {}", cause(&error))))?;
        Ok(Self { base, http })
    }

    /// A request for the path that these segments make.
    pub(crate) fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        // Cannot fail: `new` refused what has no host.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        self.http.request(method, url)
    }

    /// Sends a request; whatever is not a success is a failure with the service's own sentence.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let sent = request.send().await;
        let response = sent.map_err(|error| self.unreachable(&error))?;
        match response.status() {
            status if status.is_success() => Ok(response),
            status => Err(self.refused(status, response).await),
        }
    }

    /// The JSON that a request is answered with.
    pub(crate) async fn json(&self, request: RequestBuilder) -> Result<Value, Failure> {
        let response = self.send(request.timeout(PATIENCE)).await?;
        self.body(response).await
    }

    /// The JSON of an answer.
    pub(crate) async fn body(&self, response: Response) -> Result<Value, Failure> {
        let bytes = response
            .bytes()
            .await
            .map_err(|error| self.unreachable(&error))?;
        serde_json::from_slice(&bytes).map_err(|_not_json| self.stranger("without JSON"))
    }

    /// A `GET` of JSON.
    pub(crate) async fn get(&self, path: &[&str]) -> Result<Value, Failure> {
        self.json(self.request(Method::GET, path)).await
    }

    /// Nobody answers: that is a dependency which is not there.
    pub(crate) fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let what = match error.is_timeout() {
            true => "it did not answer in time".to_owned(),
            false => cause(error),
        };
        let message = format!(
            "cannot reach the service at `{}`: {what}: start one with `reelmill serve`, or name it with --server",
            self.base
        );
        Failure::new(Exit::Dependency, "service-unreachable", message)
    }

    async fn refused(&self, status: StatusCode, response: Response) -> Failure {
        let body = response.bytes().await.unwrap_or_default();
        let Ok(problem) = serde_json::from_slice::<Problem>(&body) else {
            return self.stranger(&format!("with `{status}`"));
        };
        let way_out = match status {
            StatusCode::UNAUTHORIZED => "; give it with REELMILL_API_KEY or --api-key",
            _ => "",
        };
        let request = match problem.request_id.as_str() {
            "" => String::new(),
            id => format!(" (request {id})"),
        };
        let message = format!("{}{way_out}{request}", problem.detail);
        Failure::new(Exit::Failed, &problem.code, message)
    }

    /// Something answers that is not what was expected there.
    pub(crate) fn stranger(&self, how: &str) -> Failure {
        let message = format!(
            "`{}` answered {how}: is it a reelmill of this version that listens there?",
            self.base
        );
        Failure::new(Exit::Failed, "answer-strange", message)
    }
}

fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = |address: std::net::IpAddr| address.is_loopback();
    host == "localhost" || address.parse().is_ok_and(is_loopback)
}

/// The certificates in a PEM file.
fn certificates(file: &Path) -> Result<Vec<Certificate>, Failure> {
    let refuse = |why: String| {
        let file = file.display();
        Failure::usage(format!(
            "cannot take certificates from `{file}`: {why}: name a PEM file with --cacert"
        ))
    };
    let pem = std::fs::read(file).map_err(|error| refuse(error.to_string()))?;
    let certificates = Certificate::from_pem_bundle(&pem);
    let certificates = certificates.map_err(|error| refuse(cause(&error)))?;
    match certificates.is_empty() {
        true => Err(refuse("there are none".to_owned())),
        false => Ok(certificates),
    }
}

/// The innermost reason, without the URL, which may be long.
fn cause(error: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
