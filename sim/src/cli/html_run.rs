//! The page of one run: what befell whom, how far behind each service fell, what was checked.

use std::fmt::Write as _;

use sim::scenario::Scenario;
use sim::world::Lags;

use super::html::STYLE;
use super::run::Report;

const MORE_STYLE: &str = "
.lanes{display:grid;grid-template-columns:minmax(4.5rem,auto) 1fr;gap:.25rem .5rem;align-items:center;font-size:.85rem}
.lanes svg{width:100%;height:1.6rem;background:var(--good);border-radius:3px;display:block}
.lag{fill:var(--bad)}.fault{fill:none;stroke:var(--ink);stroke-width:2;vector-effect:non-scaling-stroke}";

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
         <style>{STYLE}{MORE_STYLE}</style></head><body><main><h1>{verdict}</h1><p class=\"soft\">{:.0} virtual seconds on the \
         {} log, {} events, {} commits, {} dead letters; calm {:.1} s after the last fault.</p><h2>Lag by service</h2>\
         <p class=\"soft\">Height: records waiting, against the most that this service ever had waiting. Frames: faults.</p>\
         <div class=\"lanes\">",
        report.virtual_s, report.mode, report.events, report.commits, report.dead_letters, report.converged_s
    );
    lane(&mut page, scenario, lags, None);
    (0..lags.services.len()).for_each(|index| lane(&mut page, scenario, lags, Some(index)));
    page.push_str("</div>");
    let rows: Vec<[String; 3]> = report
        .invariants
        .iter()
        .map(|i| [i.name.replace('_', " "), if i.ok { "held" } else { "BROKEN" }.to_owned(), i.checked.to_string()])
        .collect();
    table(&mut page, "Invariants", ["invariant", "verdict", "checked"], &rows);
    let rows: Vec<[String; 3]> = report
        .faults
        .iter()
        .map(|(kind, fired)| {
            let of = |fault: &&sim::fault::Fault| fault.kind.name() == *kind;
            let lasted_ms: u64 = scenario.faults.iter().filter(of).map(|fault| fault.for_ms).sum();
            [kind.clone(), fired.to_string(), format!("{:.1}", lasted_ms as f64 / 1e3)]
        })
        .collect();
    table(&mut page, "Faults", ["kind", "fired", "seconds"], &rows);
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

/// One lane; the first is the world's.
fn lane(page: &mut String, scenario: &Scenario, lags: &Lags, service: Option<usize>) {
    let name = service.map_or("world", |index| lags.services[index]);
    let until_ms = lags.samples.last().map_or(1, |(at_ms, _)| *at_ms).max(scenario.until_ms).max(1);
    let of = |sample: &[u64]| service.and_then(|index| sample.get(index).copied()).unwrap_or(0);
    let most = lags.samples.iter().map(|(_, sample)| of(sample)).max().unwrap_or(0);
    let faults: Vec<_> = scenario
        .faults
        .iter()
        .filter(|fault| service.map_or(fault.service.is_empty(), |_| fault.service == name))
        .collect();
    let what = match service {
        Some(_) => format!("{name}: {} faults, at most {most} records waiting", faults.len()),
        None => format!("{} faults that befell no single service", faults.len()),
    };
    let _ = write!(
        page,
        "<span>{name}</span><svg role=\"img\" aria-label=\"{what}\" viewBox=\"0 0 1000 100\" preserveAspectRatio=\"none\">"
    );
    let x = |at_ms: u64| at_ms as f64 * 1_000.0 / until_ms as f64;
    let mut last_ms = 0;
    for (at_ms, sample) in &lags.samples {
        let height = if most == 0 { 0.0 } else { of(sample) as f64 * 100.0 / most as f64 };
        if height > 0.0 {
            let (from, width) = (x(last_ms), x(*at_ms) - x(last_ms));
            let _ = write!(
                page,
                "<rect class=\"lag\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>",
                100.0 - height
            );
        }
        last_ms = *at_ms;
    }
    for fault in faults {
        let (from, width) = (x(fault.at_ms), x(fault.for_ms).max(2.0));
        let title = fault.kind.name();
        let _ = write!(
            page,
            "<rect class=\"fault\" x=\"{from:.1}\" y=\"2\" width=\"{width:.1}\" height=\"96\"><title>{title}</title></rect>"
        );
    }
    page.push_str("</svg>");
}

fn table(page: &mut String, title: &str, heads: [&str; 3], rows: &[[String; 3]]) {
    let _ = write!(
        page,
        "<h2>{title}</h2><div class=\"scroll\" role=\"region\" aria-label=\"{title}\" tabindex=\"0\"><table><thead><tr>"
    );
    heads.iter().for_each(|head| {
        let _ = write!(page, "<th scope=\"col\">{head}</th>");
    });
    page.push_str("</tr></thead><tbody>");
    for [name, second, third] in rows {
        let _ = write!(page, "<tr><th scope=\"row\">{name}</th><td>{second}</td><td>{third}</td></tr>");
    }
    page.push_str("</tbody></table></div>");
}

/// Messages come from services and may hold anything.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
