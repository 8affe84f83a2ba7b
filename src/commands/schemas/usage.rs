//! `bulkhead schemas usage`, and the live part of `ls`.

use std::process::ExitCode;

use clap::Args;
use schemas::registry::VersionSpec;
use serde_json::json;

use super::target::{Opened, Target, failed};
use crate::cli::Output;
use crate::exit::CommandError;
use crate::registry::usage::{LIVE_MS, Manifest, ReaderUse};

/// Tell which service reads which version of which topic, and which writers' records the topics still hold
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  bulkhead schemas usage --data bulkhead-data")]
pub struct UsageArgs {
    #[command(flatten)]
    target: Target,
}

/// List the schemas of this binary; with a registry, its subjects and who uses them
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  bulkhead schemas ls --output json")]
pub struct LsArgs {
    #[command(flatten)]
    pub target: Target,
}

/// Prints the manifest.
///
/// # Errors
/// The registry does not answer, or knows no usage.
pub fn run(args: UsageArgs, output: Output) -> Result<ExitCode, CommandError> {
    crate::cli::block_on(async move {
        let opened = args.target.open().await?;
        let usage = opened.usage().await;
        let name = opened.name.clone();
        opened.close().await;
        let unknown = || CommandError::failed(format!("{name} tells no usage: it is not the registry of a platform"));
        let manifest = usage.map_err(failed)?.ok_or_else(unknown)?;
        match output {
            Output::Json => println!("{}", json!(manifest)),
            Output::Text => print(&manifest, runtime::env::Env::production().clock.wall_ms()),
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn print(manifest: &Manifest, now_ms: i64) {
    println!("readers");
    for reader in &manifest.readers {
        let ReaderUse { service, topic, schema, id, .. } = reader;
        println!("  {topic:<24} {service:<12} reads id {id:<6} {schema:<50} {}", seen(reader, now_ms));
    }
    println!("writers");
    for writer in &manifest.writers {
        let state = match (now_ms - writer.seen_ms <= LIVE_MS, writer.retained) {
            (true, _) => "writes now",
            (false, true) => "gone, its records are still there",
            (false, false) => "gone, and its records too",
        };
        println!("  {:<24} id {:<6} {:<50} {state}", writer.topic, writer.id, writer.schema);
    }
}

/// Who it is and whether it lives.
pub fn seen(reader: &ReaderUse, now_ms: i64) -> String {
    let minutes = (now_ms - reader.seen_ms).max(0) / 60_000;
    format!("instance {}, last seen {minutes} min ago", reader.instance)
}

/// Subjects of a registry, with who uses them.
///
/// # Errors
/// The registry does not answer.
pub fn ls(target: &Target, output: Output) -> Result<ExitCode, CommandError> {
    crate::cli::block_on(async move {
        let opened = target.open().await?;
        let rows = subjects(&opened).await;
        opened.close().await;
        let rows = rows?;
        match output {
            Output::Json => println!("{}", json!({ "subjects": rows })),
            Output::Text => {
                for row in rows {
                    let names = |key: &str| {
                        let all = row[key].as_array().into_iter().flatten().filter_map(|v| v.as_str());
                        all.collect::<Vec<_>>().join(", ")
                    };
                    let (subject, readers) = (row["subject"].as_str().unwrap_or_default(), names("readers"));
                    let by = if readers.is_empty() { String::new() } else { format!("  read by {readers}") };
                    println!("{subject:<44} version {:<4} id {:<6}{by}", row["version"], row["id"]);
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn subjects(opened: &Opened) -> Result<Vec<serde_json::Value>, CommandError> {
    let usage = opened.usage().await.map_err(failed)?.unwrap_or_default();
    let mut rows = Vec::new();
    for subject in opened.registry.subjects().await.map_err(failed)? {
        let topic = subject.strip_suffix("-value");
        for version in opened.registry.versions(&subject).await.map_err(failed)? {
            let entry = opened.registry.version(&subject, VersionSpec::Number(version)).await.map_err(failed)?;
            let used = |t: &str, id: u32| Some(t) == topic && id == entry.id;
            let readers = usage.readers.iter().filter(|r| used(&r.topic, r.id));
            let mut readers: Vec<_> = readers.map(|r| r.service.clone()).collect();
            readers.dedup();
            let retained = usage.writers.iter().any(|w| used(&w.topic, w.id) && w.retained);
            rows.push(json!({
                "subject": subject, "version": version, "id": entry.id, "readers": readers, "retained": retained
            }));
        }
    }
    Ok(rows)
}
