//! Paths of the admin listener.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State as Shared};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::state::State;
use super::{audit, faults, health, letters, metrics, sampling, tree, views};
use crate::operate::tap::{self, Tap};
use crate::operate::topology::{self, Behind};
use crate::operate::{OperateError, backup, explain, lag, produce, topics};

/// A producer waits this long until what it sent is worked off; then it goes on being worked off without it.
const SETTLE: Duration = Duration::from_secs(5);

/// What every path knows.
pub type App = Arc<State>;

/// An answer or a refusal.
pub type Answered = Result<Response, Refusal>;

/// A refusal in the operator's words.
pub struct Refusal(pub StatusCode, pub String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, format!("{}\n", self.1)).into_response()
    }
}

impl From<OperateError> for Refusal {
    fn from(error: OperateError) -> Self {
        let status = match error {
            OperateError::Wrong(_) => StatusCode::BAD_REQUEST,
            OperateError::Absent(_) => StatusCode::NOT_FOUND,
            OperateError::Failed(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self(status, error.to_string())
    }
}

/// All paths.
pub fn routes(state: App) -> Router {
    let registry = state.up.registry_router().unwrap_or_default();
    let registry = registry.layer(from_fn_with_state(state.clone(), registry_changed));
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(prometheus))
        .route("/version", get(version))
        .route("/actors", get(actors))
        .route("/topology", get(graph))
        .route("/lag", get(behind))
        .route("/views/{name}", get(view))
        .route("/topics", get(topic_list))
        .route("/topics/{name}", get(topic))
        .route("/tap/{topic}", get(tapped))
        .route("/explain/{auction_id}", get(explained))
        .route("/produce/{topic}", post(produced))
        .route("/dlq", get(letters::overview))
        .route("/dlq/{what}", get(letters::asked).post(letters::changed))
        .route("/backup", post(backed_up))
        .route("/faults", get(faults::shown).post(faults::change))
        .route("/sampling", get(sampling::shown).post(sampling::change))
        .layer(DefaultBodyLimit::max(produce::FILE_MAX_BYTES))
        .with_state(state)
        .nest("/registry", registry)
}

/// What changes the registry needs the token here, and is entered in the audit. On a port of its own it is as open as
/// whoever named that port wants it.
async fn registry_changed(Shared(state): Shared<App>, request: Request, next: Next) -> Answered {
    let (method, path) = (request.method(), request.uri().path());
    let registers = *method == Method::POST && path.ends_with("/versions") && !path.starts_with("/compatibility/");
    if registers || [Method::PUT, Method::DELETE].contains(method) {
        allowed(&state, request.headers())?;
        let order = json!({ "method": method.as_str(), "path": path });
        audit::told(&state, request.headers(), "registry", &order).await?;
        state.actions.fetch_add(1, Ordering::Relaxed);
    }
    Ok(next.run(request).await)
}

async fn livez(Shared(state): Shared<App>) -> Response {
    match health::is_alive(&state) {
        true => "alive\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, "a supervisor has ended; restart the process\n").into_response(),
    }
}

#[derive(Deserialize)]
struct Verbose {
    verbose: Option<String>,
}

async fn readyz(Shared(state): Shared<App>, Query(query): Query<Verbose>) -> Response {
    let (ready, all) = health::readiness(&state);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    match query.verbose {
        Some(_) => (status, Json(all)).into_response(),
        None => (status, if ready { "ready\n" } else { "not ready; see /readyz?verbose\n" }).into_response(),
    }
}

async fn prometheus(Shared(state): Shared<App>) -> Response {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::page(&state)).into_response()
}

async fn version() -> Json<Value> {
    Json(json!({ "name": "bulkhead", "version": env!("CARGO_PKG_VERSION") }))
}

async fn actors(Shared(state): Shared<App>) -> Json<Value> {
    Json(tree::tree(&state.up))
}

async fn behind(Shared(state): Shared<App>) -> Answered {
    Ok(Json(lag::live(&state.up)?).into_response())
}

#[derive(Deserialize)]
struct Format {
    format: Option<String>,
}

async fn graph(Shared(state): Shared<App>, Query(query): Query<Format>) -> Answered {
    let bulkheads = &state.up.platform.bulkheads;
    let specs: Vec<_> = bulkheads.iter().map(|bulkhead| bulkhead.spec.clone()).collect();
    let behind: Behind =
        bulkheads.iter().map(|bulkhead| (bulkhead.spec.name.to_owned(), bulkhead.lag() + bulkhead.parked())).collect();
    Ok(match query.format.as_deref().unwrap_or("json") {
        "json" => Json(topology::to_json(&specs, &behind)).into_response(),
        "text" => topology::to_text(&specs, &behind).into_response(),
        "dot" => topology::to_dot(&specs).into_response(),
        "svg" => ([(CONTENT_TYPE, "image/svg+xml")], topology::to_svg(&specs, &behind)).into_response(),
        other => return Err(Refusal(StatusCode::BAD_REQUEST, format!("format `{other}`: json, text, dot or svg"))),
    })
}

