//! Where requests come from: a file, or the calibrated generator.

use std::path::PathBuf;

use actors::generator::Generator;
use actors::input::{InputError, Line, RequestFile};

/// What a run reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputSpec {
    /// At most this many lines of a file.
    File {
        path: PathBuf,
        requests: Option<u64>,
    },
    Generator {
        seed: u64,
        requests: u64,
    },
}

impl InputSpec {
    /// As it stands in the report.
    pub fn source(&self) -> &'static str {
        match self {
            Self::File { .. } => "file",
            Self::Generator { .. } => "generator",
        }
    }

    /// Opens it.
    ///
    /// # Errors
    /// [`InputError`] if the file cannot be used.
    pub fn open(&self, start_us: i64) -> Result<Lines, InputError> {
        Ok(match self {
            Self::File { path, requests } => {
                Lines { from: From::File(RequestFile::open(path)?), left: requests.unwrap_or(u64::MAX), number: 0 }
            }
            Self::Generator { seed, requests } => {
                Lines { from: From::Generator(Box::new(Generator::new(*seed, start_us))), left: *requests, number: 0 }
            }
        })
    }
}

enum From {
    File(RequestFile),
    Generator(Box<Generator>),
}

/// An open input.
pub struct Lines {
    from: From,
    left: u64,
    number: u64,
}

impl Lines {
    /// The next line that is not blank, or `None` at the end.
    ///
    /// # Errors
    /// [`InputError`] if the file cannot be read on.
    pub fn next_line(&mut self) -> Result<Option<Line<'_>>, InputError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        match &mut self.from {
            From::File(file) => file.next_line(),
            From::Generator(generator) => {
                self.number += 1;
                let bytes = generator.next_line();
                Ok(Some(Line { number: self.number, bytes, length: bytes.len() as u64 }))
            }
        }
    }
}
