//! Every setting of the service: the one table that flags, variables, files and the documentation
//! are made of.

/// One setting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// Its name in a file; in capitals behind `REELMILL_` it is the variable.
    pub(crate) name: &'static str,
    /// Its flag, without the dashes.
    pub(crate) flag: &'static str,
    /// What stands for its value in the help.
    pub(crate) value: &'static str,
    /// As one would write it; empty where it is not set.
    pub(crate) default: &'static str,
    /// What it does, for the help.
    pub(crate) about: &'static str,
    /// Whether its value is shown to nobody.
    pub(crate) secret: bool,
}

const fn key(
    name: &'static str,
    flag: &'static str,
    value: &'static str,
    default: &'static str,
    about: &'static str,
) -> Key {
    Key {
        name,
        flag,
        value,
        default,
        about,
        secret: false,
    }
}

/// All of them, in the order in which they are shown.
pub(crate) const KEYS: &[Key] = &[
    key(
        "data",
        "data",
        "DIR",
        "reelmill-data",
        "The folder of jobs, sources and outputs; made if it is missing",
    ),
    key(
        "listen",
        "listen",
        "ADDR",
        "127.0.0.1:8080",
        "Where to listen; port 0 takes a free one",
    ),
    key(
        "slots",
        "slots",
        "N",
        "auto",
        "Encodes at once; auto is one for each core",
    ),
    key(
        "window",
        "window",
        "TIME",
        "auto",
        "The longest window of a chunk, such as 10s; auto leaves it to the planner",
    ),
    key(
        "ffmpeg",
        "ffmpeg",
        "FILE",
        "ffmpeg",
        "The ffmpeg to use, found on the PATH where it is a bare name",
    ),
    key(
        "default_profile",
        "default-profile",
        "NAME",
        reelmill_common::profile::DEFAULT,
        "The profile of a job that names none",
    ),
    key(
        "profiles_dir",
        "profiles-dir",
        "DIR",
        "",
        "A folder of profile files to offer beside the built-in ones",
    ),
    key(
        "max_upload",
        "max-upload",
        "SIZE",
        "50 GiB",
        "The longest source that is taken",
    ),
    key(
        "upload_expiry",
        "upload-expiry",
        "TIME",
        "24h",
        "How long an upload may stand unfinished",
    ),
    key(
        "retention",
        "retention",
        "TIME",
        "none",
        "How long a job, its source and its outputs are kept after its end; none is for ever",
    ),
    key(
        "source_cache",
        "source-cache",
        "SIZE",
        "10 GiB",
        "The most that copies of sources for ffmpeg may take on the disk",
    ),
    key(
        "max_frame_megapixels",
        "max-frame-megapixels",
        "N",
        "35",
        "Millions of pixels that one picture of a source may have",
    ),
    key(
        "max_decode_gigapixels",
        "max-decode-gigapixels",
        "N",
        "10000",
        "Thousands of millions of pixels that all pictures of a source may have together",
    ),
    Key {
        secret: true,
        ..key(
            "api_key",
            "api-key",
            "KEY",
            "",
            "A key that may do everything; better given by variable or file than by flag",
        )
    },
    key(
        "api_keys_file",
        "api-keys-file",
        "FILE",
        "",
        "A file of hashed keys with names and scopes",
    ),
    key(
        "tls_cert",
        "tls-cert",
        "FILE",
        "",
        "The certificate chain for HTTPS, in PEM",
    ),
    key(
        "tls_key",
        "tls-key",
        "FILE",
        "",
        "The certificate's private key, in PEM",
    ),
    key(
        "cors_origins",
        "cors-origins",
        "LIST",
        "",
        "Origins whose pages may call the service, with commas between; * is every one",
    ),
    key(
        "max_connections",
        "max-connections",
        "N",
        "1024",
        "Connections held at once",
    ),
    key(
        "max_requests",
        "max-requests",
        "N",
        "512",
        "Requests worked on at once; more are told to come again",
    ),
    key(
        "header_timeout",
        "header-timeout",
        "TIME",
        "10s",
        "How long a client may take to send a request's head",
    ),
    key(
        "body_stall_timeout",
        "body-stall-timeout",
        "TIME",
        "60s",
        "How long an upload may bring nothing before it is cut off",
    ),
    key(
        "shutdown_grace",
        "shutdown-grace",
        "TIME",
        "10s",
        "How long requests may go on after the service was told to end",
    ),
    key(
        "lease",
        "lease",
        "TIME",
        "60s",
        "How long a task that nobody reports on stays with its worker",
    ),
    key(
        "log",
        "log",
        "FILTER",
        "info",
        "What is logged, such as debug or info,reelmill_stage=debug",
    ),
    key(
        "log_format",
        "log-format",
        "FORMAT",
        "auto",
        "text, json, or auto: text on a terminal, else json",
    ),
    key(
        "queue",
        "queue",
        "URI",
        "embedded",
        "Where messages wait: embedded, or kafka://HOST:PORT with commas between several",
    ),
    key(
        "store",
        "store",
        "URI",
        "embedded",
        "Where objects are kept: embedded, or s3://BUCKET, or s3://BUCKET/PREFIX",
    ),
    Key {
        secret: true,
        ..key(
            "ledger",
            "ledger",
            "URI",
            "embedded",
            "Who owns which work: embedded, or redis://HOST:PORT, or rediss:// for TLS",
        )
    },
    key(
        "roles",
        "roles",
        "LIST",
        "ingest,chunk,merge",
        "What a worker does: any of ingest, chunk and merge, with commas between",
    ),
    key(
        "metrics_listen",
        "metrics-listen",
        "ADDR",
        "",
        "Where a worker answers /livez, /readyz and /metrics",
    ),
    key(
        "kafka_group",
        "kafka-group",
        "NAME",
        "transcoding-workers",
        "The consumer group of the workers",
    ),
    Key {
        secret: true,
        ..key(
            "kafka_properties",
            "kafka-properties",
            "LIST",
            "",
            "Properties of librdkafka as NAME=VALUE with commas between, such as security.protocol=SSL",
        )
    },
    key(
        "s3_endpoint",
        "s3-endpoint",
        "URL",
        "",
        "The address of an S3 server that is not AWS",
    ),
    key(
        "s3_link_endpoint",
        "s3-link-endpoint",
        "URL",
        "",
        "Where clients reach the S3 server, if elsewhere",
    ),
    key(
        "output_links",
        "output-links",
        "WHEN",
        "no",
        "Whether clients are sent to the store for media: yes, where it gives links, or no",
    ),
    key(
        "s3_region",
        "s3-region",
        "NAME",
        "us-east-1",
        "The region of the bucket",
    ),
    key(
        "s3_path_style",
        "s3-path-style",
        "WHEN",
        "auto",
        "Whether the bucket stands in the path: yes, no, or auto: where there is an s3_endpoint",
    ),
    key(
        "s3_access_key",
        "s3-access-key",
        "KEY",
        "",
        "The id of the access key",
    ),
    Key {
        secret: true,
        ..key(
            "s3_secret_key",
            "s3-secret-key",
            "KEY",
            "",
            "The secret of the access key; better given by variable than by flag",
        )
    },
    Key {
        secret: true,
        ..key(
            "s3_session_token",
            "s3-session-token",
            "TOKEN",
            "",
            "The token of temporary access keys",
        )
    },
];

