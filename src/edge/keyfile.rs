//! The file of signing keys: one a line, `ID HEX`, the first one signs. Made at the first start; a new line on top and a
//! SIGHUP rotate.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use runtime::env::Env;

use super::token::Keys;

/// Beside the log, where no other file is named.
pub const FILE: &str = "edge.keys";
const FILE_MAX_BYTES: u64 = 4 << 10;
const SECRET_BYTES: usize = 32;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("cannot read or write the key file {}: {source}", .path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{} line {line}: {what}; a line is `ID HEX`: a number up to 255, then 64 hexadecimal digits", .path.display())]
    Line { path: PathBuf, line: usize, what: &'static str },
    #[error("{}: no key, or two with one id", .path.display())]
    NoKeys { path: PathBuf },
}

impl KeyFileError {
    /// Stable name of the class.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Io { .. } => "IO",
            Self::Line { .. } => "LINE",
            Self::NoKeys { .. } => "NO_KEYS",
        }
    }
}

/// Reads the keys; makes the file with one fresh key if it is absent.
///
/// # Errors
/// [`KeyFileError`]. No message holds a part of a key.
pub fn load(env: &Env, path: &Path) -> Result<Keys, KeyFileError> {
    let io = |source| KeyFileError::Io { path: path.to_owned(), source };
    if let Some(directory) = path.parent() {
        // A platform on Kafka has no directory of its own yet.
        std::fs::create_dir_all(directory).map_err(io)?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            let secret: String = env.secret(FILE).iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(file, "1 {secret}").and_then(|()| file.sync_all()).map_err(io)?;
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(io(error)),
    }
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(io)?;
    file.take(FILE_MAX_BYTES).read_to_string(&mut text).map_err(io)?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Keys, KeyFileError> {
    let mut secrets = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |what| KeyFileError::Line { path: path.to_owned(), line: index + 1, what };
        let (id, hex) = line.trim().split_once(' ').ok_or_else(|| wrong("has no id and key"))?;
        let id = id.parse::<u8>().map_err(|_| wrong("the id is no number up to 255"))?;
        secrets.push((id, secret(hex.trim()).ok_or_else(|| wrong("the key is not 64 hexadecimal digits"))?));
    }
    Keys::new(&secrets).ok_or_else(|| KeyFileError::NoKeys { path: path.to_owned() })
}

fn secret(hex: &str) -> Option<[u8; SECRET_BYTES]> {
    let digits: Option<Vec<u8>> = hex.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect();
    let digits = digits.filter(|digits| digits.len() == 2 * SECRET_BYTES)?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::edge::token::Purpose;

    #[test]
    fn made_once_and_readable_by_its_owner_only() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(FILE);
        let env = Env::production();
        let token = load(&env, &path).expect("keys").seal(b"x").token(Purpose::Win, 9);
        assert!(load(&env, &path).expect("the same keys").open(&token, Purpose::Win, 9).is_ok());
        let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let old = std::fs::read_to_string(&path).expect("text");
        std::fs::write(&path, format!("2 {}\n{old}", "ab".repeat(32))).expect("rotated");
        assert!(load(&env, &path).expect("both").open(&token, Purpose::Win, 9).is_ok());
    }

    #[test]
    fn a_wrong_line_is_named_and_its_key_is_not() {
        let refused = |text: &str| parse(Path::new("k"), text).err().expect("refused").to_string();
        let secret = "cd".repeat(32);
        let message = refused(&format!("1 {secret}\n2 {}", &secret[1..]));
        assert!(message.starts_with("k line 2: ") && !message.contains("dcdc"), "{message}");
        assert!(refused("256 ab").contains("up to 255"));
        assert!(refused("").contains("no key"));
        assert!(refused(&format!("1 {secret}\n1 {secret}")).contains("two with one id"));
    }
}
