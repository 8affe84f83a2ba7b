//! The verdict for people. What is not from the input is labelled SIMULATED on its own row.

use std::fmt::Write as _;
use std::io::IsTerminal;

use runtime::stats::{Phase, ServiceStats};

use super::run::Played;
use crate::platform::Composed;
use crate::report::Report;

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    coloured: bool,
}

impl Style {
    /// None for `NO_COLOR`, and where no terminal is.
    pub fn for_stream(terminal: bool) -> Self {
        Self { coloured: terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
    pub fn title(self, text: &str) -> String {
        self.paint("1", text)
    }
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }
    pub fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }
    pub fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }
}

/// `12,345`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1.2 ms`; a dash where nothing was measured.
pub fn latency(us: Option<u64>) -> String {
    match us {
        None => "-".to_owned(),
        Some(us) if us < 1_000 => format!("{us} us"),
        Some(us) if us < 1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        Some(us) => format!("{:.2} s", us as f64 / 1e6),
    }
}

/// Micros as units: `1.234567`.
fn money(micros: i64) -> String {
    actors::money::Micros(micros).to_string()
}

/// Everything that a verdict is written from.
pub struct Verdict<'a> {
    pub up: &'a Composed,
    pub played: &'a Played,
    pub report: &'a Report,
    pub input_name: &'a str,
    /// What to say besides: faults that proved nothing, an invariant's reason.
    pub complaints: &'a [String],
    /// Kept directory, for the next steps.
    pub data: Option<&'a std::path::Path>,
}

