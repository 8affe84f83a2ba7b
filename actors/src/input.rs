//! Reads a file of bid requests, one JSON object a line, plain or gzip, in bounded memory.
//!
//! Blank lines are passed over and not counted, but keep their line number, so that a message points where an editor does.
//! A broken *line* is an answer like any other and the reading goes on; a broken *file* is an [`InputError`].

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;

use crate::openrtb::{self, BidRequest, Ext, REQUEST_MAX_BYTES, Rejected};

#[cfg(test)]
mod tests;

/// Bytes read ahead of the parser.
const BUFFER_BYTES: usize = 256 * 1024;

/// Why a file cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// It does not open.
    #[error("cannot open {}: {source}; check the path and its permissions", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// It is named `.gz` and is not gzip.
    #[error("{} is named .gz but is not gzip; rename it if it is plain text", .path.display())]
    NotGzip {
        /// The file.
        path: PathBuf,
    },
    /// The gzip stream stops in the middle.
    #[error("{} ends in the middle of its gzip stream after line {line}; it was cut off, fetch or copy it again", .path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Last line read whole.
        line: u64,
    },
    /// The gzip stream is damaged.
    #[error("{} is damaged after line {line}: {source}; fetch or copy it again", .path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Last line read whole.
        line: u64,
        /// What the decompressor says.
        source: io::Error,
    },
    /// The system cannot read on.
    #[error("cannot read {} after line {line}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Last line read whole.
        line: u64,
        /// The system's reason.
        source: io::Error,
    },
}

impl InputError {
    /// Stable name of the class of error.
    pub fn kind(&self) -> &'static str {
        match self {
            InputError::Open { .. } => "open",
            InputError::NotGzip { .. } => "not_gzip",
            InputError::Truncated { .. } => "truncated",
            InputError::Corrupt { .. } => "corrupt",
            InputError::Read { .. } => "read",
        }
    }
}

/// One line that is not blank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its number in the file, from 1, blank lines included.
    pub number: u64,
    /// The line without its end; of a line that is too long only the first [`REQUEST_MAX_BYTES`].
    pub bytes: &'a [u8],
    /// Its length in bytes as it stands in the file.
    pub length: u64,
}

impl<'a> Line<'a> {
    /// The time that the line says it was recorded at, microseconds; a fraction of what `request` costs.
    pub fn recorded_us(&self) -> Option<i64> {
        #[derive(Deserialize)]
        struct Timed<'a> {
            #[serde(borrow, default)]
            ext: Ext<'a>,
        }
        let timed: Timed<'_> = serde_json::from_slice(self.bytes).ok()?;
        timed.ext.ts_us.filter(|ts_us| *ts_us > 0)
    }

    /// The request on this line.
    ///
    /// # Errors
    /// [`Rejected`] if it is none; number and bytes of the line are beside it.
    pub fn request(&self) -> Result<BidRequest<'a>, Rejected> {
        if self.length > self.bytes.len() as u64 {
            return Err(Rejected::too_long(self.length));
        }
        openrtb::parse(self.bytes)
    }
}

/// An open file of requests.
pub struct RequestFile {
    path: PathBuf,
    source: Box<dyn BufRead + Send>,
    packed: bool,
    line: Vec<u8>,
    number: u64,
}

