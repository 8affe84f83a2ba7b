//! `bulkhead schemas export` and `import`: a registry as JSON lines, ids and versions included.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use schemas::compat::Level;
use schemas::registry::{Mode, Reference, Submission, VersionSpec};
use serde_json::{Value as Json, json};

use super::target::{Opened, Target, failed};
use crate::cli::Output;
use crate::exit::CommandError;
use crate::registry::RegistryFailure;
use crate::registry::api::Entry;

/// Bytes of an export that are read: 20,000 schemas of 10 KB.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Write every version of every subject with its id, and the levels, as JSON lines
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  bulkhead schemas export --registry http://127.0.0.1:8085 --to schemas.jsonl")]
pub struct ExportArgs {
    #[command(flatten)]
    target: Target,
    /// File to write; standard output if it is left out
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

/// Take in an export, with the ids and versions that stand in it
///
/// Every subject is switched to mode IMPORT and back. A registry that gives other ids all the same is told apart: exit 1.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  bulkhead schemas import --from schemas.jsonl --registry http://127.0.0.1:8085")]
pub struct ImportArgs {
    #[command(flatten)]
    target: Target,
    /// File that `export` has written
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
}

/// Writes the lines.
///
/// # Errors
/// The registry does not answer, or the file cannot be written.
pub fn export(args: ExportArgs, output: Output) -> Result<ExitCode, CommandError> {
    crate::cli::block_on(async move {
        let opened = args.target.open().await?;
        let lines = collect(&opened).await;
        opened.close().await;
        let (text, versions) = lines?;
        match &args.to {
            Some(path) => {
                let named = |e: std::io::Error| CommandError::failed(format!("{}: {e}", path.display()));
                std::fs::write(path, text).map_err(named)?;
                match output {
                    Output::Text => eprintln!("{versions} versions in {}", path.display()),
                    Output::Json => println!("{}", json!({ "versions": versions })),
                }
            }
            None => std::io::stdout().write_all(text.as_bytes()).map_err(CommandError::failed)?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn collect(opened: &Opened) -> Result<(String, usize), CommandError> {
    let registry = &opened.registry;
    let (mut entries, mut levels) = (Vec::new(), Vec::new());
    levels.extend(registry.level(None).await.map_err(failed)?.map(|level| (None, level)));
    for subject in registry.subjects().await.map_err(failed)? {
        for version in registry.versions(&subject).await.map_err(failed)? {
            entries.push(registry.version(&subject, VersionSpec::Number(version)).await.map_err(failed)?);
        }
        let level = registry.level(Some(&subject)).await.map_err(failed)?;
        levels.extend(level.map(|level| (Some(subject), level)));
    }
    // What others build on comes first: it was registered before them.
    entries.sort_by(|a, b| (a.id, &a.subject, a.version).cmp(&(b.id, &b.subject, b.version)));
    let mut text = String::new();
    for Entry { subject, version, id, schema, references } in &entries {
        let references: Vec<_> = references.iter().map(Reference::json).collect();
        let line =
            json!({"subject": subject, "version": version, "id": id, "schema": schema, "references": references});
        text.push_str(&format!("{line}\n"));
    }
    for (subject, level) in levels {
        text.push_str(&format!("{}\n", json!({"subject": subject, "compatibility": level.as_str()})));
    }
    Ok((text, entries.len()))
}

enum Line {
    Version(Entry),
    Level(Option<String>, Level),
}

/// Takes the lines in.
///
/// # Errors
/// The file is none of ours (usage), or the registry refuses.
pub fn import(args: ImportArgs, output: Output) -> Result<ExitCode, CommandError> {
    crate::cli::block_on(async move {
        let lines = read(&args.from)?;
        let opened = args.target.open().await?;
        let result = take_in(&opened, lines).await;
        opened.close().await;
        let (versions, other) = result?;
        match output {
            Output::Text => eprintln!("{versions} versions taken in, {} under other ids", other.len()),
            Output::Json => println!("{}", json!({"versions": versions, "other_ids": other})),
        }
        for (subject, version, wanted, got) in &other {
            eprintln!("bulkhead: {subject} version {version} has the id {got} there, not {wanted}");
        }
        Ok(ExitCode::from(u8::from(!other.is_empty())))
    })
}

fn read(path: &std::path::Path) -> Result<Vec<Line>, CommandError> {
    let named = |at: usize, what: &str| CommandError::usage(format!("{} line {at}: {what}", path.display()));
    let bytes = std::fs::metadata(path).map_err(|e| named(0, &e.to_string()))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(named(0, &format!("{bytes} bytes; an export has at most {FILE_BYTES_MAX}")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| named(0, &e.to_string()))?;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let json: Json = serde_json::from_str(line).map_err(|e| named(index + 1, &e.to_string()))?;
        lines.push(parse(&json).ok_or_else(|| named(index + 1, "not a line that export writes"))?);
    }
    Ok(lines)
}

fn parse(json: &Json) -> Option<Line> {
    let subject = json.get("subject").and_then(Json::as_str).map(str::to_owned);
    if let Some(level) = json.get("compatibility") {
        return Some(Line::Level(subject, level.as_str()?.parse().ok()?));
    }
    let number = |key: &str| json.get(key)?.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
    let references = json.get("references")?.as_array()?.iter().map(Reference::parse).collect::<Option<_>>()?;
    let schema = json.get("schema")?.as_str()?.to_owned();
    Some(Line::Version(Entry { subject: subject?, version: number("version")?, id: number("id")?, schema, references }))
}

type Other = (String, u32, u32, u32);

async fn take_in(opened: &Opened, lines: Vec<Line>) -> Result<(usize, Vec<Other>), CommandError> {
    let registry = &opened.registry;
    let mut switched = BTreeSet::new();
    let result = async {
        let (mut versions, mut other) = (0, Vec::new());
        for line in &lines {
            match line {
                Line::Version(entry) => {
                    if switched.insert(entry.subject.clone()) {
                        registry.set_mode(&entry.subject, Some(Mode::Import)).await?;
                    }
                    let Entry { subject, version, id, schema, references } = entry;
                    let references = references.clone();
                    let (wanted, number) = (Some(*id), Some(*version));
                    let sent =
                        Submission { references, id: wanted, version: number, ..Submission::of(schema.as_str()) };
                    let got = registry.register(subject, &sent).await?;
                    versions += 1;
                    if got != *id {
                        other.push((subject.clone(), *version, *id, got));
                    }
                }
                Line::Level(subject, level) => registry.set_level(subject.as_deref(), *level).await?,
            }
        }
        Ok::<_, RegistryFailure>((versions, other))
    }
    .await;
    // Also after a failure: a subject that stays in IMPORT takes no schema from anybody.
    for subject in &switched {
        registry.set_mode(subject, None).await.map_err(failed)?;
    }
    result.map_err(failed)
}
