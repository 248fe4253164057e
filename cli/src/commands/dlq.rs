//! `reelmill dlq`: what ended without success, and the way back.

use reelmill_common::{JobId, WorkerId};
use reelmill_queue::{DeadLetters, KafkaQueue, StoredLetter};
use reelmill_stage::{Ports, retry};
use serde_json::{Value, json};

use super::jobs::table;
use super::topics::queue;
use crate::args::DlqCommand;
use crate::config::PortArgs;
use crate::failure::Failure;
use crate::report::{print_json, print_line};
use crate::wire::ports;

pub(crate) async fn run(command: &DlqCommand) -> Result<(), Failure> {
    match command {
        DlqCommand::List { ports, json } => list(&queue(ports).await?, *json).await,
        DlqCommand::Show { ports, id, json } => {
            let mut found = letters(&queue(ports).await?).await?;
            let letter = take(&mut found, id)?;
            match json {
                true => print_json(&described(&letter)),
                false => show(&letter),
            }
            Ok(())
        }
        DlqCommand::Retry { ports, ids } => {
            let queue = queue(ports).await?;
            let all = reach(ports).await?;
            let mut found = letters(&queue).await?;
            for id in ids {
                bring_back(&queue, &all, &take(&mut found, id)?).await?;
            }
            Ok(())
        }
        DlqCommand::Drop { ports, ids } => {
            let queue = queue(ports).await?;
            let mut found = letters(&queue).await?;
            for id in ids {
                let letter = take(&mut found, id)?;
                let dropped = queue.drop_dead_letter(&letter).await;
                dropped.map_err(|error| Failure::of(&error))?;
                print_line(&format!("{id}: dropped"));
            }
            Ok(())
        }
    }
}

async fn list(queue: &KafkaQueue, json: bool) -> Result<(), Failure> {
    let found = letters(queue).await?;
    if json {
        let letters: Vec<Value> = found.letters.iter().map(described).collect();
        print_json(&json!({ "dead_letters": letters, "total": found.total }));
        return Ok(());
    }
    let mut rows = vec![["ID", "JOB", "REASON"].map(str::to_owned)];
    for letter in &found.letters {
        rows.push([letter.id.clone(), letter.job.clone(), reason(letter)]);
    }
    table(&rows).iter().for_each(|line| print_line(line));
    let shown = found.letters.len() as u64;
    if found.total > shown {
        print_line(&format!("and {} older ones", found.total - shown));
    }
    Ok(())
}

/// All of a letter. Its command and the last words of that come in full below the rest.
fn show(letter: &StoredLetter) {
    let mut rows = vec![
        ["id".to_owned(), letter.id.clone()],
        ["job".to_owned(), letter.job.clone()],
        ["reason".to_owned(), reason(letter)],
    ];
    if let Some(source) = &letter.source {
        rows.push(["topic".to_owned(), source.topic.clone()]);
        rows.push(["partition".to_owned(), source.partition.to_string()]);
        rows.push(["offset".to_owned(), source.offset.to_string()]);
    }
    if let Ok(message) = &letter.letter {
        let payload = String::from_utf8_lossy(&message.payload).into_owned();
        rows.push(["key".to_owned(), message.key.clone()]);
        rows.push(["message".to_owned(), payload]);
    }
    table(&rows).iter().for_each(|line| print_line(line));
    let cause = letter.letter.as_ref().map(|letter| letter.cause.clone());
    let cause = cause.unwrap_or_default();
    for (title, text) in [
        ("command", cause.command.as_str()),
        ("its last words", cause.detail.as_str()),
        ("to see it fail", &reproduce(letter)),
    ] {
        if !text.is_empty() {
            print_line(&format!("\n{title}:"));
            text.lines()
                .for_each(|line| print_line(&format!("  {line}")));
        }
    }
}

/// How to see a job's task fail by hand; empty where the letter has no job.
fn reproduce(letter: &StoredLetter) -> String {
    let Ok(message) = &letter.letter else {
        return String::new();
    };
    if letter.job.is_empty() {
        return String::new();
    }
    let then = match message.cause.command.is_empty() {
        true => "`reelmill transcode` it with the profile of the job",
        false => "run the command there",
    };
    format!(
        "in an empty folder: curl -fOJ \"$REELMILL_SERVER/v1/jobs/{}/source\"\nthen {then}",
        letter.job
    )
}

fn described(letter: &StoredLetter) -> Value {
    let source = letter.source.as_ref();
    let message = letter.letter.as_ref().ok();
    json!({
        "id": letter.id,
        "job": letter.job,
        "reason": reason(letter),
        "topic": source.map(|source| &source.topic),
        "partition": source.map(|source| source.partition),
        "offset": source.map(|source| source.offset),
        "key": message.map(|message| &message.key),
        "message": message.map(|message| String::from_utf8_lossy(&message.payload)),
        "command": message.map(|message| &message.cause.command),
        "detail": message.map(|message| &message.cause.detail),
        "reproduce": reproduce(letter),
        "at_ms": message.map(|message| message.at),
    })
}

fn reason(letter: &StoredLetter) -> String {
    match &letter.letter {
        Ok(message) => message.cause.reason.clone(),
        Err(unreadable) => unreadable.clone(),
    }
}

/// All of them at once, since each look reads the whole topic.
async fn letters(queue: &KafkaQueue) -> Result<DeadLetters, Failure> {
    let found = queue.dead_letters().await;
    found.map_err(|error| Failure::of(&error))
}

/// Takes one out, so that one that is named twice is not handled twice.
fn take(found: &mut DeadLetters, id: &str) -> Result<StoredLetter, Failure> {
    let position = found.letters.iter().position(|letter| letter.id == id);
    let letter = position.map(|position| found.letters.remove(position));
    letter.ok_or_else(|| {
        Failure::failed(format!(
            "there is no dead letter `{id}`: `reelmill dlq list` shows those that nobody has handled"
        ))
    })
}

/// All three ports: a job that failed is brought back by the ledger, not by its message.
async fn reach(args: &PortArgs) -> Result<Ports, Failure> {
    let settings = args.0.values(None, true)?.settings()?;
    let embedded = settings.backends.embedded();
    if let Some(name) = embedded.first() {
        return Err(Failure::usage(format!(
            "`{name}` is embedded, and a job is brought back where it is kept: set the addresses that the workers have"
        )));
    }
    let nobody = WorkerId::new("dlq").map_err(|error| Failure::failed(error.to_string()))?;
    ports(&settings.backends, &settings.data, &nobody).await
}

/// The job of a letter runs again, with all that is missing of it. Where the job has not failed, the
/// message alone is published anew.
async fn bring_back(queue: &KafkaQueue, all: &Ports, letter: &StoredLetter) -> Result<(), Failure> {
    let id = &letter.id;
    if let Ok(job) = JobId::new(letter.job.as_str())
        && retry(all, &job).await?
    {
        let handled = queue.drop_dead_letter(letter).await;
        handled.map_err(|error| Failure::of(&error))?;
        print_line(&format!("{id}: the job `{job}` runs again"));
        return Ok(());
    }
    let published = queue.retry_dead_letter(letter).await;
    published.map_err(|error| Failure::of(&error))?;
    print_line(&format!("{id}: its message is published again"));
    Ok(())
}
