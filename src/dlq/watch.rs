//! Watches the dead letter topics of a running platform, and says when somebody should look.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use runtime::env::{BulkheadRuntime, Env};
use runtime::log::Log;
use runtime::stats::ServiceStats;
use runtime::writers::WriterSchemas;

use super::DlqError;
use super::letters::Letters;
use super::spike::{Alert, Detector, Seen};
use super::value::{Decoded, Schemas};

/// How often it looks.
const STEP: Duration = Duration::from_secs(1);

/// A watch that runs; it ends with this.
pub struct Watching {
    /// Alerts so far.
    pub alerts: Arc<AtomicU64>,
    _runtime: BulkheadRuntime,
}

/// Starts to watch. `services`: name and counters of each; `tell` is called with each alert.
///
/// # Errors
/// The system gives no thread.
pub fn start(
    env: &Env,
    log: &Arc<dyn Log>,
    writers: Arc<dyn WriterSchemas>,
    services: Vec<(&'static str, Arc<ServiceStats>)>,
    tell: impl Fn(&Alert) + Send + 'static,
) -> std::io::Result<Watching> {
    let runtime = BulkheadRuntime::new(env, "dlq-watch", 1, 5)?;
    let alerts = Arc::new(AtomicU64::new(0));
    let (env, log, counted) = (env.clone(), log.clone(), alerts.clone());
    runtime.spawn(async move {
        let mut watch = match Watch::new(log.as_ref(), writers, services, env.clock.wall_ms()) {
            Ok(watch) => watch,
            Err(error) => {
                tracing::error!(%error, "dead letters are not watched");
                return;
            }
        };
        loop {
            env.clock.sleep(STEP).await;
            match watch.step(log.as_ref(), env.clock.wall_ms()) {
                Ok(found) => {
                    counted.fetch_add(found.len() as u64, Ordering::Relaxed);
                    found.iter().for_each(&tell);
                }
                // A log that closes is the end of the run; what is wrong with one that does not is said by its services.
                Err(error) => {
                    tracing::error!(%error, "dead letters are not watched any more");
                    return;
                }
            }
        }
    });
    Ok(Watching { alerts, _runtime: runtime })
}

/// What is known so far.
pub struct Watch {
    letters: Letters,
    schemas: Schemas,
    detector: Detector,
    services: Vec<(&'static str, Arc<ServiceStats>)>,
    /// Events ended by each service when it was looked at last.
    before: BTreeMap<&'static str, u64>,
    since_ms: i64,
}

impl Watch {
    /// Letters that failed before `since_ms` are no news.
    ///
    /// # Errors
    /// The log refuses.
    pub fn new(
        log: &dyn Log,
        writers: Arc<dyn WriterSchemas>,
        services: Vec<(&'static str, Arc<ServiceStats>)>,
        since_ms: i64,
    ) -> Result<Self, DlqError> {
        let before = services.iter().map(|(name, stats)| (*name, stats.tally().total())).collect();
        let (letters, schemas) = (Letters::new(log)?, Schemas::new(writers)?);
        Ok(Self { letters, schemas, detector: Detector::default(), services, before, since_ms })
    }

    /// Takes in what has come since the last time.
    ///
    /// # Errors
    /// A topic cannot be read.
    pub fn step(&mut self, log: &dyn Log, now_ms: i64) -> Result<Vec<Alert>, DlqError> {
        for (name, stats) in &self.services {
            let total = stats.tally().total();
            let before = self.before.insert(name, total).unwrap_or(0);
            self.detector.events(now_ms, name, total.saturating_sub(before));
        }
        while let Some(letter) = self.letters.take_next()? {
            if letter.last_failed_ms < self.since_ms {
                continue;
            }
            let decoded = self.schemas.read(&letter);
            self.detector.letter(&Seen {
                at_ms: letter.last_failed_ms,
                fingerprint: &letter.fingerprint,
                service: &letter.event.service,
                stake_micros: decoded.as_ref().map_or(0, Decoded::stake_micros),
                id: &letter.id.to_string(),
            });
        }
        self.letters.again(log)?;
        Ok(self.detector.judge(now_ms))
    }
}

/// An alert in one line.
pub fn line(alert: &Alert) -> String {
    let Alert { fingerprint, service, letters_per_minute, usual_per_minute, share, stake_micros, sample, .. } = alert;
    let money = *stake_micros as f64 / 1e6;
    format!(
        "ALERT dead letters of {service}: group {fingerprint}, {letters_per_minute:.0} a minute (usual {usual_per_minute:.0}), {:.2} % of its \
         events, {money:.2} USD at stake; look at `bulkhead dlq show {sample}`",
        share * 100.0
    )
}
