//! `bulkhead acl`: who needs which rights on a cluster.

use std::process::ExitCode;

use actors::bidder::{CampaignsView, LeaseBook, LeaseBookConfig, LeasesView, PlaceholdersView};
use clap::{Args, Subcommand};
use runtime::view::View;

use crate::backend::BrokerArgs;
use crate::cli::Output;
use crate::exit::CommandError;
use crate::operate::acl::{Right, rights};
use crate::operate::values::services;
use crate::registry;

/// The least rights on a cluster
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  bulkhead acl print --brokers 127.0.0.1:9092")]
pub struct AclArgs {
    #[command(subcommand)]
    pub command: AclCommand,
}

#[derive(Subcommand, Clone, Debug)]
pub enum AclCommand {
    /// Print the rights of each service, of the edge, of every process and of operators, as commands of Kafka's own tool.
    /// Nothing is asked of the cluster and nothing changed
    #[command(after_help = "Example:\n  bulkhead acl print --brokers 127.0.0.1:9092")]
    Print {
        #[command(flatten)]
        brokers: BrokerArgs,
        /// Before each user's name
        #[arg(long, value_name = "PREFIX", default_value = "bulkhead-")]
        users: String,
    },
}

/// Prints.
///
/// # Errors
/// No brokers named.
pub fn run(args: AclArgs, output: Output) -> Result<ExitCode, CommandError> {
    let AclCommand::Print { brokers, users } = args.command;
    let missing = || CommandError::Usage("which cluster? --brokers HOST:PORT".to_owned());
    let at = brokers.brokers.ok_or_else(missing)?;
    let all = all_rights(&brokers.topic_prefix.unwrap_or_default());
    match output {
        Output::Json => {
            let row = |right: &Right| {
                let mut row = serde_json::to_value(right).unwrap_or_default();
                row["user"] = format!("{users}{}", right.who).into();
                row
            };
            println!("{}", serde_json::json!({ "rights": all.iter().map(row).collect::<Vec<_>>() }));
        }
        Output::Text => all.iter().for_each(|right| println!("{}", right.command(&at, &users))),
    }
    Ok(ExitCode::SUCCESS)
}

fn all_rights(prefix: &str) -> Vec<Right> {
    let leases = std::sync::Arc::new(LeaseBook::new("acl", LeaseBookConfig::default()));
    let views: [Box<dyn View>; 3] =
        [Box::new(CampaignsView::new().0), Box::new(LeasesView::new(leases)), Box::new(PlaceholdersView::new().0)];
    let viewed: Vec<&str> = views.iter().flat_map(|view| view.topics()).map(|topic| topic.name).collect();
    rights(&services(), &viewed, &[registry::store::TOPIC, registry::usage::TOPIC, crate::dlq::audit::TOPIC], prefix)
}
