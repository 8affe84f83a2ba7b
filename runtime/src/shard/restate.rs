//! Restating compacted outputs (rule P10): after a claim and on a slow tick the owner emits its live keys again, as
//! ordinary commits, ended by a boundary. A view then drops every key of this producer that was not among them.

use super::{Shard, ShardError};
use crate::commit::provenance::BOUNDARY;
use crate::commit::staging::Destination;
use crate::service::Effects;
use crate::topology::TopicKind;

/// How often live keys are emitted again.
const EVERY_US: u64 = 60 * 60 * 1_000_000;

/// Where the shard is with its restatement.
pub(super) struct Restating {
    next_at_us: u64,
    running: Option<Running>,
}

struct Running {
    /// Row to go on with; `None`: only the boundaries are missing.
    row: Option<usize>,
    /// Restated values have at least this number.
    first_n: Vec<(Destination, i64)>,
}

impl Restating {
    /// At once: what the former owner has said last is not known to have reached every view.
    pub(super) fn due_now() -> Self {
        Self { next_at_us: 0, running: None }
    }
}

impl Shard {
    /// Stages the next part of a restatement; it goes out with the commit that follows.
    pub(super) fn advance_restatement(&mut self) -> Result<(), ShardError> {
        let compacted = |kind| kind == TopicKind::Compacted;
        if !self.ctx.def.spec.outputs.iter().any(|topic| compacted(topic.kind)) {
            return Ok(());
        }
        let now_us = self.ctx.env.clock.mono_us();
        if self.restating.running.is_none() {
            if now_us < self.restating.next_at_us {
                return Ok(());
            }
            self.restating.next_at_us = now_us + EVERY_US;
            // Destinations that have ever been written to: nobody holds keys of the others.
            let outputs = &self.ctx.def.spec.outputs;
            let of_compacted = |name: &str| outputs.iter().any(|topic| topic.name == name && compacted(topic.kind));
            let first_n: Vec<_> = self
                .counters
                .iter()
                .filter(|((name, _), _)| of_compacted(name))
                .map(|(to, n)| (to.clone(), *n))
                .collect();
            if first_n.is_empty() {
                return Ok(());
            }
            self.restating.running = Some(Running { row: Some(0), first_n });
        }
        let Some(running) = &mut self.restating.running else { return Ok(()) };
        if let Some(row) = running.row {
            let spec = &self.ctx.def.spec;
            let mut effects = Effects::new(&mut self.outputs, spec, self.now_ms, self.ctx.partition, None);
            running.row = self.fold.restate(row, &mut effects);
            return Ok(());
        }
        let boundaries = std::mem::take(&mut running.first_n);
        self.restating.running = None;
        for (to, first_n) in boundaries {
            let header: [(&[u8], &[u8]); 1] = [(BOUNDARY, &first_n.to_be_bytes())];
            self.staging.output(&to, &self.counters, self.lineage, self.now_ms, b"", None, None, &header)?;
        }
        Ok(())
    }
}
