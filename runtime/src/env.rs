//! The seams: everything that can differ between production and simulation, chosen once at start.
//!
//! Time, randomness and threads are taken from here and from nowhere else (clippy forbids the rest), because a
//! simulation that owns them can replay a whole platform from a seed, byte for byte.
#![allow(clippy::disallowed_methods)] // the one place that may ask the system

pub mod sched;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::alloc::Owner;

/// Everything that differs between worlds. Cheap to clone.
#[derive(Clone)]
pub struct Env {
    pub clock: Clock,
    pub random: Random,
    pub threads: Threads,
}

impl Env {
    /// Real time, randomness from the operating system, one tokio runtime a bulkhead.
    pub fn production() -> Self {
        let mut seed = [0u8; 8];
        getrandom::fill(&mut seed).expect("the operating system gives randomness");
        Self {
            clock: Clock::system(),
            random: Random { seed: u64::from_le_bytes(seed) },
            threads: Threads::PerBulkhead,
        }
    }

    /// Production without bulkheads: everything on one runtime of `threads` workers, as in one naive process. Only the control
    /// of the isolation matrix wants that.
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn without_bulkheads(threads: usize) -> std::io::Result<Self> {
        let shared = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_time().build()?;
        Ok(Self { threads: Threads::Shared(Arc::new(Shared(Some(shared)))), ..Self::production() })
    }

    /// Virtual time (tokio's paused clock), randomness from `seed`, everything on the current runtime.
    /// Call it inside a `current_thread` runtime with paused time. `epoch_ms` is the wall clock's start.
    pub fn simulation(seed: u64, epoch_ms: i64) -> Self {
        Self { clock: Clock::virtual_from(epoch_ms, 1), random: Random { seed }, threads: Threads::Current }
    }

    /// The same for worlds that charge microseconds. tokio's timers tick in whole milliseconds, so that time passes a
    /// thousand times slower underneath, and nobody notices.
    pub fn fine_simulation(seed: u64, epoch_ms: i64) -> Self {
        Self { clock: Clock::virtual_from(epoch_ms, 1_000), random: Random { seed }, threads: Threads::Current }
    }

    pub fn is_simulation(&self) -> bool {
        matches!(self.threads, Threads::Current)
    }

    /// `false` only in the control of the isolation matrix: what keeps a thread there keeps it from everybody.
    pub fn has_bulkheads(&self) -> bool {
        !matches!(self.threads, Threads::Shared(_))
    }

    /// 32 bytes that nobody outside can guess, for keys and tokens. In the simulation they follow from the seed.
    pub fn secret(&self, name: &str) -> [u8; 32] {
        let mut secret = [0u8; 32];
        if self.is_simulation() {
            self.random.stream(name).fill(&mut secret);
        } else {
            getrandom::fill(&mut secret).expect("the operating system gives randomness");
        }
        secret
    }
}

/// Monotonic and wall time. Sleeping goes through tokio's clock in both worlds, which the simulation pauses.
#[derive(Clone)]
pub struct Clock {
    origin: tokio::time::Instant,
    /// Wall milliseconds at `origin`.
    wall_origin_ms: i64,
    /// Added to the wall clock, ms: simulated skew, and time run forward.
    skew_ms: Arc<AtomicI64>,
    system: bool,
    /// tokio's time for one of ours; 1 but in a fine simulation.
    stretch: u32,
}

impl Clock {
    fn system() -> Self {
        Self::from(system_ms(), true, 1)
    }

    fn virtual_from(epoch_ms: i64, stretch: u32) -> Self {
        Self::from(epoch_ms, false, stretch)
    }

    fn from(wall_origin_ms: i64, system: bool, stretch: u32) -> Self {
        Self { origin: tokio::time::Instant::now(), wall_origin_ms, skew_ms: Arc::default(), system, stretch }
    }

    /// Microseconds since this clock was made; never goes back.
    pub fn mono_us(&self) -> u64 {
        (self.origin.elapsed().as_micros() / u128::from(self.stretch)) as u64
    }

    /// Milliseconds since the Unix epoch.
    pub fn wall_ms(&self) -> i64 {
        let since = if self.system { system_ms() } else { self.wall_origin_ms + (self.mono_us() / 1_000) as i64 };
        since + self.skew_ms.load(Ordering::Relaxed)
    }

