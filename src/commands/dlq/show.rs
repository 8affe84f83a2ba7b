//! `dlq show` and `dlq export`: letters with what is in them.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use runtime::env::Env;
use runtime::log::Log;
use runtime::trace::TraceId;
use serde_json::{Value as Json, json};

use super::args::SelectArgs;
use super::list::summary;
use super::{open, place, time};
use crate::cli::Output;
use crate::config::PlatformArgs;
use crate::dlq::value::{self, Schemas, hex, readable};
use crate::dlq::{DlqError, OwnedLetter, Selection, Shelf, State, letters};
use crate::exit::CommandError;

#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// The letter, TOPIC/PARTITION/OFFSET, as `dlq ls` and `dlq groups` write it; without one the newest open letter
    #[arg(value_name = "LETTER")]
    letter: Option<String>,
    #[command(flatten)]
    platform: PlatformArgs,
}

#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
    #[command(flatten)]
    platform: PlatformArgs,
    #[command(flatten)]
    select: SelectArgs,
    /// Letters that were brought back or put away as well
    #[arg(long)]
    all: bool,
    /// File to write; made or replaced [default: stdout]
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

/// One letter, all of it.
///
/// # Errors
/// [`CommandError`]: the directory cannot be used, or there is no such letter.
pub async fn show(args: ShowArgs, output: Output) -> Result<ExitCode, CommandError> {
    let (_, data) = place(&args.platform)?;
    let log = open(&data)?;
    let found = find(log.as_ref(), args.letter.as_deref());
    log.close().await;
    let (letter, state) = found?;
    let document = document(&letter, state, &Schemas::builtin()?);
    match output {
        Output::Json => println!("{document}"),
        Output::Text => print!("{}", text(&letter, state, &document)),
    }
    Ok(ExitCode::SUCCESS)
}

fn find(log: &dyn Log, id: Option<&str>) -> Result<(OwnedLetter, State), DlqError> {
    let shelf = Shelf::read(log)?;
    let mut found: Option<OwnedLetter> = None;
    letters::each(log, |letter| {
        let is_wanted = match id {
            Some(id) => letter.id.to_string() == id,
            None => {
                shelf.state(&letter) == State::Open
                    && found.as_ref().is_none_or(|found| letter.last_failed_ms >= found.last_failed_ms)
            }
        };
        if is_wanted {
            found = Some(letter);
        }
        Ok(())
    })?;
    let letter = found.ok_or_else(|| DlqError::NoLetter(id.unwrap_or("is open").to_owned()))?;
    let state = shelf.state(&letter);
    Ok((letter, state))
}

/// Summary, decoded record, headers and bytes.
fn document(letter: &OwnedLetter, state: State, schemas: &Schemas) -> Json {
    let mut document = summary(letter, state);
    let bytes = letter.value.as_deref().unwrap_or_default();
    let headers = letter.headers().filter_map(Result::ok);
    let headers: Vec<Json> = headers
        .map(|(name, value)| json!({ "name": readable(name), "value": readable(value.unwrap_or_default()) }))
        .collect();
    let (schema, record, error, trace) = match schemas.decode(bytes) {
        Ok(decoded) => {
            let record = decoded.json();
            (json!(decoded.name), record.clone(), Json::Null, trace(&record))
        }
        Err(error) => (Json::Null, Json::Null, json!(error), None),
    };
    let more = json!({
        "schema": schema,
        "record": record,
        "decode_error": error,
        "headers": headers,
        "key_hex": hex(&letter.key),
        "value_hex": letter.value.as_deref().map(hex),
    });
    if let (Json::Object(document), Json::Object(more)) = (&mut document, more) {
        document.extend(more);
        if let Some(trace) = trace.filter(|_| letter.trace.is_none()) {
            document.insert("trace".into(), json!(trace));
        }
    }
    document
}

/// The trace of an event is a function of its auction, whether it was sampled or not.
fn trace(record: &Json) -> Option<String> {
    let auction = record.get("auction_id").or_else(|| value::at(record, "metadata.auction_id"))?;
    Some(hex(&TraceId::of_auction(auction.as_str()?).0))
}

fn text(letter: &OwnedLetter, state: State, document: &Json) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<13}{value}");
    };
    line("letter", format!("{} ({})", letter.id, state.name()));
    let event = &letter.event;
    line("event", format!("{}-{}@{} of {}", event.topic, event.partition, event.offset, time(letter.timestamp_ms)));
    line("given up by", format!("{} {}", event.service, letter.version));
    let field = letter.field.as_ref().map(|field| format!(" at {field}")).unwrap_or_default();
    line("reason", format!("{} ({}, {}){field}: {}", letter.code, letter.class, letter.stage, letter.message));
    line("group", letter.fingerprint.clone());
    let (first, last) = (time(letter.first_failed_ms), time(letter.last_failed_ms));
    line("attempts", format!("{}, {first} to {last}", letter.attempts));
    if letter.replays > 0 {
        line("replays", format!("{}, the last by {}", letter.replays, letter.job.as_deref().unwrap_or("?")));
    }
    if let Some(trace) = document["trace"].as_str() {
        line("trace", trace.to_owned());
    }
    line("key", readable(&letter.key));
    for header in document["headers"].as_array().into_iter().flatten() {
        line("header", format!("{}: {}", value::text(&header["name"]), value::text(&header["value"])));
    }
    match document["decode_error"].as_str() {
        Some(error) => {
            line("record", format!("cannot be decoded: {error}"));
            line("bytes", value::text(&document["value_hex"]));
        }
        None => {
            line("record", value::text(&document["schema"]));
            for (name, value) in document["record"].as_object().into_iter().flatten() {
                line("", format!("{name}: {value}"));
            }
        }
    }
    text
}

/// Letters as JSON lines.
///
/// # Errors
/// As [`show`]; the file cannot be written.
pub async fn export(args: ExportArgs, output: Output) -> Result<ExitCode, CommandError> {
    let (_, data) = place(&args.platform)?;
    let log = open(&data)?;
    let selection = args.select.selection(Env::production().clock.wall_ms());
    let written = match &args.to {
        None => write(log.as_ref(), &selection, args.all, &mut std::io::stdout().lock(), "stdout"),
        Some(path) => {
            let what = path.display().to_string();
            let file = std::fs::File::create(path).map_err(|error| DlqError::Write { what: what.clone(), error })?;
            let mut file = std::io::BufWriter::new(file);
            let written = write(log.as_ref(), &selection, args.all, &mut file, &what);
            file.flush().map_err(|error| DlqError::Write { what, error })?;
            written
        }
    };
    log.close().await;
    let written = written?;
    match (&args.to, output) {
        (Some(path), Output::Json) => println!("{}", json!({ "written": written, "to": path.display().to_string() })),
        _ => eprintln!("{written} dead letters written"),
    }
    Ok(ExitCode::SUCCESS)
}

fn write(log: &dyn Log, selection: &Selection, all: bool, to: &mut dyn Write, what: &str) -> Result<u64, DlqError> {
    let (schemas, shelf) = (Schemas::builtin()?, Shelf::read(log)?);
    let mut written = 0;
    letters::each(log, |letter| {
        let state = shelf.state(&letter);
        if (all || state == State::Open) && selection.matches(&letter, &schemas) {
            let document = document(&letter, state, &schemas);
            writeln!(to, "{document}").map_err(|error| DlqError::Write { what: what.to_owned(), error })?;
            written += 1;
        }
        Ok(())
    })?;
    Ok(written)
}
