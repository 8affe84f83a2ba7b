//! Dead letters for operators: what lies there, in which groups, and the jobs that bring letters back or put them away.
//!
//! Everything here works on an open log, so that the command line on a directory at rest and the admin listener of a running
//! process call the same functions, those of `desk`. `letters` reads, `select` and `groups` sort, `trial` and `edit` prepare, `job` moves,
//! `audit` keeps what was done, `spike` and `watch` say when somebody should look.

pub mod audit;
pub mod desk;
pub mod edit;
mod error;
pub mod groups;
pub mod job;
pub mod letters;
pub mod select;
pub mod shelf;
pub mod spike;
pub mod trial;
pub mod value;
pub mod walk;
pub mod watch;

pub use error::DlqError;
pub use letters::OwnedLetter;
pub use select::Selection;
pub use shelf::{Shelf, State};
