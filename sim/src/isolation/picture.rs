//! The matrix as a picture: services by services, a square a pair. It stands by itself (no script, no network, no font of
//! its own), follows the reader's light or dark, and says everything with shapes and figures as well as with colours.

use std::fmt::Write as _;

use super::table::times;
use super::{Cell, Report};

/// Side of a square, and the gap between two.
const SIDE: usize = 38;
const GAP: usize = 3;
/// Room for the names beside and above the squares.
const NAMES_WIDTH: usize = 84;
const NAMES_HEIGHT: usize = 70;
const MARGIN: usize = 20;
const HEAD_HEIGHT: usize = 96;
const FOOT_HEIGHT: usize = 92;
/// Between the two matrices.
const BETWEEN: usize = 34;
/// Text needs at least this much.
const WIDTH_MIN: usize = 760;

const STYLE: &str = "
.paper{fill:#ffffff}text{fill:#1b1f24;font-family:system-ui,-apple-system,Segoe UI,Helvetica,Arial,sans-serif;font-size:12px}
.soft{fill:#57606a}.head{font-size:19px;font-weight:600}.part{font-size:14px;font-weight:600}
.fig{font-size:11.5px;text-anchor:middle}.end{text-anchor:end}
.ok{fill:#cfe8d5;stroke:#4f8f62}.lag{fill:none;stroke:#8b949e;stroke-dasharray:3 2}
.bad{fill:#ffc9c2;stroke:#b42318;stroke-width:1.5}.corner{fill:#b42318}.self{fill:#8b949e}
.bold{font-weight:700}
@media(prefers-color-scheme:dark){.paper{fill:#0d1117}text{fill:#e6edf3}.soft{fill:#9aa4af}
.ok{fill:#17372a;stroke:#4fa36a}.lag{stroke:#7d8590}.bad{fill:#5c1f1b;stroke:#ff7b72}.corner{fill:#ff7b72}.self{fill:#6e7681}}";

/// Words around the matrix.
pub struct Words<'a> {
    /// The verdict, one sentence.
    pub title: &'a str,
    /// How it was found, a line each.
    pub method: &'a [String],
}

/// The picture of a report.
pub fn svg(report: &Report, words: &Words<'_>) -> String {
    let services = report.services();
    let side = NAMES_WIDTH + services.len() * (SIDE + GAP);
    let matrices = if report.control.is_empty() { 1 } else { 2 };
    let width = (2 * MARGIN + matrices * side + (matrices - 1) * BETWEEN).max(WIDTH_MIN);
    let top = HEAD_HEIGHT + 17 * words.method.len();
    let height = top + 24 + NAMES_HEIGHT + services.len() * (SIDE + GAP) + FOOT_HEIGHT;
    let mut page = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" aria-labelledby=\"title desc\"><title id=\"title\">{}</title><desc id=\"desc\">{}</desc>\
         <style>{STYLE}</style><rect class=\"paper\" width=\"{width}\" height=\"{height}\" rx=\"6\"/>",
        escape(words.title),
        escape(&description(report)),
    );
    text(&mut page, MARGIN, 36, "head", words.title);
    for (line, method) in words.method.iter().enumerate() {
        text(&mut page, MARGIN, 60 + 17 * line, "soft", method);
    }
    let kinds = format!("Each row breaks one service in {} ways: {}.", report.kinds.len(), report.kinds.join(", "));
    text(&mut page, MARGIN, 60 + 17 * words.method.len(), "soft", &kinds);
    matrix(&mut page, (MARGIN, top), "With bulkheads", &services, &report.cells);
    if !report.control.is_empty() {
        let left = MARGIN + side + BETWEEN;
        matrix(&mut page, (left, top), "The same without: one executor for all", &services, &report.control);
    }
    legend(&mut page, height - FOOT_HEIGHT + 20);
    page.push_str("</svg>\n");
    page
}

/// What the picture shows, for those who hear it.
fn description(report: &Report) -> String {
    let independent: Vec<&Cell> = report.cells.iter().filter(|cell| !cell.depends).collect();
    let worst = independent.iter().map(|cell| cell.p99_ratio).fold(0.0, f64::max);
    let harmed = report.control.iter().filter(|cell| cell.is_harmed()).count();
    format!(
        "Rows: the broken service. Columns: the observed one. {} of {} independent measurements hold, the worst p99 ratio is \
         {}; without bulkheads {harmed} of {} are more than twice as slow.",
        independent.iter().filter(|cell| cell.holds).count(),
        independent.len(),
        times(worst),
        report.control.len(),
    )
}

fn matrix(page: &mut String, (left, top): (usize, usize), name: &str, services: &[&str], cells: &[Cell]) {
    text(page, left, top, "part", name);
    let (first_x, first_y) = (left + NAMES_WIDTH, top + 24 + NAMES_HEIGHT);
    let at = |index: usize| index * (SIDE + GAP);
    for (index, service) in services.iter().enumerate() {
        let (x, y) = (first_x + at(index) + SIDE / 2 + 4, first_y - 8);
        let _ = write!(page, "<text transform=\"translate({x} {y}) rotate(-55)\">{}</text>", escape(service));
        text(page, first_x - 8, first_y + at(index) + SIDE / 2 + 4, "end", service);
    }
    for (row, faulted) in services.iter().enumerate() {
        for (column, observed) in services.iter().enumerate() {
            let place = (first_x + at(column), first_y + at(row));
            match Report::worst(cells, faulted, observed) {
                Some(cell) => square(page, place, cell),
                None => own(page, place),
            }
        }
    }
}

/// The service itself, or a pair that was not run.
fn own(page: &mut String, (x, y): (usize, usize)) {
    let (x, y) = (x + SIDE / 2, y + SIDE / 2);
    let _ = write!(page, "<circle class=\"self\" cx=\"{x}\" cy=\"{y}\" r=\"2.5\"/>");
}

fn square(page: &mut String, (x, y): (usize, usize), cell: &Cell) {
    let said = format!(
        "{} broken, {} observed: worst is {}, p99 x {:.3} ({:+.2} ms), throughput x {:.3}{}",
        cell.faulted,
        cell.observed,
        cell.kind,
        cell.p99_ratio,
        cell.p99_more_ms,
        cell.throughput_ratio,
        if cell.depends { "; it reads what the broken service writes" } else { "" }
    );
    let _ = write!(page, "<g><title>{}</title>", escape(&said));
    let class = match (cell.holds, cell.depends) {
        (true, true) => "lag",
        (true, false) => "ok",
        (false, _) => "bad",
    };
    let round = if class == "lag" { SIDE / 2 } else { 4 };
    let _ =
        write!(page, "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{SIDE}\" height=\"{SIDE}\" rx=\"{round}\"/>");
    if class == "bad" {
        let _ = write!(page, "<path class=\"corner\" d=\"M{} {y}h11v11z\"/>", x + SIDE - 11);
    }
    let label = if class == "lag" { "lag".to_owned() } else { times(cell.p99_ratio) };
    let weight = if class == "bad" { "fig bold" } else { "fig" };
    text(page, x + SIDE / 2, y + SIDE / 2 + 4, weight, &label);
    page.push_str("</g>");
}

fn legend(page: &mut String, y: usize) {
    let entries = [
        ("ok", "4", "not felt: the observed service's p99 with the fault over its p99 without, worst kind"),
        ("lag", "9", "it reads what the broken service writes: it lags behind its input, without an error"),
        ("bad", "4", "felt: more than 5 % and 1 ms slower, or fewer events settled"),
    ];
    for (line, (class, round, what)) in entries.iter().enumerate() {
        let y = y + 22 * line;
        let _ = write!(
            page,
            "<rect class=\"{class}\" x=\"{MARGIN}\" y=\"{y}\" width=\"18\" height=\"18\" rx=\"{round}\"/>"
        );
        if *class == "bad" {
            let _ = write!(page, "<path class=\"corner\" d=\"M{} {y}h7v7z\"/>", MARGIN + 11);
        }
        text(page, MARGIN + 28, y + 13, "soft", what);
    }
}

fn text(page: &mut String, x: usize, y: usize, class: &str, what: &str) {
    let _ = write!(page, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>", escape(what));
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(faulted: &str, observed: &str, p99_ratio: f64, depends: bool) -> Cell {
        Cell {
            faulted: faulted.into(),
            observed: observed.into(),
            kind: "stall",
            p99_ratio,
            p99_more_ms: 10.0 * (p99_ratio - 1.0),
            throughput_ratio: 1.0,
            depends,
            errors: 0,
            more_ms_interval: None,
            holds: p99_ratio < 1.05 || depends,
        }
    }

    #[test]
    fn every_pair_has_its_square() {
        let cells = vec![cell("ads", "bil<ling", 1.01, true), cell("bil<ling", "ads", 1.0, false)];
        let control = vec![cell("bil<ling", "ads", 40.0, false)];
        let report = Report { kinds: vec!["stall"], cells, control, ..Report::default() };
        let words = Words { title: "Nobody feels it & that is it", method: &["how".to_owned()] };
        let page = svg(&report, &words);
        assert!(page.starts_with("<svg ") && page.ends_with("</svg>\n"));
        assert_eq!(page.matches("<g>").count(), 3, "one group a pair that was compared");
        assert!(
            page.contains("prefers-color-scheme:dark") && page.contains("bil&lt;ling") && page.contains("&amp; that")
        );
        assert!(page.contains(">40</text>") && page.contains(">lag</text>") && page.contains(">1.00</text>"));
        assert!(!page.contains("bil<ling") && !page.contains("<script") && !page.contains("href"));
    }
}
