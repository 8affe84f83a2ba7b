//! The longest that any message of 64 KiB keeps a decoder busy, printed as JSON included.

use crate::cpu::thread_seconds;
use schemas::{
    builtin,
    codec::Limits,
    hostile, json,
    model::Schema,
    plan::Plan,
    proof::{Random, draw},
};
use std::{error::Error, hint::black_box};

/// Of each message the best of some: what else the machine does is not the message's doing.
const REPEATS: usize = 3;

/// Milliseconds of CPU of the worst of all hostile messages, from the start and behind the beginning of a value, read as
/// each built-in schema and as schemas whose values cost more than their bytes.
pub fn worst_ms() -> Result<f64, Box<dyn Error>> {
    let texts = builtin().iter().map(|b| b.avsc).chain(hostile::GREEDY);
    let mut worst = 0.0_f64;
    for (which, text) in texts.enumerate() {
        let schema = Schema::parse(text)?;
        let plan = Plan::new(&schema, &schema)?;
        let drawn = draw(&schema, &mut Random(which as u64)).unwrap_or_default();
        for (_, bytes) in hostile::messages() {
            for keep in [0, drawn.len() / 3, drawn.len() * 2 / 3] {
                let message = [&drawn[..keep], &bytes[keep..]].concat();
                let mut out = Vec::new();
                let printed = best_ms(|| json::decode(&plan, &message, &Limits::EVENT).is_ok());
                let typed = builtin().get(which).map_or(0.0, |b| best_ms(|| (b.recode)(&message, &mut out).is_ok()));
                worst = worst.max(printed).max(typed);
            }
        }
    }
    Ok(worst)
}

fn best_ms<T>(mut work: impl FnMut() -> T) -> f64 {
    let mut once = || {
        let start = thread_seconds();
        black_box(work());
        1e3 * (thread_seconds() - start)
    };
    (0..REPEATS).map(|_| once()).fold(f64::MAX, f64::min)
}
