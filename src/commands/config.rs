//! `bulkhead config`: what a configuration says, whether it can be used, and every key there is.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use hyper::Uri;
use runtime::env::Env;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::backend::BrokerArgs;
use crate::cli::Output;
use crate::config::keys::KEYS;
use crate::config::{self, ADMIN_DEFAULT, LISTEN_DEFAULT, PlatformArgs, Resolved, Settings, reference};
use crate::edge::keyfile;
use crate::exit::CommandError;

/// Who takes no connection within this is away.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// What stands where a secret is.
const MASK: &str = "***";

/// Check a configuration, show it with the origin of each value, or list every key
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  bulkhead config show --origin")]
pub struct ConfigArgs {
    #[command(subcommand)]
    pub command: ConfigCommand,
}

#[derive(Subcommand, Clone, Debug)]
pub enum ConfigCommand {
    /// Read every layer and say everything that is wrong; exit 78 if something is
    #[command(after_help = "Example:\n  bulkhead config check --live")]
    Check {
        #[command(flatten)]
        platform: PlatformArgs,
        #[command(flatten)]
        brokers: BrokerArgs,
        /// Also try what it names: directories, lists, keys, ports, brokers, registry, collector
        #[arg(long)]
        live: bool,
    },
    /// Show every value; secrets are masked
    #[command(after_help = "Example:\n  bulkhead config show --origin --output json")]
    Show {
        #[command(flatten)]
        platform: PlatformArgs,
        /// Also where each is from: flag, environment, file or default
        #[arg(long)]
        origin: bool,
    },
    /// Print docs/configuration.md, made from the code
    #[command(after_help = "Example:\n  bulkhead config reference")]
    Reference,
    /// Print the JSON Schema of bulkhead.toml, made from the code
    #[command(after_help = "Example:\n  bulkhead config schema")]
    Schema,
}

/// Runs the subcommand.
///
/// # Errors
/// [`CommandError::Config`] for a configuration that cannot be used.
pub fn run(args: ConfigArgs, output: Output) -> Result<ExitCode, CommandError> {
    match args.command {
        ConfigCommand::Check { platform, brokers, live } => check(&platform, &brokers, live, output),
        ConfigCommand::Show { platform, origin } => show(&resolved(&platform)?, origin, output),
        ConfigCommand::Reference => {
            print!("{}", reference::page());
            Ok(ExitCode::SUCCESS)
        }
        ConfigCommand::Schema => {
            print!("{}", reference::schema());
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn resolved(platform: &PlatformArgs) -> Result<Resolved, CommandError> {
    config::resolve_with(platform, &[]).map_err(|error| CommandError::Config(error.to_string()))
}

fn show(resolved: &Resolved, origin: bool, output: Output) -> Result<ExitCode, CommandError> {
    let mut document = serde_json::Map::new();
    for key in KEYS {
        let found = resolved.get(key);
        let text = found.map(|(text, _)| if key.secret { MASK } else { text });
        let from = found.map(|(_, origin)| origin.to_string());
        if output == Output::Text {
            let told = from.as_deref().filter(|_| origin).map(|from| format!("  # {from}")).unwrap_or_default();
            println!("{} = {}{told}", key.name, text.map_or("-".to_owned(), |text| format!("{text:?}")));
        }
        document
            .insert(key.name.to_owned(), if origin { json!({ "value": text, "origin": from }) } else { json!(text) });
    }
    if output == Output::Json {
        println!("{}", Value::Object(document));
    }
    Ok(ExitCode::SUCCESS)
}

fn check(platform: &PlatformArgs, brokers: &BrokerArgs, live: bool, output: Output) -> Result<ExitCode, CommandError> {
    let settings = resolved(platform)?.settings();
    if !live {
        if output == Output::Json {
            println!("{}", json!({ "ok": true, "checks": [] }));
        } else {
            println!("the configuration can be used");
        }
        return Ok(ExitCode::SUCCESS);
    }
    crate::cli::block_on(async move {
        let mut checks = tried(&settings).await;
        for broker in brokers.brokers.iter().flat_map(|list| list.split(',')) {
            checks.push(("brokers", answers(broker.trim()).await));
        }
        let ok = checks.iter().all(|(_, result)| result.is_ok());
        match output {
            Output::Json => {
                let rows: Vec<Value> = checks
                    .iter()
                    .map(
                        |(name, result)| json!({ "check": name, "ok": result.is_ok(), "error": result.as_ref().err() }),
                    )
                    .collect();
                println!("{}", json!({ "ok": ok, "checks": rows }));
            }
            Output::Text => {
                for (name, result) in &checks {
                    println!(
                        "{:<14}{}",
                        name,
                        result.as_ref().map_or_else(|error| format!("WRONG: {error}"), |what| what.clone())
                    );
                }
            }
        }
        Ok(ExitCode::from(if ok { 0 } else { 78 }))
    })
}

/// Tries everything that a start would need, and leaves nothing behind.
pub async fn tried(settings: &Settings) -> Vec<(&'static str, Result<String, String>)> {
    let mut checks = Vec::new();
    if let Some(data) = &settings.data {
        checks.push(("data", data_directory(data)));
    }
    if let Some(lists) = &settings.lists {
        let loaded = actors::fraud::lists::Lists::load(lists);
        checks.push(("lists", loaded.map(|_| lists.display().to_string()).map_err(|error| error.to_string())));
    }
    if let Some(keys) = &settings.edge.keys_file {
        let read = match keys.exists() {
            true => keyfile::load(&Env::production(), keys).map(|_| keys.display().to_string()),
            false => Ok(format!("{} will be made", keys.display())),
        };
        checks.push(("edge.keys_file", read.map_err(|error| error.to_string())));
    }
    for (name, asked, usual) in
        [("edge.listen", &settings.listen, LISTEN_DEFAULT), ("admin.listen", &settings.admin, ADMIN_DEFAULT)]
    {
        let address = asked.as_deref().unwrap_or(usual);
        let free = TcpListener::bind(address).await;
        let result = match (free, asked) {
            (Ok(_), _) => Ok(format!("{address} is free")),
            (Err(_), None) => Ok(format!("{address} is taken; any free port will do, as nobody asked for it")),
            (Err(error), Some(_)) => Err(format!("{address}: {error}")),
        };
        checks.push((name, result));
    }
    for (name, url) in [("registry_url", &settings.registry_url), ("telemetry", &settings.telemetry.endpoint)] {
        let Some(url) = url else { continue };
        let result = match url.parse::<Uri>().ok().and_then(|uri| Some(format!("{}:{}", uri.host()?, port(&uri)))) {
            Some(address) => answers(&address).await,
            None => Err(format!("{url} names no host")),
        };
        checks.push((name, result));
    }
    checks
}

fn port(uri: &Uri) -> u16 {
    uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 })
}

/// Whether somebody takes connections there.
async fn answers(address: &str) -> Result<String, String> {
    match Env::production().clock.timeout(ANSWER_LIMIT, TcpStream::connect(address)).await {
        Some(Ok(_)) => Ok(format!("{address} takes connections")),
        Some(Err(error)) => Err(format!("{address}: {error}")),
        None => Err(format!("{address} does not answer within {} s", ANSWER_LIMIT.as_secs())),
    }
}

fn data_directory(data: &Path) -> Result<String, String> {
    if !data.exists() {
        return Ok(format!("{} will be made", data.display()));
    }
    match tempfile::Builder::new().prefix("bulkhead-check-").tempfile_in(data) {
        Ok(_) => Ok(format!("{} can be written", data.display())),
        Err(error) => Err(format!("{}: {error}", data.display())),
    }
}
