//! A registry behind a URL that speaks Confluent's API: its own, Apicurio, Karapace, or another of ours.

use std::time::Duration;

use axum::body::Bytes;
use futures_util::FutureExt as _;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::HeaderValue;
use hyper::{Method, Request, StatusCode, Uri, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use schemas::compat::Level;
use schemas::registry::{Guid, Mode, Reference, Submission, Verdict, VersionSpec};
use serde_json::{Value as Json, json};

use super::api::{Answer, Entry, RegistryFailure, SchemaRegistry};
use super::rest::VND;

/// One answer, from the first byte sent to the last one read.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Bytes of one answer: a list of all subjects is the largest.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Connections kept for the next question.
const IDLE_CONNECTIONS: usize = 2;
/// Confluent's code of a schema that is not there.
const NO_SCHEMA: u32 = 40403;
/// Characters of a foreign text that a message repeats.
const SHOWN_CHARS: usize = 200;

/// The client.
pub struct HttpRegistry {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
    limit: Duration,
    /// Never shown.
    authorization: Option<HeaderValue>,
}

/// What is said in `Authorization`, `Bearer TOKEN` or `Basic BASE64`: a secret, so it comes from the environment alone.
const AUTHORIZATION: &str = "BULKHEAD_REGISTRY_AUTHORIZATION";

impl HttpRegistry {
    /// `url` is what stands before `/subjects`.
    ///
    /// # Errors
    /// Not an `http://` URL, or an authorization in the environment that no header can hold.
    pub fn new(url: &str) -> Result<Self, RegistryFailure> {
        let base = url.trim_end_matches('/').to_owned();
        let parsed: Option<Uri> = base.parse().ok();
        let plain = parsed.is_some_and(|uri| uri.scheme_str() == Some("http") && uri.host().is_some());
        if !plain {
            let what = "a registry's URL starts with http:// (TLS ends in a proxy beside this process)";
            return Err(RegistryFailure::Url(format!("{url}: {what}")));
        }
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(IDLE_CONNECTIONS).build_http();
        let mut authorization = None;
        if let Some(said) = std::env::var_os(AUTHORIZATION).filter(|said| !said.is_empty()) {
            let header = said.to_str().and_then(|said| HeaderValue::from_str(said).ok());
            let what = || {
                RegistryFailure::Url(format!("{AUTHORIZATION} is no header: write `Bearer TOKEN` or `Basic BASE64`"))
            };
            authorization = Some(header.ok_or_else(what)?);
        }
        Ok(Self { client, base, limit: ANSWER_LIMIT, authorization })
    }

    /// The same with a token, where the environment says none.
    pub fn with_token(mut self, token: &str) -> Self {
        self.authorization = self.authorization.or_else(|| HeaderValue::from_str(&format!("Bearer {token}")).ok());
        self
    }

    /// Who uses what, where the registry is one of ours; `None`: it does not know such a thing.
    ///
    /// # Errors
    /// As any question.
    pub async fn usage(&self) -> Result<Option<super::usage::Manifest>, RegistryFailure> {
        let mut answer = self.get("/usage").await;
        if matches!(answer, Err(RegistryFailure::Down(_))) {
            // Apicurio 3.3.3 may leave the first question for a path that it does not have without an answer.
            answer = self.get("/usage").await;
        }
        match answer {
            Ok(json) => serde_json::from_value(json.clone()).map(Some).map_err(|_| self.garbage("/usage", &json)),
            Err(
                RegistryFailure::Refused { status: 404, .. }
                | RegistryFailure::NoSuchPath(_)
                | RegistryFailure::Garbage(_),
            ) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// The same with less patience.
    pub fn with_limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.base
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Json>) -> Result<Json, RegistryFailure> {
        let answer = tokio::time::timeout(self.limit, self.exchange(method, path, body)).await;
        let (status, bytes) = answer.unwrap_or_else(|_| {
            let what = format!("{}{path} did not answer within {:?}", self.base, self.limit);
            Err(RegistryFailure::Down(what))
        })?;
        self.understand(path, status, &bytes)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Json>,
    ) -> Result<(StatusCode, Bytes), RegistryFailure> {
        let down = |error: &dyn std::fmt::Display| RegistryFailure::Down(format!("{}{path}: {error}", self.base));
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        request = request.header(header::ACCEPT, format!("{VND}, application/json"));
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, VND);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let body = Full::from(body.map_or_else(Bytes::new, |json| Bytes::from(json.to_string())));
        let request = request.body(body).map_err(|e| RegistryFailure::Url(format!("{}{path}: {e}", self.base)))?;
        let response = self.client.request(request).await.map_err(|e| down(&source(&e)))?;
        let status = response.status();
        if status.is_redirection() {
            let to = response.headers().get(header::LOCATION).and_then(|v| v.to_str().ok()).unwrap_or("nowhere");
            let what = format!("{}{path} redirects to {}: name that URL instead", self.base, shown(to));
            return Err(RegistryFailure::Garbage(what));
        }
        let bytes = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let bytes = bytes.map_err(|e| down(&format!("the answer broke off or is too long: {e}")))?;
        Ok((status, bytes.to_bytes()))
    }

    fn understand(&self, path: &str, status: StatusCode, bytes: &Bytes) -> Result<Json, RegistryFailure> {
        let parsed = serde_json::from_slice::<Json>(bytes);
        if status.is_success() {
            let json = parsed.map_err(|e| format!("{}{path}: {e}: {}", self.base, shown_bytes(bytes)));
            return json.map_err(RegistryFailure::Garbage);
        }
        let refusal = parsed.ok().filter(Json::is_object);
        let code = refusal.as_ref().and_then(|json| json.get("error_code")).and_then(Json::as_u64);
        let message = refusal.as_ref().and_then(|json| json.get("message")).and_then(Json::as_str);
        if status.is_server_error() {
            let text = message.map_or_else(|| shown_bytes(bytes), shown);
            return Err(RegistryFailure::Down(format!("{}{path} answers {status}: {text}", self.base)));
        }
        match (code.and_then(|code| u32::try_from(code).ok()), message) {
            (Some(code), Some(message)) => {
                Err(RegistryFailure::Refused { status: status.as_u16(), code, message: shown(message) })
            }
            _ => {
                let what = format!("{}{path} answers {status}: {}", self.base, shown_bytes(bytes));
                let is_path = status == StatusCode::NOT_FOUND;
                Err(if is_path { RegistryFailure::NoSuchPath(what) } else { RegistryFailure::Garbage(what) })
            }
        }
    }

    fn garbage(&self, path: &str, json: &Json) -> RegistryFailure {
        RegistryFailure::Garbage(format!("{}{path}: {}", self.base, shown(&json.to_string())))
    }

    async fn get(&self, path: &str) -> Result<Json, RegistryFailure> {
        self.ask(Method::GET, path, None).await
    }

    async fn content(&self, path: String) -> Result<(String, Vec<Reference>), RegistryFailure> {
        let json = self.get(&path).await?;
        let text = json.get("schema").and_then(Json::as_str).map(str::to_owned);
        text.zip(references(&json)).ok_or_else(|| self.garbage(&path, &json))
    }

    async fn entry(&self, method: Method, path: &str, body: Option<Json>) -> Result<Entry, RegistryFailure> {
        let json = self.ask(method, path, body).await?;
        let number = |key: &str| json.get(key).and_then(Json::as_u64).and_then(|n| u32::try_from(n).ok());
        let text = |key: &str| json.get(key).and_then(Json::as_str).map(str::to_owned);
        let entry = || {
            Some(Entry {
                subject: text("subject")?,
                version: number("version")?,
                id: number("id")?,
                schema: text("schema")?,
                references: references(&json)?,
            })
        };
        entry().ok_or_else(|| self.garbage(path, &json))
    }
}

impl SchemaRegistry for HttpRegistry {
    fn subjects(&self) -> Answer<'_, Vec<String>> {
        async move {
            let json = self.get("/subjects").await?;
            serde_json::from_value(json.clone()).map_err(|_| self.garbage("/subjects", &json))
        }
        .boxed()
    }

    fn versions<'a>(&'a self, subject: &'a str) -> Answer<'a, Vec<u32>> {
        async move {
            let path = format!("/subjects/{}/versions", escaped(subject));
            let json = self.get(&path).await?;
            serde_json::from_value(json.clone()).map_err(|_| self.garbage(&path, &json))
        }
        .boxed()
    }

    fn version<'a>(&'a self, subject: &'a str, version: VersionSpec) -> Answer<'a, Entry> {
        async move {
            let path = format!("/subjects/{}/versions/{version}", escaped(subject));
            self.entry(Method::GET, &path, None).await
        }
        .boxed()
    }

    fn by_id(&self, id: u32) -> Answer<'_, (String, Vec<Reference>)> {
        self.content(format!("/schemas/ids/{id}")).boxed()
    }

    fn by_guid(&self, guid: Guid) -> Answer<'_, (String, Vec<Reference>)> {
        async move {
            match self.content(format!("/schemas/guids/{guid}")).await {
                // A registry that lists its subjects is one, and what it has no path for it does not have.
                Err(RegistryFailure::NoSuchPath(message)) => {
                    self.subjects().await?;
                    Err(RegistryFailure::Refused { status: 404, code: NO_SCHEMA, message })
                }
                other => other,
            }
        }
        .boxed()
    }

    fn lookup<'a>(&'a self, subject: &'a str, submission: &'a Submission) -> Answer<'a, Entry> {
        async move {
            let path = format!("/subjects/{}", escaped(subject));
            self.entry(Method::POST, &path, Some(body(submission))).await
        }
        .boxed()
    }

    fn register<'a>(&'a self, subject: &'a str, submission: &'a Submission) -> Answer<'a, u32> {
        async move {
            let path = format!("/subjects/{}/versions", escaped(subject));
            let json = self.ask(Method::POST, &path, Some(body(submission))).await?;
            let id = json.get("id").and_then(Json::as_u64).and_then(|id| u32::try_from(id).ok());
            id.ok_or_else(|| self.garbage(&path, &json))
        }
        .boxed()
    }

    fn check<'a>(&'a self, subject: &'a str, submission: &'a Submission) -> Answer<'a, Verdict> {
        async move {
            let path = format!("/compatibility/subjects/{}/versions?verbose=true", escaped(subject));
            let json = self.ask(Method::POST, &path, Some(body(submission))).await?;
            let compatible = json.get("is_compatible").and_then(Json::as_bool);
            let compatible = compatible.ok_or_else(|| self.garbage(&path, &json))?;
            let messages = json.get("messages").and_then(Json::as_array).into_iter().flatten();
            let messages = messages.filter_map(Json::as_str).map(str::to_owned).collect();
            Ok(Verdict { compatible, messages })
        }
        .boxed()
    }

    fn level<'a>(&'a self, subject: Option<&'a str>) -> Answer<'a, Option<Level>> {
        async move {
            let path = subject.map_or_else(|| "/config".to_owned(), |s| format!("/config/{}", escaped(s)));
            let json = match self.get(&path).await {
                Err(failure) if failure.is_absent() => return Ok(None),
                other => other?,
            };
            let word = json.get("compatibilityLevel").and_then(Json::as_str);
            let level = word.and_then(|word| word.parse().ok());
            level.map(Some).ok_or_else(|| self.garbage(&path, &json))
        }
        .boxed()
    }

    fn set_level<'a>(&'a self, subject: Option<&'a str>, level: Level) -> Answer<'a, ()> {
        async move {
            let path = subject.map_or_else(|| "/config".to_owned(), |s| format!("/config/{}", escaped(s)));
            self.ask(Method::PUT, &path, Some(json!({"compatibility": level.as_str()}))).await.map(|_| ())
        }
        .boxed()
    }

    fn set_mode<'a>(&'a self, subject: &'a str, mode: Option<Mode>) -> Answer<'a, ()> {
        async move {
            let path = format!("/mode/{}", escaped(subject));
            let answer = match mode {
                Some(mode) => {
                    let body = json!({"mode": mode.as_str()});
                    self.ask(Method::PUT, &format!("{path}?force=true"), Some(body)).await
                }
                None => self.ask(Method::DELETE, &path, None).await,
            };
            answer.map(|_| ())
        }
        .boxed()
    }
}

