//! What was typed to look after a cluster.

use clap::{Args, Subcommand};

use crate::config::PortArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum TopicsCommand {
    /// Make those that are missing and add partitions where there are too few; the rest stays
    Create(TopicsArgs),
    /// Say what is not as planned; exit code 1 where anything is not
    Check(TopicsArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TopicsArgs {
    #[command(flatten)]
    pub(crate) ports: PortArgs,
    /// Of each topic of work: four for each worker that there will ever be
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) partitions: u32,
    /// On how many brokers each message is kept [default: the cluster's own]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=15))]
    pub(crate) replication: Option<u16>,
    /// How long messages are kept: longer than the longest job takes with all its retries
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = crate::config::duration)]
    pub(crate) retention: std::time::Duration,
    /// How long dead letters are kept
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = crate::config::duration)]
    pub(crate) dead_letter_retention: std::time::Duration,
    /// Answer with one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// Those that nobody has handled
    List {
        #[command(flatten)]
        ports: PortArgs,
        /// Answer with one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// One of them with all that is known of it
    Show {
        #[command(flatten)]
        ports: PortArgs,
        /// Its id, from `dlq list`
        id: String,
        /// Answer with one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Run the jobs of dead letters again; only what is missing is done
    Retry {
        #[command(flatten)]
        ports: PortArgs,
        /// Their ids, from `dlq list`
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Count dead letters as handled; their jobs stay as they are
    Drop {
        #[command(flatten)]
        ports: PortArgs,
        /// Their ids, from `dlq list`
        #[arg(required = true)]
        ids: Vec<String>,
    },
}
