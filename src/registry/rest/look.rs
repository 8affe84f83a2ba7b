//! Requests that change nothing.

use super::super::EmbeddedRegistry;
use super::super::usage::UsageReport;
use super::reply::{At, Params, Refusal, Reply, Sent, raw};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use schemas::registry::{Config, Content, Deleted, Guid, RegistryError, VersionSpec, Versioned};
use serde_json::{Value as Json, json};
use std::sync::Arc;

pub type Registry = State<Arc<EmbeddedRegistry>>;

pub async fn root() -> Reply {
    Reply(Ok(json!({})))
}

pub async fn subjects(State(registry): Registry, params: Params) -> Reply {
    let registry = registry.read();
    Reply(Ok(json!(params.page(registry.subjects(params.text("subjectPrefix"), params.deleted())))))
}

pub async fn versions(State(registry): Registry, At(subject): At<String>, params: Params) -> Reply {
    let versions = registry.read().versions(&subject, params.deleted());
    versions.map(|all| json!(params.page(all))).into()
}

pub async fn version(State(registry): Registry, At(at): At<(String, String)>, params: Params) -> Reply {
    find(&registry, &at, params.deleted()).map(|found| full(&found)).into()
}

pub async fn version_schema(State(registry): Registry, At(at): At<(String, String)>, params: Params) -> Response {
    match find(&registry, &at, params.deleted()) {
        Ok(found) => raw(&found.content.text),
        Err(error) => Refusal::from(error).into_response(),
    }
}

fn find(
    registry: &EmbeddedRegistry,
    (subject, version): &(String, String),
    deleted: Deleted,
) -> Result<Versioned, RegistryError> {
    let version: VersionSpec = version.parse()?;
    registry.read().version(subject, version, deleted)
}

pub async fn referenced_by(State(registry): Registry, At(at): At<(String, String)>, params: Params) -> Reply {
    // A deleted version may still be built on.
    let found = find(&registry, &at, Deleted::With);
    found.map(|found| json!(registry.read().referenced_by(&found.subject, found.version, params.deleted()))).into()
}

pub async fn lookup(State(registry): Registry, At(subject): At<String>, params: Params, sent: Sent) -> Reply {
    let submission = match sent.submission(&params) {
        Ok(submission) => submission,
        Err(refusal) => return Reply(Err(refusal)),
    };
    registry.read().lookup(&subject, &submission, params.deleted()).map(|found| full(&found)).into()
}

pub async fn schemas(State(registry): Registry, params: Params) -> Reply {
    let all = registry.read().all(params.text("subjectPrefix"), params.deleted(), params.flag("latestOnly"));
    Reply(Ok(json!(params.page(all.iter().map(full).collect()))))
}

pub async fn types() -> Reply {
    Reply(Ok(json!(["AVRO"])))
}

fn id(text: &str) -> Result<u32, RegistryError> {
    let number = text.parse::<i32>().ok().filter(|n| *n >= 0);
    number.map(i32::cast_unsigned).ok_or_else(|| RegistryError::SchemaNotFound(text.to_owned()))
}

pub async fn by_id(State(registry): Registry, At(text): At<String>, params: Params) -> Reply {
    let registry = registry.read();
    let answer = id(&text).and_then(|id| {
        let mut answer = of_content(registry.by_id(id)?);
        if params.flag("fetchMaxId") {
            answer["maxId"] = json!(registry.id_max());
        }
        Ok(answer)
    });
    answer.into()
}

pub async fn id_schema(State(registry): Registry, At(text): At<String>) -> Response {
    let registry = registry.read();
    match id(&text).and_then(|id| registry.by_id(id)) {
        Ok(content) => raw(&content.text),
        Err(error) => Refusal::from(error).into_response(),
    }
}

pub async fn id_subjects(State(registry): Registry, At(text): At<String>, params: Params) -> Reply {
    let registry = registry.read();
    let uses = id(&text).and_then(|id| registry.uses(id, params.deleted()));
    let subjects = |uses: Vec<(&str, u32)>| {
        let mut subjects: Vec<_> = uses.into_iter().map(|(subject, _)| subject).collect();
        subjects.dedup();
        json!(params.page(subjects))
    };
    uses.map(subjects).into()
}

