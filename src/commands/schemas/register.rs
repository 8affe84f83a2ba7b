//! `bulkhead schemas register`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use schemas::compat::Level;
use schemas::registry::{Reference, Submission};
use serde_json::json;

use super::files;
use super::target::{Opened, Target, failed};
use crate::cli::Output;
use crate::exit::CommandError;
use crate::registry::start;
use crate::registry::store::subjects_of;

/// Register a schema under a subject, or all schemas of this binary
///
/// With --builtin each schema of a topic becomes a version of `TOPIC-value`, held to FULL_TRANSITIVE where the subject has
/// no level yet. What is registered already stays as it is.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  bulkhead schemas register --builtin --registry http://127.0.0.1:8085")]
pub struct RegisterArgs {
    #[command(flatten)]
    target: Target,
    /// The schemas of this binary
    #[arg(long, conflicts_with_all = ["file", "subject"], required_unless_present = "file")]
    builtin: bool,
    /// Schema file
    #[arg(long, value_name = "FILE", requires = "subject")]
    file: Option<PathBuf>,
    /// Subject, such as `clicks-value`
    #[arg(long)]
    subject: Option<String>,
    /// A name that the schema takes from another subject
    #[arg(long, value_name = "NAME=SUBJECT:VERSION", value_parser = reference, requires = "file")]
    reference: Vec<Reference>,
}

fn reference(text: &str) -> Result<Reference, String> {
    let parsed = || {
        let (name, rest) = text.split_once('=')?;
        let (subject, version) = rest.rsplit_once(':')?;
        let version = version.parse::<u32>().ok().filter(|v| *v > 0)?;
        Some(Reference { name: name.to_owned(), subject: subject.to_owned(), version })
    };
    parsed().ok_or_else(|| "write NAME=SUBJECT:VERSION, such as shop.Visit=visits-value:1".to_owned())
}

/// Registers and tells the ids.
///
/// # Errors
/// The registry refuses, or is away.
pub fn run(args: RegisterArgs, output: Output) -> Result<ExitCode, CommandError> {
    crate::cli::block_on(async move {
        let opened = args.target.open().await?;
        let result = register(&args, &opened).await;
        opened.close().await;
        let registered = result?;
        match output {
            Output::Text => registered.iter().for_each(|(subject, id)| println!("{id:>6}  {subject}")),
            Output::Json => {
                let rows: Vec<_> = registered.iter().map(|(s, id)| json!({"subject": s, "id": id})).collect();
                println!("{}", json!({ "registered": rows }));
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn register(args: &RegisterArgs, opened: &Opened) -> Result<Vec<(String, u32)>, CommandError> {
    if let (Some(file), Some(subject)) = (&args.file, &args.subject) {
        // References are the registry's to resolve: without them the file must stand by itself.
        let schema = if args.reference.is_empty() { files::text(file)? } else { files::raw(file)? };
        let submission = Submission { references: args.reference.clone(), ..Submission::of(schema) };
        let id = opened.registry.register(subject, &submission).await.map_err(failed)?;
        return Ok(vec![(subject.clone(), id)]);
    }
    let topics = start::topics(&actors::catalogue::services(&actors::catalogue::Config::default()));
    let mut registered = Vec::new();
    for builtin in schemas::builtin().iter().filter(|b| topics.iter().any(|(_, id)| *id == b.id)) {
        for subject in subjects_of(builtin, &topics) {
            let is_new = opened.registry.versions(&subject).await.is_err_and(|failure| failure.is_absent());
            let id = opened.registry.register(&subject, &Submission::of(builtin.avsc)).await.map_err(failed)?;
            if is_new {
                opened.registry.set_level(Some(&subject), Level::FullTransitive).await.map_err(failed)?;
            }
            registered.push((subject, id));
        }
    }
    Ok(registered)
}
