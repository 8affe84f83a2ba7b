//! Whom a command asks: a process that runs, or a data directory at rest.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use futures_util::future::join;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::process::{Process, running};
use crate::exit::CommandError;

/// Longest answer that is read.
const ANSWER_MAX_BYTES: usize = 64 << 20;

/// Header of who asks, for the audit.
pub const ACTOR: &str = "x-actor";

/// The account that runs this command.
pub fn account() -> String {
    let account = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "unknown".into());
    account.chars().filter(|c| !c.is_control()).take(64).collect()
}

/// Flags of every command that asks.
#[derive(Args, Clone, Debug, Default)]
pub struct TargetArgs {
    /// Ask the process whose admin listener is there [default: the one that runs]
    #[arg(long, value_name = "ADDR", env = "BULKHEAD_ADMIN")]
    pub admin: Option<String>,
    /// Ask whoever runs on this data directory, or read it if nobody does
    #[arg(long, value_name = "DIR", env = "BULKHEAD_DATA_DIR")]
    pub data: Option<PathBuf>,
    /// Token of the admin listener, for what changes something [default: the process's own, for its user]
    #[arg(long, value_name = "TOKEN", env = "BULKHEAD_ADMIN_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

/// Whom to ask.
#[derive(Clone, Debug)]
pub enum Target {
    Running(Remote),
    Directory(PathBuf),
}

/// A process that runs.
#[derive(Clone, Debug)]
pub struct Remote {
    pub address: String,
    token: Option<String>,
}

impl TargetArgs {
    /// Finds whom to ask.
    ///
    /// # Errors
    /// Nobody, or more than one.
    pub fn target(&self) -> Result<Target, CommandError> {
        let all = running();
        let remote = |process: &Process| {
            let token = self.token.clone().unwrap_or_else(|| process.token.clone());
            Target::Running(Remote { address: process.admin.clone(), token: Some(token) })
        };
        if let Some(address) = &self.admin {
            let known = all.iter().find(|process| process.admin == *address);
            let token = self.token.clone().or_else(|| known.map(|process| process.token.clone()));
            return Ok(Target::Running(Remote { address: address.clone(), token }));
        }
        if let Some(data) = &self.data {
            let absolute = absolute(data);
            let there = all.iter().find(|process| process.data == absolute);
            return Ok(there.map_or_else(|| Target::Directory(data.clone()), remote));
        }
        match all.as_slice() {
            [one] => Ok(remote(one)),
            [] => Err(CommandError::Failed(
                "nothing runs here; start `bulkhead up`, or name a directory with --data".into(),
            )),
            many => {
                let list: Vec<String> = many
                    .iter()
                    .map(|process| format!("--admin {} ({})", process.admin, process.data.display()))
                    .collect();
                Err(CommandError::Usage(format!("more than one process runs; choose one:\n  {}", list.join("\n  "))))
            }
        }
    }

    /// Finds a process; a directory alone will not do.
    ///
    /// # Errors
    /// As [`TargetArgs::target`], or nothing runs on the directory.
    pub fn remote(&self) -> Result<Remote, CommandError> {
        match self.target()? {
            Target::Running(remote) => Ok(remote),
            Target::Directory(data) => Err(CommandError::Failed(format!(
                "nothing runs on {}; this is only known of a process",
                data.display()
            ))),
        }
    }
}

/// A path as processes tell it.
pub fn absolute(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

impl Remote {
    /// The answer to a question.
    ///
    /// # Errors
    /// Nobody answers, or it is a refusal: then with its own words.
    pub async fn get(&self, path: &str) -> Result<Bytes, CommandError> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// The answer to a question, as JSON.
    ///
    /// # Errors
    /// As [`Remote::get`].
    pub async fn json(&self, path: &str) -> Result<Value, CommandError> {
        serde_json::from_slice(&self.get(path).await?).map_err(CommandError::failed)
    }

    /// Asks for a change.
    ///
    /// # Errors
    /// As [`Remote::get`].
    pub async fn post(&self, path: &str, body: Bytes) -> Result<Bytes, CommandError> {
        self.ask(Method::POST, path, body).await
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, CommandError> {
        let address = &self.address;
        let failed = |what: String| CommandError::Failed(format!("{address} does not answer: {what}"));
        let stream = TcpStream::connect(address).await.map_err(|error| failed(error.to_string()))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(error.to_string()))?;
        let mut request = Request::builder().method(method).uri(path).header(HOST, address).header(ACTOR, account());
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(body)).map_err(|error| failed(error.to_string()))?;
        let exchange = async move {
            let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_MAX_BYTES).collect().await;
            Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
        };
        let (answered, _) = join(exchange, connection).await;
        let (status, body) = answered.map_err(failed)?;
        if status.is_success() {
            return Ok(body);
        }
        let what = String::from_utf8_lossy(&body).trim().to_owned();
        Err(CommandError::Failed(if what.is_empty() { format!("{address} answered {status}") } else { what }))
    }
}

/// Part of a path, with everything escaped that could end it.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
