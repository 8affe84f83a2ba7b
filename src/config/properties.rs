//! Settings of the Kafka client from a file, as Kafka's own tools take them: for security, mostly. A file and not flags,
//! since one of them is a password.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const FILE_MAX_BYTES: u64 = 64 << 10;

/// What the commit protocol rests on; nobody changes it by a file.
const FIXED: &[&str] = &[
    "acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "check.crcs",
    "enable.auto.commit",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "isolation.level",
    "max.in.flight.requests.per.connection",
    "message.timeout.ms",
    "partition.assignment.strategy",
];

/// Why a file of client settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PropertiesError {
    #[error("cannot read {}: {source}; check the path and its permissions", .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} has {bytes} bytes, at most {FILE_MAX_BYTES} are read; is it the right file?", .path.display())]
    TooLarge { path: PathBuf, bytes: u64 },
    /// Never with the line itself: it may hold a password.
    #[error("{} line {line}: {what}", .path.display())]
    Line { path: PathBuf, line: usize, what: String },
}

impl PropertiesError {
    /// Stable name of the class.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Read { .. } => "READ",
            Self::TooLarge { .. } => "TOO_LARGE",
            Self::Line { .. } => "LINE",
        }
    }
}

/// The settings of a file.
///
/// # Errors
/// [`PropertiesError`].
pub fn read(path: &Path) -> Result<BTreeMap<String, String>, PropertiesError> {
    let failed = |source| PropertiesError::Read { path: path.to_owned(), source };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > FILE_MAX_BYTES {
        return Err(PropertiesError::TooLarge { path: path.to_owned(), bytes });
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    parse(&text).map_err(|(line, what)| PropertiesError::Line { path: path.to_owned(), line, what })
}

fn parse(text: &str) -> Result<BTreeMap<String, String>, (usize, String)> {
    let mut settings = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let (number, line) = (index + 1, line.trim());
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            return Err((number, "is no `KEY = VALUE`".to_owned()));
        };
        let (key, value) = (key.trim(), value.trim());
        if FIXED.contains(&key) {
            return Err((number, format!("`{key}` is fixed: that nothing is lost or doubled rests on it")));
        }
        if settings.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err((number, format!("`{key}` stands there twice")));
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_as_kafkas_tools_take_it() {
        let text = "# ours\n\nsecurity.protocol = SASL_PLAINTEXT\nsasl.password=a=b #c\r\n! old\n";
        let found = parse(text).expect("settings");
        assert_eq!(
            (found["security.protocol"].as_str(), found["sasl.password"].as_str()),
            ("SASL_PLAINTEXT", "a=b #c")
        );
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn what_is_wrong_is_said_without_the_value() {
        assert_eq!(parse("\nsasl.password hunter2"), Err((2, "is no `KEY = VALUE`".to_owned())));
        assert!(parse("acks=0").is_err_and(|(line, what)| line == 1 && what.contains("`acks` is fixed")));
        assert!(parse("a=1\na=2").is_err_and(|(line, what)| line == 2 && what.contains("twice")));
        let error = read(Path::new("not/there")).expect_err("refused");
        assert_eq!((error.kind(), error.to_string().contains("not/there")), ("READ", true));
    }
}
