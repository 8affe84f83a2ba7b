//! Benchmarks of Bulkhead, each beside its peer. `README.md` in this folder has the table of the last run.

#![allow(clippy::disallowed_methods)] // what is measured here is the real clock's time

mod cpu;
mod edge;
mod isolation;
mod kafka;
mod log;
mod minutes;
mod overhead;
mod overload;
mod path;
mod pipeline;
mod report;
mod schemas;
mod telemetry;
mod usage;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use report::Report;
use runtime::alloc::Accounting;

#[global_allocator]
static ALLOCATOR: Accounting<mimalloc::MiMalloc> = Accounting::over(mimalloc::MiMalloc);

/// Why a bench gave no figures.
pub type Failed = Box<dyn std::error::Error>;

/// Benchmarks, each taken beside its peer in the same run.
#[derive(Parser)]
#[command(after_help = "Example: cargo run --release -p bench -- log --output json")]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
    /// Shape of the result on stdout.
    #[arg(long, value_enum, global = true, default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Bench {
    /// The embedded log: append, scan, acknowledgement.
    Log(log::Arguments),
    /// What the runtime adds to an event.
    Runtime(overhead::Arguments),
    /// From the log through decoding and windows to the commit, beside a bare walk.
    Path(path::Arguments),
    /// Decode and encode of an ImpressionEvent of 151 bytes, framed. Every figure is the best of 9 repeats of 200,000
    /// records, in turns with its peer, per CPU second of one thread.
    Schemas,
    Edge(edge::Arguments),
    #[command(hide = true)]
    EdgeEcho,
    Isolation(isolation::Arguments),
    Kafka(kafka::Arguments),
    #[command(hide = true)]
    KafkaBare(kafka::Step),
    #[command(hide = true)]
    KafkaPath(kafka::Step),
    Overload(overload::Arguments),
    /// The whole platform under the demo's traffic, by service.
    Pipeline(pipeline::Arguments),
    Telemetry(telemetry::Arguments),
    #[command(hide = true)]
    TelemetrySink,
}

fn main() -> ExitCode {
    // As the program itself does: what is measured must live in the same memory.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let arguments = Arguments::parse();
    let result = match arguments.bench {
        Bench::Log(arguments) => log::run(&arguments),
        Bench::Runtime(arguments) => overhead::run(&arguments),
        Bench::Path(arguments) => path::run(&arguments),
        Bench::Schemas => schemas::run(),
        Bench::Edge(arguments) => edge::run(&arguments),
        Bench::EdgeEcho => return served(edge::echo()),
        Bench::TelemetrySink => return served(telemetry::sink()),
        Bench::Isolation(arguments) => isolation::run(&arguments),
        Bench::Kafka(arguments) => kafka::run(&arguments),
        Bench::KafkaBare(step) => return served(kafka::bare(&step)),
        Bench::KafkaPath(step) => return served(kafka::path(&step)),
        Bench::Overload(arguments) => overload::run(&arguments),
        Bench::Pipeline(arguments) => pipeline::run(&arguments),
        Bench::Telemetry(arguments) => telemetry::run(&arguments),
    };
    match result {
        Ok(report) => {
            print(&report, arguments.output);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn served(ended: Result<(), Failed>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print(report: &Report, output: Output) {
    match output {
        Output::Text => print!("{}", report.to_text()),
        Output::Json => match serde_json::to_string(report) {
            Ok(json) => println!("{json}"),
            Err(error) => eprintln!("bench: {error}"),
        },
    }
}
