//! Faults begin, act and end.

use std::time::Duration;

use actors::topics;
use runtime::fault::FaultKind;
use schemas::codec::Map;
use schemas::events::ImpressionPixel;

use super::process::{Death, Process};
use super::{EPOCH_MS, World, WorldError};
use crate::disk::Condition;
use crate::fault::{Fault, Kind};
use crate::network::Weather;
use crate::traffic::{Manners, Parcel};

/// The schedule, and what of it is going on.
pub(super) struct Active {
    coming: std::collections::VecDeque<Fault>,
    running: Vec<Running>,
}

struct Running {
    fault: Fault,
    rng: fastrand::Rng,
}

impl Active {
    pub(super) fn new(schedule: &[Fault]) -> Self {
        Self { coming: schedule.iter().cloned().collect(), running: Vec::new() }
    }

    /// When the next fault begins or ends.
    pub(super) fn next_ms(&self) -> u64 {
        let begins = self.coming.front().map_or(u64::MAX, |fault| fault.at_ms);
        self.running.iter().map(|running| running.fault.end_ms()).min().unwrap_or(u64::MAX).min(begins)
    }

    fn is_on(&self, kind: Kind) -> bool {
        self.running.iter().any(|running| running.fault.kind == kind)
    }
}

/// The service's own switch for a kind.
fn switch(kind: Kind) -> Option<FaultKind> {
    Some(match kind {
        Kind::Stall => FaultKind::Stall,
        Kind::Spin => FaultKind::Spin,
        Kind::Slow => FaultKind::Slow,
        Kind::Error => FaultKind::Error,
        Kind::Panic => FaultKind::Panic,
        Kind::Poison => FaultKind::Poison,
        Kind::Down => FaultKind::Down,
        Kind::Leak => FaultKind::Leak,
        _ => return None,
    })
}

impl World {
    pub(super) async fn change_faults(&mut self, now_ms: u64) -> Result<(), WorldError> {
        let (over, running) = std::mem::take(&mut self.faults.running)
            .into_iter()
            .partition::<Vec<_>, _>(|running| running.fault.end_ms() <= now_ms);
        self.faults.running = running;
        for running in over {
            self.end(&running.fault);
        }
        while self.faults.coming.front().is_some_and(|fault| fault.at_ms <= now_ms) {
            let Some(fault) = self.faults.coming.pop_front() else { break };
            let numbers = [fault.at_ms as i64, fault.for_ms as i64, fault.draw as i64];
            self.trace.record("fault", &fault.kind.name(), &numbers, fault.service.as_bytes());
            let rng = fastrand::Rng::with_seed(fault.draw);
            self.faults.running.push(Running { fault: fault.clone(), rng });
            self.begin(&fault).await?;
        }
        self.set_conditions();
        self.storm();
        Ok(())
    }

    pub(super) async fn end_all_faults(&mut self) -> Result<(), WorldError> {
        self.faults.coming.clear();
        for running in std::mem::take(&mut self.faults.running) {
            self.end(&running.fault);
        }
        self.set_conditions();
        self.trace.record("fault", "none", &[], &[]);
        if let Some(at_ms) = &mut self.restart_at_ms {
            *at_ms = (*at_ms).min(self.env.clock.mono_us() / 1_000);
        }
        Ok(())
    }

    /// Whether an open that fails is the disk's fault.
    pub(super) fn disk_is_faulty(&self) -> bool {
        const DISK: [Kind; 6] =
            [Kind::SyncError, Kind::WriteError, Kind::TornWrite, Kind::ReadFlip, Kind::DiskFull, Kind::DeathInWrite];
        DISK.into_iter().any(|kind| self.faults.is_on(kind)) || self.disk.done().died
    }

