//! `dlq ls` and `dlq groups`.

use std::process::ExitCode;

use clap::Args;
use runtime::env::Env;
use serde_json::{Value as Json, json};

use super::args::SelectArgs;
use super::{open, place, time};
use crate::cli::Output;
use crate::config::PlatformArgs;
use crate::dlq::groups::{self, Group};
use crate::dlq::value::{Schemas, readable};
use crate::dlq::{DlqError, OwnedLetter, Shelf, State, letters, watch};
use crate::exit::CommandError;

/// Letters listed where no other number is asked for.
const SHOWN: usize = 100;

#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    #[command(flatten)]
    platform: PlatformArgs,
    #[command(flatten)]
    select: SelectArgs,
    /// Letters that were brought back or put away as well
    #[arg(long)]
    all: bool,
    /// Lines at most [default: 100]
    #[arg(short = 'n', long = "lines", value_name = "N")]
    lines: Option<usize>,
}

/// Letters, by topic, partition and offset.
///
/// # Errors
/// [`CommandError`]: the directory cannot be used, or a topic cannot be read.
pub async fn ls(args: ListArgs, output: Output) -> Result<ExitCode, CommandError> {
    let (_, data) = place(&args.platform)?;
    let log = open(&data)?;
    let selection = args.select.selection(Env::production().clock.wall_ms());
    let listed = list(log.as_ref(), &selection, args.all, args.lines.unwrap_or(SHOWN));
    log.close().await;
    let (found, count) = listed?;
    match output {
        Output::Json => println!(
            "{}",
            json!({ "letters": found.iter().map(|(l, s)| summary(l, *s)).collect::<Vec<_>>(), "count": count })
        ),
        Output::Text => {
            println!(
                "{:<34}{:<13}{:<22}{:>9}{:>9}  {:<21}key",
                "letter", "service", "code", "attempts", "replays", "last failure"
            );
            for (letter, state) in &found {
                let told = if *state == State::Open { String::new() } else { format!("  ({})", state.name()) };
                println!(
                    "{:<34}{:<13}{:<22}{:>9}{:>9}  {:<21}{}{told}",
                    letter.id.to_string(),
                    letter.event.service,
                    letter.code,
                    letter.attempts,
                    letter.replays,
                    time(letter.last_failed_ms),
                    readable(&letter.key)
                );
            }
            let more = count - found.len() as u64;
            println!(
                "{count} dead letters{}",
                if more > 0 { format!(", {more} not shown: narrow it down, or -n {count}") } else { String::new() }
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

type Listed = (Vec<(OwnedLetter, State)>, u64);

fn list(
    log: &dyn runtime::log::Log,
    selection: &crate::dlq::Selection,
    all: bool,
    lines: usize,
) -> Result<Listed, DlqError> {
    let (schemas, shelf) = (Schemas::builtin()?, Shelf::read(log)?);
    let (mut found, mut count) = (Vec::new(), 0);
    letters::each(log, |letter| {
        let state = shelf.state(&letter);
        if (all || state == State::Open) && selection.matches(&letter, &schemas) {
            count += 1;
            if found.len() < lines {
                found.push((letter, state));
            }
        }
        Ok(())
    })?;
    Ok((found, count))
}

/// What a letter says, without its record.
pub fn summary(letter: &OwnedLetter, state: State) -> Json {
    json!({
        "id": letter.id.to_string(),
        "state": state,
        "service": letter.event.service,
        "version": letter.version,
        "topic": letter.event.topic,
        "partition": letter.event.partition,
        "offset": letter.event.offset,
        "timestamp_ms": letter.timestamp_ms,
        "key": readable(&letter.key),
        "bytes": letter.value.as_ref().map(Vec::len),
        "class": letter.class,
        "code": letter.code,
        "message": letter.message,
        "field": letter.field,
        "fingerprint": letter.fingerprint,
        "stage": letter.stage,
        "attempts": letter.attempts,
        "first_failed_ms": letter.first_failed_ms,
        "last_failed_ms": letter.last_failed_ms,
        "replays": letter.replays,
        "job": letter.job,
        "trace": letter.trace,
    })
}

/// Groups, the greatest first.
///
/// # Errors
/// As [`ls`].
pub async fn groups(args: ListArgs, output: Output) -> Result<ExitCode, CommandError> {
    let (_, data) = place(&args.platform)?;
    let log = open(&data)?;
    let selection = args.select.selection(Env::production().clock.wall_ms());
    let groups = groups::groups(log.as_ref(), &selection, args.all);
    log.close().await;
    let mut groups = groups?;
    let letters: u64 = groups.iter().map(|group| group.count).sum();
    groups.truncate(args.lines.unwrap_or(SHOWN));
    match output {
        Output::Json => println!("{}", json!({ "groups": groups, "letters": letters })),
        Output::Text => {
            groups.iter().for_each(|group| print!("{}", text(group)));
            println!("{letters} dead letters in {} groups", groups.len());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn text(group: &Group) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let Group { fingerprint, service, topic, code, class, stage, message, count, total, sample, .. } = group;
    let field = group.field.as_ref().map(|field| format!(" at {field}")).unwrap_or_default();
    let _ = writeln!(
        text,
        "{fingerprint}  {count} open of {total}  {service} <- {topic}  {code} ({class}, {stage}){field}"
    );
    let _ = writeln!(text, "  {message}");
    let versions: Vec<_> = group.versions.iter().map(String::as_str).collect();
    let (first, last) = (time(group.first_failed_ms), time(group.last_failed_ms));
    let money = group.stake_micros as f64 / 1e6;
    let _ = writeln!(text, "  {first} to {last}, version {}, {money:.6} USD at stake", versions.join(", "));
    let _ = writeln!(text, "  sample {sample}: {}", group.record);
    if let Some(alert) = &group.alert {
        let _ = writeln!(text, "  {} {}", time(alert.at_ms), watch::line(alert));
    }
    text
}