pub async fn id_versions(State(registry): Registry, At(text): At<String>, params: Params) -> Reply {
    let registry = registry.read();
    let uses = id(&text).and_then(|id| registry.uses(id, params.deleted()));
    let pair = |(subject, version)| json!({"subject": subject, "version": version});
    uses.map(|uses| json!(params.page(uses.into_iter().map(pair).collect::<Vec<_>>()))).into()
}

pub async fn by_guid(State(registry): Registry, At(text): At<String>) -> Reply {
    let registry = registry.read();
    let found = text.parse::<Guid>().and_then(|guid| registry.id_of(guid)).and_then(|id| registry.by_id(id));
    found.map(of_content).into()
}

pub async fn guid_ids(State(registry): Registry, At(text): At<String>) -> Reply {
    let found = text.parse::<Guid>().and_then(|guid| registry.read().id_of(guid));
    found.map(|id| json!([{"context": ".", "id": id}])).into()
}

pub async fn check(
    State(registry): Registry,
    At((subject, version)): At<(String, String)>,
    params: Params,
    sent: Sent,
) -> Reply {
    match version.parse() {
        Ok(version) => verdict(&registry, &subject, Some(version), &params, &sent),
        Err(error) => Reply(Err(RegistryError::into(error))),
    }
}

pub async fn check_all(State(registry): Registry, At(subject): At<String>, params: Params, sent: Sent) -> Reply {
    verdict(&registry, &subject, None, &params, &sent)
}

fn verdict(
    registry: &EmbeddedRegistry,
    subject: &str,
    version: Option<VersionSpec>,
    params: &Params,
    sent: &Sent,
) -> Reply {
    let answer = sent.submission(params).and_then(|submission| {
        let verdict = registry.read().check(subject, version, &submission)?;
        let mut answer = json!({"is_compatible": verdict.compatible});
        if params.flag("verbose") {
            answer["messages"] = json!(verdict.messages);
        }
        Ok(answer)
    });
    Reply(answer)
}

pub async fn global_config(State(registry): Registry) -> Reply {
    Reply(Ok(level("compatibilityLevel", registry.read().global_config())))
}

pub async fn config(State(registry): Registry, At(subject): At<String>, params: Params) -> Reply {
    let registry = registry.read();
    let config =
        if params.flag("defaultToGlobal") { Ok(registry.config(&subject)) } else { registry.own_config(&subject) };
    config.map(|config| level("compatibilityLevel", config)).into()
}

pub async fn global_mode(State(registry): Registry) -> Reply {
    Reply(Ok(json!({"mode": registry.read().global_mode().as_str()})))
}

pub async fn mode(State(registry): Registry, At(subject): At<String>, params: Params) -> Reply {
    let registry = registry.read();
    let mode = if params.flag("defaultToGlobal") { Ok(registry.mode(&subject)) } else { registry.own_mode(&subject) };
    mode.map(|mode| json!({"mode": mode.as_str()})).into()
}

pub async fn contexts() -> Reply {
    Reply(Ok(json!(["."])))
}

pub async fn metadata_id() -> Reply {
    Reply(Ok(json!({"scope": {"path": [], "clusters": {"schema-registry-cluster": "bulkhead"}}})))
}

pub async fn metadata_version() -> Reply {
    Reply(Ok(json!({"version": env!("CARGO_PKG_VERSION"), "commitId": ""})))
}

pub async fn usage(State(usage): State<Arc<UsageReport>>) -> Reply {
    let manifest = usage.manifest().map_err(|error| Refusal::new(500, 50001, error.to_string()));
    Reply(manifest.map(|manifest| json!(manifest)))
}

/// The level under the key that the API uses here.
pub fn level(key: &str, config: Config) -> Json {
    let mut json = json!({ key: config.level.as_str() });
    if let Some(normalize) = config.normalize {
        json["normalize"] = json!(normalize);
    }
    json
}

/// A version with everything.
pub fn full(found: &Versioned) -> Json {
    let mut json = of_content(&found.content);
    json["subject"] = json!(found.subject);
    json["version"] = json!(found.version);
    json["id"] = json!(found.id);
    if found.deleted {
        json["deleted"] = json!(true);
    }
    json
}

fn of_content(content: &Content) -> Json {
    let mut json = json!({"schema": &*content.text, "guid": content.guid.to_string()});
    if !content.references.is_empty() {
        json["references"] = content.references.iter().map(schemas::registry::Reference::json).collect();
    }
    json
}
