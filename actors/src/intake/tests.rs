use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const TOPIC: &str = "test";

fn arrival(name: u8, content: u64, at_ms: i64) -> Arrival {
    Arrival { topic: TOPIC, id: id(&format!("event-{name}")), content, at_ms }
}

#[test]
fn times_are_kept_clamped_or_refused() {
    let now = 1_000 * DAY_MS;
    assert_eq!(event_time(now - DAY_MS, now).unwrap(), EventTime { ms: now - DAY_MS, skew_ms: 0 });
    assert_eq!(event_time(now + SKEW_TOLERATED_MS, now).unwrap().ms, now + SKEW_TOLERATED_MS);
    assert_eq!(event_time(now + HOUR_MS, now).unwrap(), EventTime { ms: now, skew_ms: HOUR_MS });
    for bad in [now + FUTURE_MAX_MS + 1, 0, -1, i64::MIN, i64::MAX] {
        assert_eq!(event_time(bad, now).unwrap_err().reason().code, "TIMESTAMP_RANGE", "{bad}");
    }
}

#[test]
fn ids_keep_texts_apart() {
    let ours = "00112233445566778899aabbccddeeff";
    assert_eq!(id(ours)[..3], [0x00, 0x11, 0x22]);
    assert_ne!(id(ours), id(&ours.to_uppercase()));
    assert_ne!(id("a"), id("b"));
    assert_ne!(id(""), id(" "));
    assert_ne!(fingerprint(&[b"ab", b"c"]), fingerprint(&[b"a", b"bc"]));
}

proptest! {
    /// Rows hold fingerprints: a shorter way to one must not change it.
    #[test]
    fn a_fingerprint_is_fnv_1a_of_each_length_and_its_bytes(
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 0..4)
    ) {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        let plain = parts.iter().fold(0xcbf2_9ce4_8422_2325, |hash, part| {
            part.iter().fold((part.len() as u64).to_le_bytes().iter().fold(hash, step), step)
        });
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        prop_assert_eq!(fingerprint(&parts), plain);
    }
}

#[test]
fn user_key_ignores_empty_ids() {
    assert_eq!(user_key(Some("u"), "i"), "u");
    assert_eq!(user_key(Some(""), "i"), "i");
    assert_eq!(user_key(None, "i"), "i");
}

proptest! {
    /// Against a plain map that forgets nothing: every arrival has the fate that its age and history say.
    #[test]
    fn admission_is_what_history_says(
        arrivals in proptest::collection::vec((0u8..12, 0u64..2, 0i64..400), 0..80),
        horizon_ms in 1i64..200,
    ) {
        let (mut taken, mut clocks) = (id_table("ids"), clock_table());
        let mut history: BTreeMap<u8, (u64, i64)> = BTreeMap::new();
        let mut clock = i64::MIN;
        for (name, content, at_ms) in arrivals {
            let oldest = clock.saturating_sub(horizon_ms);
            let known = history.get(&name).copied();
            let result = admit(&mut taken, &mut clocks, horizon_ms, arrival(name, content, at_ms));
            if at_ms < oldest {
                prop_assert_eq!(result.unwrap_err().kind(), "EXPIRED");
                continue;
            }
            match (known, result) {
                // A row beyond the horizon may have been swept or not yet: both fates are right for a reused id.
                (Some((_, first)), Ok(_) | Err(_)) if first < oldest => {
                    if let Some(seen) = taken.get(&id(&format!("event-{name}"))) {
                        history.insert(name, (seen.content, seen.at_ms));
                    }
                }
                (Some((first, _)), Ok(Admission::Repeated)) => prop_assert_eq!(first, content),
                (Some((first, _)), Err(failure)) => {
                    prop_assert_ne!(first, content);
                    prop_assert_eq!(failure.reason().code, "ID_CONFLICT");
                }
                (None, Ok(Admission::New)) => {
                    history.insert(name, (content, at_ms));
                }
                (known, result) => prop_assert!(false, "{:?} gave {:?}", known, result),
            }
            clock = clock.max(clock_ms(&clocks, TOPIC));
        }
        sweep(&mut taken, clock, horizon_ms, usize::MAX);
        prop_assert!(taken.unordered().all(|(_, seen)| seen.at_ms >= clock.saturating_sub(horizon_ms)));
    }
}