    async fn begin(&mut self, fault: &Fault) -> Result<(), WorldError> {
        let mut rng = fastrand::Rng::with_seed(fault.draw ^ 1);
        let restart_at_ms = fault.end_ms();
        if self.processes.is_empty() && fault.kind <= Kind::DrainRestart && switch(fault.kind).is_none() {
            // Nobody is there to be hit.
            return Ok(());
        }
        match fault.kind {
            Kind::ShardKill => self.kill_shards(&fault.service, Some(&mut rng)),
            Kind::ServiceKill => self.kill_shards(&fault.service, None),
            Kind::ProcessKill => self.kill_all(Death::Process, restart_at_ms).await?,
            Kind::PowerLoss => {
                if rng.bool() {
                    // While the outside waits for answers, or has just had them.
                    let mut parcels = Vec::new();
                    self.traffic.due(self.now_ms(), &mut parcels);
                    self.send(parcels);
                    self.source.pump().await;
                    self.env.clock.sleep(Duration::from_millis(rng.u64(0..8))).await;
                }
                self.kill_all(Death::Machine, restart_at_ms).await?;
            }
            Kind::PowerLossOnRecovery => {
                self.kill_all(Death::Machine, 0).await?;
                self.look_after_processes(u64::MAX / 2).await?;
                self.env.clock.sleep(Duration::from_millis(rng.u64(1..120))).await;
                self.kill_all(Death::Machine, restart_at_ms).await?;
            }
            Kind::DrainRestart => {
                for process in &self.processes {
                    process.platform.drain(Duration::from_millis(200), |_| ()).await;
                }
                self.kill_all(Death::Process, restart_at_ms).await?;
            }
            Kind::FatalEvent => self.fatal.arm(&fault.service),
            Kind::DeathInWrite => self.disk.set(|condition| condition.dies_in = rng.u64(1..150)),
            Kind::SyncError => self.disk.set(|condition| condition.sync_errors = 1),
            Kind::WriteError => self.disk.set(|condition| condition.write_errors = rng.u32(1..3)),
            Kind::TornWrite => self.disk.set(|condition| condition.torn_writes = 1),
            Kind::ReadFlip => self.disk.set(|condition| condition.read_flips = rng.u32(1..3)),
            Kind::Zombie | Kind::FrozenZombie | Kind::Takeover => self.take_over(fault.kind).await?,
            _ => {}
        }
        *self.fired.entry(fault.kind).or_default() += 1;
        Ok(())
    }

    fn end(&mut self, fault: &Fault) {
        match fault.kind {
            Kind::DeathInWrite => self.disk.set(|condition| condition.dies_in = 0),
            Kind::FatalEvent => self.fatal.disarm(),
            Kind::SyncError => self.disk.set(|condition| condition.sync_errors = 0),
            Kind::WriteError => self.disk.set(|condition| condition.write_errors = 0),
            Kind::TornWrite => self.disk.set(|condition| condition.torn_writes = 0),
            Kind::ReadFlip => self.disk.set(|condition| condition.read_flips = 0),
            Kind::Zombie | Kind::FrozenZombie => self.kill_zombies(),
            _ => {}
        }
    }

    /// A second process over the same log while the first still lives, frozen, or just dies with requests on the wire.
    async fn take_over(&mut self, kind: Kind) -> Result<(), WorldError> {
        if self.processes.is_empty() {
            return Ok(());
        }
        self.kill_zombies();
        for process in &mut self.processes {
            process.is_zombie = true;
            if kind == Kind::FrozenZombie {
                process.client.freeze();
            }
        }
        self.start_process().await?;
        if kind == Kind::Takeover {
            self.kill_zombies();
        }
        Ok(())
    }

    fn kill_shards(&mut self, service: &str, one: Option<&mut fastrand::Rng>) {
        let Some(bulkhead) = self.current().and_then(|process| process.platform.bulkhead(service)) else { return };
        let wanted = one.map(|rng| rng.usize(0..bulkhead.shards.len()));
        for (index, shard) in bulkhead.shards.iter().enumerate() {
            if wanted.is_none_or(|wanted| wanted == index)
                && let Some(actor) = shard.actor()
            {
                actor.kill();
            }
        }
    }

