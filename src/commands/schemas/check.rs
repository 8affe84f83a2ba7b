//! `bulkhead schemas check`: would a consumer break, where, why, and what mends it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use schemas::compat::{self, CompatError, DeployOrder, Direction, Level};
use schemas::lint::{self, Lint};
use schemas::model::Schema;
use schemas::proof;

use super::base::{self, Base, BaseError};
use super::files::{ReferenceArgs, References};
use super::live::{self, LiveError};
use super::report::{DecodeProof, Finding, Refuted, Report};
use super::sarif;
use super::target::Target;
use crate::cli::Output;
use crate::exit::CommandError;

/// Seed of the records that the decode proof draws: the same verdict every time.
const PROOF_SEED: u64 = 1;
/// Nobody reads more, and the proof must not run for ever.
const PROOF_RECORDS_MAX: u32 = 100_000;

/// Say whether a schema change breaks a consumer: where, why, how to mend it, and whom to deploy first
///
/// A pair: can --reader read what --writer wrote? A level: does --candidate keep the promise of --level towards
/// --history (oldest first)? A folder: does each schema in --dir keep it towards the file of
/// the same name in --against, or in the same folder at the commit --base? A registry: with --registry or --data, does
/// --candidate or --dir keep it towards every consumer that runs and every writer whose records are still there?
///
/// The verdict is that of Java's SchemaCompatibility; where it is "compatible", records drawn for the writer are decoded
/// with the reader by the decoder that production uses. Exit: 0 compatible, 1 breaks, 2 usage or unusable file, 3 could
/// not check.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  bulkhead schemas check --level FULL_TRANSITIVE --candidate c.avsc --history v1.avsc,v2.avsc"
)]
pub struct CheckArgs {
    /// Schema of those who read; taken for the newer of the two
    #[arg(long, requires = "writer", conflicts_with_all = ["candidate", "dir"], required_unless_present_any = ["candidate", "dir"])]
    reader: Option<PathBuf>,
    /// Schema of those who wrote
    #[arg(long, requires = "reader")]
    writer: Option<PathBuf>,
    /// Compatibility level, as schema registries name them
    #[arg(long, value_parser = level, default_value = "FULL_TRANSITIVE", conflicts_with = "reader")]
    pub(super) level: Level,
    /// The schema that is to come
    #[arg(long, conflicts_with = "dir")]
    pub(super) candidate: Option<PathBuf>,
    /// Versions so far, oldest first
    #[arg(long, value_delimiter = ',', requires = "candidate")]
    history: Vec<PathBuf>,
    /// Folder of schema files (.avsc) that are to come
    #[arg(long, requires = "in_use")]
    pub(super) dir: Option<PathBuf>,
    /// Folder of the schema files that are in use
    #[arg(long, requires = "dir", group = "in_use")]
    against: Option<PathBuf>,
    /// Commit at which the same folder holds the schemas that are in use
    #[arg(long, requires = "dir", group = "in_use", value_parser = base::rev)]
    base: Option<String>,
    /// Registry that knows the versions in use: each consumer that runs, each writer whose records are still there
    #[arg(long, value_name = "URL", group = "in_use", conflicts_with_all = ["reader", "history"])]
    registry: Option<String>,
    /// The same from a data directory that no process has open
    #[arg(long, value_name = "DIR", group = "in_use", conflicts_with_all = ["reader", "history"])]
    data: Option<PathBuf>,
    /// Subject that the candidate is to join [default: those whose latest version has the record's name]
    #[arg(long, conflicts_with_all = ["reader", "history", "against", "base"])]
    pub(super) subject: Option<String>,
    #[command(flatten)]
    pub(super) references: ReferenceArgs,
    /// The schemas are those of record keys
    #[arg(long)]
    key: bool,
    /// Write the findings to this file as SARIF 2.1.0
    #[arg(long)]
    sarif: Option<PathBuf>,
    /// House rules decide too: lints of level deny make the exit code 1
    #[arg(long)]
    policy: bool,
    /// Records that the decode proof draws for each pair that is compatible; 0 for none
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=i64::from(PROOF_RECORDS_MAX)))]
    records: u32,
}

