//! The page of one run: what befell whom, how far behind each service fell, what was checked.

use std::fmt::Write as _;

use sim::scenario::Scenario;
use sim::world::Lags;

use super::html::{STYLE, escaped, table};
use super::html_services::{slowness, waiting};
use super::run::Report;

/// The whole page.
pub fn page(report: &Report, scenario: &Scenario, lags: &Lags) -> String {
    let fired: u64 = report.faults.values().sum();
    let broken: Vec<&str> = report.invariants.iter().filter(|invariant| !invariant.ok).map(|i| i.name).collect();
    let verdict = if broken.is_empty() {
        format!("Seed {}: everything held through {fired} faults of {} kinds", report.seed, report.faults.len())
    } else {
        format!("Seed {}: {} broken", report.seed, broken.join(", "))
    };
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>{verdict}</title>\
         <style>{STYLE}</style></head><body><main><h1>{verdict}</h1><p class=\"soft\">{:.0} virtual seconds on the \
         {} log, {} events, {} commits, {} dead letters; calm {:.1} s after the last fault.</p>",
        report.virtual_s, report.mode, report.events, report.commits, report.dead_letters, report.converged_s
    );
    waiting(&mut page, scenario, lags);
    slowness(&mut page, scenario, lags);
    let rows: Vec<Vec<String>> = report
        .invariants
        .iter()
        .map(|i| vec![i.name.replace('_', " "), if i.ok { "held" } else { "BROKEN" }.to_owned(), i.checked.to_string()])
        .collect();
    table(&mut page, "Invariants", &["invariant", "verdict", "checked"], &rows);
    let rows: Vec<Vec<String>> = report
        .faults
        .iter()
        .map(|(kind, fired)| {
            let of = |fault: &&sim::fault::Fault| fault.kind.name() == *kind;
            let lasted_ms: u64 = scenario.faults.iter().filter(of).map(|fault| fault.for_ms).sum();
            vec![kind.clone(), fired.to_string(), format!("{:.1}", lasted_ms as f64 / 1e3)]
        })
        .collect();
    table(&mut page, "Faults", &["kind", "fired", "seconds"], &rows);
    for violation in report.violations.iter().take(10) {
        let message = escaped(&violation.message);
        let _ = write!(page, "<p>{} at {} ms: {message}</p>", violation.invariant, violation.at_ms);
    }
    let _ = writeln!(
        page,
        "<h2>Again</h2><p><code>{}</code></p><p class=\"soft\">Trace <code>{}</code></p></main></body></html>",
        escaped(&report.reproduce),
        report.trace_sha256
    );
    page
}
