//! Rules on the project as a whole: profiles, dependencies, services, schemas, metrics.

use std::collections::BTreeSet;

use regex::Regex;
use sha2::{Digest as _, Sha256};

use super::{File, Finding, imports};

/// The seed's `ImpressionEvent`, byte for byte: its misplaced `logicalType` is part of the contract with those who have
/// written it for years.
pub const IMPRESSION_SHA256: &str = "a42b33f69d21f5802df511c4d25ff5ddcc498287b1457a551ba24f3ab6e7bccf";

fn finding(path: &str, what: impl Into<String>) -> Finding {
    Finding { path: path.into(), line: 0, what: what.into() }
}

fn text<'a>(files: &'a [File], path: &str) -> Option<&'a str> {
    files.iter().find(|file| file.path == path).map(|file| file.text.as_str())
}

/// Panics unwind (a shard that panics is restarted, not the process), assertions and overflow checks stay on.
pub fn profiles(files: &[File]) -> Vec<Finding> {
    let path = "Cargo.toml";
    let manifest = text(files, path).unwrap_or_default();
    let manifest: toml::Table = match manifest.parse() {
        Ok(manifest) => manifest,
        Err(error) => return vec![finding(path, error.to_string())],
    };
    let profile = |name: &str| manifest.get("profile").and_then(|p| p.get(name)).and_then(toml::Value::as_table);
    let mut findings = Vec::new();
    for (name, value) in manifest.get("profile").and_then(toml::Value::as_table).into_iter().flatten() {
        if value.get("panic").is_some_and(|panic| panic.as_str() != Some("unwind")) {
            findings.push(finding(path, format!("profile {name}: supervision needs panic = \"unwind\"")));
        }
    }
    for (key, wanted) in [
        ("panic", toml::Value::from("unwind")),
        ("debug-assertions", toml::Value::from(true)),
        ("overflow-checks", toml::Value::from(true)),
    ] {
        if profile("release").and_then(|release| release.get(key)) != Some(&wanted) {
            findings.push(finding(path, format!("profile release: {key} = {wanted} is missing")));
        }
    }
    findings
}

/// Each dependency is declared once, in the workspace, and has its line with a reason.
pub fn dependencies(files: &[File]) -> Vec<Finding> {
    let page = "docs/dependencies.md";
    let Some(reasons) = text(files, page) else { return vec![finding(page, "the page is missing")] };
    let documented: BTreeSet<&str> =
        reasons.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name)).collect();
    let manifest = text(files, "Cargo.toml").unwrap_or_default();
    let declared = workspace_dependencies(manifest);
    let undocumented = declared.iter().filter(|name| !documented.contains(name.as_str()));
    let mut findings: Vec<_> = undocumented.map(|name| finding(page, format!("no line for {name}"))).collect();
    let gone = documented.iter().filter(|name| !declared.contains(**name));
    findings.extend(gone.map(|name| finding(page, format!("{name} is no dependency any more"))));
    // Peers of benchmarks are workspaces of their own, so that nothing here depends on what they need.
    let of_the_workspace = |file: &&File| file.path.ends_with("Cargo.toml") && !file.path.starts_with("bench/peers/");
    for file in files.iter().filter(of_the_workspace) {
        for (line, name) in imports::dependencies(&file.text) {
            let stated = file.text.lines().nth(line - 1).unwrap_or_default();
            if !stated.contains("workspace = true") {
                findings.push(Finding {
                    path: file.path.clone(),
                    line,
                    what: format!("{name}: state it in the workspace"),
                });
            }
        }
    }
    findings
}

/// Names under `[workspace.dependencies]` that are not ours.
fn workspace_dependencies(manifest: &str) -> BTreeSet<String> {
    let section = manifest.split("[workspace.dependencies]").nth(1).unwrap_or_default();
    let lines = section.lines().skip(1).take_while(|line| !line.starts_with('['));
    lines
        .filter(|line| !line.contains("path = ") && !line.trim_start().starts_with('#'))
        .filter_map(|line| line.split_once('=').map(|(name, _)| name.trim().to_string()))
        .collect()
}

