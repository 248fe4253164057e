//! The part of a bucket that is ours, and the client that reaches it.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::InterceptorContext;
use aws_sdk_s3::config::retry::{
    ClassifyRetry, RetryAction, RetryConfig, RetryPartition, TokenBucket,
};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder, Config, Credentials, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_smithy_http_client::tls;
use bytes::Bytes;
use reelmill_common::ObjectKey;

use super::options::S3Options;
use super::refusal::Refusal;
use crate::{ObjectMeta, StoreError};

/// How long a connection may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// What a link to the service carries at least, in bytes a second; with less, a request that
/// sends much is made anew before it can end.
const SLOWEST: u64 = 128 * 1024;

/// The first pause before a request is made anew; each is up to twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// An open bucket. What it holds outside of `root` is nothing to us.
pub(super) struct Bucket {
    pub(super) client: Client,
    /// Signs links: it knows the service by the name that clients use.
    pub(super) links: Client,
    pub(super) name: String,
    /// What every name begins with: nothing, or the prefix and a slash.
    pub(super) root: String,
    /// As a URI, for people.
    pub(super) uri: String,
    /// Which bucket of which service, for people.
    pub(super) place: String,
    patience: Duration,
}

impl Bucket {
    /// Makes the client; nothing is asked yet.
    pub(super) fn new(options: &S3Options) -> Self {
        let config = config(options);
        let links = match &options.link_endpoint {
            Some(url) => config.to_builder().endpoint_url(url).build(),
            None => config.clone(),
        };
        let service = match &options.endpoint {
            Some(url) => format!("`{url}`"),
            None => format!("AWS in `{}`", options.region),
        };
        Self {
            client: Client::from_conf(config),
            links: Client::from_conf(links),
            name: options.bucket.clone(),
            root: match &options.prefix {
                Some(prefix) => format!("{prefix}/"),
                None => String::new(),
            },
            uri: options.uri(),
            place: format!("bucket `{}` at {service}", options.bucket),
            patience: options.patience,
        }
    }

    /// The name in the bucket.
    pub(super) fn name_of(&self, key: &ObjectKey) -> String {
        format!("{}{key}", self.root)
    }

    /// The key of a name in the bucket, unless it is none of ours.
    pub(super) fn key_of(&self, name: &str) -> Option<ObjectKey> {
        ObjectKey::new(name.strip_prefix(&self.root)?).ok()
    }

    /// Settings of a request that sends `bytes` bytes, or lets the service move as many: it takes
    /// as long as they take.
    pub(super) fn patient(&self, bytes: u64) -> Builder {
        let moving = Duration::from_secs(bytes / SLOWEST);
        Config::builder().timeout_config(timeouts(self.patience.saturating_add(moving)))
    }

    /// Puts an object of this name in one request, whatever its length. It keeps the token of its
    /// `writer`, where there is one; with `only_new` the service is asked to refuse where an object
    /// is already.
    pub(super) async fn put(
        &self,
        name: &str,
        bytes: Bytes,
        writer: Option<&str>,
        only_new: bool,
    ) -> Result<(), Refusal> {
        let patient = self.patient(bytes.len() as u64);
        let mut request = self.client.put_object().bucket(&self.name).key(name);
        if let Some(writer) = writer {
            request = request.metadata(WRITER, writer);
        }
        request
            .set_if_none_match(only_new.then(|| "*".to_owned()))
            .body(ByteStream::from(bytes))
            .customize()
            .config_override(patient)
            .send()
            .await?;
        Ok(())
    }

    pub(super) async fn head(
        &self,
        action: &'static str,
        key: &ObjectKey,
    ) -> Result<Head, StoreError> {
        let request = self.client.head_object().bucket(&self.name);
        match request.key(self.name_of(key)).send().await {
            Ok(answer) => Ok(Head {
                meta: ObjectMeta {
                    key: key.clone(),
                    size: size(answer.content_length()),
                    modified: whole_seconds(answer.last_modified()),
                },
                writer: answer
                    .metadata()
                    .and_then(|pairs| pairs.get(WRITER).cloned()),
            }),
            Err(refusal) => Err(self.explain(action, key, refusal.into()).await),
        }
    }

    /// Turns a refusal into an error, and asks on where it leaves open what is missing.
    pub(super) async fn explain(
        &self,
        action: &'static str,
        key: &ObjectKey,
        refusal: Refusal,
    ) -> StoreError {
        if refusal.means_no_object() {
            return StoreError::NotFound(key.clone());
        }
        if !refusal.means_nothing_there() {
            return refusal.about(action, key, &self.place);
        }
        match self.client.head_bucket().bucket(&self.name).send().await {
            Ok(_) => StoreError::NotFound(key.clone()),
            Err(refusal) => Refusal::from(refusal).about(action, key, &self.place),
        }
    }
}

/// The name under which an object keeps who wrote it, where a writer must know its own again.
pub(super) const WRITER: &str = "reelmill-writer";

/// What the service says of an object.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) meta: ObjectMeta,
    /// The token of the writer, where it left one.
    pub(super) writer: Option<String>,
}