    /// Kills the same service again as soon as it is up.
    fn storm(&mut self) {
        let storms: Vec<String> = self
            .faults
            .running
            .iter()
            .filter(|running| running.fault.kind == Kind::RestartStorm)
            .map(|running| running.fault.service.clone())
            .collect();
        storms.iter().for_each(|service| self.kill_shards(service, None));
    }

    /// What lasts follows from what is going on, so that overlapping faults cannot leave anything behind.
    fn set_conditions(&mut self) {
        let on = |kind| self.faults.is_on(kind);
        let now_ms = self.env.clock.mono_us() / 1_000;
        let slow_sync_us = if on(Kind::DiskHang) {
            1_500_000
        } else if on(Kind::SlowDisk) {
            60_000
        } else {
            0
        };
        let (slow_write_us, full) = (if on(Kind::SlowDisk) { 4_000 } else { 0 }, on(Kind::DiskFull));
        let mut weather = Weather::default();
        for Running { fault, rng } in &mut self.faults.running {
            match fault.kind {
                Kind::SlowRequests => weather.request_delay_ms = 400,
                Kind::LateAcks => weather.ack_delay_ms = 1_500,
                Kind::LostAcks => weather.lost_ack_ppm = 60_000,
                Kind::LostRequests => weather.lost_request_ppm = 60_000,
                Kind::DuplicateAppends => weather.duplicate_ppm = 200_000,
                Kind::BrokerPause => weather.paused = true,
                Kind::SwizzleClog => {
                    // Clogged one by one, unclogged in another order.
                    let passed = (now_ms.saturating_sub(fault.at_ms) * 8 / fault.for_ms.max(1)).min(8);
                    let mut order = fastrand::Rng::with_seed(fault.draw);
                    let (first, second) = (order.u64(..), order.u64(..));
                    weather.clogged |=
                        if passed < 4 { first >> (4 - passed) & first } else { second >> (passed - 4) & first };
                }
                Kind::FrozenZombie if now_ms >= fault.at_ms + fault.for_ms / 2 => {
                    self.processes.iter().filter(|p| p.is_zombie).for_each(|p| p.client.thaw());
                }
                Kind::ClockAhead => self.env.clock.set_skew_ms(45_000),
                Kind::ClockBehind => self.env.clock.set_skew_ms(-45_000),
                Kind::ClockLeaps => self.env.clock.set_skew_ms(rng.i64(-60_000..60_000)),
                _ => {}
            }
        }
        let on = |kind| self.faults.is_on(kind);
        if !(on(Kind::ClockAhead) || on(Kind::ClockBehind) || on(Kind::ClockLeaps)) {
            self.env.clock.set_skew_ms(0);
        }
        let manners = Manners {
            burst: if on(Kind::Burst) { 8 } else { 1 },
            hot_key: on(Kind::HotKey),
            shift_ms: if on(Kind::LateEvents) {
                -600_000
            } else if on(Kind::FutureEvents) {
                120_000
            } else {
                0
            },
        };
        self.source.repeat_ppm = if on(Kind::DuplicateDelivery) { 400_000 } else { 0 };
        self.source.deaf_ppm = if on(Kind::SourceRetry) { 300_000 } else { 0 };
        self.source.paused = on(Kind::SourcePause);
        self.traffic.manners = manners;
        self.network.set(|known| *known = weather);
        self.disk.set(|known| *known = Condition { slow_sync_us, slow_write_us, full, ..*known });
        self.apply_service_faults();
    }

