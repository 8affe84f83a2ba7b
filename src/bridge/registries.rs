//! Values carry the ids of their schemas: both sides must mean the same by them.

use runtime::log::Log;
use schemas::registry::FIRST_FREE_ID;

use super::BridgeError;
use crate::registry::store;

/// Compares the registries that the logs hold. A side without one has an external registry, and nothing is known of it. With
/// `_schemas` among the topics the target gets what it lacks.
///
/// # Errors
/// [`BridgeError`]: an id that stands for something else in the target, or for nothing.
pub fn agree(from: &dyn Log, to: &dyn Log, topics: &[String]) -> Result<(), BridgeError> {
    if [from, to].iter().any(|log| log.topic(store::TOPIC).is_none()) {
        return Ok(());
    }
    let read = |log| store::read_only(log).map_err(|error| BridgeError::Registry { reason: error.to_string() });
    let (from, to) = (read(from)?, read(to)?);
    let carried = topics.iter().any(|topic| topic == store::TOPIC);
    for id in 1..=from.id_max() {
        let Ok(ours) = from.by_id(id) else { continue };
        match to.by_id(id) {
            Ok(theirs) if theirs.guid == ours.guid => {}
            Ok(_) => return Err(BridgeError::OtherSchema { id }),
            // Built-in schemas have the same ids everywhere; a platform's first start registers them.
            Err(_) if carried || id < FIRST_FREE_ID => {}
            Err(_) => return Err(BridgeError::NoSchema { id }),
        }
    }
    Ok(())
}
