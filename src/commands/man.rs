//! `bulkhead man`: manual pages, made from the command line's own definition.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_mangen::Man;

use crate::cli::Cli;
use crate::exit::CommandError;

/// Print the manual page, or write one a command into a directory
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  bulkhead man --dir man1")]
pub struct ManArgs {
    /// Directory for bulkhead.1, bulkhead-up.1 and all others; made where it is absent
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Prints or writes the pages.
///
/// # Errors
/// The directory or stdout refuses.
pub fn run(args: &ManArgs) -> Result<ExitCode, CommandError> {
    let mut root = Cli::command();
    root.build();
    match &args.dir {
        None => print!("{}", String::from_utf8_lossy(&page(Man::new(root))?)),
        Some(dir) => {
            let failed = |path: &Path, error| CommandError::Failed(format!("{}: {error}", path.display()));
            std::fs::create_dir_all(dir).map_err(|error| failed(dir, error))?;
            for (name, page) in pages(root)? {
                let path = dir.join(name);
                std::fs::write(&path, page).map_err(|error| failed(&path, error))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// File name and text of each command's page, the root's first.
fn pages(root: clap::Command) -> Result<Vec<(String, Vec<u8>)>, CommandError> {
    let (mut pages, mut waiting) = (Vec::new(), vec![(root.get_name().to_owned(), root)]);
    while let Some((name, command)) = waiting.pop() {
        waiting.extend(command.get_subcommands().map(|sub| (format!("{name}-{}", sub.get_name()), sub.clone())));
        let text = page(Man::new(command).title(name.clone()))?;
        pages.push((format!("{name}.1"), text));
    }
    Ok(pages)
}

fn page(man: Man) -> Result<Vec<u8>, CommandError> {
    let mut page = Vec::new();
    man.render(&mut page).map_err(CommandError::failed)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_that_shows_its_flags() {
        let mut root = Cli::command();
        root.build();
        let pages = pages(root).expect("rendered");
        let page = |name: &str| {
            let found = pages.iter().find(|(file, _)| file == name);
            String::from_utf8(found.unwrap_or_else(|| panic!("no {name}")).1.clone()).expect("UTF-8")
        };
        assert!(page("bulkhead.1").contains("bulkhead\\-up(1)"));
        assert!(page("bulkhead-up.1").contains("until\\-idle"));
        assert!(page("bulkhead-schemas-check.1").contains("bulkhead schemas check"), "its example");
    }
}
