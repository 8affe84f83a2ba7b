//! Dead letters from the fault to the recount: the commands of `docs/dead-letters.md`, run in their order on one directory, say
//! what the page says; then what the page leaves out.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tests::program::built;

struct Place {
    program: PathBuf,
    folder: tempfile::TempDir,
}

impl Place {
    /// A folder of its own, where the program finds its data without being told.
    fn new() -> Self {
        Self { program: built("bulkhead", "bulkhead"), folder: tempfile::tempdir().expect("a directory") }
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        for name in ["CONFIG", "PARTITIONS", "LISTS", "INSTANCE"] {
            command.env_remove(format!("BULKHEAD_{name}"));
        }
        command.env("BULKHEAD_DATA_DIR", "data").current_dir(self.folder.path());
        command.args(args).output().expect("the program starts")
    }

    fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["--output", "json"]].concat());
        let says = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}: {says}"))
    }

    fn fails(&self, args: &[&str], code: i32, says: &str) {
        let output = self.run(args);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(code) && text.contains(says), "{args:?}: {:?} {text}", output.status);
    }
}

/// Words of a command line; quotation marks keep what is between them together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('"').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// `…` stands for anything within a line; alone on its line for any lines.
fn follows(found: &[&str], page: &[&str]) -> bool {
    match page.split_first() {
        None => found.is_empty(),
        Some((&"…", rest)) => (0..=found.len()).any(|skipped| follows(&found[skipped..], rest)),
        Some((line, rest)) => {
            found.split_first().is_some_and(|(first, more)| is_like(first, line) && follows(more, rest))
        }
    }
}

fn is_like(found: &str, page: &str) -> bool {
    let mut parts = page.split('…');
    let Some(mut rest) = found.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

fn the_page_says_what_the_commands_answer(place: &Place) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/dead-letters.md")).expect("the page");
    let mut commands = 0;
    for block in page.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("console\n")) {
        let (command, answer) = block.split_once('\n').expect("a command and its answer");
        let args = words(command.strip_prefix("$ bulkhead ").expect("a command"));
        let output = place.run(&args.iter().map(String::as_str).collect::<Vec<_>>());
        let said = format!("{}exit {}\n", String::from_utf8_lossy(&output.stdout), output.status.code().unwrap_or(-1));
        let (found, wanted): (Vec<_>, Vec<_>) = (said.lines().collect(), answer.lines().collect());
        assert!(follows(&found, &wanted), "{command}\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
        commands += 1;
    }
    assert_eq!(commands, 10);
}

