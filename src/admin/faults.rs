//! `/faults`: a service of a running platform is broken on purpose, for a stated time, to see that no other one feels it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use runtime::fault::FaultKind;
use serde::Deserialize;
use serde_json::{Value, json};

use super::audit;
use super::routes::{Answered, App, Refusal, allowed};

/// Nobody breaks a platform for longer.
const FOR_S_MAX: u64 = 600;

/// What is to be broken.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    service: String,
    /// Not needed to end one.
    kind: Option<String>,
    /// Seconds; 0 ends what is active.
    for_s: u64,
}

/// How many faults each service was given: a timer ends its own one only.
#[derive(Default)]
pub struct Given(Mutex<BTreeMap<String, u64>>);

impl Given {
    fn next(&self, service: &str) -> u64 {
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = given.entry(service.to_owned()).or_default();
        *number += 1;
        *number
    }

    fn is_last(&self, service: &str, number: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(service) == Some(&number)
    }
}

/// `GET /faults`: what is active, and how often it took hold since the start.
pub async fn shown(Shared(state): Shared<App>) -> Json<Value> {
    let of = |bulkhead: &runtime::platform::Bulkhead| {
        let kind = bulkhead.faults.active().map(FaultKind::name);
        json!({ "service": bulkhead.spec.name, "fault": kind, "fired": bulkhead.faults.fired() })
    };
    Json(json!({ "faults": state.up.platform.bulkheads.iter().map(of).collect::<Vec<_>>() }))
}

/// `POST /faults`.
pub async fn change(Shared(state): Shared<App>, headers: HeaderMap, body: String) -> Answered {
    allowed(&state, &headers)?;
    let wrong = |what: String| Refusal(StatusCode::BAD_REQUEST, what);
    let shape = r#"{"service":NAME,"kind":KIND,"for_s":SECONDS} is wanted"#;
    let Fault { service, kind, for_s } =
        serde_json::from_str(&body).map_err(|error| wrong(format!("{shape}: {error}")))?;
    if for_s > FOR_S_MAX {
        return Err(wrong(format!("`for_s` {for_s} is more than {FOR_S_MAX}")));
    }
    let bulkhead = state.up.platform.bulkhead(&service);
    let bulkhead = bulkhead.ok_or_else(|| wrong(format!("no service `{service}` runs here; see /actors")))?;
    let known = || wrong(format!("`kind` is one of {}", FaultKind::ALL.map(FaultKind::name).join(", ")));
    audit::told(&state, &headers, "fault", &json!({ "service": &service, "kind": &kind, "for_s": for_s })).await?;
    if for_s == 0 {
        state.given.next(&service);
        bulkhead.faults.end();
    } else {
        let kind = kind.as_deref().and_then(FaultKind::parse).ok_or_else(known)?;
        let number = state.given.next(&service);
        bulkhead.faults.start(kind);
        let (of, faults, broken) = (state.clone(), bulkhead.faults.clone(), service.clone());
        state.desk.spawn(async move {
            of.up.env.clock.sleep(Duration::from_secs(for_s)).await;
            if of.given.is_last(&broken, number) {
                faults.end();
            }
        });
    }
    state.actions.fetch_add(1, Ordering::Relaxed);
    tracing::warn!(service, for_s, "a fault was made on purpose through the admin listener");
    Ok(shown(Shared(state)).await.into_response())
}