/// Variables that programs of this kind have in common, and the settings that they are for where the
/// service is in parts. A process that is a whole service has its own.
pub(crate) const COMMON_VARIABLES: &[(&str, &str)] = &[
    ("KAFKA_BROKERS", "queue"),
    ("REDIS_URL", "ledger"),
    ("S3_ENDPOINT", "s3_endpoint"),
    ("AWS_ENDPOINT_URL_S3", "s3_endpoint"),
    ("AWS_REGION", "s3_region"),
    ("AWS_ACCESS_KEY_ID", "s3_access_key"),
    ("AWS_SECRET_ACCESS_KEY", "s3_secret_key"),
    ("AWS_SESSION_TOKEN", "s3_session_token"),
];

/// Variables beside the settings: those of the client, of finding tools, and of reelmill's tests.
pub(crate) const OTHER_VARIABLES: &[&str] = &[
    "REELMILL_CONFIG",
    "REELMILL_SERVER",
    "REELMILL_CACERT",
    "REELMILL_FFPROBE",
    "REELMILL_BLESS",
    "REELMILL_TEST_SEED",
    "REELMILL_TESTING_CACHE",
    "REELMILL_TEST_KAFKA",
    "REELMILL_TEST_REDIS",
    "REELMILL_TEST_S3",
];

/// The setting of a name.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

impl Key {
    /// Whether this build can do anything with it. One without a cluster's backends still reads the
    /// settings of one, so that it can say what it lacks.
    pub(crate) fn is_shown(&self) -> bool {
        let names = [
            "queue",
            "store",
            "ledger",
            "roles",
            "metrics_listen",
            "output_links",
        ];
        let of_a_cluster = names.contains(&self.name)
            || self.name.starts_with("kafka_")
            || self.name.starts_with("s3_");
        cfg!(feature = "cluster") || !of_a_cluster
    }

    /// Its variable.
    pub(crate) fn variable(&self) -> String {
        format!("REELMILL_{}", self.name.to_ascii_uppercase())
    }
}

/// What an unknown name probably meant, as a question, else all that there is.
pub(crate) fn way_out(unknown: &str, known: &[&str]) -> String {
    // Nothing longer is near to any name, and the distance costs the square of the length.
    let distance = |candidate: &str| match unknown.len() <= 64 {
        true => strsim::damerau_levenshtein(unknown, candidate),
        false => usize::MAX,
    };
    let nearest = known
        .iter()
        .map(|candidate| (distance(candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1.max(candidate.len() / 3))
        .min();
    match nearest {
        Some((_, meant)) => format!("did you mean `{meant}`?"),
        None => format!("there are {}", known.join(", ")),
    }
}
