//! `dlq ls` and `dlq groups`.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value as Json;

use super::args::SelectArgs;
use super::desk::{RemoteArgs, desk, now_ms, part, print_json};
use super::time;
use crate::cli::Output;
use crate::config::PlatformArgs;
use crate::dlq::desk::Question;
use crate::dlq::groups::Group;
use crate::dlq::{value, watch};
use crate::exit::CommandError;

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

impl ListArgs {
    fn question(&self) -> Question {
        Question { selection: self.select.selection(now_ms()), all: self.all, lines: self.lines, ..Question::default() }
    }
}

/// Letters, by topic, partition and offset.
///
/// # Errors
/// [`CommandError`]: nobody answers, the directory cannot be used, or a topic cannot be read.
pub async fn ls(args: ListArgs, remote: &RemoteArgs, output: Output) -> Result<ExitCode, CommandError> {
    let value = desk(&args.platform, remote)?.ask("letters", &args.question()).await?;
    if output == Output::Json {
        print_json(&value)?;
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "{:<34}{:<13}{:<22}{:>9}{:>9}  {:<21}key",
        "letter", "service", "code", "attempts", "replays", "last failure"
    );
    let letters: Vec<Json> = part(&value, "letters")?;
    for letter in &letters {
        let told = match letter["state"].as_str() {
            Some("open") | None => String::new(),
            Some(state) => format!("  ({state})"),
        };
        println!(
            "{:<34}{:<13}{:<22}{:>9}{:>9}  {:<21}{}{told}",
            value::text(&letter["id"]),
            value::text(&letter["service"]),
            value::text(&letter["code"]),
            value::text(&letter["attempts"]),
            value::text(&letter["replays"]),
            time(letter["last_failed_ms"].as_i64().unwrap_or(0)),
            value::text(&letter["key"])
        );
    }
    let count: u64 = part(&value, "count")?;
    let more = count.saturating_sub(letters.len() as u64);
    println!(
        "{count} dead letters{}",
        if more > 0 { format!(", {more} not shown: narrow it down, or -n {count}") } else { String::new() }
    );
    Ok(ExitCode::SUCCESS)
}

/// Groups, the greatest first.
///
/// # Errors
/// As [`ls`].
pub async fn groups(args: ListArgs, remote: &RemoteArgs, output: Output) -> Result<ExitCode, CommandError> {
    let value = desk(&args.platform, remote)?.ask("groups", &args.question()).await?;
    if output == Output::Json {
        print_json(&value)?;
        return Ok(ExitCode::SUCCESS);
    }
    let (groups, letters): (Vec<Group>, u64) = (part(&value, "groups")?, part(&value, "letters")?);
    groups.iter().for_each(|group| print!("{}", text(group)));
    println!("{letters} dead letters in {} groups", groups.len());
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
