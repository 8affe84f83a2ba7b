//! Services and topics as a picture: text, Graphviz, SVG. Drawn from the same data that the platform starts from.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use runtime::topology::{Class, ServiceSpec};
use serde_json::{Value, json};

/// What is behind, by service: records.
pub type Behind = BTreeMap<String, u64>;

fn class(spec: &ServiceSpec) -> &'static str {
    match spec.class {
        Class::Serving => "serving",
        Class::Money => "money",
        Class::BackOffice => "back office",
    }
}

fn names(topics: &[&'static runtime::topology::Topic]) -> Vec<&'static str> {
    topics.iter().map(|topic| topic.name).collect()
}

pub fn to_json(specs: &[ServiceSpec], behind: &Behind) -> Value {
    let service = |spec: &ServiceSpec| {
        json!({
            "service": spec.name, "class": class(spec), "inputs": names(&spec.inputs), "outputs": names(&spec.outputs),
            "commits": spec.commit_topic(), "lag_records": behind.get(spec.name),
        })
    };
    json!({ "services": specs.iter().map(service).collect::<Vec<_>>() })
}

pub fn to_text(specs: &[ServiceSpec], behind: &Behind) -> String {
    let mut text = String::new();
    for spec in specs {
        let lag = behind.get(spec.name).map(|records| format!("  lag {records}")).unwrap_or_default();
        let _ = writeln!(text, "{} ({}){lag}", spec.name, class(spec));
        let _ = writeln!(text, "  <- {}", names(&spec.inputs).join(", "));
        let _ = writeln!(text, "  -> {}", names(&spec.outputs).join(", "));
    }
    text
}

/// For Graphviz: `bulkhead graph --format dot | dot -Tsvg`.
pub fn to_dot(specs: &[ServiceSpec]) -> String {
    let mut text = String::from("digraph bulkhead {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n");
    for spec in specs {
        let _ = writeln!(text, "  \"{}\" [shape=box, style=bold];", spec.name);
        for topic in &spec.inputs {
            let _ = writeln!(
                text,
                "  \"topic {0}\" [label=\"{0}\", shape=cds];\n  \"topic {0}\" -> \"{1}\";",
                topic.name, spec.name
            );
        }
        for topic in &spec.outputs {
            let _ = writeln!(
                text,
                "  \"topic {0}\" [label=\"{0}\", shape=cds];\n  \"{1}\" -> \"topic {0}\";",
                topic.name, spec.name
            );
        }
    }
    text.push_str("}\n");
    text
}

const COLUMN: usize = 250;
const ROW: usize = 90;
const BOX: (usize, usize) = (150, 54);

/// Services in columns by how far they are from the outside, an arrow for each pair that a topic joins.
pub fn to_svg(specs: &[ServiceSpec], behind: &Behind) -> String {
    let places = places(specs);
    let columns = places.values().map(|place| place.0 + 1).max().unwrap_or(1);
    let rows = places.values().map(|place| place.1 + 1).max().unwrap_or(1);
    let (width, height) = (columns * COLUMN, rows * ROW + 40);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" \
         aria-label=\"Services and the topics between them\">\n<style>text{{font:13px sans-serif;fill:#1a1a1a}}\
         .s{{fill:#eef3f8;stroke:#30557a}}.late{{fill:#fbe3c8;stroke:#9a4b00}}.e{{stroke:#6b7785;fill:none}}.t{{font-size:11px}}\
         @media(prefers-color-scheme:dark){{text{{fill:#eaeaea}}.s{{fill:#1d2b38;stroke:#8db4d9}}.late{{fill:#4a2f12;stroke:#f0a860}}\
         .e{{stroke:#93a1b0}}}}</style>\n<defs><marker id=\"a\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" \
         markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#6b7785\"/></marker></defs>\n"
    );
    let at = |name: &str| places.get(name).map_or((0, 0), |(x, y)| (x * COLUMN + 20, y * ROW + 20));
    for (from, to, topics) in edges(specs) {
        let ((x, y), (to_x, to_y)) = (at(from), at(to));
        let (x, y, to_y) = (x + BOX.0, y + BOX.1 / 2, to_y + BOX.1 / 2);
        let middle = (x + to_x) / 2;
        let _ = writeln!(
            svg,
            "<path class=\"e\" marker-end=\"url(#a)\" d=\"M{x} {y}C{middle} {y} {middle} {to_y} {to_x} {to_y}\"><title>{from} to {to}: {topics}</title></path>"
        );
    }
    for spec in specs {
        let (x, y) = at(spec.name);
        let lag = behind.get(spec.name).copied();
        let class = if lag.is_some_and(|lag| lag > 1_000) { "late" } else { "s" };
        let told = lag.map_or(self::class(spec).to_owned(), |lag| format!("lag {lag}"));
        let _ = writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" rx=\"6\"/><text x=\"{}\" y=\"{}\">{}</text>\
             <text class=\"t\" x=\"{}\" y=\"{}\">{told}</text>",
            BOX.0,
            BOX.1,
            x + 12,
            y + 23,
            spec.name,
            x + 12,
            y + 41
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// Pairs that share a topic, with its names.
fn edges(specs: &[ServiceSpec]) -> Vec<(&'static str, &'static str, String)> {
    let mut edges = Vec::new();
    for from in specs {
        for to in specs.iter().filter(|to| to.name != from.name) {
            let shared: Vec<_> =
                from.outputs.iter().filter(|topic| to.inputs.contains(topic)).map(|t| t.name).collect();
            if !shared.is_empty() {
                edges.push((from.name, to.name, shared.join(", ")));
            }
        }
    }
    edges
}

/// Column and row of each service. The topology has no circles, so a service's column is one behind its furthest source.
fn places(specs: &[ServiceSpec]) -> BTreeMap<&'static str, (usize, usize)> {
    let edges = edges(specs);
    let mut columns: BTreeMap<&'static str, usize> = specs.iter().map(|spec| (spec.name, 0)).collect();
    for _ in specs {
        for (from, to, _) in &edges {
            let least = columns[from] + 1;
            if let Some(column) = columns.get_mut(to) {
                *column = least.max(*column);
            }
        }
    }
    let mut taken: BTreeMap<usize, usize> = BTreeMap::new();
    let mut places = BTreeMap::new();
    for spec in specs {
        let column = columns[spec.name];
        let row = taken.entry(column).or_default();
        places.insert(spec.name, (column, *row));
        *row += 1;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operate::values::services;

    #[test]
    fn every_service_is_in_every_picture() {
        let (specs, behind) = (services(), Behind::from([("billing".to_owned(), 5_000)]));
        let (text, dot, svg) = (to_text(&specs, &behind), to_dot(&specs), to_svg(&specs, &behind));
        for spec in &specs {
            assert!(text.contains(spec.name) && dot.contains(spec.name) && svg.contains(spec.name), "{}", spec.name);
        }
        assert!(svg.contains("class=\"late\"") && text.contains("billing (money)  lag 5000"));
        assert_eq!(to_json(&specs, &behind)["services"].as_array().map(Vec::len), Some(specs.len()));
        let places = places(&specs);
        assert!(places["campaigns"].0 < places["budget"].0 && places["ads"].0 < places["billing"].0);
    }
}
