//! Dead letters and their way back.
//!
//! A dead letter is the event as it came (bytes, key, headers), with what we know in front of its headers: `letter` writes and
//! reads them, `fingerprint` says which letters have one cause, `plain` keeps personal data out of the words. A replay is a
//! record of the service's own replay topic that names the event it stands for: `replay` reads it and remembers which were
//! taken, so that a job may move a letter twice and the fold takes it once.

pub mod fingerprint;
pub mod letter;
pub mod plain;
pub mod replay;

pub use fingerprint::fingerprint;
pub use letter::{Failed, Letter, Stage};
pub use replay::{ReplayOf, Replays};
