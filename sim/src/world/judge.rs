//! The end: everything is stopped, read again from what is durable, and judged.

use std::sync::atomic::Ordering;
use std::time::Duration;

use runtime::invariant;
use runtime::log::TopicPartition;

use super::process::{Death, handled};
use super::{Books, Outcome, World, WorldError, lock};
use crate::oracle::flow::Flow;
use crate::oracle::{INVARIANTS, minutes, money, published};

impl World {
    /// Reads the commit topics on.
    pub(super) fn audit(&mut self) {
        // A dead process's log and a disk that lies cannot be read; what was missed is read later.
        if (self.processes.is_empty() && !self.scenario.kafka) || self.disk_is_faulty() {
            return;
        }
        let mut books = lock(&self.books);
        books.audit(&self.log);
        let Books { auditor, findings } = &mut *books;
        money::budgets(auditor, findings);
    }

    pub(super) async fn judge(&mut self) -> Result<Outcome, WorldError> {
        let converged_ms = self.now_ms().saturating_sub(self.scenario.until_ms);
        self.audit();
        self.stop().await?;
        let partitions = self.scenario.partitions;
        let mut books = lock(&self.books);
        let Books { auditor, findings } = &mut *books;
        auditor.finish(findings);
        let published = published::check(&self.log, auditor, partitions, findings);
        published::ended(&self.log, auditor, findings);
        let aside = money::set_aside(&self.log, auditor, partitions, findings);
        for parcel in &self.bad {
            let found = aside.values.get(parcel.topic).is_some_and(|values| values.contains(&parcel.value));
            findings.expect("dead_letters_accounted", found, || {
                format!("{}: a bad record of {} bytes was not set aside", parcel.topic, parcel.value.len())
            });
        }
        money::ledger(&self.log, auditor, &self.traffic.truth, &aside, partitions, findings);
        let (log, truth, fired) = (&self.log, &self.traffic.truth, &self.fired);
        let flow = Flow { log, truth, aside: &aside, partitions, fired };
        let conserved = flow.events_once(findings);
        flow.good_events_kept(findings);
        flow.budgets(auditor, findings);
        if self.services.iter().any(|service| service.spec.name == "analytics") {
            minutes::check(&self.log, &aside, partitions, findings);
        }
        for invariant in INVARIANTS {
            findings.checked(invariant, 0);
        }
        self.trace.finish().map_err(WorldError::Trace)?;
        let (commits, voids, claims) = auditor.totals();
        Ok(Outcome {
            violations: std::mem::take(&mut findings.violations),
            checked: std::mem::take(&mut findings.checked),
            fired: self.fired.clone(),
            sha256: self.trace.sha256(),
            virtual_ms: self.now_ms(),
            handled: self.handled,
            impressions: self.traffic.truth.shown.len() as u64,
            records: self.trace.records(),
            commits,
            voids,
            claims,
            published,
            dead_letters: aside.records,
            converged_ms,
            points: self.disk.done().points,
            ads_late_s: self.longest_late_s(),
            observations: self.steps.load(Ordering::Relaxed),
            recent: self.trace.recent(),
            lags: self.lags.take().unwrap_or_default(),
            conserved,
        })
    }

    /// Drains the last process, then loses power and opens again: what the judge reads is what is durable.
    async fn stop(&mut self) -> Result<(), WorldError> {
        let mut late = 0;
        for process in &self.processes {
            process.platform.drain(Duration::from_secs(10), |stage| late += stage.late).await;
            for bulkhead in &process.platform.bulkheads {
                let queued = bulkhead.stats.queue_bytes.load(Ordering::Relaxed);
                lock(&self.books).findings.expect(
                    invariant::CREDITS_RETURNED,
                    invariant::credits_returned(queued),
                    || format!("{}: {queued} bytes are still in flight after the drain", bulkhead.spec.name),
                );
                let findings = &mut lock(&self.books).findings;
                for (invariant, count) in bulkhead.stats.invariants().iter() {
                    findings.checked(invariant, count.checked);
                    if count.broken > 0 {
                        findings.broken(
                            invariant,
                            format!("{} itself found so, {} times", bulkhead.spec.name, count.broken),
                        );
                    }
                }
            }
        }
        lock(&self.books).findings.expect("converges", late == 0, || format!("{late} shards did not answer the drain"));
        self.audit();
        for process in std::mem::take(&mut self.processes) {
            self.handled += handled(&process);
        }
        self.source.abandon();
        if self.scenario.kafka {
            return Ok(());
        }
        let before = self.extents();
        // From here on it is the judge who writes.
        self.disk.set(|condition| condition.dies_in = 0);
        self.kill_all(Death::Machine, 0).await?;
        if let Some(log) = self.reopen() {
            self.log = log;
        }
        for (name, partition, end) in before {
            let Some(topic) = self.log.topic(&name) else {
                lock(&self.books).findings.broken("acknowledged_survives", format!("topic {name} is gone"));
                continue;
            };
            let after = self.log.extent(TopicPartition { topic, partition }).map_or(-1, |extent| extent.high_watermark);
            lock(&self.books).findings.expect("acknowledged_survives", after >= end, || {
                format!("{name}-{partition} was readable to {end}, after the crash to {after}")
            });
        }
        Ok(())
    }

    fn extents(&self) -> Vec<(String, u32, i64)> {
        let mut all = Vec::new();
        for (topic, config) in self.log.topics() {
            for partition in 0..config.partitions {
                if let Ok(extent) = self.log.extent(TopicPartition { topic, partition }) {
                    all.push((config.name.to_string(), partition, extent.high_watermark));
                }
            }
        }
        all
    }
}
