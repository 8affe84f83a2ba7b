//! `bulkhead new`: where a service of one's own begins.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::Output;
use crate::exit::CommandError;
use crate::scaffold;

/// Begin a service of your own, in a checkout of the project
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  bulkhead new service pacing --reads impressions")]
pub struct NewArgs {
    #[command(subcommand)]
    pub what: What,
}

#[derive(Subcommand, Clone, Debug)]
pub enum What {
    /// A service that counts the events of a topic by key: fold, state, tests, page, and its line in the catalogue
    #[command(after_help = "Example:\n  bulkhead new service pacing --reads impressions")]
    Service {
        /// Name: letters a to z and digits
        name: String,
        /// Topic that it reads
        #[arg(long, value_name = "TOPIC", default_value = "impressions")]
        reads: String,
        /// Checkout of the project
        #[arg(long, value_name = "DIR", default_value = ".")]
        dir: PathBuf,
    },
}

/// Writes it, and says what comes next.
///
/// # Errors
/// [`scaffold::ScaffoldError`], before anything is written.
pub fn run(args: NewArgs, output: Output) -> Result<ExitCode, CommandError> {
    let What::Service { name, reads, dir } = args.what;
    let written = scaffold::service(&dir, &name, &reads).map_err(CommandError::usage)?;
    match output {
        Output::Json => {
            println!("{}", serde_json::json!({ "service": name, "files": written.files, "changed": written.changed }));
        }
        Output::Text => {
            written.files.iter().for_each(|path| println!("new      {}", path.display()));
            written.changed.iter().for_each(|path| println!("changed  {}", path.display()));
            println!("\nIt counts the events of {reads} by key. Next:");
            println!("  cargo test --release --workspace --lib -- {name}::      # its own tests");
            println!("  cargo test --release --workspace --test contract        # the suite of every service");
            println!("  cargo run --release -- graph                            # its place between the others");
        }
    }
    Ok(ExitCode::SUCCESS)
}