    /// Sets each service's switch to the newest of its faults.
    pub(super) fn apply_service_faults(&self) {
        for Process { platform, .. } in &self.processes {
            for bulkhead in &platform.bulkheads {
                let of = |running: &Running| {
                    if running.fault.service == bulkhead.spec.name { switch(running.fault.kind) } else { None }
                };
                let wanted = self.faults.running.iter().rev().find_map(of);
                if wanted != bulkhead.faults.active() {
                    match wanted {
                        Some(kind) => bulkhead.faults.start(kind),
                        None => bulkhead.faults.end(),
                    }
                }
            }
        }
    }

    /// Adds what does not belong there to what comes from outside.
    pub(super) fn misbehave(&mut self, parcels: &mut Vec<Parcel>) {
        let pixel = parcels.iter().find(|parcel| parcel.topic == topics::IMPRESSION_PIXELS.name).cloned();
        let inputs: Vec<&'static str> = self
            .services
            .iter()
            .flat_map(|service| &service.spec.inputs)
            .filter(|topic| topic.kind == runtime::topology::TopicKind::External)
            .map(|topic| topic.name)
            .collect();
        if inputs.is_empty() {
            return;
        }
        for Running { fault, rng } in &mut self.faults.running {
            if rng.u32(0..4) > 0 {
                continue;
            }
            let timestamp_ms = EPOCH_MS + (self.env.clock.mono_us() / 1_000) as i64;
            let topic = inputs[rng.usize(0..inputs.len())];
            let key = format!("bad-{}", rng.u32(0..50));
            let noise = |rng: &mut fastrand::Rng| -> Vec<u8> { (0..rng.usize(16..80)).map(|_| rng.u8(..)).collect() };
            let value = match fault.kind {
                Kind::Garbage => [vec![0xff], noise(rng)].concat(),
                Kind::UnknownSchema => [vec![0, 0, 0xee, 0, 1], noise(rng)].concat(),
                // Change data ends a key with an empty value: nothing is wrong with that.
                Kind::EmptyValue if topic.ends_with("-changes") => continue,
                Kind::EmptyValue => Vec::new(),
                Kind::WrongMoney => {
                    let topic = topics::IMPRESSION_PIXELS.name;
                    let value = wrong_money(rng, timestamp_ms);
                    let bad = Parcel { topic, key, timestamp_ms, value };
                    self.bad.push(bad.clone());
                    parcels.push(bad);
                    continue;
                }
                Kind::IdConflict => {
                    if let Some((id, conflict)) = pixel.as_ref().and_then(conflict) {
                        self.traffic.truth.conflicted.insert(id);
                        parcels.push(conflict);
                    }
                    continue;
                }
                _ => continue,
            };
            let bad = Parcel { topic, key, timestamp_ms, value };
            self.bad.push(bad.clone());
            parcels.push(bad);
        }
    }
}

/// A pixel that says that we paid more than we offered.
fn wrong_money(rng: &mut fastrand::Rng, timestamp_ms: i64) -> Vec<u8> {
    let id = format!("wrong-{:016x}", rng.u64(..));
    let pixel = ImpressionPixel {
        bid_id: &id,
        auction_id: &id,
        imp_id: "1",
        timestamp: timestamp_ms,
        campaign_id: "camp-1",
        creative_id: "creative",
        placement_id: "sim:1:1",
        user_id: None,
        bid_price_micros: 10,
        win_price_micros: 11,
        lease_id: None,
        metadata: Map::default(),
    };
    let mut value = Vec::new();
    schemas::frame::encode(&pixel, &mut value);
    value
}

/// The same pixel with another price: whatever it is, one of the two is wrong.
fn conflict(parcel: &Parcel) -> Option<(String, Parcel)> {
    let pixel: ImpressionPixel<'_> = schemas::frame::decode(&parcel.value).ok()?;
    let other = ImpressionPixel { win_price_micros: pixel.win_price_micros / 2, ..pixel };
    let mut value = Vec::new();
    schemas::frame::encode(&other, &mut value);
    let id = actors::ids::impression_event_id(other.bid_id);
    Some((id, Parcel { value, ..parcel.clone() }))
}
