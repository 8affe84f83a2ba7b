use proptest::prelude::*;

use super::*;

const HOUR_MS: i64 = HOUR_MINUTES * MINUTE_MS;

fn seen(at_ms: i64, fingerprint: &str) -> Seen<'_> {
    Seen { at_ms, fingerprint, service: "billing", stake_micros: 7, id: "impressions-dlq/0/1" }
}

/// `rate` letters of one group and `events` events each minute, judged after each.
fn play(detector: &mut Detector, from_minute: i64, minutes: i64, rate: u64, events: u64) -> Vec<Alert> {
    let mut alerts = Vec::new();
    for minute in from_minute..from_minute + minutes {
        let at_ms = minute * MINUTE_MS;
        (0..rate).for_each(|_| detector.letter(&seen(at_ms, "f")));
        detector.events(at_ms, "billing", events);
        alerts.extend(detector.judge(at_ms));
    }
    alerts
}

#[test]
fn a_flood_is_one_alert_with_its_money() {
    let mut detector = Detector::default();
    assert_eq!(play(&mut detector, 0, 60, 0, 10_000), []);
    let alerts = play(&mut detector, 60, 120, 100, 10_000);
    let [alert] = &alerts[..] else { panic!("{alerts:?}") };
    assert_eq!((alert.fingerprint.as_str(), alert.service.as_str()), ("f", "billing"));
    assert!(alert.letters_per_minute > 10.0 && alert.share > 0.001 && alert.usual_per_minute == 0.0, "{alert:?}");
    assert!(alert.stake_micros >= 700 && alert.sample == "impressions-dlq/0/1", "{alert:?}");
    assert_eq!(detector.alerts, 1);
    // Calm for a while, then again.
    assert_eq!(play(&mut detector, 180, 180, 0, 10_000), []);
    assert_eq!(play(&mut detector, 360, 10, 100, 10_000).len(), 1);
}

#[test]
fn a_small_share_is_no_alert() {
    assert_eq!(play(&mut Detector::default(), 0, 120, 100, 1_000_000), []);
}

/// Every day at the same hour the same nuisance: after a while nobody is told any more, but more than that is told.
#[test]
fn what_comes_every_day_is_usual() {
    let mut detector = Detector::default();
    let mut told = Vec::new();
    for day in 0..20 {
        let minute = day * 24 * HOUR_MINUTES;
        told.push(play(&mut detector, minute, 60, 30, 10_000).len());
        play(&mut detector, minute + 60, 23 * 60, 0, 10_000);
    }
    assert_eq!((told[0], told[19]), (1, 0), "{told:?}");
    let usual = play(&mut detector, 20 * 24 * HOUR_MINUTES, 60, 300, 10_000);
    assert!(usual.len() == 1 && usual[0].usual_per_minute > 25.0, "{usual:?}");
}

proptest! {
    /// Never an alert at or below the least rate, whatever the order and the share.
    #[test]
    fn a_trickle_is_never_an_alert(minutes in proptest::collection::vec((0u64..=10, 0u64..50), 1..200)) {
        let mut detector = Detector::default();
        for (minute, (rate, events)) in minutes.into_iter().enumerate() {
            prop_assert_eq!(play(&mut detector, minute as i64, 1, rate, events), []);
        }
    }

    /// An alert is true: its rate is above its threshold, its money is the sum of what came, and no group has two in a
    /// run of minutes that are all bad.
    #[test]
    fn alerts_are_true_and_single(rates in proptest::collection::vec(11u64..60, 6..60), events in 100u64..1_000) {
        let mut detector = Detector::default();
        let mut alerts = Vec::new();
        for (minute, rate) in rates.iter().enumerate() {
            for alert in play(&mut detector, minute as i64, 1, *rate, events) {
                let letters: u64 = rates[..=minute].iter().sum();
                prop_assert_eq!(alert.stake_micros, 7 * letters as i64);
                prop_assert!(alert.letters_per_minute > 10f64.max(5.0 * alert.usual_per_minute));
                prop_assert!(alert.at_ms < HOUR_MS && alert.share <= 1.0);
                alerts.push(alert);
            }
        }
        prop_assert_eq!(alerts.len(), 1);
    }

    /// Groups do not answer for each other.
    #[test]
    fn groups_are_apart(a in 0u64..10, b in 60u64..100) {
        let mut detector = Detector::default();
        (0..a * 5).for_each(|_| detector.letter(&seen(0, "a")));
        (0..b * 5).for_each(|_| detector.letter(&seen(0, "b")));
        let alerts = detector.judge(0);
        prop_assert!(alerts.iter().all(|alert| alert.fingerprint == "b") && alerts.len() == 1);
    }
}
