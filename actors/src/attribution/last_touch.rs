//! Who earned a conversion: a pure function of a person's touches.

use super::state::{Conversion, Person, Touch};

/// An advertiser's clock may be this much behind ours, where it names the click itself.
const ADVERTISER_SKEW_MS: i64 = 5 * 60_000;

/// The touch that gets the credit. The click that the advertiser names counts first; else, or if that one is unknown,
/// invalid or out of the window, the person's last valid click not after the conversion. Both ends of the window are in it;
/// of clicks in the same millisecond the greater id is the later one.
pub fn credited<'a>(touches: &'a [Touch], conversion: &Conversion, window_ms: i64) -> Option<&'a Touch> {
    let in_window = |touch: &&Touch| !touch.invalid && conversion.at_ms.saturating_sub(touch.at_ms) <= window_ms;
    let named = conversion.click_event_id.as_ref().and_then(|id| {
        touches
            .iter()
            .find(|touch| touch.event_id == *id)
            .filter(|touch| in_window(touch) && touch.at_ms <= conversion.at_ms.saturating_add(ADVERTISER_SKEW_MS))
    });
    named.or_else(|| touches.iter().rev().filter(|touch| touch.at_ms <= conversion.at_ms).find(in_window))
}

/// A conversion whose credit has moved, as it stands now, and who has the credit.
pub type Moved = (Conversion, Option<Touch>);

impl Person {
    /// Puts a click in its place. Known already: only its invalidity can be new.
    pub fn touch(&mut self, touch: Touch) {
        // The same click has the same time in its event and its verdict, so its place is known.
        match self.touches.binary_search_by(|known| order(known).cmp(&order(&touch))) {
            Ok(at) => self.touches[at].invalid |= touch.invalid,
            Err(at) => self.touches.insert(at, touch),
        }
    }

    /// Puts a conversion in its place; a known one stays as it is.
    pub fn convert(&mut self, conversion: Conversion) {
        let key = |c: &Conversion| (c.at_ms, c.event_id.clone());
        if let Err(at) = self.conversions.binary_search_by_key(&key(&conversion), key) {
            self.conversions.insert(at, conversion);
        }
    }

    /// Credits every open conversion again; returns those that have a new result, each with its next version.
    pub fn recredit(&mut self, window_ms: i64) -> Vec<Moved> {
        let mut moved = Vec::new();
        for conversion in &mut self.conversions {
            let touch = credited(&self.touches, conversion, window_ms);
            let id = touch.map(|touch| &touch.event_id);
            if conversion.version > 0 && conversion.credited.as_ref() == id {
                continue;
            }
            conversion.version += 1;
            conversion.credited = id.cloned();
            moved.push((conversion.clone(), touch.cloned()));
        }
        moved
    }
}

fn order(touch: &Touch) -> (i64, &str) {
    (touch.at_ms, &touch.event_id)
}
