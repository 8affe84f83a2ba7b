//! Faults on purpose: part of the product, so that anybody can see that a broken service is felt by no other.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use tokio::sync::Notify;

/// What a service can be made to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum FaultKind {
    /// Awaits for ever.
    Stall = 1,
    /// Burns a core and never yields.
    Spin,
    /// A thousand times slower.
    Slow,
    /// Every event fails as a transient error.
    Error,
    /// Every event panics.
    Panic,
    /// The first event handled is marked and panics each time, for good.
    Poison,
    /// The fold answers DependencyDown for every event.
    Down,
    /// Memory grows to its cap.
    Leak,
}

impl FaultKind {
    pub const ALL: [Self; 8] =
        [Self::Stall, Self::Spin, Self::Slow, Self::Error, Self::Panic, Self::Poison, Self::Down, Self::Leak];

    pub fn name(self) -> &'static str {
        match self {
            Self::Stall => "stall",
            Self::Spin => "spin",
            Self::Slow => "slow",
            Self::Error => "error",
            Self::Panic => "panic",
            Self::Poison => "poison",
            Self::Down => "down",
            Self::Leak => "leak",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Input topic, partition, offset.
pub type EventPosition = (&'static str, u32, i64);

/// The fault switch of one service.
#[derive(Default)]
pub struct FaultSwitch {
    active: AtomicU8,
    /// Times that the fault took hold.
    fired: AtomicU64,
    /// An event is marked in `poisoned`.
    has_poison: AtomicBool,
    poisoned: Mutex<Option<EventPosition>>,
    changed: Notify,
}

impl FaultSwitch {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn start(&self, kind: FaultKind) {
        self.active.store(kind as u8, Ordering::Release);
        self.changed.notify_waiters();
    }

    pub fn end(&self) {
        self.active.store(0, Ordering::Release);
        self.changed.notify_waiters();
    }

    pub fn active(&self) -> Option<FaultKind> {
        let active = self.active.load(Ordering::Acquire);
        FaultKind::ALL.into_iter().find(|kind| *kind as u8 == active)
    }

    #[inline]
    pub fn is(&self, kind: FaultKind) -> bool {
        self.active.load(Ordering::Acquire) == kind as u8
    }

    /// Resolves when `kind` is no longer active.
    pub async fn over(&self, kind: FaultKind) {
        loop {
            let changed = self.changed.notified();
            if !self.is(kind) {
                return;
            }
            changed.await;
        }
    }

    pub fn fire(&self) {
        self.fired.fetch_add(1, Ordering::Relaxed);
    }

    pub fn fired(&self) -> u64 {
        self.fired.load(Ordering::Relaxed)
    }

    /// `true` if this event panics: the one marked before, or the first one while `poison` is active.
    pub fn poisons(&self, event: EventPosition) -> bool {
        let mut poisoned = self.poisoned.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if poisoned.is_none() && self.is(FaultKind::Poison) {
            *poisoned = Some(event);
            self.has_poison.store(true, Ordering::Release);
        }
        *poisoned == Some(event)
    }

    /// Nothing is injected into any event: asked for each of them.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        self.active.load(Ordering::Acquire) == 0 && !self.has_poison.load(Ordering::Acquire)
    }
}
