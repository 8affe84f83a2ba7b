//! Which letters are meant.

use serde::{Deserialize, Serialize};

use super::letters::OwnedLetter;
use super::value::{self, Schemas};

/// All that is stated must hold; nothing stated is every letter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selection {
    /// `impressions-dlq/2/17`.
    pub id: Option<String>,
    pub service: Option<String>,
    /// Where the event came from.
    pub topic: Option<String>,
    pub fingerprint: Option<String>,
    pub code: Option<String>,
    /// The event's key.
    pub key: Option<String>,
    /// By the time of the last failure, ms: from, and before.
    pub since_ms: Option<i64>,
    pub until_ms: Option<i64>,
    /// Paths in the decoded record and their values. A record that cannot be decoded has none.
    pub fields: Vec<(String, String)>,
}

impl Selection {
    pub fn matches(&self, letter: &OwnedLetter, schemas: &Schemas) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        is(&self.service, &letter.event.service)
            && is(&self.topic, &letter.event.topic)
            && is(&self.fingerprint, &letter.fingerprint)
            && is(&self.code, &letter.code)
            && self.id.as_ref().is_none_or(|id| *id == letter.id.to_string())
            && self.key.as_ref().is_none_or(|key| key.as_bytes() == letter.key)
            && self.since_ms.is_none_or(|since_ms| letter.last_failed_ms >= since_ms)
            && self.until_ms.is_none_or(|until_ms| letter.last_failed_ms < until_ms)
            && self.fields_match(letter, schemas)
    }

    fn fields_match(&self, letter: &OwnedLetter, schemas: &Schemas) -> bool {
        if self.fields.is_empty() {
            return true;
        }
        let Ok(decoded) = schemas.read(letter) else { return false };
        let json = decoded.json();
        self.fields
            .iter()
            .all(|(path, wanted)| value::at(&json, path).is_some_and(|found| value::text(found) == *wanted))
    }
}
