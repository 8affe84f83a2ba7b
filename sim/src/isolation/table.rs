//! The matrix as a table, for people and for Markdown: what the picture says, in numbers.

use std::fmt::Write as _;

use super::{Cell, Report};

/// Every pair with its worst kind, then every kind's worst pair.
pub fn markdown(report: &Report) -> String {
    let services = report.services();
    let mut page = String::new();
    matrix(&mut page, &services, &report.cells);
    if !report.control.is_empty() {
        page.push_str("\nThe control, without bulkheads:\n\n");
        matrix(&mut page, &services, &report.control);
    }
    page.push_str("\nBy kind of fault, the worst pair that does not depend on the broken service:\n\n");
    page.push_str("| fault | worst pair | p99 | more | throughput | without bulkheads |\n|---|---|---|---|---|---|\n");
    for kind in &report.kinds {
        let worst = |cells: &'_ [Cell]| {
            let of_kind = cells.iter().filter(|cell| cell.kind == *kind && !cell.depends);
            of_kind.max_by(|a, b| a.p99_ratio.total_cmp(&b.p99_ratio)).cloned()
        };
        let control = worst(&report.control).map_or("not run".to_owned(), |cell| times(cell.p99_ratio));
        let Some(cell) = worst(&report.cells) else { continue };
        let _ = writeln!(
            page,
            "| {kind} | {} broken, {} observed | {} | {:+.2} ms | {:.3} | {control} |",
            cell.faulted,
            cell.observed,
            times(cell.p99_ratio),
            cell.p99_more_ms,
            cell.throughput_ratio
        );
    }
    page
}

fn matrix(page: &mut String, services: &[&str], cells: &[Cell]) {
    let _ = writeln!(page, "| broken | {} |", services.join(" | "));
    let _ = writeln!(page, "|---{}|", "|---".repeat(services.len()));
    for faulted in services {
        let of = |observed: &&str| Report::worst(cells, faulted, observed).map_or("-".to_owned(), mark);
        let row: Vec<String> = services.iter().map(of).collect();
        let _ = writeln!(page, "| **{faulted}** | {} |", row.join(" | "));
    }
}

/// A cell in a word: the worst p99 ratio; `lags` where the input comes from the broken service.
pub fn mark(cell: &Cell) -> String {
    match (cell.depends, cell.holds) {
        (true, true) => "lags".to_owned(),
        (true, false) => "FAILS".to_owned(),
        (false, true) => times(cell.p99_ratio),
        (false, false) => format!("**{}**", times(cell.p99_ratio)),
    }
}

/// `1.02`, `37`, `12k`.
pub fn times(ratio: f64) -> String {
    match ratio {
        r if r < 9.995 => format!("{r:.2}"),
        r if r < 999.5 => format!("{r:.0}"),
        r => format!("{:.0}k", r / 1e3),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn ratios_are_short() {
        assert_eq!([1.0, 9.999, 37.2, 999.4, 12_345.0].map(super::times), ["1.00", "10", "37", "999", "12k"]);
    }
}
