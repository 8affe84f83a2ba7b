//! Habits of the tree as tests: what a review would say again and again, a machine says once.
//!
//! Each rule is a function from the tree's files to findings, so that a rule is itself tested on planted text.

pub mod blank;
pub mod code;
pub mod imports;
pub mod project;
pub mod text;

use std::fmt;
use std::path::{Path, PathBuf};

/// One file of the tree, read whole.
#[derive(Clone, Debug)]
pub struct File {
    /// From the root of the tree, with `/`.
    pub path: String,
    pub text: String,
}

impl File {
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Rust text without comments and without the insides of strings; lines stay where they are.
    pub fn code(&self) -> String {
        blank::code(&self.text)
    }

    /// `true` for what only tests are made of.
    pub fn is_test(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs")
            || self.path.ends_with("/testdata.rs")
            || self.path.ends_with("_tests.rs")
    }
}

/// Something that breaks a habit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub path: String,
    /// From 1; 0 where the whole file is meant.
    pub line: usize,
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// A finding at a byte of a text.
pub fn at(path: &str, text: &str, byte: usize, what: impl Into<String>) -> Finding {
    let line = text.as_bytes()[..byte].iter().filter(|b| **b == b'\n').count() + 1;
    Finding { path: path.into(), line, what: what.into() }
}

/// Root of the tree that this was built from.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie one folder below the root").to_path_buf()
}

/// All text files, sorted by path; what is built or kept by git is left out.
pub fn tree() -> Vec<File> {
    let root = root();
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the tree is readable") {
            let path = entry.expect("the tree is readable").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                if name != "target" && name != ".git" {
                    folders.push(path);
                }
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                let relative = path.strip_prefix(&root).expect("below the root").to_string_lossy().replace('\\', "/");
                // In a linked work tree `.git` is a file.
                if relative != ".git" {
                    files.push(File { path: relative, text });
                }
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(files.len() > 100, "the tree has more files than {}", files.len());
    files
}

/// Panics with every finding on a line of its own.
pub fn assert_none(rule: &str, findings: &[Finding]) {
    let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert!(findings.is_empty(), "{rule}: {} finding(s)\n{}", findings.len(), lines.join("\n"));
}
