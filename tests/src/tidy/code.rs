//! Rules on Rust code: what may be called where.

use regex::Regex;

use super::{File, Finding, at};

/// A call that only some files may make.
struct Banned {
    pattern: &'static str,
    why: &'static str,
    /// Files or folders that may.
    allowed: &'static [&'static str],
}

/// Tests and benches measure real time and start real threads; nothing of theirs runs in the product.
const OUTSIDE: [&str; 2] = ["bench/", "tests/"];

const BANNED: &[Banned] = &[
    Banned {
        pattern: r"\b(?:Instant|SystemTime)::now\b",
        why: "take the clock from Env: the simulation must own time",
        allowed: &["runtime/src/env.rs", "sim/src/main.rs"],
    },
    Banned {
        pattern: r"\bthread::(?:spawn|Builder|scope)\b",
        why: "threads belong to Env and to the log's journal: named, counted, absent in the simulation",
        // The watchdog must look where every runtime is stuck; the swarm starts its child processes from threads.
        allowed: &[
            "runtime/src/env.rs",
            "runtime/src/log/segment/",
            "runtime/src/log/storage/disk.rs",
            // What the client library does blocks, and its futures need no runtime of ours.
            "runtime/src/log/kafka/",
            "runtime/src/supervisor/watchdog.rs",
            // Their tests are about threads.
            "runtime/src/alloc.rs",
            "runtime/src/supervisor/spinner.rs",
            "runtime/src/env/sched.rs",
            "sim/src/cli/",
        ],
    },
    Banned {
        pattern: r"\btokio::(?:task::)?spawn(?:_blocking|_local)?\b",
        why: "spawn on the bulkhead's own runtime",
        // A shard and its supervisor run on their bulkhead's runtime; the simulated journal is a task of the one thread.
        allowed: &[
            "runtime/src/env.rs",
            "runtime/src/shard/actor.rs",
            "runtime/src/shard/publish.rs",
            "runtime/src/log/segment/",
            "runtime/src/supervisor/watchdog.rs",
            "sim/",
        ],
    },
    Banned { pattern: r"\bunbounded(?:_channel)?\b", why: "everything on the path is bounded", allowed: &[] },
    Banned {
        pattern: r"\b(?:std::sync::)?mpsc::channel\b\s*(?:::<[^>]*>)?\(\)",
        why: "a channel without a bound: say how much it may hold",
        allowed: &[],
    },
    Banned {
        pattern: r"\b(?:thread_rng|rand::rng|getrandom::fill|RandomState::new|fastrand::(?:u8|u16|u32|u64|usize|i32|i64|f64|bool|shuffle|choice|Rng::new))\b",
        why: "use a named random stream of Env",
        allowed: &["runtime/src/env.rs"],
    },
    Banned {
        pattern: r"\bprocess::exit\b",
        why: "end by returning, so that everything is closed in order",
        allowed: &["src/main.rs", "sim/src/main.rs", "bench/src/main.rs"],
    },
];

/// Files that may hold `unsafe`, each with its reason.
const UNSAFE: &[(&str, &str)] = &[
    ("sim/src/overrides.rs", "the simulator stands in for the system's clock and randomness"),
    ("runtime/src/log/kafka/", "librdkafka's batch calls have no safe form"),
    ("bench/src/kafka/bare.rs", "the same calls, as the floor beside them"),
    ("runtime/src/alloc.rs", "the accounting allocator"),
    ("runtime/src/env/sched.rs", "a scheduling class has no safe form"),
    ("tests/src/fatal.rs", "a test ends a process by a fault in C code"),
    ("schemas/tests/cost.rs", "an allocator that counts what a hostile message costs"),
];

fn allowed(path: &str, places: &[&str]) -> bool {
    places.iter().any(|place| path == *place || (place.ends_with('/') && path.starts_with(place)))
}

fn each_match(files: &[File], pattern: &str, skip: impl Fn(&str) -> bool, what: &str) -> Vec<Finding> {
    let pattern = Regex::new(pattern).expect("constant pattern");
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_rust() && !skip(&file.path)) {
        let code = file.code();
        findings.extend(pattern.find_iter(&code).map(|m| at(&file.path, &code, m.start(), what)));
    }
    findings
}

