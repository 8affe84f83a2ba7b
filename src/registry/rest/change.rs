//! Requests that change the registry: answered when the change is durable.

use super::look::{Registry, full, level};
use super::reply::{At, Params, Refusal, Reply, Sent};
use axum::extract::State;
use schemas::compat::Level;
use schemas::registry::{Config, Mode, RegistryError, VersionSpec};
use serde_json::json;

pub async fn register(State(registry): Registry, At(subject): At<String>, params: Params, sent: Sent) -> Reply {
    let submission = match sent.submission(&params) {
        Ok(submission) => submission,
        Err(refusal) => return Reply(Err(refusal)),
    };
    registry.write(|state| state.register(&subject, &submission)).await.map(|kept| full(&kept)).into()
}

pub async fn delete_subject(State(registry): Registry, At(subject): At<String>, params: Params) -> Reply {
    let permanent = params.flag("permanent");
    registry.write(|state| state.delete_subject(&subject, permanent)).await.map(|versions| json!(versions)).into()
}

pub async fn delete_version(
    State(registry): Registry,
    At((subject, version)): At<(String, String)>,
    params: Params,
) -> Reply {
    let permanent = params.flag("permanent");
    let version: VersionSpec = match version.parse() {
        Ok(version) => version,
        Err(error) => return Reply(Err(RegistryError::into(error))),
    };
    registry.write(|state| state.delete_version(&subject, version, permanent)).await.map(|n| json!(n)).into()
}

pub async fn set_global_config(State(registry): Registry, sent: Sent) -> Reply {
    put_config(&registry, None, &sent).await
}

pub async fn set_config(State(registry): Registry, At(subject): At<String>, sent: Sent) -> Reply {
    put_config(&registry, Some(&subject), &sent).await
}

async fn put_config(registry: &super::EmbeddedRegistry, subject: Option<&str>, sent: &Sent) -> Reply {
    let word = sent
        .text("compatibility")
        .map(|word| word.parse::<Level>().map_err(|error| RegistryError::InvalidLevel(error.to_string())));
    let normalize = sent.0.get("normalize").and_then(serde_json::Value::as_bool);
    let word = match (word.transpose(), normalize) {
        (Ok(None), None) => Err(RegistryError::InvalidLevel("send {\"compatibility\": LEVEL}".into())),
        (other, _) => other,
    };
    let word = match word {
        Ok(word) => word,
        Err(error) => return Reply(Err(error.into())),
    };
    let kept = registry.write(|state| {
        let now = subject.map_or_else(|| state.global_config(), |subject| state.config(subject));
        let config = Config { level: word.unwrap_or(now.level), normalize: normalize.or(now.normalize) };
        state.set_config(subject, config)
    });
    kept.await.map(|config| level("compatibility", config)).into()
}

pub async fn delete_global_config(State(registry): Registry) -> Reply {
    registry.write(|state| state.delete_config(None)).await.map(|was| level("compatibilityLevel", was)).into()
}

pub async fn delete_config(State(registry): Registry, At(subject): At<String>) -> Reply {
    let was = registry.write(|state| state.delete_config(Some(&subject))).await;
    was.map(|was| level("compatibilityLevel", was)).into()
}

pub async fn set_global_mode(State(registry): Registry, params: Params, sent: Sent) -> Reply {
    put_mode(&registry, None, &params, &sent).await
}

pub async fn set_mode(State(registry): Registry, At(subject): At<String>, params: Params, sent: Sent) -> Reply {
    put_mode(&registry, Some(&subject), &params, &sent).await
}

async fn put_mode(registry: &super::EmbeddedRegistry, subject: Option<&str>, params: &Params, sent: &Sent) -> Reply {
    let mode = sent.text("mode").unwrap_or_default().parse::<Mode>().map_err(Refusal::from);
    let mode = match mode {
        Ok(mode) => mode,
        Err(refusal) => return Reply(Err(refusal)),
    };
    let force = params.flag("force");
    let kept = registry.write(|state| state.set_mode(subject, mode, force)).await;
    kept.map(|mode| json!({"mode": mode.as_str()})).into()
}

pub async fn delete_mode(State(registry): Registry, At(subject): At<String>) -> Reply {
    let was = registry.write(|state| state.delete_mode(&subject)).await;
    was.map(|mode| json!({"mode": mode.as_str()})).into()
}