/// Every folder with a service has its page and its tests.
pub fn services(files: &[File]) -> Vec<Finding> {
    let service = Regex::new(r"\bimpl\s+(?:runtime::service::)?Service\s+for\b").expect("constant pattern");
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_rust() && file.path.starts_with("actors/src/") && !file.is_test()) {
        if !service.is_match(&file.code()) {
            continue;
        }
        let Some((folder, _)) = file.path.rsplit_once('/') else { continue };
        if folder == "actors/src" {
            findings.push(finding(&file.path, "a service has a folder of its own"));
            continue;
        }
        if text(files, &format!("{folder}/README.md")).is_none() {
            findings.push(finding(folder, "a service without README.md"));
        }
        let tests = files
            .iter()
            .any(|f| f.is_test() && f.path.starts_with(&format!("{folder}/")) && f.text.contains("#[test]"));
        if !tests {
            findings.push(finding(folder, "a service without tests"));
        }
    }
    findings
}

/// The seed's schema stays as it was.
pub fn seed_schema(files: &[File]) -> Vec<Finding> {
    let path = "schemas/avsc/ImpressionEvent.avsc";
    let Some(schema) = text(files, path) else { return vec![finding(path, "the schema is missing")] };
    // An editor's line end at the end of the file is no part of the record.
    let hash: String = Sha256::digest(schema.trim_end().as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    if hash == IMPRESSION_SHA256 { Vec::new() } else { vec![finding(path, format!("changed: sha256 is now {hash}"))] }
}

/// Every metric that the code names has its line in the table of metrics.
pub fn metrics(files: &[File]) -> Vec<Finding> {
    let page = "docs/metrics.md";
    let documented = text(files, page).unwrap_or_default();
    let name = Regex::new(r#""(bulkhead_[a-z0-9_]{3,})""#).expect("constant pattern");
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_rust() && !file.is_test()) {
        for found in name.captures_iter(&file.text) {
            if !documented.contains(&format!("`{}`", &found[1])) {
                let start = found.get(0).map_or(0, |m| m.start());
                findings.push(super::at(&file.path, &file.text, start, format!("{} is not in {page}", &found[1])));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_that_abort_are_found() {
        let good = "[profile.release]\npanic = \"unwind\"\ndebug-assertions = true\noverflow-checks = true\n";
        assert_eq!(profiles(&[File::new("Cargo.toml", good)]), []);
        let bad = good.replace("unwind", "abort");
        assert_eq!(profiles(&[File::new("Cargo.toml", &bad)]).len(), 2);
        assert_eq!(profiles(&[File::new("Cargo.toml", "")]).len(), 3);
    }

    #[test]
    fn dependencies_without_reason_are_found() {
        let manifest = "[workspace.dependencies]\nours = { path = \"ours\" }\n# why\nbytes = \"1\"\nserde = \"1\"\n\n[lints]\nx = 1\n";
        let page = "| crate |\n| `bytes` | cheap slices |\n| `gone` | was needed once |\n";
        let member = "[dependencies]\nbytes.workspace = true\nserde = \"1\"\n";
        let files = [
            File::new("Cargo.toml", manifest),
            File::new("docs/dependencies.md", page),
            File::new("a/Cargo.toml", member),
        ];
        let what: Vec<String> = dependencies(&files).into_iter().map(|f| f.what).collect();
        assert_eq!(what, ["no line for serde", "gone is no dependency any more", "serde: state it in the workspace"]);
    }

    #[test]
    fn bare_services_are_found() {
        let service = File::new("actors/src/ads/mod.rs", "impl Service for Ads {}");
        assert_eq!(services(std::slice::from_ref(&service)).len(), 2);
        let whole = [
            service,
            File::new("actors/src/ads/README.md", ""),
            File::new("actors/src/ads/tests.rs", "#[test]\nfn a() {}"),
        ];
        assert_eq!(services(&whole), []);
    }

    #[test]
    fn metrics_and_schema_changes_are_found() {
        let code = File::new("runtime/src/x.rs", "const LAG: &str = \"bulkhead_lag_records\";");
        assert_eq!(metrics(std::slice::from_ref(&code)).len(), 1);
        assert_eq!(metrics(&[code, File::new("docs/metrics.md", "| `bulkhead_lag_records` | records |")]), []);
        assert_eq!(seed_schema(&[File::new("schemas/avsc/ImpressionEvent.avsc", "{}")]).len(), 1);
    }
}