/// A length as the service gives it.
pub(super) fn size(len: Option<i64>) -> u64 {
    len.and_then(|len| u64::try_from(len).ok())
        .unwrap_or_default()
}

/// A time as the service gives it, cut to whole seconds: listings know more, HEAD does not, and
/// both must say the same.
pub(super) fn whole_seconds(time: Option<&DateTime>) -> SystemTime {
    let seconds = time.and_then(|time| u64::try_from(time.secs()).ok());
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.unwrap_or_default())
}

fn timeouts(attempt: Duration) -> TimeoutConfig {
    // There is no read timeout: it would count the sending of a long body, too.
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_WITHIN)
        .operation_attempt_timeout(attempt)
        .build()
}

fn config(options: &S3Options) -> Config {
    let credentials = &options.credentials;
    let retries = RetryConfig::standard()
        .with_max_attempts(options.attempts.max(1))
        .with_initial_backoff(FIRST_PAUSE)
        .with_max_backoff(LONGEST_PAUSE);
    // By default all clients of a process share one allowance for retries, and after an outage
    // only successes fill it again.
    let allowance = TokenBucket::builder().refill_rate(10.0).build();
    // Uploads are exempt: where the service is slow to take bytes, a false alarm would be raised.
    let stalls = StalledStreamProtectionConfig::enabled()
        .upload_enabled(false)
        .grace_period(options.patience)
        .build();
    let mut config = Config::builder()
        // Pinned, so that a newer library behaves the same.
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(options.region.clone()))
        .credentials_provider(Credentials::new(
            &credentials.access_key,
            &credentials.secret_key,
            credentials.session_token.clone(),
            None,
            "reelmill",
        ))
        .force_path_style(options.is_path_style())
        // The library's own checksums travel in a form that many services do not understand.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .retry_config(retries)
        .retry_partition(
            RetryPartition::custom(options.uri())
                .token_bucket(allowance)
                .build(),
        )
        .retry_classifier(Busy)
        .timeout_config(timeouts(options.patience))
        .stalled_stream_protection(stalls)
        .http_client(http_client(options.endpoint.as_deref()));
    if let Some(url) = &options.endpoint {
        config = config.endpoint_url(url);
    }
    config.build()
}

/// Has requests made anew also where another one came between (409), the service did not get the
/// whole of it in time (408), or asks for fewer (429), which the library leaves to its callers.
#[derive(Debug)]
struct Busy;

impl ClassifyRetry for Busy {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let status = context.response().map(|answer| answer.status().as_u16());
        match status {
            Some(408 | 409 | 429) => RetryAction::transient_error(),
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "busy services"
    }
}

fn http_client(endpoint: Option<&str>) -> SharedHttpClient {
    let builder = aws_smithy_http_client::Builder::new();
    if endpoint.is_some_and(|url| url.starts_with("http://")) {
        // Without TLS no certificates are loaded, and a machine needs none.
        return builder.build_http();
    }
    let provider = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
    builder.tls_provider(provider).build_https()
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::presigning::PresigningConfig;

    use super::*;
    use crate::S3Credentials;

    /// Where a request for the object `a/b` goes.
    async fn url(options: &S3Options) -> String {
        let bucket = Bucket::new(options);
        let key = ObjectKey::new("a/b").unwrap();
        let request = bucket.links.get_object().bucket(&bucket.name);
        let hour = PresigningConfig::expires_in(Duration::from_secs(3600)).unwrap();
        let link = request.key(bucket.name_of(&key)).presigned(hour).await;
        let url = link.unwrap().uri().to_owned();
        url.split('?').next().unwrap().to_owned()
    }

    #[tokio::test]
    async fn requests_go_to_the_bucket_of_the_options() {
        let mut options = S3Options::new("videos", S3Credentials::new("who", "proof"));
        options.region = "eu-west-1".to_owned();
        let aws = "https://videos.s3.eu-west-1.amazonaws.com/a/b";
        assert_eq!(url(&options).await, aws);
        options.endpoint = Some("http://store.local:9000".to_owned());
        assert_eq!(url(&options).await, "http://store.local:9000/videos/a/b");
        options.path_style = Some(false);
        assert_eq!(url(&options).await, "http://videos.store.local:9000/a/b");
        options.prefix = Some(ObjectKey::new("mills/one").unwrap());
        options.link_endpoint = Some("https://public.example.org".to_owned());
        let public = "https://videos.public.example.org/mills/one/a/b";
        assert_eq!(url(&options).await, public);
    }

    #[test]
    fn only_names_under_the_prefix_are_keys() {
        let mut options = S3Options::new("videos", S3Credentials::new("who", "proof"));
        let key = |options: &S3Options, name: &str| {
            let key = Bucket::new(options).key_of(name);
            key.map(|key| key.to_string())
        };
        assert_eq!(key(&options, "a/b").as_deref(), Some("a/b"));
        assert_eq!(key(&options, ".reelmill/probe-1"), None);
        options.prefix = Some(ObjectKey::new("mills").unwrap());
        assert_eq!(key(&options, "mills/a").as_deref(), Some("a"));
        for other in ["a", "mills", "mills/", "mills-a", "mills//a", "mills/é"] {
            assert_eq!(key(&options, other), None, "`{other}`");
        }
    }
}
