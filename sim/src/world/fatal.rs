//! Events that end the whole process (rule P12): the first one that a service takes after the fault began is marked, and
//! whichever process gives it to that service dies in the middle of it, for good. Only events of our own topics: the outside
//! would send what it had no answer for again with every death, each time as a new event.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use runtime::service::{Event, ServiceDef};
use runtime::testkit::before;
use runtime::topology::TopicKind;

use super::lock;
use crate::network::RemoteLog;

/// Which events are fatal to whom, shared by all processes.
#[derive(Clone, Default)]
pub(super) struct Fatal {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    /// Its next event is the one.
    armed: Option<String>,
    marked: BTreeSet<(&'static str, u64)>,
    /// What the processes say to the log; not a word more after a death.
    clients: Vec<RemoteLog>,
    struck: bool,
}

impl Fatal {
    pub(super) fn arm(&self, service: &str) {
        lock(&self.inner).armed = Some(service.to_owned());
    }

    pub(super) fn disarm(&self) {
        lock(&self.inner).armed = None;
    }

    pub(super) fn started(&self, client: RemoteLog) {
        lock(&self.inner).clients.push(client);
    }

    /// A process has died of an event since this was asked last.
    pub(super) fn has_struck(&self) -> bool {
        let mut inner = lock(&self.inner);
        let struck = std::mem::take(&mut inner.struck);
        if struck {
            inner.clients.clear();
        }
        struck
    }

    fn strikes(&self, service: &'static str, event: &Event<'_>) -> bool {
        let mut inner = lock(&self.inner);
        let armed = inner.armed.as_deref() == Some(service);
        if !armed && !inner.marked.iter().any(|(of, _)| *of == service) {
            return false;
        }
        let mark = (service, mark(event));
        if armed && event.topic.kind == TopicKind::Internal {
            inner.armed = None;
            inner.marked.insert(mark);
        }
        let strikes = inner.marked.contains(&mark);
        if strikes {
            inner.struck = true;
            inner.clients.iter().for_each(RemoteLog::die);
        }
        strikes
    }

    /// The services, each of which may take the process with it.
    pub(super) fn within(&self, services: Vec<ServiceDef>) -> Vec<ServiceDef> {
        let wrap = |def: ServiceDef| {
            let (fatal, service) = (self.clone(), def.spec.name);
            before(def, move |event| {
                // What a dead process still does reaches nobody.
                fatal.strikes(service, event);
                Ok(())
            })
        };
        services.into_iter().map(wrap).collect()
    }
}

/// FNV-1a over what the event is.
fn mark(event: &Event<'_>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let time = event.timestamp_ms.to_be_bytes();
    for part in [event.topic.name.as_bytes(), event.key, event.value, &time] {
        for byte in part {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash
}
