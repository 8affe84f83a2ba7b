//! `bulkhead schemas decode`: what bytes mean to a reader, by the decoder that production uses.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use schemas::codec::Limits;
use schemas::json;
use schemas::plan::Plan;
use serde_json::{Value as Json, json};

use super::files::ReferenceArgs;
use crate::cli::Output;
use crate::exit::CommandError;

/// Print a datum as Avro's JSON encoding, or what is wrong with it and at which byte
///
/// Union branches are tagged by full name, bytes and fixed are ISO-8859-1 text, decimals are decimal strings, other
/// logical types are their base type. The limits are those of production: 64 KiB, depth 16, strings of 4 KiB, 64 map
/// entries (1 MiB for records of commit topics).
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  bulkhead schemas decode --writer W.avsc --reader R.avsc --hex 06666f6f")]
pub struct DecodeArgs {
    /// Schema that the bytes were written with
    #[arg(long)]
    writer: PathBuf,
    /// Schema to read them with; the writer's if it is left out
    #[arg(long)]
    reader: Option<PathBuf>,
    #[command(flatten)]
    references: ReferenceArgs,
    /// The bytes, two digits each
    #[arg(long)]
    hex: String,
    /// The bytes are a Confluent frame: magic 0 and an id, or magic 1 and a GUID, before the datum
    #[arg(long)]
    framed: bool,
}

/// What went wrong with the bytes.
struct Failure {
    kind: &'static str,
    byte: usize,
    message: String,
}

/// Decodes and prints.
///
/// # Errors
/// Usage: a schema cannot be used. Bad bytes are no error of the command: they are its answer, with exit code 1.
pub fn run(args: &DecodeArgs, output: Output) -> Result<ExitCode, CommandError> {
    let types = args.references.load()?;
    let writer = types.read(&args.writer)?;
    let reader = args.reader.as_ref().map_or_else(|| Ok(writer.clone()), |path| types.read(path))?;
    let commit = writer.kind(writer.root()).name().is_some_and(|n| n.namespace() == "com.bulkhead.commit");
    let limits = if commit { &Limits::COMMIT } else { &Limits::EVENT };
    let decoded = Plan::new(&writer, &reader)
        .map_err(|e| Failure { kind: e.kind(), byte: 0, message: e.to_string() })
        .and_then(|plan| decode(&plan, &args.hex, args.framed, limits));
    match (decoded, output) {
        (Ok(value), Output::Text) => println!("{value}"),
        // The text is JSON already; read again it would lose digits of its numbers.
        (Ok(value), Output::Json) => println!("{{\"value\":{value}}}"),
        (Err(failure), Output::Text) => {
            eprintln!("bulkhead: {} at byte {}: {}", failure.kind, failure.byte, failure.message);
            return Ok(ExitCode::from(1));
        }
        (Err(failure), Output::Json) => {
            let Failure { kind, byte, message } = failure;
            println!("{}", error_json(kind, byte, &message));
            return Ok(ExitCode::from(1));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn error_json(kind: &str, byte: usize, message: &str) -> Json {
    json!({"error": {"kind": kind, "byte": byte, "message": message}})
}

fn decode(plan: &Plan, hex: &str, framed: bool, limits: &'static Limits) -> Result<String, Failure> {
    let bytes = unhex(hex)?;
    let header = if framed { header_bytes(&bytes)? } else { 0 };
    json::decode(plan, &bytes[header..], limits).map_err(|e| Failure {
        kind: e.kind(),
        byte: header + e.byte,
        message: e.kind.to_string(),
    })
}

/// Bytes before the datum.
fn header_bytes(bytes: &[u8]) -> Result<usize, Failure> {
    schemas::frame::header_bytes(bytes).map_err(|e| Failure { kind: e.kind(), byte: 0, message: e.to_string() })
}

fn unhex(text: &str) -> Result<Vec<u8>, Failure> {
    let wrong = |byte: usize, message: &str| Failure { kind: "hex", byte, message: message.to_owned() };
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    if digits.len() % 2 == 1 {
        return Err(wrong(digits.len() / 2, "an odd number of hex digits"));
    }
    let value = |c: char| c.to_digit(16).map(|d| d as u8);
    let pairs = digits.chunks(2).enumerate();
    pairs
        .map(|(byte, pair)| match (value(pair[0]), value(pair[1])) {
            (Some(high), Some(low)) => Ok(high << 4 | low),
            _ => Err(wrong(byte, "not a hex digit: write two digits 0-9, a-f for each byte")),
        })
        .collect()
}
