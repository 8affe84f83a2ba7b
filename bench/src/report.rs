//! What every benchmark reports: figures, each beside its peer of the same run.

use serde::Serialize;

/// One measured value. `peer` is what it is compared with, measured in the same run, interleaved.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    pub figure: String,
    pub value: f64,
    pub unit: String,
    pub peer: Option<String>,
    pub peer_value: Option<f64>,
    /// `value / peer_value`.
    pub ratio: Option<f64>,
}

impl Figure {
    pub fn alone(figure: &str, value: f64, unit: &str) -> Self {
        Self { figure: figure.into(), value, unit: unit.into(), peer: None, peer_value: None, ratio: None }
    }

    pub fn beside(figure: &str, value: f64, unit: &str, peer: &str, peer_value: f64) -> Self {
        let ratio = (peer_value != 0.0).then(|| value / peer_value);
        Self { peer: Some(peer.into()), peer_value: Some(peer_value), ratio, ..Self::alone(figure, value, unit) }
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    pub cores: usize,
    /// Load average of the last minute when the run began.
    pub load: f64,
}

impl Machine {
    pub fn here() -> Self {
        let load = std::fs::read_to_string("/proc/loadavg").ok();
        let load = load.and_then(|text| text.split(' ').next()?.parse().ok()).unwrap_or(0.0);
        Self { cores: std::thread::available_parallelism().map_or(1, usize::from), load }
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub name: String,
    pub figures: Vec<Figure>,
    pub machine: Machine,
}

impl Report {
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), figures: Vec::new(), machine: Machine::here() }
    }

    pub fn push(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// A table for people.
    pub fn to_text(&self) -> String {
        let mut out = format!("{} on {} cores, load {:.2}\n", self.name, self.machine.cores, self.machine.load);
        for found in &self.figures {
            out += &format!("  {:<24} {:>14} {:<10}", found.figure, number(found.value), found.unit);
            if let (Some(peer), Some(value)) = (&found.peer, found.peer_value) {
                let ratio = found.ratio.map_or_else(String::new, |ratio| format!("  ratio {ratio:.3}"));
                out += &format!("  {peer}: {}{ratio}", number(value));
            }
            out.push('\n');
        }
        out
    }
}

/// Three significant digits are what a benchmark knows.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 1e6 => format!("{:.2} M", value / 1e6),
        large if large >= 1e4 => format!("{:.1} k", value / 1e3),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// The middle of some values; the mean of the two middle ones of an even count.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}
