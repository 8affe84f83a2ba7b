//! The story of a violation: what each service did around it, side by side, from the lines of the trace.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::oracle::Violation;

/// Columns of services; those that the violation names come first, then the busiest.
const LANES_MAX: usize = 5;
const WIDTH: usize = 21;

/// One line of the trace, as far as the story needs it.
#[derive(Clone, Debug, PartialEq)]
struct Step {
    at_us: u64,
    /// The service; none for what befalls the world.
    service: Option<String>,
    text: String,
    /// Worth a line however long ago: faults, deaths, claims, stops.
    is_notable: bool,
}

/// Calls of the disk are left out: there are too many, and `run --trace` has them.
fn step(line: &str) -> Option<Step> {
    let mut words = line.split_whitespace();
    let at_us = (words.next()?.parse::<f64>().ok()? * 1e6).round() as u64;
    let (kind, place) = (words.next()?, words.next()?);
    let rest: Vec<&str> = words.collect();
    let number = |index: usize| rest.get(index).copied().unwrap_or("?");
    if matches!(kind, "fault" | "kill" | "start" | "network") || kind == "open" && place == "failed" {
        let mut text = format!("{kind} {place}");
        let said = rest.iter().filter(|word| word.parse::<i64>().is_err());
        said.for_each(|word| text.push_str(&format!(" {}", word.trim_matches('"'))));
        return Some(Step { at_us, service: None, text, is_notable: kind != "network" });
    }
    let (process, shard) = place.split_once('/')?;
    let (service, partition) = shard.rsplit_once('-')?;
    let what = match kind {
        "claim" => format!("claims at {}", number(0)),
        "restore" => format!("restored, next {}", number(0)),
        "deliver" => format!("takes {}..{}", number(1), number(2)),
        "commit" => format!("commits {} at {}", number(0), number(1)),
        "publish" => format!("publishes n {}", number(2)),
        "stop" => format!("stops: {}", rest.join(" ").trim_matches('"')),
        _ => return None,
    };
    let is_notable = matches!(kind, "claim" | "stop");
    Some(Step { at_us, service: Some(service.to_owned()), text: format!("{process}/{partition} {what}"), is_notable })
}

/// A swim-lane in text: `rows` lines before the violation, notable ones from further back than others.
pub fn story(lines: &[String], violation: &Violation, rows: usize) -> String {
    let end_us = (violation.at_ms + 1) * 1_000;
    let steps: Vec<Step> = lines.iter().filter_map(|line| step(line)).filter(|step| step.at_us <= end_us).collect();
    let notable = steps.iter().filter(|step| step.is_notable).count();
    let near = rows.saturating_sub(notable.min(rows / 2));
    let from = steps.len().saturating_sub(near);
    let earlier = steps[..from].iter().filter(|step| step.is_notable);
    let mut shown: Vec<&Step> = earlier.rev().take(rows - near.min(rows)).collect();
    shown.reverse();
    let left_out = from - shown.len();
    shown.extend(&steps[from..]);
    let lanes = lanes(&shown, violation);
    let mut text = String::new();
    let _ = writeln!(text, "{} at {} ms: {}", violation.invariant, violation.at_ms, violation.message);
    let _ = write!(text, "{:>11}  {:<WIDTH$}", "s", "world");
    lanes.iter().for_each(|lane| {
        let _ = write!(text, "| {lane:<WIDTH$}");
    });
    text.push('\n');
    if left_out > 0 {
        let _ = writeln!(text, "{:>11}  ({left_out} lesser steps before are left out)", "");
    }
    for step in shown {
        let lane = step.service.as_ref().and_then(|service| lanes.iter().position(|lane| lane == service));
        if step.service.is_some() && lane.is_none() {
            continue;
        }
        let _ = write!(text, "{:>11.6}  {:<WIDTH$}", step.at_us as f64 / 1e6, cell(step, lane.is_none()));
        for (index, _) in lanes.iter().enumerate() {
            let _ = write!(text, "| {:<WIDTH$}", cell(step, lane == Some(index)));
        }
        text.truncate(text.trim_end_matches([' ', '|']).len());
        text.push('\n');
    }
    let _ = writeln!(text, "{:>11.3}  {} is broken", violation.at_ms as f64 / 1e3, violation.invariant);
    text
}

fn cell(step: &Step, is_here: bool) -> String {
    if is_here { step.text.chars().take(WIDTH).collect() } else { String::new() }
}

fn lanes(shown: &[&Step], violation: &Violation) -> Vec<String> {
    let mut busy: BTreeMap<&str, usize> = BTreeMap::new();
    shown.iter().filter_map(|step| step.service.as_deref()).for_each(|service| *busy.entry(service).or_default() += 1);
    let mut all: Vec<(&str, usize)> = busy.into_iter().collect();
    all.sort_by_key(|(service, count)| (!violation.message.contains(service), usize::MAX - count, *service));
    all.into_iter().take(LANES_MAX).map(|(service, _)| service.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<String> {
        [
            "    1.000000 start      process-1 ",
            "    1.500000 write      journal-0 12 1 30B:abcdef",
            "    2.000000 fault      slow-disk 2000 100 7",
            "    2.100000 claim      1/billing-0 4 99",
            "    2.200000 commit     1/billing-0 7 11 300B:abcdef",
            "    2.300000 deliver    1/ads-1 1 5 9 \"impression-pixels\"",
            "    9.000000 commit     1/ads-1 8 12 300B:abcdef",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    #[test]
    fn lanes_stand_side_by_side_up_to_the_violation() {
        let message = "billing: lost".to_owned();
        let violation = Violation { invariant: "events_once".into(), at_ms: 3_000, message };
        let story = story(&lines(), &violation, 20);
        let find = |text: &str| story.lines().find(|line| line.contains(text)).unwrap_or_default().to_owned();
        assert!(find("s  world").contains("| billing") && find("world").contains("| ads"), "{story}");
        assert!(find("fault slow-disk").starts_with("   2.000000"), "{story}");
        assert!(find("commits 7 at 11").find('|') < find("takes 5..9").rfind('|'), "{story}");
        assert!(!story.contains("journal") && !story.contains("commits 8"), "{story}");
        assert!(story.ends_with("events_once is broken\n"), "{story}");
    }

    #[test]
    fn what_matters_is_kept_from_further_back() {
        let mut many = lines();
        many.truncate(4);
        many.extend((0..50).map(|n| format!("    2.5{n:05} commit     1/ads-0 {n} 20 3B:ab")));
        let violation = Violation { invariant: "x".into(), at_ms: 3_000, message: String::new() };
        let story = story(&many, &violation, 10);
        assert!(story.contains("slow-disk") && story.contains("claims at 4") && story.contains("left out"), "{story}");
        assert!(story.lines().count() < 16, "{story}");
    }
}
