//! A report as SARIF 2.1.0, which code review tools show beside the files of a change.

use std::path::Path;

use schemas::lint::LintLevel;
use serde_json::{Value as Json, json};

use super::report::Report;

/// The whole log. `judged`: the file that was judged, or the folder of files that the paths of the findings name.
pub fn log(report: &Report, judged: &Path) -> Json {
    let result = |rule: &str, level: &str, path: &str, text: &str| result(judged, rule, level, path, text);
    let breaks = report.incompatibilities.iter().map(|f| {
        let between = f.between.as_ref().map_or_else(String::new, |between| format!("{} ", sentence(between)));
        let text = format!("{between}{} To mend it: {}.", sentence(&f.what.why), f.what.fix.join("; or "));
        result(f.what.kind.as_str(), "error", &f.what.path, &text)
    });
    let lints = report.lints.iter().map(|l| {
        let level = if l.level == LintLevel::Deny { "error" } else { "warning" };
        result(l.rule, level, &l.path, &sentence(&l.message))
    });
    let refuted = report.proof.iter().flat_map(|proof| &proof.failed);
    let refuted = refuted.map(|r| result("decode_proof", "error", &r.path, &sentence(&r.to_string())));
    json!({
        "version": "2.1.0",
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "runs": [{
            "tool": {"driver": {"name": "bulkhead schemas check", "version": env!("CARGO_PKG_VERSION")}},
            "results": breaks.chain(refuted).chain(lints).collect::<Vec<_>>(),
        }],
    })
}

/// In a folder's report a path is `FILE: $.field`.
fn result(judged: &Path, rule: &str, level: &str, path: &str, text: &str) -> Json {
    let (file, place) = match path.split_once(": ") {
        Some((file, place)) => (judged.join(file), place),
        None => (judged.to_owned(), path),
    };
    // Without `./` at its start, which review tools take for another file.
    let uri: std::path::PathBuf = file.components().filter(|c| *c != std::path::Component::CurDir).collect();
    let location = json!({
        "logicalLocations": [{"fullyQualifiedName": place}],
        "physicalLocation": {"artifactLocation": {"uri": uri.display().to_string()}},
    });
    json!({"ruleId": rule, "level": level, "message": {"text": text}, "locations": [location]})
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), chars.as_str()))
}