#[test]
fn one_poisoned_event_comes_back_as_if_nothing_had_happened() {
    let place = Place::new();
    the_page_says_what_the_commands_answer(&place);

    let verified = place.json(&["verify"]);
    assert_eq!(
        (&verified["ok"], &verified["recount_diff_micros"]),
        (&Value::from(true), &Value::from(0)),
        "{verified}"
    );
    let offsets = &verified["offsets"];
    assert_eq!(offsets["impressions/billing"]["dead_lettered"], 1);
    assert_eq!(
        (&offsets["billing-replay/billing"]["events"], &offsets["billing-replay/billing"]["done"]),
        (&1.into(), &1.into())
    );
    for (name, account) in offsets.as_object().expect("accounts") {
        assert_eq!(account["unaccounted"], 0, "{name}");
    }
    assert_eq!(place.json(&["dlq", "ls"])["count"], 0);
    let all = place.json(&["dlq", "ls", "--all"]);
    let letter = &all["letters"][0];
    assert_eq!((&all["count"], &letter["state"], &letter["attempts"]), (&1.into(), &"replayed".into(), &3.into()));
    let (id, key) = (letter["id"].as_str().expect("an id"), letter["key"].as_str().expect("a key"));

    // The bytes are those of the event, and what they hold can be asked for.
    let shown = place.json(&["dlq", "show", id]);
    assert_eq!((&shown["schema"], &shown["decode_error"]), (&"ImpressionEvent".into(), &Value::Null));
    assert!(shown["value_hex"].as_str().is_some_and(|hex| hex.starts_with("0000000001")), "{shown}");
    let campaign = format!("campaign_id={}", shown["record"]["campaign_id"].as_str().expect("a campaign"));
    let count = |args: &[&str]| place.json(&[&["dlq", "ls", "--all"], args].concat())["count"].as_u64();
    assert_eq!((count(&["--field", &campaign]), count(&["--field", "campaign_id=nobody"])), (Some(1), Some(0)));
    assert_eq!((count(&["--key", key]), count(&["--key", "nobody"])), (Some(1), Some(0)));
    assert_eq!((count(&["--since", "1h"]), count(&["--until", "1h"])), (Some(1), Some(0)));
    let out = place.folder.path().join("letters.jsonl");
    assert!(place.run(&["dlq", "export", "--all", "--to", "letters.jsonl"]).status.success());
    let line: Value = serde_json::from_str(&std::fs::read_to_string(out).expect("written")).expect("one line of JSON");
    assert_eq!((&line["id"], &line["value_hex"]), (&letter["id"], &shown["value_hex"]));

    place.fails(&["dlq", "show", "impressions-dlq/0/99999"], 2, "`dlq ls` lists them");
    place.fails(&["dlq", "replay", "--resume", "replay-0-0"], 2, "`dlq jobs` lists them");
    place.fails(&["dlq", "cancel", "replay-0-0"], 2, "`dlq jobs` lists them");
    place.fails(&["dlq", "replay", "--stop-if-failures", "5"], 2, "write 5%");
    place.fails(&["dlq", "ls", "--data", "nowhere"], 2, "no such directory");
    let jobs = place.json(&["dlq", "jobs"]);
    let job = jobs["jobs"][0]["job"].as_str().expect("a job");
    place.fails(&["dlq", "cancel", job], 2, "there is nothing to cancel");
}

/// Many letters of one service: a canary, then the rest, judged by the service itself; one is mended on its way.
#[test]
fn a_canary_goes_first_and_a_bad_one_stops_the_job() {
    let place = Place::new();
    let demo = ["demo", "--requests", "2500", "--speed", "4x", "--fault", "analytics:panic@500ms+1500ms"];
    let output = place.run(&demo);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let groups = place.json(&["dlq", "groups"]);
    let open = groups["letters"].as_u64().expect("a count");
    assert!(open > 10, "{groups}");
    // A price that the fold refuses: every one of the canary fails again, and the rest stays where it is.
    let bad = ["dlq", "replay", "--topic", "impressions", "--canary", "3", "--set", "win_price_micros=-1"];
    let trial = place.json(&[&bad[..], &["--dry-run"]].concat());
    assert!(trial["would_fail"].as_u64() > Some(3), "{trial}");
    assert_eq!(trial["failures"][0]["code"], "SEMANTIC_VIOLATION");
    let stopped = place.json(&bad);
    assert_eq!((&stopped["state"], &stopped["moved"]), (&"STOPPED".into(), &3.into()), "{stopped}");
    assert_eq!(stopped["failed_again"], 3);
    assert_eq!(place.json(&["dlq", "groups"])["letters"], open, "three again, none lost");
    // Those three come back with the price that they were given and fail again, a share below the limit.
    let job = place.json(&["dlq", "replay", "--canary", "5", "--stop-if-failures", "60%", "--rate", "5000/s"]);
    let of = |name: &str| job[name].as_u64().expect("a count");
    assert_eq!(job["state"], "FINISHED", "{job}");
    assert_eq!(of("scanned"), of("moved") + of("skipped") + of("failed"));
    assert_eq!((of("moved"), of("skipped"), of("failed"), of("failed_again")), (open, 3, 0, 3));
    assert!(place.run(&["up", "--until-idle"]).status.success());
    let verified = place.json(&["verify"]);
    assert_eq!(verified["ok"], true, "{verified}");
}