impl RequestFile {
    /// Opens a file. Whether it is gzip is read from its first bytes; the name only makes a contradiction an error.
    ///
    /// # Errors
    /// [`InputError`] if it does not open, cannot be read, or is named `.gz` and is not.
    pub fn open(path: &Path) -> Result<RequestFile, InputError> {
        let file = File::open(path).map_err(|source| InputError::Open { path: path.to_owned(), source })?;
        let mut plain = BufReader::with_capacity(BUFFER_BYTES, file);
        let head = plain.fill_buf().map_err(|source| InputError::Open { path: path.to_owned(), source })?;
        let packed = head.starts_with(&[0x1f, 0x8b]);
        let named_packed = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
        if named_packed && !packed {
            return Err(InputError::NotGzip { path: path.to_owned() });
        }
        let source: Box<dyn BufRead + Send> = if packed {
            Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(plain)))
        } else {
            Box::new(plain)
        };
        Ok(RequestFile { path: path.to_owned(), source, packed, line: Vec::new(), number: 0 })
    }

    /// The next line that is not blank, or `None` at the end.
    ///
    /// # Errors
    /// [`InputError`] if the file cannot be read on. Lines before the damage have been handed out.
    pub fn next_line(&mut self) -> Result<Option<Line<'_>>, InputError> {
        loop {
            let Some(length) = self.read_line()? else { return Ok(None) };
            let cut = length > self.line.len() as u64;
            let blank = self.line.iter().all(u8::is_ascii_whitespace);
            if cut || !blank {
                return Ok(Some(Line { number: self.number, bytes: &self.line, length }));
            }
        }
    }

    /// Reads up to the next line end into `self.line`, keeping at most [`REQUEST_MAX_BYTES`]; answers the true length.
    fn read_line(&mut self) -> Result<Option<u64>, InputError> {
        self.line.clear();
        let mut length = 0u64;
        let mut ended = false;
        while !ended {
            let chunk = match self.source.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.broken(error)),
            };
            if chunk.is_empty() {
                break;
            }
            let end = memchr::memchr(b'\n', chunk);
            ended = end.is_some();
            let part = &chunk[..end.unwrap_or(chunk.len())];
            let room = REQUEST_MAX_BYTES - self.line.len();
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            length += part.len() as u64;
            let used = part.len() + usize::from(ended);
            self.source.consume(used);
        }
        if length == 0 && !ended {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some(self.trim_ends(length)))
    }

    /// A byte order mark before the first line and the carriage return of a DOS line end are no part of the request.
    fn trim_ends(&mut self, mut length: u64) -> u64 {
        if self.number == 1 && self.line.starts_with(b"\xef\xbb\xbf") {
            self.line.drain(..3);
            length -= 3;
        }
        if length == self.line.len() as u64 && self.line.last() == Some(&b'\r') {
            self.line.pop();
            length -= 1;
        }
        length
    }

    fn broken(&self, source: io::Error) -> InputError {
        let (path, line) = (self.path.clone(), self.number);
        match source.kind() {
            io::ErrorKind::UnexpectedEof if self.packed => InputError::Truncated { path, line },
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData if self.packed => {
                InputError::Corrupt { path, line, source }
            }
            _ => InputError::Read { path, line, source },
        }
    }
}

/// What a file's recorded times say about its pace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Lines looked at.
    pub lines: u64,
    /// Lines of them with a recorded time.
    pub timed: u64,
    /// Earliest recorded time, microseconds since the epoch.
    pub first_us: i64,
    /// Latest recorded time.
    pub last_us: i64,
    /// The file ended before the limit: nothing was left out.
    pub whole: bool,
}

impl Survey {
    /// Time between the earliest and the latest recorded request; `None` if fewer than two carry one.
    pub fn span_us(&self) -> Option<i64> {
        (self.timed >= 2).then(|| self.last_us.saturating_sub(self.first_us))
    }
}

/// Reads the recorded times of at most `lines_max` lines. Cheap: nothing else of a request is read.
///
/// # Errors
/// [`InputError`] if the file cannot be read.
pub fn survey(path: &Path, lines_max: u64) -> Result<Survey, InputError> {
    let mut file = RequestFile::open(path)?;
    let mut survey = Survey { first_us: i64::MAX, last_us: i64::MIN, ..Survey::default() };
    while survey.lines < lines_max {
        let Some(line) = file.next_line()? else {
            survey.whole = true;
            break;
        };
        survey.lines += 1;
        if let Some(ts_us) = line.recorded_us() {
            survey.timed += 1;
            survey.first_us = survey.first_us.min(ts_us);
            survey.last_us = survey.last_us.max(ts_us);
        }
    }
    if survey.timed == 0 {
        (survey.first_us, survey.last_us) = (0, 0);
    }
    Ok(survey)
}
