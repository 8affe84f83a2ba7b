//! A service with something happening before each event: a strike, a wait, a failure.

use std::sync::Arc;

use crate::invariant::Checks;
use crate::outcome::{Failure, Handled};
use crate::service::{Effects, Event, Fold, ServiceDef};
use crate::state::AnyTable;

type Hook = Arc<dyn Fn(&Event<'_>) -> Result<(), Failure> + Send + Sync>;

/// The service, whose folds take an event only after `hook` has seen it and let it pass.
pub fn before(
    service: ServiceDef,
    hook: impl Fn(&Event<'_>) -> Result<(), Failure> + Send + Sync + 'static,
) -> ServiceDef {
    let hook: Hook = Arc::new(hook);
    service.wrapped(move |fold| Box::new(Before { fold, hook: hook.clone() }))
}

struct Before {
    fold: Box<dyn Fold>,
    hook: Hook,
}

impl Fold for Before {
    fn handle(&mut self, event: &Event<'_>, effects: &mut Effects<'_>) -> Result<Handled, Failure> {
        (self.hook)(event)?;
        self.fold.handle(event, effects)
    }
    fn tick(&mut self, effects: &mut Effects<'_>) {
        self.fold.tick(effects);
    }
    fn restate(&mut self, from: usize, effects: &mut Effects<'_>) -> Option<usize> {
        self.fold.restate(from, effects)
    }
    fn invariants(&self, checks: &mut Checks) {
        self.fold.invariants(checks);
    }
    fn tables(&mut self, visit: &mut dyn FnMut(&mut dyn AnyTable)) {
        self.fold.tables(visit);
    }
    fn begin_event(&mut self) {
        self.fold.begin_event();
    }
}
