//! The independent recount: derives from the inputs what every service must have published, and compares row by row.
//!
//! Single-threaded and plain. From the commit topics it takes only the order in which inputs were merged. It shares with the
//! platform the log's record iterator and nothing else: no fold, no codec, no state, so that an error there is found here.

mod ads;
mod analytics;
mod attribution;
mod avro;
mod bidding;
mod billing;
mod budget;
mod campaigns;
mod catalogue;
mod commits;
mod compare;
pub mod datum;
pub mod differences;
mod error;
mod fraud;
mod ids;
mod intake;
mod lists;
mod outputs;
pub mod replay;
mod topics;
mod tracking;

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use runtime::env::Env;
use runtime::log::segment::{EmbeddedLog, SegmentLogConfig};
use runtime::log::storage::DiskStorage;
use runtime::log::{Log, TopicConfig};

use avro::Schemas;
use catalogue::{SERVICES, TOPICS};
use differences::Differences;
use ids::Ids;
use lists::Lists;
use outputs::Outputs;
use replay::{Accounts, Context, Rules, Shard};

pub use error::VerifyError;

/// Written by the log into every directory of its own.
const VERSION_FILE: &str = "VERSION";

/// What a recount found.
#[derive(Debug)]
pub struct Found {
    /// By how much the published ledger is wrong, micros.
    pub recount_diff_micros: i64,
    /// Records read and compared.
    pub rows_compared: u64,
    pub differences: Differences,
    pub offsets: Accounts,
}

impl Found {
    /// Nothing differs, and every offset is accounted for.
    pub fn is_ok(&self) -> bool {
        let unaccounted: u64 = self.offsets.values().map(|account| account.unaccounted).sum();
        self.differences.count == 0 && self.recount_diff_micros == 0 && unaccounted == 0
    }
}

/// Where a platform keeps what an external registry said.
const SCHEMA_CACHE: &str = "schema-cache";

/// Opens a data directory that no other process uses.
///
/// # Errors
/// [`VerifyError`]: no data directory, in use, of another version, corrupt.
pub fn open(data: &Path) -> Result<Arc<dyn Log>, VerifyError> {
    let not_data = |what: &str| VerifyError::NotData { dir: data.display().to_string(), what: what.to_owned() };
    if !data.is_dir() {
        return Err(not_data("there is no such directory"));
    }
    if !data.join(VERSION_FILE).is_file() {
        return Err(not_data("it has no file VERSION"));
    }
    let storage = Arc::new(DiskStorage::open(data)?);
    Ok(EmbeddedLog::open(&Env::production(), storage, SegmentLogConfig::default())?)
}

/// Counts everything in a log again; `lists` is the directory of lists that the platform was run with, `data` its data
/// directory, where what an external registry said of other writers' schemas is kept.
///
/// # Errors
/// [`VerifyError`] if something cannot be read; what can be read and is wrong is a difference.
pub fn recount(log: &dyn Log, lists: Option<&Path>, data: &Path) -> Result<Found, VerifyError> {
    let lists = Rc::new(Lists::load(lists)?);
    let schemas = Schemas::builtin(Ids::read(log, &data.join(SCHEMA_CACHE))?)?;
    let ours = |config: &TopicConfig| TOPICS.iter().any(|(name, ..)| *name == &*config.name);
    let topics = log.topics();
    let partitions = topics.iter().filter(|(_, c)| ours(c)).map(|(_, c)| c.partitions).max().unwrap_or(0);
    let mut context = Context {
        log,
        schemas: &schemas,
        outputs: Outputs::default(),
        differences: Differences::default(),
        accounts: Accounts::new(),
        rows: 0,
    };
    for service in SERVICES {
        for partition in 0..partitions {
            let mut rules = rules(service.0, partition, &lists);
            Shard::new(log, service, partition, rules.as_mut())?.replay(&mut context)?;
        }
    }
    let recount_diff_micros = compare::compare(&mut context, partitions)?;
    Ok(Found {
        recount_diff_micros,
        rows_compared: context.rows,
        differences: context.differences,
        offsets: context.accounts,
    })
}

fn rules(service: &str, partition: u32, lists: &Rc<Lists>) -> Box<dyn Rules> {
    match service {
        "campaigns" => Box::new(campaigns::Campaigns::default()),
        "bidding" => Box::new(bidding::Bidding::new(partition)),
        "budget" => Box::new(budget::Budget::default()),
        "tracking" => Box::new(tracking::Tracking::default()),
        "ads" => Box::new(ads::Ads::default()),
        "fraud" => Box::new(fraud::Fraud::new(lists.clone())),
        "billing" => Box::new(billing::Billing::default()),
        "attribution" => Box::new(attribution::Attribution::default()),
        _ => Box::new(analytics::Analytics::new(partition)),
    }
}