impl Verdict<'_> {
    /// The text, for stdout.
    pub fn text(&self) -> String {
        let style = Style::for_stream(std::io::stdout().is_terminal());
        let mut out = String::new();
        self.input(&mut out, style);
        self.funnel(&mut out, style);
        self.money(&mut out, style);
        self.freshness(&mut out, style);
        self.services(&mut out, style);
        self.invariants(&mut out, style);
        self.next_steps(&mut out, style);
        out
    }

    fn input(&self, out: &mut String, style: Style) {
        let (input, played) = (&self.report.input, self.played);
        let _ = writeln!(out, "{}  {}", style.title("INPUT"), self.input_name);
        let _ = writeln!(
            out,
            "  {} read, {} valid, {} rejected; {} without user, {} of placeholder users, {} without site",
            count(input.read),
            count(input.valid),
            count(input.rejected),
            count(input.users_null),
            count(input.users_placeholder),
            count(input.site_absent)
        );
        let seconds = (played.input_us as f64 / 1e6).max(1e-6);
        let _ = writeln!(
            out,
            "  speed {}: {:.1} s, {} requests/s; first event {} after the start; all settled after {:.1} s",
            played.pace.shown(),
            seconds,
            count((input.read as f64 / seconds) as u64),
            latency(Some(played.ready_us)),
            played.took_us as f64 / 1e6
        );
        let answers = played.progress.take_answers();
        let at = |quantile| latency(Some(answers.value_at_quantile(quantile)));
        let _ = writeln!(out, "  due -> decided and acknowledged: p50 {}, p99 {}", at(0.5), at(0.99));
        for (reason, shed) in &input.shed {
            let _ = writeln!(out, "  {} shed: {reason}", count(*shed));
        }
        out.push('\n');
    }

    fn funnel(&self, out: &mut String, style: Style) {
        let funnel = &self.report.funnel;
        let real = if self.report.input.source == "file" { "REAL" } else { "SIMULATED" };
        let share = |n: u64| format!("{:5.1} %", n as f64 * 100.0 / funnel.requests.max(1) as f64);
        let _ = writeln!(out, "{}", style.title("FUNNEL"));
        let mut row = |name: &str, n: u64, label: &str| {
            let _ = writeln!(out, "  {name:<28} {:>12}  {}  {}", count(n), share(n), style.faint(label));
        };
        row("requests", funnel.requests, real);
        for (reason, n) in &funnel.no_bid {
            row(&format!("- no bid: {reason}"), *n, "decided here; campaigns SIMULATED");
        }
        row("bids", funnel.bids, "decided here; campaigns SIMULATED");
        row("wins", funnel.wins, "SIMULATED market");
        row("impressions", funnel.impressions, "SIMULATED market");
        row("clicks", funnel.clicks, "SIMULATED market");
        row("conversions", funnel.conversions, "SIMULATED market");
        row("invalid traffic", funnel.invalid_traffic, "judged here; impressions SIMULATED");
        out.push('\n');
    }

    fn money(&self, out: &mut String, style: Style) {
        let money_of = &self.report.money;
        let _ = writeln!(out, "{}  {}", style.title("MONEY"), style.faint("USD; budgets and prices SIMULATED"));
        let _ = writeln!(
            out,
            "  {:<10} {:>12} {:>12} {:>12} {:>12} {:>12}",
            "campaign", "budget", "posted", "pending", "reversed", "overrun"
        );
        for campaign in &money_of.campaigns {
            let _ = writeln!(
                out,
                "  {:<10} {:>12} {:>12} {:>12} {:>12} {:>12}  {}",
                campaign.campaign_id,
                money(campaign.budget_micros),
                money(campaign.posted_micros),
                money(campaign.pending_micros),
                money(campaign.reversed_micros),
                money(campaign.overrun_micros),
                style.faint("SIMULATED")
            );
        }
        let _ = writeln!(
            out,
            "  ledger: debits {} = credits {}; recount differs by {} micros\n",
            money(money_of.debits_micros),
            money(money_of.credits_micros),
            money_of.recount_diff_micros
        );
    }

    fn freshness(&self, out: &mut String, style: Style) {
        let views = &self.up.views;
        let _ = writeln!(out, "{}", style.title("FRESHNESS"));
        let stats = self.up.platform.bulkhead("analytics").map(|bulkhead| &bulkhead.stats);
        let quantile = |q| stats.and_then(|stats| stats.latency_us(q, &ALL_PHASES));
        let _ = writeln!(
            out,
            "  event readable -> counted in its minute: p50 {}, p99 {}; minutes are published each second",
            latency(quantile(0.5)),
            latency(quantile(0.99))
        );
        let _ = writeln!(
            out,
            "  age of views now: campaigns {} ms, leases {} ms, placeholders {} ms; lists {}\n",
            views.campaigns_age.ms(),
            views.leases_age.ms(),
            views.placeholders_age.ms(),
            views.lists.version
        );
    }

    fn services(&self, out: &mut String, style: Style) {
        let _ = writeln!(out, "{}", style.title("SERVICES  before | in | after the fault"));
        let _ = writeln!(
            out,
            "  {:<12} {:>9} {:>6} {:>5} {:>6} {:>4} {:>8}  {:<32} p99",
            "service", "handled", "dup", "dead", "retry", "rst", "lag max", "p50"
        );
        for (bulkhead, service) in self.up.platform.bulkheads.iter().zip(&self.report.services) {
            let stats = &bulkhead.stats;
            let line = format!(
                "  {:<12} {:>9} {:>6} {:>5} {:>6} {:>4} {:>8}  {:<32} {}",
                service.service,
                count(service.handled),
                count(service.duplicates),
                count(service.dead_lettered),
                count(service.retried),
                count(service.restarts),
                count(service.lag_max),
                by_phase(stats, 0.5),
                by_phase(stats, 0.99)
            );
            let faulted = self.played.faults.runs.iter().any(|run| run.spec.service == service.service);
            let _ = writeln!(out, "{}", if faulted { style.bad(&line) } else { line });
        }
        for run in &self.played.faults.runs {
            let s = |us: Option<u64>| us.map_or("never".to_owned(), |us| format!("{:.1} s", us as f64 / 1e6));
            let _ = writeln!(
                out,
                "  fault {}: from {} to {}, lag up to {}, caught up at {}",
                run.spec.text,
                s(run.started_us),
                s(run.ended_us),
                count(run.lag_max),
                s(run.caught_up_us)
            );
        }
        out.push('\n');
    }

    fn invariants(&self, out: &mut String, style: Style) {
        let _ = writeln!(out, "{}", style.title("INVARIANTS"));
        for invariant in &self.report.invariants {
            let mark = if invariant.ok { style.good("holds") } else { style.bad("BROKEN") };
            let why = if invariant.ok { String::new() } else { format!(": {}", invariant.why) };
            let _ = writeln!(out, "  {mark:<6} {:<20} {:>12} checked{why}", invariant.name, count(invariant.checked));
        }
        for complaint in self.complaints {
            let _ = writeln!(out, "  {} {complaint}", style.bad("BROKEN"));
        }
        let _ = writeln!(
            out,
            "  {:.1} us CPU an event, at most {} MiB of memory",
            self.report.cpu_us_per_event,
            self.report.rss_max_bytes >> 20
        );
        let verdict = if self.report.ok { style.good("ALL HELD") } else { style.bad("NOT OK") };
        let _ = writeln!(out, "  {verdict}\n");
    }

    fn next_steps(&self, out: &mut String, style: Style) {
        let _ = writeln!(out, "{}", style.title("NEXT"));
        let _ = writeln!(out, "  bulkhead demo --fault billing:panic@2s+1s    break something else");
        let _ = writeln!(out, "  bulkhead demo --speed max --no-fault         how fast it is");
        match self.data {
            Some(data) => {
                let _ = writeln!(out, "  bulkhead up --data {}    go on from here", data.display());
            }
            None => {
                let _ = writeln!(out, "  bulkhead demo --data DIR                     keep what happened");
            }
        }
    }
}

const ALL_PHASES: [Phase; 3] = [Phase::Before, Phase::InFault, Phase::After];

fn by_phase(stats: &ServiceStats, quantile: f64) -> String {
    ALL_PHASES.map(|phase| latency(stats.latency_us(quantile, &[phase]))).join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            (count(0), count(999), count(1_000), count(1_234_567)),
            ("0".into(), "999".into(), "1,000".into(), "1,234,567".into())
        );
    }

    #[test]
    fn latencies_have_the_unit_that_fits() {
        assert_eq!(latency(None), "-");
        assert_eq!(
            (latency(Some(7)), latency(Some(1_500)), latency(Some(2_340_000))),
            ("7 us".into(), "1.5 ms".into(), "2.34 s".into())
        );
    }
}
