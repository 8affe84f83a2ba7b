//! Service x time on the pages: what waited, and how slow each was, with the faults framed.

use std::fmt::Write as _;

use sim::scenario::Scenario;
use sim::world::{Lags, Sample};

/// Microseconds from which a second is drawn darker, and how a person would say it.
const STEPS: [(u64, &str); 5] = [
    (0, "under 10 ms"),
    (10_000, "10 to 100 ms"),
    (100_000, "0.1 to 1 s"),
    (1_000_000, "1 to 10 s"),
    (10_000_000, "over 10 s"),
];

/// Lag rising and draining, a lane a service; the first lane is the world's.
pub fn waiting(page: &mut String, scenario: &Scenario, lags: &Lags) {
    page.push_str(
        "<h2>Lag by service</h2><p class=\"soft\">Height: records waiting, against the most that this service ever had \
         waiting. Frames: faults.</p><div class=\"lanes\">",
    );
    lane(page, scenario, lags, None, bars);
    (0..lags.services.len()).for_each(|index| lane(page, scenario, lags, Some(index), bars));
    page.push_str("</div>");
}

/// The heat map of p99.
pub fn slowness(page: &mut String, scenario: &Scenario, lags: &Lags) {
    page.push_str(
        "<h2>p99 by service and second</h2><p class=\"soft\">From readable in the input to settled, of what was settled in \
         that second, or as long as nothing was while records waited. Frames: faults.</p><p class=\"key\">",
    );
    for (step, (_, words)) in STEPS.iter().enumerate() {
        let _ = write!(page, "<span><i class=\"h{step}\"></i>{words}</span>");
    }
    page.push_str("</p><div class=\"lanes\">");
    (0..lags.services.len()).for_each(|index| lane(page, scenario, lags, Some(index), heat));
    page.push_str("</div>");
}

/// What is drawn below the frames of a lane. Returns what a person who cannot see it should hear.
type Draw = fn(&mut String, &Lags, usize, &dyn Fn(u64) -> f64) -> String;

fn lane(page: &mut String, scenario: &Scenario, lags: &Lags, service: Option<usize>, draw: Draw) {
    let name = service.and_then(|index| lags.services.get(index)).map_or("world", String::as_str);
    let until_ms = lags.samples.last().map_or(1, |sample| sample.at_ms).max(scenario.until_ms).max(1);
    let x = |at_ms: u64| at_ms as f64 * 1_000.0 / until_ms as f64;
    let befallen = |fault: &&sim::fault::Fault| match service {
        Some(_) => fault.service == name,
        None => fault.service.is_empty(),
    };
    let faults: Vec<_> = scenario.faults.iter().filter(befallen).collect();
    let mut drawn = String::new();
    let said = match service {
        Some(index) => format!("{name}: {} faults, {}", faults.len(), draw(&mut drawn, lags, index, &x)),
        None => format!("{} faults that befell no single service", faults.len()),
    };
    let _ = write!(
        page,
        "<span>{name}</span><svg role=\"img\" aria-label=\"{said}\" viewBox=\"0 0 1000 100\" \
         preserveAspectRatio=\"none\" shape-rendering=\"crispEdges\">{drawn}"
    );
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

/// The span of time that each look closes.
fn spans(lags: &Lags) -> impl Iterator<Item = (u64, &Sample)> {
    let begins = std::iter::once(0).chain(lags.samples.iter().map(|sample| sample.at_ms));
    begins.zip(&lags.samples)
}

fn bars(drawn: &mut String, lags: &Lags, index: usize, x: &dyn Fn(u64) -> f64) -> String {
    let of = |sample: &Sample| sample.waiting.get(index).copied().unwrap_or(0);
    let most = lags.samples.iter().map(of).max().unwrap_or(0);
    for (from_ms, sample) in spans(lags).filter(|(_, sample)| of(sample) > 0) {
        let (from, height) = (x(from_ms), of(sample) as f64 * 100.0 / most as f64);
        let (width, top) = (x(sample.at_ms) - from, 100.0 - height);
        let _ = write!(
            drawn,
            "<rect class=\"lag\" x=\"{from:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
        );
    }
    format!("at most {most} records waiting")
}

fn heat(drawn: &mut String, lags: &Lags, index: usize, x: &dyn Fn(u64) -> f64) -> String {
    let (mut settled_ms, mut worst_us) = (0, 0);
    for (from_ms, sample) in spans(lags) {
        let is_waiting = sample.waiting.get(index).is_some_and(|waiting| *waiting > 0);
        let p99_us = sample.p99_us.get(index).copied().flatten();
        let us = match p99_us {
            None if is_waiting => 1_000 * (sample.at_ms - settled_ms),
            None => 0,
            Some(us) => us,
        };
        if p99_us.is_some() || !is_waiting {
            settled_ms = sample.at_ms;
        }
        worst_us = worst_us.max(us);
        let step = STEPS.iter().rposition(|(least_us, _)| us >= *least_us).unwrap_or(0);
        if step > 0 {
            let (from, width) = (x(from_ms), x(sample.at_ms) - x(from_ms));
            let _ =
                write!(drawn, "<rect class=\"h{step}\" x=\"{from:.1}\" y=\"0\" width=\"{width:.1}\" height=\"100\"/>");
        }
    }
    format!("worst p99 {:.1} ms", worst_us as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_settles_nothing_while_records_wait_grows_darker() {
        let sample = |at_ms, waiting, p99_us| Sample { at_ms, waiting: vec![waiting], p99_us: vec![p99_us] };
        let samples = vec![
            sample(1_000, 0, Some(3_000)),
            sample(2_000, 9, None),
            sample(13_000, 9, None),
            sample(14_000, 0, Some(9_000)),
        ];
        let lags = Lags { services: vec!["billing".into()], samples };
        let mut drawn = String::new();
        assert_eq!(heat(&mut drawn, &lags, 0, &|at_ms| at_ms as f64), "worst p99 12000.0 ms");
        let at = |class: &str, x: &str| drawn.contains(&format!("class=\"{class}\" x=\"{x}\""));
        assert!(at("h3", "1000.0") && at("h4", "2000.0") && !drawn.contains("x=\"13000.0\""), "{drawn}");
    }
}
