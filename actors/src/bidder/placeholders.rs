//! User ids that are no person, as far as they are known now.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use runtime::outcome::Failure;
use runtime::service::Event;
use runtime::topology::Topic;
use runtime::view::View;
use schemas::events::PlaceholderUser;
use smol_str::SmolStr;

use crate::topics::PLACEHOLDER_USERS;

/// Most ids kept. Real traffic has a handful for each exchange; a hundred thousand would be an attack on this set, and
/// what does not fit is treated as what it claims to be.
const PLACEHOLDERS_MAX: usize = 100_000;

/// A snapshot of known placeholder ids.
#[derive(Clone, Debug, Default)]
pub struct Placeholders(BTreeSet<SmolStr>);

impl Placeholders {
    /// A snapshot of these ids.
    pub fn new(ids: impl IntoIterator<Item = SmolStr>) -> Placeholders {
        Placeholders(ids.into_iter().collect())
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// None is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an id is known to be no person.
    pub fn contains(&self, user_id: &str) -> bool {
        self.0.contains(user_id)
    }
}

/// Folds `placeholder-users` into snapshots.
pub struct PlaceholdersView {
    ids: BTreeSet<SmolStr>,
    changed: bool,
    shared: Arc<ArcSwap<Placeholders>>,
}

impl PlaceholdersView {
    /// The view, and where its readers find the latest snapshot.
    pub fn new() -> (PlaceholdersView, Arc<ArcSwap<Placeholders>>) {
        let shared = Arc::new(ArcSwap::from_pointee(Placeholders::default()));
        (PlaceholdersView { ids: BTreeSet::new(), changed: false, shared: Arc::clone(&shared) }, shared)
    }
}

impl View for PlaceholdersView {
    fn name(&self) -> &'static str {
        "placeholders"
    }

    fn topics(&self) -> Vec<&'static Topic> {
        vec![&PLACEHOLDER_USERS]
    }

    fn apply(&mut self, event: &Event<'_>) -> Result<(), Failure> {
        let found: PlaceholderUser<'_> = event.decode()?;
        if self.ids.len() < PLACEHOLDERS_MAX {
            self.changed |= self.ids.insert(found.user_id.into());
        }
        Ok(())
    }

    fn publish(&mut self) {
        if std::mem::take(&mut self.changed) {
            self.shared.store(Arc::new(Placeholders(self.ids.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::log::Headers;

    #[test]
    fn a_found_id_is_known_once_published() {
        let (mut view, shared) = PlaceholdersView::new();
        let mut value = Vec::new();
        schemas::frame::encode(&PlaceholderUser { user_id: "nobody", ..PlaceholderUser::default() }, &mut value);
        let event = Event {
            topic: &PLACEHOLDER_USERS,
            key: b"nobody",
            timestamp_ms: 1,
            value: &value,
            headers: Headers::empty(),
        };
        view.apply(&event).expect("event");
        assert!(!shared.load().contains("nobody"));
        view.publish();
        assert!(shared.load().contains("nobody") && !shared.load().contains("somebody"));
    }
}
