//! Imports point one way: `src -> {actors, sim} -> runtime -> schemas`.

use regex::Regex;

use super::{File, Finding, at};

/// Our packages, and which of ours each may name in its `Cargo.toml`.
const MAY_DEPEND: &[(&str, &[&str])] = &[
    ("schemas", &[]),
    ("runtime", &["schemas"]),
    ("actors", &["runtime", "schemas"]),
    ("sim", &["actors", "runtime", "schemas"]),
    ("", &["actors", "runtime", "schemas", "sim"]),
    ("bench", &["actors", "runtime", "schemas", "sim", "bulkhead"]),
    ("tests", &["actors", "runtime", "schemas", "sim", "bulkhead"]),
];

/// What the domain may know of the runtime: the contract, its data, the state, and the kit for its tests.
const ACTORS_SEE: &[&str] = &["service", "topology", "state", "outcome", "view", "trace", "testkit", "row", "tables"];

/// The independent recount shares nothing with what it checks but the record iterator.
const RECOUNT: &str = "src/verify/";
const RECOUNT_BANNED: &str =
    r"\bactors::|\bruntime::(?:state|commit|shard|offsets|service|testkit|stats)\b|\bschemas::(?:events|codec|frame)\b";

/// Dependencies between our packages.
pub fn packages(files: &[File]) -> Vec<Finding> {
    let ours: Vec<&str> = MAY_DEPEND.iter().map(|(name, _)| if name.is_empty() { "bulkhead" } else { *name }).collect();
    let mut findings = Vec::new();
    for (package, may) in MAY_DEPEND {
        let path = if package.is_empty() { "Cargo.toml".into() } else { format!("{package}/Cargo.toml") };
        let Some(file) = files.iter().find(|file| file.path == path) else {
            findings.push(Finding { path, line: 0, what: "the package is missing".into() });
            continue;
        };
        for (line, name) in dependencies(&file.text) {
            if ours.contains(&name.as_str()) && !may.contains(&name.as_str()) {
                let what = format!("{} must not know {name}", if package.is_empty() { "bulkhead" } else { package });
                findings.push(Finding { path: path.clone(), line, what });
            }
        }
    }
    findings
}

/// Names under `[dependencies]`, `[dev-dependencies]` and `[build-dependencies]`, with their lines.
pub fn dependencies(manifest: &str) -> Vec<(usize, String)> {
    let (mut inside, mut names) = (false, Vec::new());
    for (index, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[') {
            inside = section.trim_end_matches(']').ends_with("dependencies") && !section.starts_with("workspace");
        } else if inside && let Some((name, _)) = line.split_once('=') {
            let name = name.split('.').next().unwrap_or_default().trim();
            names.push((index + 1, name.to_string()));
        }
    }
    names
}

/// What the domain uses of the runtime and of the machine.
pub fn actors(files: &[File]) -> Vec<Finding> {
    let runtime = Regex::new(r"\bruntime::(?:\{([^}]*)\}|(\w+))").expect("constant pattern");
    let machine =
        Regex::new(r"\b(?:tokio|ractor|rustix)::|\bstd::(?:thread|process|env)\b|\b(?:Tcp|Udp)\w+").expect("constant");
    let mut findings = Vec::new();
    let domain = |file: &&File| file.is_rust() && file.path.starts_with("actors/src/") && !file.is_test();
    for file in files.iter().filter(domain) {
        let code = file.code();
        // Tests of a file may build what a service never sees.
        let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for found in runtime.captures_iter(code) {
            let start = found.get(0).map_or(0, |m| m.start());
            let list = found.get(1).or(found.get(2)).map_or("", |m| m.as_str());
            for name in list.split(',').map(|item| item.trim().split("::").next().unwrap_or_default()) {
                if !name.is_empty() && !ACTORS_SEE.contains(&name) {
                    let what = format!("the domain must not know runtime::{name}");
                    findings.push(at(&file.path, code, start, what));
                }
            }
        }
        let what = "the domain knows no threads, sockets or processes";
        findings.extend(machine.find_iter(code).map(|m| at(&file.path, code, m.start(), what)));
    }
    findings
}

/// The recount derives everything itself: an error shared with the platform would not be found.
pub fn recount(files: &[File]) -> Vec<Finding> {
    let banned = Regex::new(RECOUNT_BANNED).expect("constant pattern");
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path.starts_with(RECOUNT) && file.is_rust()) {
        let code = file.code();
        let what = "the recount must not share this with what it checks";
        findings.extend(banned.find_iter(&code).map(|m| at(&file.path, &code, m.start(), what)));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_directions_are_found() {
        let manifest = "[dependencies]\nactors.workspace = true\nbytes.workspace = true\n";
        assert_eq!(dependencies(manifest), [(2, "actors".to_string()), (3, "bytes".to_string())]);
        let mut files: Vec<File> = MAY_DEPEND
            .iter()
            .map(|(name, _)| File::new(format!("{name}/Cargo.toml").trim_start_matches('/'), "[dependencies]\n"))
            .collect();
        assert_eq!(packages(&files), []);
        files[1].text.push_str("actors.workspace = true\n");
        assert_eq!(packages(&files).len(), 1);
    }

    #[test]
    fn what_the_domain_must_not_see_is_found() {
        let bad =
            File::new("actors/src/x.rs", "use runtime::log::Log;\nuse runtime::{shard, state};\nuse tokio::time;");
        assert_eq!(actors(&[bad]).len(), 3);
        let fine = File::new("actors/src/x.rs", "use runtime::service::Event;\nruntime::row! {}");
        assert_eq!(actors(&[fine]), []);
    }

    #[test]
    fn a_recount_that_shares_code_is_found() {
        let bad = "use actors::billing::Billing;\nuse runtime::state::Table;\nuse schemas::events::Commit;";
        assert_eq!(recount(&[File::new("src/verify/x.rs", bad)]).len(), 3);
        assert_eq!(recount(&[File::new("src/verify/x.rs", "use runtime::log::Batches;")]), []);
    }
}
