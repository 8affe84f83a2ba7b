//! Confluent's REST API over the embedded registry: a router that stands on a port of its own or below `/registry`.

mod change;
mod look;
mod reply;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};

pub use reply::VND;

use super::EmbeddedRegistry;
use super::usage::UsageReport;

/// Bytes of a request: a schema of 1 MiB as a JSON text, where every quote takes two, and its references.
pub const BODY_BYTES_MAX: usize = 3 << 20;

/// `/usage`: who reads and writes which version of what. Not a part of Confluent's API.
pub fn usage_router(usage: Arc<UsageReport>) -> Router {
    Router::new().route("/usage", get(look::usage)).with_state(usage)
}

/// All paths.
pub fn router(registry: Arc<EmbeddedRegistry>) -> Router {
    let subject = get(look::versions).post(change::register);
    let version = get(look::version).delete(change::delete_version);
    let config = get(look::config).put(change::set_config).delete(change::delete_config);
    let mode = get(look::mode).put(change::set_mode).delete(change::delete_mode);
    Router::new()
        .route("/", get(look::root))
        .route("/subjects", get(look::subjects))
        .route("/subjects/{subject}", post(look::lookup).delete(change::delete_subject))
        .route("/subjects/{subject}/versions", subject)
        .route("/subjects/{subject}/versions/{version}", version)
        .route("/subjects/{subject}/versions/{version}/schema", get(look::version_schema))
        .route("/subjects/{subject}/versions/{version}/referencedby", get(look::referenced_by))
        .route("/schemas", get(look::schemas))
        .route("/schemas/types", get(look::types))
        .route("/schemas/ids/{id}", get(look::by_id))
        .route("/schemas/ids/{id}/schema", get(look::id_schema))
        .route("/schemas/ids/{id}/subjects", get(look::id_subjects))
        .route("/schemas/ids/{id}/versions", get(look::id_versions))
        .route("/schemas/guids/{guid}", get(look::by_guid))
        .route("/schemas/guids/{guid}/ids", get(look::guid_ids))
        .route("/compatibility/subjects/{subject}/versions", post(look::check_all))
        .route("/compatibility/subjects/{subject}/versions/{version}", post(look::check))
        .route("/config", get(look::global_config).put(change::set_global_config).delete(change::delete_global_config))
        .route("/config/{subject}", config)
        .route("/mode", get(look::global_mode).put(change::set_global_mode))
        .route("/mode/{subject}", mode)
        .route("/contexts", get(look::contexts))
        .route("/v1/metadata/id", get(look::metadata_id))
        .route("/v1/metadata/version", get(look::metadata_version))
        .fallback(reply::no_path)
        .method_not_allowed_fallback(reply::no_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(reply::media_types))
        .with_state(registry)
}
