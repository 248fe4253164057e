//! A job's events, over as many connections as it takes.

use std::pin::Pin;
use std::time::{Duration, Instant};

use eventsource_stream::Eventsource as _;
use futures::{Stream, StreamExt as _};
use reqwest::{Method, StatusCode};

use super::Client;
use crate::failure::{Exit, Failure};

/// A service shows that it lives more often than this.
const SILENCE: Duration = Duration::from_secs(45);

/// How long a service may be away, for a restart say, before it is given up.
const GIVE_UP: Duration = Duration::from_secs(60);

/// The wait between two attempts to connect.
const AGAIN: Duration = Duration::from_secs(1);

/// One event.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// `snapshot`, `update` or `end`.
    pub(crate) kind: String,
    /// The job as JSON.
    pub(crate) data: String,
}

type Connection = Pin<Box<dyn Stream<Item = Result<eventsource_stream::Event, String>> + Send>>;

/// The events of one job.
pub(crate) struct Events<'a> {
    client: &'a Client,
    job: &'a str,
    last_id: String,
    connection: Option<Connection>,
    /// Since when nothing was heard, while that is so.
    lost: Option<Instant>,
}

impl<'a> Events<'a> {
    pub(crate) fn new(client: &'a Client, job: &'a str) -> Self {
        Self {
            client,
            job,
            last_id: String::new(),
            connection: None,
            lost: None,
        }
    }

    /// The next event; `None` when there is none to come. A connection that breaks is made anew
    /// from where it broke; only a service that is away for a minute, or from the start, is a
    /// failure.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, Failure> {
        loop {
            let Some(connection) = &mut self.connection else {
                match self.connect().await {
                    Ok(true) => continue,
                    Ok(false) => return Ok(None),
                    Err(failure) => self.wait(failure).await?,
                }
                continue;
            };
            match tokio::time::timeout(SILENCE, connection.next()).await {
                Ok(Some(Ok(event))) => {
                    self.lost = None;
                    if !event.id.is_empty() {
                        self.last_id = event.id;
                    }
                    return Ok(Some(Event {
                        kind: event.event,
                        data: event.data,
                    }));
                }
                // Ended, broken or silent: the next connection tells what is the matter.
                Ok(Some(Err(_)) | None) | Err(_) => {
                    self.connection = None;
                    let since = *self.lost.get_or_insert_with(Instant::now);
                    if since.elapsed() > GIVE_UP {
                        return Err(self.client.stranger("with events that break off"));
                    }
                    tokio::time::sleep(AGAIN / 4).await;
                }
            }
        }
    }

    /// `false` where the service says that nothing is to come.
    async fn connect(&mut self) -> Result<bool, Failure> {
        let path = ["v1", "jobs", self.job, "events"];
        let mut request = self
            .client
            .request(Method::GET, &path)
            .header("accept", "text/event-stream");
        if !self.last_id.is_empty() {
            request = request.header("last-event-id", &self.last_id);
        }
        let response = self.client.send(request).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(false);
        }
        let events = response.bytes_stream().eventsource();
        self.connection = Some(Box::pin(
            events.map(|event| event.map_err(|error| error.to_string())),
        ));
        Ok(true)
    }

    /// Waits for a service that was there and is not now.
    async fn wait(&mut self, failure: Failure) -> Result<(), Failure> {
        let away = failure.exit == Exit::Dependency || failure.code.ends_with("unavailable");
        match self.lost {
            Some(since) if away && since.elapsed() < GIVE_UP => {
                tokio::time::sleep(AGAIN).await;
                Ok(())
            }
            _ => Err(failure),
        }
    }
}
