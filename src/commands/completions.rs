//! `bulkhead completions`: scripts for shells, made from the command line's own definition.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, CommandFactory, ValueEnum};

use crate::cli::Cli;
use crate::exit::CommandError;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Print a script that completes commands and flags in a shell
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  bulkhead completions bash")]
pub struct CompletionsArgs {
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// None; the type is that of every command.
pub fn run(args: CompletionsArgs) -> Result<ExitCode, CommandError> {
    print!("{}", script(args.shell));
    Ok(ExitCode::SUCCESS)
}

/// What may follow a path of commands: their words, and the words after them.
struct Node {
    path: String,
    commands: Vec<(String, String)>,
    flags: Vec<(String, String)>,
}

fn nodes() -> Vec<Node> {
    let mut root = Cli::command();
    root.build();
    let mut nodes = Vec::new();
    let mut waiting = vec![(String::new(), root)];
    while let Some((path, command)) = waiting.pop() {
        let about = |text: Option<&clap::builder::StyledStr>| {
            text.map(|text| text.to_string().lines().next().unwrap_or_default().replace('\'', "")).unwrap_or_default()
        };
        let mut commands = Vec::new();
        for sub in command.get_subcommands() {
            commands.push((sub.get_name().to_owned(), about(sub.get_about())));
            let below = if path.is_empty() { sub.get_name().to_owned() } else { format!("{path} {}", sub.get_name()) };
            waiting.push((below, sub.clone()));
        }
        let flag = |arg: &clap::Arg| Some((format!("--{}", arg.get_long()?), about(arg.get_help())));
        let flags = command.get_arguments().filter_map(flag).collect();
        nodes.push(Node { path, commands, flags });
    }
    nodes.sort_by(|a, b| a.path.cmp(&b.path));
    nodes
}

fn script(shell: Shell) -> String {
    let nodes = nodes();
    match shell {
        Shell::Bash => bash(&nodes),
        Shell::Zsh => format!("#compdef bulkhead\nautoload -U bashcompinit && bashcompinit\n{}", bash(&nodes)),
        Shell::Fish => fish(&nodes),
    }
}

fn bash(nodes: &[Node]) -> String {
    let mut out = String::from(
        "_bulkhead() {\n  local path=\"\" word cur=\"${COMP_WORDS[COMP_CWORD]}\"\n  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n    \
         case \"$path $word\" in\n",
    );
    for node in nodes.iter().filter(|node| !node.path.is_empty()) {
        let (before, last) = node.path.rsplit_once(' ').unwrap_or(("", &node.path));
        let _ = writeln!(out, "      \"{before} {last}\") path=\"{}\" ;;", node.path);
    }
    out.push_str("    esac\n  done\n  local words=\"\"\n  case \"$path\" in\n");
    for node in nodes {
        let words: Vec<&str> = node.commands.iter().chain(&node.flags).map(|(word, _)| word.as_str()).collect();
        let _ = writeln!(out, "    \"{}\") words=\"{}\" ;;", node.path, words.join(" "));
    }
    out.push_str("  esac\n  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n  if [ ${#COMPREPLY[@]} -eq 0 ]; then COMPREPLY=($(compgen -f -- \"$cur\")); fi\n}\ncomplete -F _bulkhead bulkhead\n");
    out
}

fn fish(nodes: &[Node]) -> String {
    let mut out = String::new();
    for node in nodes {
        let seen = match node.path.rsplit(' ').next().filter(|last| !last.is_empty()) {
            None => "__fish_use_subcommand".to_owned(),
            Some(last) => format!("__fish_seen_subcommand_from {last}"),
        };
        for (word, about) in &node.commands {
            let _ = writeln!(out, "complete -c bulkhead -f -n '{seen}' -a '{word}' -d '{about}'");
        }
        for (flag, about) in &node.flags {
            let _ =
                writeln!(out, "complete -c bulkhead -n '{seen}' -l '{}' -d '{about}'", flag.trim_start_matches('-'));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_flag_is_completed() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            for word in ["explain", "until-idle", "describe", "output", "produce"] {
                assert!(script.contains(word), "{shell:?}: {word}");
            }
        }
    }

    #[test]
    fn bash_takes_the_script() {
        let script = format!(
            "{}\nCOMP_WORDS=(bulkhead topics d); COMP_CWORD=2; _bulkhead; echo \"${{COMPREPLY[@]}}\"",
            script(Shell::Bash)
        );
        let Ok(output) = std::process::Command::new("bash").args(["-c", &script]).output() else {
            println!("ABSENT: bash");
            return;
        };
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            "describe",
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
