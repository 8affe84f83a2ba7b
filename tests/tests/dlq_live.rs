//! Dead letters of a process that runs, through its admin listener: a service that pauses because everything fails is seen and
//! let go on from outside, its letters are listed and put away by the command, and every change needs the token and is a row.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use actors::topics::IMPRESSIONS;
use bulkhead::admin::{Admin, State};
use bulkhead::config::{PlatformArgs, resolve};
use bulkhead::platform::{Composed, Variant, compose};
use runtime::env::Env;
use runtime::log::{AppendOptions, BatchBuilder, Compression, TopicPartition};
use serde_json::{Value, json};
use tests::http::{get, request};
use tests::program::built;

const TOKEN: &str = "a token";
/// More than the flood guard lets pass at once.
const BROKEN: u64 = 300;
const STEP: Duration = Duration::from_millis(20);
const STEPS_MAX: u32 = 3_000;

struct Running {
    up: Arc<Composed>,
    admin: Admin,
    tokio: tokio::runtime::Runtime,
    _directory: tempfile::TempDir,
}

impl Running {
    fn new() -> Self {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let directory = tempfile::tempdir().expect("a directory");
        let settings = resolve(&PlatformArgs { partitions: Some(1), ..PlatformArgs::default() }).expect("settings");
        let (up, admin) = tokio.block_on(async {
            let env = Env::production();
            let up = compose(&env, directory.path(), &settings, &Variant::default()).await.expect("a platform");
            let up = Arc::new(up);
            let state = State::new(up.clone(), None, directory.path().to_owned(), TOKEN).expect("a thread");
            let admin = Admin::start(&env, state, Some("127.0.0.1:0")).await.expect("a listener");
            (up, admin)
        });
        Self { up, admin, tokio, _directory: directory }
    }

    fn at(&self) -> SocketAddr {
        self.admin.address
    }

    /// Bytes that no service can read.
    fn append_broken(&self) {
        let log = &self.up.log;
        let to = TopicPartition { topic: log.topic(IMPRESSIONS.name).expect("a topic"), partition: 0 };
        let mut batch = BatchBuilder::new(Compression::None);
        for number in 0..BROKEN {
            batch.push(1_000, Some(number.to_string().as_bytes()), Some(b"no record"), &[]).expect("room");
        }
        let options = AppendOptions { group: log.producer_group("broken", 1 << 20), fence: None };
        self.tokio.block_on(log.append(to, batch.finish(), options)).expect("appended");
    }

    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        self.tokio.block_on(async {
            for _ in 0..STEPS_MAX {
                if is_so() {
                    return;
                }
                self.up.env.clock.sleep(STEP).await;
            }
            panic!("{what} does not come");
        });
    }

    fn paused(&self) -> Option<&'static str> {
        self.up.platform.bulkhead("billing").expect("a service").paused()
    }

    fn post(&self, what: &str, token: &str, body: &Value) -> tests::http::Reply {
        self.post_to(&format!("/dlq/{what}"), token, body)
    }

    fn post_to(&self, path: &str, token: &str, body: &Value) -> tests::http::Reply {
        let bearer = format!("Bearer {token}");
        request(self.at(), "POST", path, &[("authorization", &bearer)], body.to_string().as_bytes())
    }

    /// The program, told where to ask.
    fn dlq(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let mut command = Command::new(built("bulkhead", "bulkhead"));
        command.arg("dlq").args(arguments).args(["--admin", &self.at().to_string(), "--output", "json"]);
        let output = command.env("BULKHEAD_ADMIN_TOKEN", TOKEN).output().expect("the program starts");
        let says = String::from_utf8_lossy(&output.stderr);
        let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {says}"));
        (output.status.code(), json)
    }
}

fn of_billing() -> Value {
    json!({ "selection": { "service": "billing" } })
}

