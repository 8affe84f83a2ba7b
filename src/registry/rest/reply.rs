//! What every answer has in common: JSON, Confluent's media type, and errors as `{"error_code": n, "message": text}`.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use schemas::registry::{Deleted, RegistryError, Submission};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

/// Confluent's media type.
pub const VND: &str = "application/vnd.schemaregistry.v1+json";
/// A body must be there by then.
const BODY_LIMIT: std::time::Duration = std::time::Duration::from_secs(20);
/// Entries of one list, where nothing else is asked.
const LIST_MAX: usize = 100_000;

/// A JSON document, or why there is none.
pub struct Reply(pub Result<Json, Refusal>);

/// An error as the API writes it.
pub struct Refusal {
    pub status: u16,
    pub code: u32,
    pub message: String,
}

impl Refusal {
    pub fn new(status: u16, code: u32, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }
}

impl From<RegistryError> for Refusal {
    fn from(error: RegistryError) -> Self {
        Self::new(error.status(), error.code(), error.to_string())
    }
}

impl<E: Into<Refusal>> From<Result<Json, E>> for Reply {
    fn from(result: Result<Json, E>) -> Self {
        Self(result.map_err(Into::into))
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let (status, json) = match self.0 {
            Ok(json) => (StatusCode::OK, json),
            Err(Refusal { status, code, message }) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                (status, json!({"error_code": code, "message": message}))
            }
        };
        (status, [(header::CONTENT_TYPE, VND)], json.to_string()).into_response()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        Reply(Err(self)).into_response()
    }
}

pub async fn no_path() -> Refusal {
    Refusal::new(404, 404, "HTTP 404 Not Found: there is no such path in this API.")
}

pub async fn no_method() -> Refusal {
    Refusal::new(405, 405, "HTTP 405 Method Not Allowed")
}

/// Takes JSON only, and answers in the type that was asked for: Confluent's, unless plain JSON is wanted.
pub async fn media_types(request: Request, next: Next) -> Response {
    let sent = header_text(&request, header::CONTENT_TYPE);
    let sent = sent.split(';').next().unwrap_or_default().trim().to_owned();
    let has_body = matches!(*request.method(), Method::POST | Method::PUT);
    let is_json = sent.is_empty() || sent == "application/json" || sent == "application/octet-stream";
    if has_body && !is_json && !(sent.starts_with("application/vnd.schemaregistry") && sent.ends_with("+json")) {
        return Refusal::new(415, 415, format!("{sent} is not understood: send {VND}.")).into_response();
    }
    let claimed = header_text(&request, header::CONTENT_LENGTH).parse::<u64>();
    if claimed.is_ok_and(|bytes| bytes > super::BODY_BYTES_MAX as u64) {
        return too_large();
    }
    let accept = header_text(&request, header::ACCEPT);
    let plain = accept.contains("application/json") && !accept.contains("vnd.schemaregistry");
    let mut response = next.run(request).await;
    if response.status() == StatusCode::PAYLOAD_TOO_LARGE {
        response = too_large();
    }
    let is_ours = response.headers().get(header::CONTENT_TYPE).is_some_and(|v| v == VND);
    if plain && is_ours {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}

fn too_large() -> Response {
    let limit = super::BODY_BYTES_MAX;
    Refusal::new(422, 42209, format!("Too large: a request has at most {limit} bytes.")).into_response()
}

fn header_text(request: &Request, name: header::HeaderName) -> String {
    let value = request.headers().get(name).and_then(|v| v.to_str().ok());
    value.unwrap_or_default().to_ascii_lowercase()
}

/// The schema's own text, as it is.
pub fn raw(text: &str) -> Response {
    ([(header::CONTENT_TYPE, VND)], Body::from(text.to_owned())).into_response()
}

/// Parameters behind the question mark.
pub struct Params(BTreeMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let query = Query::<BTreeMap<String, String>>::from_request_parts(parts, state).await;
        query.map(|Query(map)| Self(map)).map_err(|e| Refusal::new(400, 400, e.body_text()))
    }
}

impl Params {
    pub fn flag(&self, name: &str) -> bool {
        self.maybe(name).unwrap_or(false)
    }

    pub fn maybe(&self, name: &str) -> Option<bool> {
        self.0.get(name).map(|text| text.eq_ignore_ascii_case("true"))
    }

    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    pub fn deleted(&self) -> Deleted {
        Deleted::from_flags(self.flag("deleted"), self.flag("deletedOnly"))
    }

    /// `offset` and `limit` of a list.
    pub fn page<T>(&self, all: Vec<T>) -> Vec<T> {
        let number = |name: &str| self.text(name).parse::<i64>().ok().and_then(|n| usize::try_from(n).ok());
        let limit = number("limit").filter(|n| *n > 0).unwrap_or(LIST_MAX).min(LIST_MAX);
        all.into_iter().skip(number("offset").unwrap_or(0)).take(limit).collect()
    }
}

/// The part of a path, decoded.
pub struct At<T>(pub T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned + Send> FromRequestParts<S> for At<T> {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(value)| Self(value)).map_err(|e| Refusal::new(400, 400, e.body_text()))
    }
}

/// A JSON object as the body.
pub struct Sent(pub Json);

impl<S: Send + Sync> FromRequest<S> for Sent {
    type Rejection = Response;
    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let bytes = tokio::time::timeout(BODY_LIMIT, Bytes::from_request(request, state)).await;
        let late =
            |_| Refusal::new(408, 408, "HTTP 408 Request Timeout: the body did not come in time.").into_response();
        let bytes = bytes.map_err(late)?.map_err(IntoResponse::into_response)?;
        let json = serde_json::from_slice::<Json>(&bytes);
        match json {
            Ok(json) if json.is_object() => Ok(Self(json)),
            Ok(_) => Err(Refusal::new(422, 422, "The request is not a JSON object.").into_response()),
            Err(e) => Err(Refusal::new(400, 400, format!("The request is not JSON: {e}")).into_response()),
        }
    }
}

impl Sent {
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Json::as_str)
    }

    /// The schema that was sent.
    pub fn submission(&self, params: &Params) -> Result<Submission, Refusal> {
        let references = match self.0.get("references") {
            None | Some(Json::Null) => vec![],
            Some(Json::Array(list)) => {
                let parsed: Option<Vec<_>> = list.iter().map(schemas::registry::Reference::parse).collect();
                parsed.ok_or_else(|| Refusal::new(422, 42201, "A reference has a name, a subject and a version."))?
            }
            Some(_) => return Err(Refusal::new(422, 42201, "\"references\" is a list.")),
        };
        Ok(Submission {
            schema_type: self.text("schemaType").map(str::to_owned),
            schema: self.text("schema").unwrap_or_default().to_owned(),
            references,
            normalize: params.maybe("normalize"),
            id: self.number("id")?,
            version: self.number("version")?,
        })
    }

    /// A number from 1; -1 and nothing are nothing.
    fn number(&self, name: &str) -> Result<Option<u32>, Refusal> {
        match self.0.get(name) {
            None | Some(Json::Null) => Ok(None),
            Some(json) => match json.as_i64().and_then(|n| i32::try_from(n).ok()) {
                Some(-1) => Ok(None),
                Some(n) if n > 0 => Ok(Some(n.cast_unsigned())),
                _ => Err(Refusal::new(422, 42202, format!("\"{name}\" is a number from 1."))),
            },
        }
    }
}
