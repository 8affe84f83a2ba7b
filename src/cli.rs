//! The command line: which commands there are, and what is the same for all of them.

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::commands::{
    acl, ask, backup, bridge, completions, config, demo, dlq, doctor, isolation, man, new, produce, schemas, top,
    topics, up, verify, version,
};
use crate::exit::CommandError;

/// How results are written; progress and hints go to stderr either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    #[default]
    Text,
    Json,
}

/// An event-driven adtech platform whose services cannot take each other down
#[derive(Parser, Debug)]
#[command(
    name = "bulkhead",
    version,
    after_help = "Example:\n  bulkhead demo --requests 2000 --speed max --no-fault",
    disable_help_subcommand = true
)]
pub struct Cli {
    /// How results are written to stdout
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    Demo(demo::DemoArgs),
    Up(up::UpArgs),
    Verify(verify::VerifyArgs),
    Dlq(Box<dlq::DlqArgs>),
    Isolation(isolation::IsolationArgs),
    Schemas(schemas::SchemasArgs),
    Topics(topics::TopicsArgs),
    Acl(acl::AclArgs),
    Produce(produce::ProduceArgs),
    Backup(backup::BackupArgs),
    Restore(backup::RestoreArgs),
    Bridge(bridge::BridgeArgs),
    Tap(ask::TapArgs),
    Lag(ask::LagArgs),
    Actors(ask::ActorsArgs),
    Top(top::TopArgs),
    Graph(ask::GraphArgs),
    Explain(ask::ExplainArgs),
    Config(config::ConfigArgs),
    Doctor(doctor::DoctorArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
    New(new::NewArgs),
    /// Print the version of this build
    #[command(after_help = "Example:\n  bulkhead version --output json")]
    Version,
}

/// Parses, runs, reports.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Demo(args) => demo::run(args, cli.output),
        Command::Up(args) => up::run(args, cli.output),
        Command::Verify(args) => verify::run(args, cli.output),
        Command::Dlq(args) => dlq::run(*args, cli.output),
        Command::Isolation(args) => isolation::run(args, cli.output),
        Command::Schemas(args) => schemas::run(args, cli.output),
        Command::Topics(args) => topics::run(args, cli.output),
        Command::Acl(args) => acl::run(args, cli.output),
        Command::Produce(args) => produce::run(args, cli.output),
        Command::Backup(args) => backup::backup(args, cli.output),
        Command::Restore(args) => backup::restore(args, cli.output),
        Command::Bridge(args) => bridge::run(args, cli.output),
        Command::Tap(args) => ask::tap(args, cli.output),
        Command::Lag(args) => ask::lag(args, cli.output),
        Command::Actors(args) => ask::actors(args, cli.output),
        Command::Top(args) => top::run(args, cli.output),
        Command::Graph(args) => ask::graph(args, cli.output),
        Command::Explain(args) => ask::explain(args, cli.output),
        Command::Config(args) => config::run(args, cli.output),
        Command::Doctor(args) => doctor::run(args, cli.output),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(&args),
        Command::New(args) => new::run(args, cli.output),
        Command::Version => version::run(cli.output),
    };
    result.unwrap_or_else(|error| {
        eprintln!("bulkhead: {error}");
        error.exit_code()
    })
}

/// Runs a command's own thread: services, views and sources have theirs.
///
/// # Errors
/// What the command answers, or the system's refusal of a runtime.
pub fn block_on<F>(command: F) -> Result<ExitCode, CommandError>
where
    F: Future<Output = Result<ExitCode, CommandError>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CommandError::Failed(format!("no runtime: {error}")))?;
    let result = runtime.block_on(command);
    // What never yields must not keep the process.
    runtime.shutdown_background();
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// All commands, the root first.
    fn commands() -> Vec<clap::Command> {
        let root = Cli::command();
        let subcommands: Vec<_> = root.get_subcommands().cloned().collect();
        std::iter::once(root).chain(subcommands).collect()
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_help_ends_with_an_example() {
        for mut command in commands() {
            let help = command.render_long_help().to_string();
            let last = help.trim_end().lines().last().unwrap_or_default().to_owned();
            assert!(last.trim_start().starts_with("bulkhead "), "{}: {last}", command.get_name());
            // It works at least as far as its parser.
            let parsed = Cli::try_parse_from(last.split_whitespace());
            assert!(parsed.is_ok(), "{last}: {:?}", parsed.err());
        }
    }
}