/// Wall clocks, random sources, bare spawns, channels without a bound. Clippy says the same of the calls it knows; this
/// also holds where a lint was switched off.
pub fn banned_calls(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rule in BANNED {
        let skip = |path: &str| {
            allowed(path, rule.allowed) || (!rule.pattern.contains("unbounded") && allowed(path, &OUTSIDE))
        };
        findings.extend(each_match(files, rule.pattern, skip, rule.why));
    }
    findings
}

/// `unsafe` in listed files only.
pub fn unsafe_code(files: &[File]) -> Vec<Finding> {
    let places: Vec<&str> = UNSAFE.iter().map(|(place, _)| *place).collect();
    each_match(files, r"\bunsafe\b", |path| allowed(path, &places), "unsafe outside of the listed files")
}

/// `select!` takes its branches by chance unless told otherwise; chance is not ours to give away.
pub fn unbiased_select(files: &[File]) -> Vec<Finding> {
    let select = Regex::new(r"\bselect!\s*[{(\[]\s*(\w*)").expect("constant pattern");
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let code = file.code();
        for found in select.captures_iter(&code) {
            if found.get(1).is_none_or(|first| first.as_str() != "biased") {
                let start = found.get(0).map_or(0, |m| m.start());
                findings.push(at(&file.path, &code, start, "select! without `biased;`"));
            }
        }
    }
    findings
}

/// Where the order of a hash map may be walked: it is sorted at once, or only summed up.
const MAP_WALKS: &[&str] = &["runtime/src/state/table.rs", "runtime/src/view.rs"];

/// Walking a hash map in a file that declares one under the same name. The order differs from process to process.
pub fn hash_order(files: &[File]) -> Vec<Finding> {
    let declared =
        Regex::new(r"\b(\w+)\s*:\s*&?\s*(?:mut\s+)?(?:\w+::)*Hash(?:Map|Set)\s*<").expect("constant pattern");
    let made = Regex::new(r"\blet\s+(?:mut\s+)?(\w+)[^=;]*=\s*(?:\w+::)*Hash(?:Map|Set)::").expect("constant pattern");
    let mut findings = Vec::new();
    let looked_at = |file: &&File| {
        file.is_rust() && !file.is_test() && !allowed(&file.path, &OUTSIDE) && !MAP_WALKS.contains(&&*file.path)
    };
    for file in files.iter().filter(looked_at) {
        let code = file.code();
        let names = declared.captures_iter(&code).chain(made.captures_iter(&code));
        let mut names: Vec<String> = names.map(|found| found[1].to_string()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let walks = format!(
                r"\b{name}\.(?:iter|iter_mut|keys|values|values_mut|into_iter|into_keys|into_values|drain)\(|\bin\s+&?(?:mut\s+)?(?:self\.)?{name}\s*\{{"
            );
            let walks = Regex::new(&walks).expect("made from an identifier");
            let what = "walks a hash map: its order may reach an output; sort, or use a BTreeMap";
            findings.extend(walks.find_iter(&code).map(|m| at(&file.path, &code, m.start(), what)));
        }
    }
    findings
}

/// Files that may switch the lint on banned calls off, in whole or for a line.
const LINT_OFF: &[&str] = &[
    "runtime/src/env.rs",
    "runtime/src/shard/actor.rs",
    "runtime/src/shard/publish.rs",
    "runtime/src/log/segment/",
    "runtime/src/supervisor/watchdog.rs",
    "runtime/src/alloc.rs",
    "runtime/src/supervisor/spinner.rs",
    "runtime/src/env/sched.rs",
];

/// Lints are switched off in listed files only, and never without a reason on the same line.
pub fn silenced_lints(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        for (index, (line, code)) in file.text.lines().zip(file.code().lines()).enumerate() {
            let finding = |what: &str| Finding { path: file.path.clone(), line: index + 1, what: what.into() };
            let silences = code.contains("#[allow(") || code.contains("#![allow(");
            if silences && !line.contains("//") {
                findings.push(finding("a lint switched off without saying why on the line"));
            }
            let banned = silences && code.contains("clippy::disallowed_");
            if banned && !allowed(&file.path, LINT_OFF) && !allowed(&file.path, &["sim/", "bench/", "tests/"]) {
                findings.push(finding("only listed files may make banned calls"));
            }
        }
    }
    findings
}