fn body(submission: &Submission) -> Json {
    let mut json = json!({"schema": submission.schema});
    if let Some(schema_type) = &submission.schema_type {
        json["schemaType"] = json!(schema_type);
    }
    if !submission.references.is_empty() {
        json["references"] = submission.references.iter().map(Reference::json).collect();
    }
    for (key, number) in [("id", submission.id), ("version", submission.version)] {
        if let Some(number) = number {
            json[key] = json!(number);
        }
    }
    json
}

fn references(json: &Json) -> Option<Vec<Reference>> {
    match json.get("references") {
        None | Some(Json::Null) => Some(vec![]),
        Some(Json::Array(list)) => list.iter().map(Reference::parse).collect(),
        Some(_) => None,
    }
}

/// A subject as one part of a path.
pub fn escaped(subject: &str) -> String {
    let mut out = String::with_capacity(subject.len());
    for byte in subject.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS).collect()
}

fn shown_bytes(bytes: &Bytes) -> String {
    shown(&String::from_utf8_lossy(&bytes[..bytes.len().min(4 * SHOWN_CHARS)]))
}

/// The innermost reason: the outer ones only say that there was none.
fn source(error: &dyn std::error::Error) -> String {
    let mut at = error;
    while let Some(inner) = at.source() {
        at = inner;
    }
    at.to_string()
}