fn level(word: &str) -> Result<Level, String> {
    word.parse::<Level>().map_err(|e| e.to_string())
}

/// Checks and reports.
///
/// # Errors
/// Usage: a file cannot be used. A pair that is too large to judge is no error: the exit code is 3.
pub fn run(args: &CheckArgs, output: Output) -> Result<ExitCode, CommandError> {
    let target = Target { registry: args.registry.clone(), data: args.data.clone() };
    if target.is_given() {
        return match live::report(args, &target) {
            Ok(report) => finish(args, &report, output),
            Err(LiveError::Command(error @ CommandError::Usage(_))) => Err(error),
            Err(error) => Ok(not_checked(error.kind(), &error)),
        };
    }
    let types = args.references.load()?;
    let report = match (&args.reader, &args.writer, &args.candidate, &args.dir) {
        (Some(reader), Some(writer), ..) => pair(args, &types.read(reader)?, &types.read(writer)?),
        (_, _, Some(candidate), _) => {
            let history = args.history.iter().map(|p| types.read(p)).collect::<Result<Vec<_>, _>>()?;
            let names: Vec<_> = args.history.iter().map(|p| p.display().to_string()).collect();
            levels(args, &types.read(candidate)?, &history, &names)
        }
        (.., Some(dir)) => match folder(args, dir, &types, &base(args, dir)?) {
            Ok(report) => report,
            Err(BaseError::Command(error)) => return Err(error),
            Err(error) => return Ok(not_checked(error.kind(), &error)),
        },
        _ => return Err(CommandError::usage("name --reader and --writer, or --candidate, or --dir")),
    };
    let report = match report {
        Ok(report) => report,
        Err(error) => return Ok(not_checked(error.kind(), &error)),
    };
    finish(args, &report, output)
}

fn finish(args: &CheckArgs, report: &Report, output: Output) -> Result<ExitCode, CommandError> {
    if let Some(path) = &args.sarif {
        let named = |e: std::io::Error| CommandError::failed(format!("{}: {e}", path.display()));
        std::fs::write(path, sarif::log(report, judged(args)).to_string()).map_err(named)?;
    }
    report.print(output, args.policy);
    Ok(report.exit_code(args.policy))
}

/// The file that was judged; where the findings name files themselves, as against a folder or a registry, the folder of them.
fn judged(args: &CheckArgs) -> &Path {
    let nowhere = Path::new("");
    let is_live = args.registry.is_some() || args.data.is_some();
    match args.reader.as_deref().or(args.candidate.as_deref()) {
        Some(file) if is_live => file.parent().unwrap_or(nowhere),
        Some(file) => file,
        None => args.dir.as_deref().unwrap_or(nowhere),
    }
}

fn not_checked(kind: &str, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("bulkhead: could not check ({kind}): {error}");
    ExitCode::from(3)
}

fn base(args: &CheckArgs, dir: &Path) -> Result<Base, CommandError> {
    match (&args.against, &args.base) {
        (Some(folder), _) => Ok(Base::Folder(folder.clone())),
        (None, Some(rev)) => Ok(Base::Git { dir: dir.to_owned(), rev: rev.clone() }),
        (None, None) => Err(CommandError::usage("--dir needs --against FOLDER or --base COMMIT")),
    }
}

fn pair(args: &CheckArgs, reader: &Schema, writer: &Schema) -> Result<Report, CompatError> {
    let found = compat::check(reader, writer)?;
    let other_way = compat::check(writer, reader)?;
    let proof = if found.is_empty() { prove(args, &[(writer, reader)])? } else { None };
    Ok(Report {
        sentence: "the reader can read everything that the writer writes".into(),
        deploy_order: DeployOrder::new(found.is_empty(), other_way.is_empty()),
        incompatibilities: found.into_iter().map(Finding::plain).collect(),
        lints: lints(args, reader, std::slice::from_ref(writer)),
        proof,
    })
}

