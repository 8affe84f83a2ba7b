//! `dlq show` and `dlq export`: letters with what is in them.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value as Json, json};

use super::args::SelectArgs;
use super::desk::{AtRest, Desk, RemoteArgs, desk, now_ms, part};
use super::time;
use crate::cli::Output;
use crate::config::PlatformArgs;
use crate::dlq::desk::Question;
use crate::dlq::{self, DlqError, value};
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
/// [`CommandError`]: nobody answers, the directory cannot be used, or there is no such letter.
pub async fn show(args: ShowArgs, remote: &RemoteArgs, output: Output) -> Result<ExitCode, CommandError> {
    let question = Question { letter: args.letter, ..Question::default() };
    let document = desk(&args.platform, remote)?.ask("show", &question).await?;
    match output {
        Output::Json => println!("{document}"),
        Output::Text => print!("{}", text(&document)),
    }
    Ok(ExitCode::SUCCESS)
}

fn text(letter: &Json) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<13}{value}");
    };
    let of = |name: &str| value::text(&letter[name]);
    let at = |name: &str| time(letter[name].as_i64().unwrap_or(0));
    let some = |name: &str| letter[name].as_str();
    line("letter", format!("{} ({})", of("id"), of("state")));
    let place = format!("{}-{}@{}", of("topic"), of("partition"), of("offset"));
    line("event", format!("{place} of {}", at("timestamp_ms")));
    line("given up by", format!("{} {}", of("service"), of("version")));
    let field = some("field").map(|field| format!(" at {field}")).unwrap_or_default();
    let reason = format!("{} ({}, {}){field}: {}", of("code"), of("class"), of("stage"), of("message"));
    line("reason", reason);
    line("group", of("fingerprint"));
    line("attempts", format!("{}, {} to {}", of("attempts"), at("first_failed_ms"), at("last_failed_ms")));
    if letter["replays"].as_u64().unwrap_or(0) > 0 {
        line("replays", format!("{}, the last by {}", of("replays"), some("job").unwrap_or("?")));
    }
    if let Some(trace) = some("trace") {
        line("trace", trace.to_owned());
    }
    line("key", of("key"));
    for header in letter["headers"].as_array().into_iter().flatten() {
        line("header", format!("{}: {}", value::text(&header["name"]), value::text(&header["value"])));
    }
    match some("decode_error") {
        Some(error) => {
            line("record", format!("cannot be decoded: {error}"));
            line("bytes", of("value_hex"));
        }
        None => {
            line("record", of("schema"));
            for (name, value) in letter["record"].as_object().into_iter().flatten() {
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
pub async fn export(args: ExportArgs, remote: &RemoteArgs, output: Output) -> Result<ExitCode, CommandError> {
    let selection = args.select.selection(now_ms());
    let question = Question { selection, all: args.all, ..Question::default() };
    let desk = desk(&args.platform, remote)?;
    let written = match &args.to {
        None => write(desk, &question, &mut std::io::stdout().lock(), "stdout").await?,
        Some(path) => {
            let what = path.display().to_string();
            let file = std::fs::File::create(path).map_err(|error| DlqError::Write { what: what.clone(), error })?;
            let mut file = std::io::BufWriter::new(file);
            let written = write(desk, &question, &mut file, &what).await?;
            file.flush().map_err(|error| DlqError::Write { what, error })?;
            written
        }
    };
    match (&args.to, output) {
        (Some(path), Output::Json) => println!("{}", json!({ "written": written, "to": path.display().to_string() })),
        _ => eprintln!("{written} dead letters written"),
    }
    Ok(ExitCode::SUCCESS)
}

async fn write(desk: Desk, question: &Question, to: &mut dyn Write, what: &str) -> Result<u64, CommandError> {
    let mut written = 0;
    let mut take = |document: &Json| {
        writeln!(to, "{document}").map_err(|error| DlqError::Write { what: what.to_owned(), error })?;
        written += 1;
        Ok(())
    };
    match desk {
        Desk::AtRest(AtRest { log, schemas, .. }) => {
            let exported = dlq::desk::export(log.as_ref(), &schemas, question, &mut take);
            log.close().await;
            exported?;
        }
        running => {
            let letters: Vec<Json> = part(&running.ask("export", question).await?, "letters")?;
            letters.iter().try_for_each(take)?;
        }
    }
    Ok(written)
}