async fn view(Shared(state): Shared<App>, Path(name): Path<String>) -> Answered {
    let found = views::view(&state.up, &name);
    let absent =
        || Refusal(StatusCode::NOT_FOUND, format!("no view `{name}`; there are campaigns, leases, placeholders"));
    Ok(Json(found.ok_or_else(absent)?).into_response())
}

async fn topic_list(Shared(state): Shared<App>) -> Answered {
    Ok(Json(topics::list(state.up.log.as_ref())?).into_response())
}

async fn topic(Shared(state): Shared<App>, Path(name): Path<String>) -> Answered {
    Ok(Json(topics::describe(state.up.log.as_ref(), &name)?).into_response())
}

#[derive(Deserialize)]
struct TapQuery {
    #[serde(rename = "where")]
    wanted: Option<String>,
    from_offset: Option<i64>,
    from_ms: Option<i64>,
    n: Option<usize>,
}

async fn tapped(Shared(state): Shared<App>, Path(topic): Path<String>, Query(query): Query<TapQuery>) -> Answered {
    let wanted = query.wanted.as_deref().map(tap::wanted).transpose();
    let tap = Tap {
        wanted: wanted.map_err(|what| Refusal(StatusCode::BAD_REQUEST, what))?,
        from_offset: query.from_offset,
        from_ms: query.from_ms,
        limit: query.n.unwrap_or(tap::EVENTS_MAX),
    };
    let events = tap::events(state.up.log.as_ref(), state.up.registry.writers(), &topic, &tap)?;
    Ok(Json(json!({ "events": events })).into_response())
}

async fn explained(Shared(state): Shared<App>, Path(auction_id): Path<String>) -> Answered {
    Ok(Json(explain::explain(state.up.log.as_ref(), &state.up.registry.writers(), &auction_id)?).into_response())
}

/// Whether a request may change something.
///
/// # Errors
/// 401 without the token.
pub fn allowed(state: &State, headers: &HeaderMap) -> Result<(), Refusal> {
    let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if state.is_allowed(authorization) {
        return Ok(());
    }
    let what =
        "this changes something and needs `authorization: Bearer TOKEN`; `bulkhead` on this machine knows the token";
    Err(Refusal(StatusCode::UNAUTHORIZED, what.to_owned()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Backup {
    /// On this machine, absolute.
    dir: std::path::PathBuf,
}

async fn backed_up(Shared(state): Shared<App>, headers: HeaderMap, body: String) -> Answered {
    allowed(&state, &headers)?;
    let wrong = |what: String| Refusal(StatusCode::BAD_REQUEST, what);
    let Backup { dir } =
        serde_json::from_str(&body).map_err(|error| wrong(format!("{{\"dir\":PATH}} is wanted: {error}")))?;
    if !dir.is_absolute() {
        return Err(wrong(format!("{} is relative to nothing here; give an absolute path", dir.display())));
    }
    audit::told(&state, &headers, "backup", &json!({ "dir": &dir })).await?;
    let copied = backup::live(&state.up.env, state.up.log.clone(), &state.data, &dir).await?;
    state.actions.fetch_add(1, Ordering::Relaxed);
    tracing::info!(dir = %dir.display(), bytes = copied.bytes, "the data directory was copied");
    Ok(Json(json!(copied)).into_response())
}

async fn produced(Shared(state): Shared<App>, Path(topic): Path<String>, headers: HeaderMap, body: String) -> Answered {
    allowed(&state, &headers)?;
    let up = &state.up;
    let digest: String = Sha256::digest(body.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let order = json!({ "topic": &topic, "lines": body.lines().count(), "sha256": digest });
    audit::told(&state, &headers, "produce", &order).await?;
    let produced = produce::produce(&up.env, &up.log, up.platform.partitions, &topic, &body).await?;
    if produced.ok {
        state.actions.fetch_add(1, Ordering::Relaxed);
        tracing::info!(topic, rows = produced.rows, "rows produced through the admin listener");
        // Whoever asks next finds what was sent.
        up.platform.idle(SETTLE).await;
    }
    Ok(Json(json!(produced)).into_response())
}
