//! A report as SARIF 2.1.0, which code review tools show beside the lines of a change.

use schemas::lint::LintLevel;
use serde_json::{Value as Json, json};

use super::report::Report;

/// The whole log.
pub fn log(report: &Report) -> Json {
    let breaks = report.incompatibilities.iter().map(|f| {
        let text = format!("{} To mend it: {}.", sentence(&f.what.why), f.what.fix.join("; or "));
        result(f.what.kind.as_str(), "error", &f.what.path, &text)
    });
    let lints = report.lints.iter().map(|l| {
        let level = if l.level == LintLevel::Deny { "error" } else { "warning" };
        result(l.rule, level, &l.path, &sentence(&l.message))
    });
    json!({
        "version": "2.1.0",
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "runs": [{
            "tool": {"driver": {"name": "bulkhead schemas check", "version": env!("CARGO_PKG_VERSION")}},
            "results": breaks.chain(lints).collect::<Vec<_>>(),
        }],
    })
}

/// In a folder's report a path is `FILE: $.field`.
fn result(rule: &str, level: &str, path: &str, text: &str) -> Json {
    let (file, place) = path.split_once(": ").map_or((None, path), |(file, place)| (Some(file), place));
    let mut location = json!({"logicalLocations": [{"fullyQualifiedName": place}]});
    if let Some(file) = file {
        location["physicalLocation"] = json!({"artifactLocation": {"uri": file}});
    }
    json!({"ruleId": rule, "level": level, "message": {"text": text}, "locations": [location]})
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), chars.as_str()))
}
