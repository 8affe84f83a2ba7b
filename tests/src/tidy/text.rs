//! Rules on the text of every file.

use regex::Regex;

use super::{File, Finding, at};

/// A Rust file has at most this many lines.
pub const RUST_LINES_MAX: usize = 500;
/// The page that every contributor reads.
pub const ARCHITECTURE: (&str, usize) = ("docs/ARCHITECTURE.md", 300);

/// One concept a file: long files hold two.
pub fn file_length(files: &[File]) -> Vec<Finding> {
    let too_long = |file: &File, max: usize| {
        let lines = file.text.lines().count();
        (lines > max).then(|| Finding {
            path: file.path.clone(),
            line: 0,
            what: format!("{lines} lines; at most {max}: split it by concept"),
        })
    };
    let mut findings: Vec<_> =
        files.iter().filter(|file| file.is_rust()).filter_map(|file| too_long(file, RUST_LINES_MAX)).collect();
    let page = files.iter().find(|file| file.path == ARCHITECTURE.0);
    findings.extend(page.and_then(|file| too_long(file, ARCHITECTURE.1)));
    findings
}

/// Paths of one machine, and work put off: neither is of use to whoever reads the tree next.
///
/// The patterns are put together from pieces, so that this file does not find itself.
pub fn leftovers(files: &[File]) -> Vec<Finding> {
    let rules = [
        (
            format!(r"(?:^|[\s\x22'(=`])/{}/[A-Za-z0-9._]", "(?:home|root|work|Users)"),
            "an absolute path of one machine",
        ),
        (format!(r"\b(?:{}{}|{}{})\b", "TO", "DO", "FIX", "ME"), "work put off; do it or leave it out"),
        (format!(r"\b(?:{}do|unimple{}|d{}g)!", "to", "mented", "b"), "not for what is shipped"),
        (format!(r"#\[\s*ig{}\b", "nore"), "a test that does not run; move what is long to tests/long"),
        (format!(r"\b(?:localhost|127\.0\.0\.1):{}\b", "(?:3141|8081/repository|4873)"), "a registry host"),
    ];
    let rules = rules.map(|(pattern, what)| (Regex::new(&pattern).expect("constant pattern"), what));
    let mut findings = Vec::new();
    for file in files {
        for (pattern, what) in &rules {
            findings.extend(pattern.find_iter(&file.text).map(|m| at(&file.path, &file.text, m.start(), *what)));
        }
    }
    findings
}

/// Every crate comes from the public registry, under the checksum in the lock file.
pub fn registries(files: &[File]) -> Vec<Finding> {
    let public = "registry+https://github.com/rust-lang/crates.io-index";
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path == "Cargo.lock") {
        for (index, line) in file.text.lines().enumerate() {
            let foreign = line.strip_prefix("source = ").is_some_and(|source| source.trim_matches('"') != public);
            if foreign {
                let what = format!("not from the public registry: {line}");
                findings.push(Finding { path: file.path.clone(), line: index + 1, what });
            }
        }
    }
    let config = files.iter().filter(|file| file.path.contains(".cargo/config"));
    findings.extend(config.map(|file| Finding {
        path: file.path.clone(),
        line: 0,
        what: "settings of one machine do not belong into the tree".into(),
    }));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_are_found() {
        let long = File::new("a/src/b.rs", &"x\n".repeat(RUST_LINES_MAX + 1));
        let page = File::new(ARCHITECTURE.0, &"x\n".repeat(ARCHITECTURE.1 + 1));
        let fine = File::new("a/src/c.rs", &"x\n".repeat(RUST_LINES_MAX));
        assert_eq!(file_length(&[long, page, fine]).len(), 2);
    }

    #[test]
    fn leftovers_are_found() {
        let planted = [
            format!("let p = \"/{}/me/data\";", "home"),
            format!("see /{}/x.md", "work"),
            format!("// {}: later", ["TO", "DO"].concat()),
            format!("{}!()", ["to", "do"].concat()),
            format!("#[{} = \"slow\"]", ["ig", "nore"].concat()),
        ];
        for text in planted {
            assert_eq!(leftovers(&[File::new("src/x.rs", &text)]).len(), 1, "{text}");
        }
        let fine = "the home/work split, https://example.com/work/, todo list, /tmp/x, ignored";
        assert_eq!(leftovers(&[File::new("README.md", fine)]), []);
    }

    #[test]
    fn foreign_registries_are_found() {
        let lock = File::new("Cargo.lock", "source = \"registry+https://example.com/index\"\n");
        assert_eq!(registries(&[lock, File::new(".cargo/config.toml", "")]).len(), 2);
    }
}
