//! The run while it runs: one line a service on a terminal, a line now and then elsewhere.

use std::io::{IsTerminal, Write};

use runtime::stats::Phase;

use super::faults::Faults;
use super::progress::Progress;
use super::screen::{Style, count, latency};
use crate::platform::Composed;

/// Where nobody watches, a line this often is enough.
const PLAIN_EVERY_US: u64 = 5_000_000;
/// Redraws a second are for eyes, not for CPUs.
const LIVE_EVERY_US: u64 = 200_000;
const BAR_CELLS: usize = 24;

/// Draws on stderr: stdout belongs to the result.
pub struct Live {
    terminal: bool,
    style: Style,
    lines: usize,
    drawn_us: u64,
    totals: Vec<u64>,
    bar_max: u64,
}

impl Live {
    pub fn new() -> Self {
        let terminal = std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let style = Style::for_stream(terminal);
        Self { terminal, style, lines: 0, drawn_us: 0, totals: Vec::new(), bar_max: 1_000 }
    }

    /// Draws if it is time.
    pub fn draw(&mut self, up: &Composed, progress: &Progress, faults: &Faults, now_us: u64) {
        let every_us = if self.terminal { LIVE_EVERY_US } else { PLAIN_EVERY_US };
        let since_us = now_us - self.drawn_us;
        if since_us < every_us {
            return;
        }
        self.drawn_us = now_us;
        let text = if self.terminal { self.frame(up, progress, faults, since_us) } else { plain(up, progress) };
        let mut out = std::io::stderr().lock();
        // Whoever closed the terminal does not see it anyway.
        let _ = out.write_all(text.as_bytes());
    }

    /// Takes the frame away.
    pub fn clear(&mut self) {
        if self.terminal && self.lines > 0 {
            let _ = write!(std::io::stderr().lock(), "\x1b[{}A\x1b[J", self.lines);
            self.lines = 0;
        }
    }

    fn frame(&mut self, up: &Composed, progress: &Progress, faults: &Faults, since_us: u64) -> String {
        let mut text = String::new();
        if self.lines > 0 {
            text.push_str(&format!("\x1b[{}A", self.lines));
        }
        let mut lines = vec![headline(progress, faults, now_s(up, progress), &self.style)];
        lines.push(
            self.style.faint(&format!("{:<12} {:>10} {:>9} {:>9}  {}", "service", "events/s", "lag", "p99", "lag")),
        );
        self.totals.resize(up.platform.bulkheads.len(), 0);
        for (index, bulkhead) in up.platform.bulkheads.iter().enumerate() {
            let (lag, total) = (bulkhead.lag() + bulkhead.parked(), bulkhead.stats.tally().total());
            let per_s = (total - self.totals[index]) * 1_000_000 / since_us.max(1);
            self.totals[index] = total;
            self.bar_max = self.bar_max.max(lag);
            let p99 = bulkhead.stats.latency_us(0.99, &[Phase::Before, Phase::InFault, Phase::After]);
            let name = bulkhead.spec.name;
            let fault = bulkhead.faults.active().map_or("", |kind| kind.name());
            let bar = bar(lag, self.bar_max);
            let line = format!("{name:<12} {:>10} {:>9} {:>9}  {bar} {fault}", count(per_s), count(lag), latency(p99));
            lines.push(if fault.is_empty() { line } else { self.style.bad(&line) });
        }
        self.lines = lines.len();
        for line in lines {
            text.push_str(&line);
            text.push_str("\x1b[K\n");
        }
        text
    }
}

impl Default for Live {
    fn default() -> Self {
        Self::new()
    }
}

fn now_s(up: &Composed, progress: &Progress) -> f64 {
    progress.first_us().map_or(0.0, |first_us| (up.env.clock.mono_us() - first_us) as f64 / 1e6)
}

fn headline(progress: &Progress, faults: &Faults, now_s: f64, style: &Style) -> String {
    let (read, bids) = (Progress::get(&progress.read), Progress::get(&progress.bids));
    let active: Vec<_> = faults.runs.iter().filter(|run| run.is_active()).map(|run| run.spec.text.as_str()).collect();
    let fault = if active.is_empty() { String::new() } else { style.bad(&format!("  FAULT {}", active.join(" "))) };
    format!("{now_s:>6.1} s  {} requests  {} bids{fault}", count(read), count(bids))
}

fn plain(up: &Composed, progress: &Progress) -> String {
    let read = Progress::get(&progress.read);
    let behind: Vec<_> = up.platform.bulkheads.iter().filter(|bulkhead| bulkhead.lag() > 1_000).collect();
    let behind: Vec<_> = behind.iter().map(|b| format!("{} {}", b.spec.name, count(b.lag()))).collect();
    let lag = if behind.is_empty() { String::new() } else { format!(", behind: {}", behind.join(", ")) };
    format!("{:.0} s: {} requests{lag}\n", now_s(up, progress), count(read))
}

fn bar(lag: u64, max: u64) -> String {
    let cells = (lag as usize * BAR_CELLS).div_ceil(max.max(1) as usize).min(BAR_CELLS);
    format!("{}{}", "#".repeat(cells), "-".repeat(BAR_CELLS - cells))
}