/// Each error type has a stable `kind`: it is the metric label and the dead letter header.
pub fn error_kinds(files: &[File]) -> Vec<Finding> {
    let error = Regex::new(r"derive\([^)]*\b(?:thiserror::)?Error\b[^)]*\)\](?s:.{0,600}?)\bpub (?:enum|struct) (\w+)")
        .expect("constant pattern");
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_rust() && !file.is_test()) {
        let code = file.code();
        for found in error.captures_iter(&code) {
            let name = &found[1];
            let start = found.get(1).map_or(0, |m| m.start());
            let kind = format!(r"impl(?:<[^>]*>)? {name}\b[^{{]*\{{(?s:.*?)\bfn kind\(&self\) -> &'static str");
            let kind = Regex::new(&kind).expect("made from an identifier");
            if !kind.is_match(&code) {
                findings.push(at(&file.path, &code, start, format!("{name} has no `fn kind(&self) -> &'static str`")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(path: &str, text: &str) -> Vec<File> {
        vec![File::new(path, text)]
    }

    #[test]
    fn banned_calls_are_found() {
        for text in [
            "let t = std::time::Instant::now();",
            "let t = SystemTime::now();",
            "std::thread::spawn(|| ());",
            "tokio::spawn(f);",
            "tokio::task::spawn_blocking(f);",
            "let (a, b) = tokio::sync::mpsc::unbounded_channel();",
            "let (a, b) = mpsc::channel();",
            "let n = fastrand::u64(..);",
            "std::process::exit(1)",
        ] {
            assert_eq!(banned_calls(&one("actors/src/x.rs", text)).len(), 1, "{text}");
        }
        assert_eq!(banned_calls(&one("actors/src/x.rs", "// Instant::now()\nlet s = \"tokio::spawn\";")), []);
        assert_eq!(banned_calls(&one("runtime/src/env.rs", "Instant::now()")), []);
        assert_eq!(banned_calls(&one("runtime/src/x.rs", "let (a, b) = mpsc::channel(16);")), []);
    }

    #[test]
    fn unsafe_and_select_are_found() {
        assert_eq!(unsafe_code(&one("runtime/src/x.rs", "unsafe { f() }")).len(), 1);
        assert_eq!(unsafe_code(&one("sim/src/overrides.rs", "unsafe { f() }")), []);
        assert_eq!(unbiased_select(&one("src/x.rs", "tokio::select! {\n a = b => {} }")).len(), 1);
        assert_eq!(unbiased_select(&one("src/x.rs", "select! {\n biased; a = b => {} }")), []);
    }

    #[test]
    fn walks_over_hash_maps_are_found() {
        let field = "struct S { seen: HashMap<u8, u8> }\nfn f(s: &S) { for x in s.seen.iter() {} }";
        assert_eq!(hash_order(&one("actors/src/x.rs", field)).len(), 1);
        let local = "let mut m = HashMap::new();\nfor (k, v) in m {\n}";
        assert_eq!(hash_order(&one("actors/src/x.rs", local)).len(), 1);
        let fine = "struct S { seen: HashMap<u8, u8>, list: Vec<u8> }\nfn f(s: &S) { s.list.iter(); s.seen.get(&1); }";
        assert_eq!(hash_order(&one("actors/src/x.rs", fine)), []);
    }

    #[test]
    fn silent_lints_and_errors_without_kind_are_found() {
        assert_eq!(silenced_lints(&one("src/x.rs", "#[allow(dead_code)]")).len(), 1);
        assert_eq!(silenced_lints(&one("src/x.rs", "#[allow(clippy::disallowed_methods)] // because")).len(), 1);
        assert_eq!(silenced_lints(&one("src/x.rs", "#[allow(clippy::too_many_arguments)] // parts of a record")), []);
        let error = "#[derive(Debug, thiserror::Error)]\npub enum E { #[error(\"a\")] A }\n";
        assert_eq!(error_kinds(&one("src/x.rs", error)).len(), 1);
        let kind = format!("{error}impl E {{ pub fn kind(&self) -> &'static str {{ \"A\" }} }}");
        assert_eq!(error_kinds(&one("src/x.rs", &kind)), []);
    }
}
