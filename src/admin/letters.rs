//! `/dlq…`: dead letters of a process that runs. Reading a shelf of them takes seconds, so it is done on a thread of its own:
//! the listener goes on answering.

use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{Path, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};

use super::routes::{Answered, App, Refusal, allowed};
use super::state::State;
use crate::dlq::desk::{self, Change, Question};
use crate::dlq::job::{self, Kind};
use crate::dlq::value::Schemas;
use crate::dlq::{DlqError, audit};

/// Bytes of an export's answer; more is asked for in parts.
const EXPORT_MAX_BYTES: usize = 32 << 20;
/// Characters that say who did it.
const ACTOR_MAX: usize = 100;

impl From<DlqError> for Refusal {
    fn from(error: DlqError) -> Self {
        let status = match &error {
            DlqError::NoLetter(_) | DlqError::NoJob(_) | DlqError::NoService(_) => StatusCode::NOT_FOUND,
            DlqError::Selection(_) | DlqError::JobOver { .. } => StatusCode::BAD_REQUEST,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self(status, error.to_string())
    }
}

/// A question in the query, as JSON.
#[derive(Deserialize)]
pub struct Asked {
    q: Option<String>,
}

/// `GET /dlq`: groups of all open letters.
pub async fn overview(state: Shared<App>) -> Answered {
    asked(state, Path("groups".to_owned()), Query(Asked { q: None })).await
}

/// `GET /dlq/WHAT?q=JSON`.
pub async fn asked(Shared(state): Shared<App>, Path(what): Path<String>, Query(asked): Query<Asked>) -> Answered {
    let question: Question = match asked.q {
        Some(text) => serde_json::from_str(&text)
            .map_err(|error| Refusal(StatusCode::BAD_REQUEST, format!("q: {error}; it is a question as JSON")))?,
        None => Question::default(),
    };
    let of = state.clone();
    let answer = state.desk.spawn(async move {
        let schemas = Schemas::new(of.up.registry.writers())?;
        desk::answer(of.up.log.as_ref(), &schemas, &what, &question, EXPORT_MAX_BYTES)
    });
    Ok(Json(ended(answer.await)??.ok_or_else(unknown)?).into_response())
}

/// `POST /dlq/WHAT`: a job runs to its end before it is answered, and goes on when nobody waits for it any more.
pub async fn changed(
    Shared(state): Shared<App>,
    Path(what): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Answered {
    allowed(&state, &headers)?;
    let mut change: Change = serde_json::from_str(&body)
        .map_err(|error| Refusal(StatusCode::BAD_REQUEST, format!("body: {error}; it is a change as JSON")))?;
    for actor in [&mut change.actor, &mut change.order.actor] {
        *actor = actor.chars().filter(|c| !c.is_control()).take(ACTOR_MAX).collect();
    }
    let of = state.clone();
    let answer = state.desk.spawn(async move { change_made(&of, &what, change).await });
    ended(answer.await)?
}

async fn change_made(state: &State, what: &str, mut change: Change) -> Result<Response, Refusal> {
    let up = &state.up;
    let kind = match what {
        "replay" => Kind::Replay,
        "discard" => Kind::Discard,
        "release" => Kind::Release,
        "cancel" => {
            let name = change.job.unwrap_or_default();
            let cancelled = job::cancel(up.log.as_ref(), &up.env, &name, &change.actor, &change.reason).await?;
            return Ok(made(state, &cancelled));
        }
        _ => return Err(unknown()),
    };
    change.order.kind = kind;
    if kind == Kind::Release {
        return Ok(made(state, &desk::release(&up.env, up.log.as_ref(), &up.platform, &change).await?));
    }
    if let Some(name) = &change.job {
        change.order = job::job(up.log.as_ref(), name)?.order;
    }
    let schemas = Schemas::new(up.registry.writers())?;
    if change.dry_run {
        let tried = desk::dry_run(up.log.as_ref(), &schemas, &up.services, &change.order, up.env.clock.wall_ms())?;
        return Ok(Json(tried).into_response());
    }
    if kind == Kind::Replay {
        desk::services_of(up.log.as_ref(), &schemas, &change.order.selection, &up.services)?;
    }
    let job = desk::run(&up.env, &up.log, &schemas, Some(&up.platform), &change, &|_| {}).await?;
    Ok(made(state, &job))
}

fn made(state: &State, job: &impl Serialize) -> Response {
    state.actions.fetch_add(1, Ordering::Relaxed);
    tracing::info!(topic = audit::TOPIC, "dead letters changed through the admin listener");
    Json(job).into_response()
}

fn unknown() -> Refusal {
    let known = "GET /dlq/letters, groups, show, export, jobs; POST /dlq/replay, discard, cancel, release";
    Refusal(StatusCode::NOT_FOUND, format!("nothing is here; there are {known}"))
}

fn ended<T>(task: Result<T, tokio::task::JoinError>) -> Result<T, Refusal> {
    task.map_err(|error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, format!("it broke off: {error}")))
}