    /// Simulation only: moves the wall clock, never the monotonic one.
    pub fn set_skew_ms(&self, skew_ms: i64) {
        assert!(!self.system, "the system's clock is not ours to move");
        self.skew_ms.store(skew_ms, Ordering::Relaxed);
    }

    /// Lets wall time run ahead, so that what waits for its time comes due at once (`up --until-idle`).
    pub fn run_forward(&self, by_ms: i64) {
        assert!(by_ms >= 0, "time runs forward");
        self.skew_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// What a timer that is not ours, ractor's for example, has to be set to.
    pub fn timer(&self, duration: Duration) -> Duration {
        duration.saturating_mul(self.stretch)
    }

    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(self.timer(duration)).await;
    }

    /// `None` when `duration` passed first.
    pub async fn timeout<F: Future>(&self, duration: Duration, future: F) -> Option<F::Output> {
        tokio::time::timeout(self.timer(duration), future).await.ok()
    }
}

fn system_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map(|d| d.as_millis() as i64).unwrap_or(0)
}

/// Randomness in named streams: what one stream draws never shifts another, so a removed fault moves nothing else.
#[derive(Clone)]
pub struct Random {
    seed: u64,
}

impl Random {
    /// Streams of one seed, without a world around them.
    pub fn seeded(seed: u64) -> Self {
        Self { seed }
    }

    pub fn stream(&self, name: &str) -> fastrand::Rng {
        // FNV-1a over the name, mixed with the seed: stable over builds and machines.
        let mut hash = 0xcbf2_9ce4_8422_2325u64 ^ self.seed.rotate_left(32);
        for byte in name.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        fastrand::Rng::with_seed(hash ^ self.seed)
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }
}

/// Where the tasks of a bulkhead run.
#[derive(Clone)]
pub enum Threads {
    /// A tokio runtime of its own, threads named after the bulkhead.
    PerBulkhead,
    /// One runtime for all.
    Shared(Arc<Shared>),
    /// The current runtime: one thread, virtual time.
    Current,
}

/// A runtime that may be dropped anywhere: what still spins in it is left alone.
pub struct Shared(Option<tokio::runtime::Runtime>);

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The runtime of one bulkhead. Dropping it in production ends its threads without waiting for what never yields.
pub struct BulkheadRuntime {
    handle: tokio::runtime::Handle,
    own: Option<tokio::runtime::Runtime>,
}

impl BulkheadRuntime {
    /// `threads` worker threads named `name`; `nice` raises their niceness (0 serves first, 19 last).
    pub fn new(env: &Env, name: &str, threads: usize, nice: i32) -> std::io::Result<Self> {
        Self::build(env, name, threads, nice, |builder| builder)
    }

    /// Like `new`, for a bulkhead that also speaks to the network.
    pub fn with_network(env: &Env, name: &str, threads: usize, nice: i32) -> std::io::Result<Self> {
        Self::build(env, name, threads, nice, tokio::runtime::Builder::enable_io)
    }

    fn build(
        env: &Env,
        name: &str,
        threads: usize,
        nice: i32,
        enable: impl FnOnce(&mut tokio::runtime::Builder) -> &mut tokio::runtime::Builder,
    ) -> std::io::Result<Self> {
        match &env.threads {
            Threads::Current => Ok(Self { handle: tokio::runtime::Handle::current(), own: None }),
            Threads::Shared(shared) => {
                let handle = shared.0.as_ref().map(|runtime| runtime.handle().clone());
                Ok(Self { handle: handle.ok_or_else(|| std::io::Error::other("the runtime has ended"))?, own: None })
            }
            Threads::PerBulkhead => {
                let owner = Owner::named(name);
                let mut builder = tokio::runtime::Builder::new_multi_thread();
                builder
                    .worker_threads(threads)
                    .max_blocking_threads(2)
                    .thread_name(name)
                    .on_thread_start(move || {
                        owner.adopt_thread();
                        sched::lower_priority(nice);
                    })
                    .enable_time();
                let own = enable(&mut builder).build()?;
                Ok(Self { handle: own.handle().clone(), own: Some(own) })
            }
        }
    }

    pub fn handle(&self) -> &tokio::runtime::Handle {
        &self.handle
    }

    pub fn spawn<F>(&self, future: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.handle.spawn(future)
    }
}

impl Drop for BulkheadRuntime {
    fn drop(&mut self) {
        if let Some(own) = self.own.take() {
            own.shutdown_background();
        }
    }
}
