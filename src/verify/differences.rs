//! What is not as it should be.

use serde::Serialize;

/// Differences that are listed; of the others only the number is kept.
const LISTED_MAX: usize = 100;

/// One row that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Topic and row, and the field where there is one.
    #[serde(rename = "where")]
    pub place: String,
    pub expected: String,
    pub found: String,
}

/// The first differences, and how many there are.
#[derive(Clone, Debug, Default)]
pub struct Differences {
    pub listed: Vec<Difference>,
    pub count: u64,
}

impl Differences {
    pub fn add(&mut self, place: impl Into<String>, expected: impl ToString, found: impl ToString) {
        self.count += 1;
        if self.listed.len() < LISTED_MAX {
            let (expected, found) = (clip(expected.to_string()), clip(found.to_string()));
            self.listed.push(Difference { place: place.into(), expected, found });
        }
    }
}

/// Values are for people to compare: a screen's width is enough.
fn clip(mut text: String) -> String {
    const MAX: usize = 400;
    if text.len() > MAX {
        let end = (0..=MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str(" ...");
    }
    text
}
