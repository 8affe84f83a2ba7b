//! What this process was told to change, and by whom: a row an action in a topic of its own, durable before the action is
//! taken. What cannot be entered is not done. Dead letters have an audit of their own, whose rows are their jobs.

use axum::http::{HeaderMap, StatusCode};
use runtime::log::{AppendOptions, BatchBuilder, Compression, Log, TopicPartition};
use schemas::events::AdminAction;
use serde_json::Value;

use super::routes::Refusal;
use super::state::State;
use crate::operate::target::ACTOR;

/// Topic of the audit, one partition, so that its order is the order of what was done.
pub const TOPIC: &str = "admin-audit";
/// Bytes in flight: rows come one by one.
const BUDGET_BYTES: usize = 1 << 20;
/// Longest name of an actor, characters.
const ACTOR_MAX: usize = 128;

/// Enters what a request asks for.
///
/// # Errors
/// The log does not take the row.
pub async fn told(state: &State, headers: &HeaderMap, action: &str, order: &Value) -> Result<(), Refusal> {
    let actor = headers.get(ACTOR).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let actor: String = actor.chars().filter(|c| !c.is_control()).take(ACTOR_MAX).collect();
    entered(state, &actor, action, order).await.map_err(|what| Refusal(StatusCode::SERVICE_UNAVAILABLE, what))
}

/// Enters an action of `actor`.
///
/// # Errors
/// The log does not take the row: in the operator's words.
pub async fn entered(state: &State, actor: &str, action: &str, order: &Value) -> Result<(), String> {
    let row = AdminAction { timestamp: state.up.env.clock.wall_ms(), action, actor, order: &order.to_string() };
    let appended = append(state.up.log.as_ref(), &row).await;
    appended.map_err(|error| format!("nothing was done: the topic `{TOPIC}` does not take the action's row: {error}"))
}

async fn append(log: &dyn Log, row: &AdminAction<'_>) -> Result<(), String> {
    let topic = log.ensure_topic(&crate::dlq::audit::config(TOPIC)).map_err(|error| error.to_string())?;
    let (mut value, mut builder) = (Vec::new(), BatchBuilder::new(Compression::None));
    schemas::frame::encode(row, &mut value);
    let key = row.action.as_bytes();
    builder.push(row.timestamp, Some(key), Some(&value), &[]).map_err(|error| error.to_string())?;
    let options = AppendOptions { group: log.producer_group("admin", BUDGET_BYTES), fence: None };
    let appended = log.append(TopicPartition { topic, partition: 0 }, builder.finish(), options).await;
    appended.map(drop).map_err(|error| error.to_string())
}