fn levels(args: &CheckArgs, candidate: &Schema, history: &[Schema], names: &[String]) -> Result<Report, CompatError> {
    let mut incompatibilities = Vec::new();
    for comparison in compat::check_level(args.level, candidate, history)? {
        let version = names.get(comparison.version).cloned().unwrap_or_default();
        let whose = match comparison.direction {
            Direction::Backward => format!("the candidate reads {version}"),
            Direction::Forward => format!("{version} reads the candidate"),
        };
        incompatibilities.extend(
            comparison
                .incompatibilities
                .into_iter()
                .map(|i| Finding { between: Some(whose.clone()), ..Finding::plain(i) }),
        );
    }
    let deploy_order = match history.last() {
        None => DeployOrder::Any,
        Some(last) => {
            DeployOrder::new(compat::check(candidate, last)?.is_empty(), compat::check(last, candidate)?.is_empty())
        }
    };
    let proof =
        if incompatibilities.is_empty() { prove(args, &promised(args.level, candidate, history))? } else { None };
    Ok(Report {
        sentence: format!("{}: {}", args.level, args.level.sentence()),
        incompatibilities,
        deploy_order,
        lints: lints(args, candidate, history),
        proof,
    })
}

/// The pairs (writer, reader) that a level promises.
fn promised<'s>(level: Level, candidate: &'s Schema, history: &'s [Schema]) -> Vec<(&'s Schema, &'s Schema)> {
    let versions = if level.transitive() { history.len() } else { 1 };
    let mut pairs = Vec::new();
    for old in history.iter().rev().take(versions) {
        pairs.extend(level.backward().then_some((old, candidate)));
        pairs.extend(level.forward().then_some((candidate, old)));
    }
    pairs
}

/// Each file of a folder with its namesake; a file that is gone took a whole schema with it.
fn folder(
    args: &CheckArgs,
    dir: &Path,
    types: &References,
    base: &Base,
) -> Result<Result<Report, CompatError>, BaseError> {
    let types_in_use = args.references.load_at(dir, base)?;
    let mut whole = Report {
        sentence: format!("{}: {}", args.level, args.level.sentence()),
        incompatibilities: vec![],
        lints: vec![],
        deploy_order: DeployOrder::Any,
        proof: None,
    };
    let (new, old) = (base::names(dir)?, base.names()?);
    for name in &new {
        let (mut history, mut names) = (vec![], vec![]);
        if old.contains(name) {
            history.push(base.schema(name, &types_in_use)?);
            names.push(base.label(name));
        }
        match levels(args, &types.read(&dir.join(name))?, &history, &names) {
            Ok(one) => whole.add(name, one),
            Err(error) => return Ok(Err(error)),
        }
    }
    for name in old.iter().filter(|name| !new.contains(name)) {
        let message = "the whole schema is gone: its records become unreadable for who looks it up here";
        whole.lints.push(Lint {
            rule: "schema_removed",
            level: lint::LintLevel::Deny,
            path: format!("{name}: $"),
            message: message.into(),
        });
    }
    Ok(Ok(whole))
}

pub(super) fn lints(args: &CheckArgs, new: &Schema, history: &[Schema]) -> Vec<Lint> {
    let mut found = lint::schema(new);
    for old in history {
        for lint in lint::change(old, new, args.key) {
            if !found.contains(&lint) {
                found.push(lint);
            }
        }
    }
    found
}

pub(super) fn prove(args: &CheckArgs, pairs: &[(&Schema, &Schema)]) -> Result<Option<DecodeProof>, CompatError> {
    if args.records == 0 {
        return Ok(None);
    }
    let mut whole = DecodeProof::default();
    for (writer, reader) in pairs {
        let one = proof::prove(writer, reader, args.records, PROOF_SEED)?;
        whole.records += one.records;
        whole.failed = one.failed.map(|failed| Refuted { path: "$".into(), failed });
        if whole.failed.is_some() {
            break;
        }
    }
    Ok(Some(whole))
}
