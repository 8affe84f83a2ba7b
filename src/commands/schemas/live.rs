//! `schemas check` against a registry: each consumer that runs, with the version that it reads, and each writer's version
//! whose records a topic still holds. History that nobody uses any more breaks nobody.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use schemas::compat::{self, CompatError, DeployOrder};
use schemas::model::Schema;
use schemas::registry::{Reference, VersionSpec};

use super::base;
use super::check::{CheckArgs, lints, prove};
use super::report::{Finding, Report};
use super::target::{Opened, Target};
use super::usage::seen;
use crate::exit::CommandError;
use crate::registry::RegistryFailure;
use crate::registry::api::with_references;
use crate::registry::usage::{Manifest, ReaderUse};

/// Why nothing could be checked.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error(transparent)]
    Registry(#[from] RegistryFailure),
    #[error("{subject} {version}: {reason}")]
    Schema { subject: String, version: String, reason: String },
    #[error(transparent)]
    Compat(#[from] CompatError),
}

impl LiveError {
    /// Stable name of the class.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Command(error) => error.kind(),
            Self::Registry(error) => error.kind(),
            Self::Schema { .. } => "SCHEMA",
            Self::Compat(error) => error.kind(),
        }
    }
}

/// A schema that is to come, and what it meets.
struct Meeting {
    name: String,
    candidate: Schema,
    /// Oldest first.
    versions: Vec<InUse>,
}

/// A version that somebody uses.
struct InUse {
    label: String,
    schema: Schema,
    /// Consumers that read with it.
    readers: Vec<String>,
    /// Records of it are still there.
    retained: bool,
}

/// The verdict over all candidates.
///
/// # Errors
/// A file cannot be used, the registry does not answer, or keeps what cannot be read.
pub fn report(args: &CheckArgs, target: &Target) -> Result<Report, LiveError> {
    let candidates = candidates(args)?;
    let mut gathered = None;
    crate::cli::block_on(async {
        let opened = target.open().await?;
        gathered = Some(gather(args, &opened, candidates).await);
        opened.close().await;
        Ok(ExitCode::SUCCESS)
    })?;
    let meetings = gathered.unwrap_or(Ok(vec![]))?;
    let mut whole = Report {
        sentence: format!("{}: {}", args.level, args.level.sentence()),
        incompatibilities: vec![],
        lints: vec![],
        deploy_order: DeployOrder::Any,
        proof: None,
    };
    for meeting in &meetings {
        let one = judge(args, meeting)?;
        whole.add(&meeting.name, one);
    }
    Ok(whole)
}

/// Files that are to come, by name.
fn candidates(args: &CheckArgs) -> Result<Vec<(String, Schema)>, LiveError> {
    let references = args.references.load()?;
    let one = |path: &Path| -> Result<(String, Schema), LiveError> {
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Ok((name, references.read(path)?))
    };
    match (&args.candidate, &args.dir) {
        (Some(path), _) => Ok(vec![one(path)?]),
        (None, Some(dir)) => base::names(dir)?.iter().map(|name| one(&dir.join(name))).collect(),
        (None, None) => Err(CommandError::usage("name --candidate FILE, or --dir FOLDER").into()),
    }
}

async fn gather(
    args: &CheckArgs,
    opened: &Opened,
    candidates: Vec<(String, Schema)>,
) -> Result<Vec<Meeting>, LiveError> {
    let usage = opened.usage().await?;
    let subjects = match &args.subject {
        Some(subject) => vec![subject.clone()],
        None => opened.registry.subjects().await?,
    };
    // By the record's name: a topic's subject and the file that describes it need not be called alike.
    let mut named: BTreeMap<String, Vec<String>> = BTreeMap::new();
    if args.subject.is_none() {
        for subject in &subjects {
            let latest = version(opened, subject, VersionSpec::Latest).await?.1;
            named.entry(full_name(&latest)).or_default().push(subject.clone());
        }
    }
    let mut meetings = Vec::new();
    for (name, candidate) in candidates {
        let own = match &args.subject {
            Some(subject) => vec![subject.clone()],
            None => named.get(&full_name(&candidate)).cloned().unwrap_or_default(),
        };
        for subject in own {
            let versions = in_use(opened, &subject, usage.as_ref()).await?;
            meetings.push(Meeting { name: name.clone(), candidate: candidate.clone(), versions });
        }
    }
    Ok(meetings)
}

fn full_name(schema: &Schema) -> String {
    schema.kind(schema.root()).label().to_owned()
}

async fn version(opened: &Opened, subject: &str, spec: VersionSpec) -> Result<(u32, Schema, u32), LiveError> {
    let entry = opened.registry.version(subject, spec).await?;
    let schema =
        parse(opened, subject, &format!("version {}", entry.version), &entry.schema, &entry.references).await?;
    Ok((entry.id, schema, entry.version))
}

