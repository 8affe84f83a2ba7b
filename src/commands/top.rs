//! `bulkhead top`: a process as it is now, again and again.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use runtime::env::Env;

use crate::args;
use crate::cli::Output;
use crate::demo::screen::Style;
use crate::exit::CommandError;
use crate::operate::target::{Remote, TargetArgs};
use crate::operate::top::{self, Look};

/// Where the terminal does not tell its width.
const COLUMNS: usize = 160;
/// Another screen, without a cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// Services as they are now: state, rate, lag, queue, what is handled and for how long. On a terminal it goes on until Ctrl-C;
/// elsewhere it is one look
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  bulkhead top --every 2s")]
pub struct TopArgs {
    /// Between two looks; rates are of this time
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = args::duration)]
    pub every: Duration,
    /// Looks, then it ends [default: 1 where no terminal is]
    #[arg(short = 'n', long = "count", value_name = "N")]
    pub count: Option<u64>,
    #[command(flatten)]
    pub target: TargetArgs,
}

/// A terminal that is given back however this ends.
struct Screen;

impl Screen {
    fn enter() -> Self {
        let _ = std::io::stdout().write_all(ENTER.as_bytes());
        Self
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut out = std::io::stdout();
        let _ = out.write_all(LEAVE.as_bytes()).and_then(|()| out.flush());
    }
}

/// Looks until the count is reached, or somebody ends it.
///
/// # Errors
/// Nothing runs, or it does not answer any more.
pub fn run(args: TopArgs, output: Output) -> Result<ExitCode, CommandError> {
    if args.every < Duration::from_millis(100) {
        return Err(CommandError::Usage("--every: 100ms is the least".into()));
    }
    let is_live = output == Output::Text && std::io::stdout().is_terminal();
    let looks = args.count.unwrap_or(if is_live { u64::MAX } else { 1 });
    crate::cli::block_on(async move {
        let remote = args.target.remote()?;
        let env = Env::production();
        let mut before = look(&remote, &env).await?;
        let screen = is_live.then(Screen::enter);
        for _ in 0..looks {
            tokio::select! {
                biased;
                _ = tokio::signal::ctrl_c() => break,
                () = env.clock.sleep(args.every) => {}
            }
            let now = look(&remote, &env).await?;
            let rows = top::rows(&before, &now);
            match output {
                Output::Json => println!("{}", top::to_json(&rows)),
                Output::Text => {
                    draw(&top::lines(&rows, &remote.address, Style::for_stream(is_live), columns()), is_live)?
                }
            }
            before = now;
        }
        drop(screen);
        Ok(ExitCode::SUCCESS)
    })
}

async fn look(remote: &Remote, env: &Env) -> Result<Look, CommandError> {
    let (actors, lag) = (remote.json("/actors").await?, remote.json("/lag").await?);
    Ok(Look { at_us: env.clock.mono_us(), actors, lag })
}

fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    size.ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(COLUMNS)
}

fn draw(lines: &[String], is_live: bool) -> Result<(), CommandError> {
    let mut text = String::new();
    if is_live {
        text.push_str("\x1b[H");
    }
    for line in lines {
        text.push_str(line);
        text.push_str(if is_live { "\x1b[K\r\n" } else { "\n" });
    }
    if is_live {
        text.push_str("\x1b[J");
    }
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(CommandError::failed)
}
