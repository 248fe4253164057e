//! What the routes for uploads answer, as the OpenAPI document tells it. Nothing is made of these
//! types; what every route may answer besides is added there.
#![expect(
    dead_code,
    clippy::large_enum_variant,
    reason = "read by the derive that describes them, and never made"
)]

use utoipa::IntoResponses;

use crate::jobs::Job;

/// To a source in one request.
#[derive(IntoResponses)]
pub(super) enum Taken {
    /// The job that was made of it
    #[response(status = 202, headers(
        ("Location" = String, description = "Where the job is"),
        ("Idempotency-Replayed" = Option<String>, description = "`true` when an earlier request made it"),
    ))]
    Job(Job),
    /// A parameter, a digest or the body is not valid; `code` says what
    #[response(status = 400)]
    Invalid,
    /// The body broke off or stalled
    #[response(status = 408)]
    BrokeOff,
    /// `idempotency-in-progress`: the same request is being answered
    #[response(status = 409)]
    InProgress,
    /// Larger than is taken here
    #[response(status = 413)]
    TooLarge,
    /// A body of a kind that is not taken
    #[response(status = 415)]
    Kind,
    /// An `Idempotency-Key` that stands for another request
    #[response(status = 422)]
    OtherRequest,
    /// A source by URL, which is not taken yet
    #[response(status = 501)]
    ByUrl,
}

/// To bytes of a resumable upload, after what tells that they arrived.
#[derive(IntoResponses)]
pub(super) enum Appended {
    /// A header is not valid
    #[response(status = 400)]
    Invalid,
    /// There is no such upload
    #[response(status = 404)]
    Unknown,
    /// The body broke off or stalled: ask for the offset and go on
    #[response(status = 408)]
    BrokeOff,
    /// The upload is at another offset, or is a job already
    #[response(status = 409)]
    Offset,
    /// The upload has expired
    #[response(status = 410)]
    Gone,
    /// Another version of tus
    #[response(status = 412)]
    Version,
    /// Larger than is taken here, or than was announced
    #[response(status = 413)]
    TooLarge,
    /// Not `application/offset+octet-stream`
    #[response(status = 415)]
    Kind,
    /// Another request goes on with the upload
    #[response(status = 423)]
    Locked,
    /// The checksum does not hold, and nothing was kept
    #[response(status = 460)]
    Checksum,
}

/// To questions about a resumable upload, after what answers them.
#[derive(IntoResponses)]
pub(super) enum Refused {
    /// There is no such upload
    #[response(status = 404)]
    Unknown,
    /// It is a job already
    #[response(status = 409)]
    Whole,
    /// It has expired
    #[response(status = 410)]
    Gone,
    /// Another version of tus
    #[response(status = 412)]
    Version,
    /// Another request goes on with it
    #[response(status = 423)]
    Locked,
}