#[test]
fn a_paused_service_is_seen_and_released_and_its_letters_put_away_from_outside() {
    let running = Running::new();
    running.append_broken();
    running.until("the pause", || running.paused() == Some("flood"));
    let metrics = get(running.at(), "/metrics").text();
    assert!(metrics.contains("bulkhead_paused{service=\"billing\",why=\"flood\"} 1"), "{metrics}");
    assert!(metrics.contains("bulkhead_floods_total{service=\"billing\"} 1"), "{metrics}");
    assert!(metrics.contains("bulkhead_dead_letter_alerts_total{service=\"billing\"} "), "{metrics}");
    assert!(get(running.at(), "/actors").text().contains("\"paused\":\"flood\""));

    let release = json!({ "order": { "selection": { "service": "billing" }, "actor": "me", "reason": "known" } });
    assert_eq!(running.post("release", "a guess", &release).status, 401);
    assert_eq!(running.paused(), Some("flood"), "nothing was changed");
    let released = running.post("release", TOKEN, &release);
    assert_eq!((released.status, &released.json()["state"]), (200, &json!("FINISHED")), "{}", released.text());
    let all = format!("/dlq/letters?q={}", of_billing().to_string().replace('"', "%22"));
    running.until("the rest", || get(running.at(), &all).json()["count"] == json!(BROKEN));
    assert_eq!(running.paused(), None);

    let (code, groups) = running.dlq(&["groups", "--service", "billing"]);
    assert_eq!((code, &groups["letters"]), (Some(0), &json!(BROKEN)), "{groups}");
    let (code, tried) = running.dlq(&["replay", "--dry-run", "--service", "billing"]);
    assert_eq!((code, &tried["would_fail"], &tried["dry_run"]), (Some(1), &json!(BROKEN), &json!(true)), "{tried}");
    let (code, shown) = running.dlq(&["show"]);
    assert_eq!((code, &shown["value_hex"]), (Some(0), &json!("6e6f207265636f7264")));
    let (code, done) = running.dlq(&["discard", "--service", "billing", "--reason", "no records"]);
    assert_eq!((code, &done["moved"], &done["state"]), (Some(0), &json!(BROKEN), &json!("FINISHED")), "{done}");
    let (_, left) = running.dlq(&["ls", "--service", "billing"]);
    assert_eq!(left["count"], json!(0));

    let (_, jobs) = running.dlq(&["jobs"]);
    let rows: Vec<(&Value, &Value)> =
        jobs["jobs"].as_array().expect("rows").iter().map(|job| (&job["kind"], &job["reason"])).collect();
    assert_eq!(rows, [(&json!("release"), &json!("known")), (&json!("discard"), &json!("no records"))]);
    assert_eq!(running.post("discard", TOKEN, &json!({ "wrong": 1 })).status, 400);
    assert_eq!(get(running.at(), "/dlq/nothing").status, 404);
}

#[test]
fn a_service_is_broken_on_purpose_from_outside_and_only_as_long_as_was_said() {
    let running = Running::new();
    let active = |of: &str| {
        let shown = get(running.at(), "/faults").json();
        let rows = shown["faults"].as_array().expect("rows").clone();
        rows.iter().find(|row| row["service"] == of).expect("the service")["fault"].clone()
    };
    let (stall, end) =
        (json!({ "service": "billing", "kind": "stall", "for_s": 600 }), json!({ "service": "billing", "for_s": 0 }));
    assert_eq!(running.post_to("/faults", "a guess", &stall).status, 401);
    assert_eq!(active("billing"), Value::Null);
    for wrong in [
        json!({ "service": "bilking", "kind": "stall", "for_s": 1 }),
        json!({ "service": "billing", "kind": "sulk", "for_s": 1 }),
        json!({ "service": "billing", "kind": "stall", "for_s": 601 }),
    ] {
        assert_eq!(running.post_to("/faults", TOKEN, &wrong).status, 400, "{wrong}");
    }
    assert_eq!(running.post_to("/faults", TOKEN, &stall).status, 200);
    assert_eq!((active("billing"), active("fraud")), (json!("stall"), Value::Null));
    // It takes hold: nothing of what comes is settled until it is over.
    running.append_broken();
    let billing = running.up.platform.bulkhead("billing").expect("a service");
    running.until("the fault", || billing.faults.fired() > 0);
    assert_eq!(billing.stats.tally().total(), 0);
    assert_eq!(running.post_to("/faults", TOKEN, &end).status, 200);
    running.until("its end", || billing.stats.tally().total() > 0);
    // And ends by itself.
    let short = json!({ "service": "billing", "kind": "slow", "for_s": 1 });
    assert_eq!(running.post_to("/faults", TOKEN, &short).status, 200);
    running.until("the end of its time", || billing.faults.active().is_none());
}