async fn parse(
    opened: &Opened,
    subject: &str,
    version: &str,
    text: &str,
    references: &[Reference],
) -> Result<Schema, LiveError> {
    let texts = with_references(opened.registry.as_ref(), references).await?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let broken = |error: schemas::model::SchemaError| LiveError::Schema {
        subject: subject.to_owned(),
        version: version.to_owned(),
        reason: error.to_string(),
    };
    Schema::parse_with(text, &texts).map_err(broken)
}

/// The versions of a subject with their users. Where nobody tells usage, all of them count.
async fn in_use(opened: &Opened, subject: &str, usage: Option<&Manifest>) -> Result<Vec<InUse>, LiveError> {
    let now_ms = runtime::env::Env::production().clock.wall_ms();
    let topic = subject.strip_suffix("-value");
    let told = usage.filter(|usage| usage.writers.iter().any(|w| Some(w.topic.as_str()) == topic));
    let readers = |id: u32| -> Vec<&ReaderUse> {
        let all = told.into_iter().flat_map(|usage| &usage.readers);
        all.filter(|r| Some(r.topic.as_str()) == topic && r.id == id).collect()
    };
    let retained = |id: u32| {
        let mut all = told.into_iter().flat_map(|usage| &usage.writers);
        all.any(|w| Some(w.topic.as_str()) == topic && w.id == id && w.retained)
    };
    let mut found = Vec::new();
    let mut ids = Vec::new();
    for number in opened.registry.versions(subject).await? {
        let (id, schema, _) = version(opened, subject, VersionSpec::Number(number)).await?;
        ids.push(id);
        let label = format!("{subject} version {number}");
        let (who, kept) = match told {
            Some(_) => {
                let who = readers(id).into_iter().map(|r| format!("consumer {} ({})", r.service, seen(r, now_ms)));
                (who.collect(), retained(id))
            }
            None => (vec!["any consumer".to_owned()], true),
        };
        found.push(InUse { label, schema, readers: who, retained: kept });
    }
    // Used, and no version of the subject: registered elsewhere, or deleted since.
    let users = told.map(|usage| {
        let reading = usage.readers.iter().filter(|r| Some(r.topic.as_str()) == topic).map(|r| r.id);
        let written = usage.writers.iter().filter(|w| Some(w.topic.as_str()) == topic && w.retained).map(|w| w.id);
        reading.chain(written).filter(|id| !ids.contains(id)).collect::<std::collections::BTreeSet<_>>()
    });
    for id in users.unwrap_or_default() {
        let (text, references) = opened.registry.by_id(id).await?;
        let schema = parse(opened, subject, &format!("id {id}"), &text, &references).await?;
        let who = readers(id).into_iter().map(|r| format!("consumer {} ({})", r.service, seen(r, now_ms))).collect();
        found.insert(0, InUse { label: format!("{subject} id {id}"), schema, readers: who, retained: retained(id) });
    }
    Ok(found)
}

fn judge(args: &CheckArgs, meeting: &Meeting) -> Result<Report, LiveError> {
    let Meeting { candidate, versions, .. } = meeting;
    let level = args.level;
    let from = if level.transitive() { 0 } else { versions.len().saturating_sub(1) };
    let (mut incompatibilities, mut pairs) = (Vec::new(), Vec::new());
    for version in versions[from..].iter().rev() {
        if level.backward() && version.retained {
            let between = format!("the candidate reads {}, whose records are still there", version.label);
            incompatibilities.extend(findings(candidate, &version.schema, &between)?);
            pairs.push((&version.schema, candidate));
        }
        if level.forward() && !version.readers.is_empty() {
            for reader in &version.readers {
                let between = format!("{reader} reads the candidate with {}", version.label);
                incompatibilities.extend(findings(&version.schema, candidate, &between)?);
            }
            pairs.push((candidate, &version.schema));
        }
    }
    let proof = if incompatibilities.is_empty() { prove(args, &pairs)? } else { None };
    let deploy_order = match versions.last() {
        None => DeployOrder::Any,
        Some(last) => DeployOrder::new(
            compat::check(candidate, &last.schema)?.is_empty(),
            compat::check(&last.schema, candidate)?.is_empty(),
        ),
    };
    let history: Vec<_> = versions.iter().map(|version| version.schema.clone()).collect();
    let sentence = String::new();
    let lints = lints(args, candidate, &history);
    Ok(Report { sentence, incompatibilities, lints, deploy_order, proof })
}

fn findings(reader: &Schema, writer: &Schema, between: &str) -> Result<Vec<Finding>, CompatError> {
    let found = compat::check(reader, writer)?;
    Ok(found.into_iter().map(|i| Finding { between: Some(between.to_owned()), ..Finding::plain(i) }).collect())
}
