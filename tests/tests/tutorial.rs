//! The tutorial, run: from an empty directory over a real bid to a row in the ledger, and every operator's question on the way,
//! asked of the running process and of the directory at rest.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, Stdio};

use serde_json::Value;
use tests::http::{self, get, path_of, post};
use tests::program::{Running, built};

/// Of the admin listener.
const TOKEN: &str = "tutorial";

/// A server that ends with the test.
struct Up {
    child: Running,
    errors: BufReader<ChildStderr>,
    edge: SocketAddr,
    admin: SocketAddr,
}

impl Up {
    fn start(program: &Path, data: &Path) -> Self {
        let child = Command::new(program)
            .args(["up", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--partitions", "2", "--data"])
            .arg(data)
            .env("BULKHEAD_ADMIN_TOKEN", TOKEN)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut child = Running(child);
        let mut errors = BufReader::new(child.0.stderr.take().expect("piped"));
        let mut address = |what: &str| loop {
            let mut line = String::new();
            assert!(errors.read_line(&mut line).expect("a line") > 0, "ended before it said where {what} is");
            if let Some(url) = line.strip_prefix(what).and_then(|rest| rest.strip_prefix(" on http://")) {
                break url.trim().parse().expect("an address");
            }
        };
        let (edge, admin) = (address("edge"), address("admin"));
        Self { child, errors, edge, admin }
    }

    /// Drains; what it said.
    fn end(mut self) -> String {
        let killed =
            Command::new("kill").args(["-TERM", &self.child.0.id().to_string()]).status().expect("kill is there");
        assert!(killed.success());
        let mut rest = String::new();
        self.errors.read_to_string(&mut rest).expect("text");
        assert!(self.child.0.wait().expect("it ends").success(), "{rest}");
        rest
    }
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

struct Asking<'a> {
    program: &'a Path,
    data: &'a str,
}

impl Asking<'_> {
    /// A command on the directory; whoever runs on it is found.
    fn output(&self, args: &[&str]) -> std::process::Output {
        Command::new(self.program).args(args).args(["--data", self.data]).output().expect("the program runs")
    }

    fn text(&self, args: &[&str]) -> String {
        let output = self.output(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.text(&[args, &["--output", "json"]].concat())).expect("a document")
    }
}

fn steps(explained: &Value) -> Vec<&str> {
    explained["steps"].as_array().expect("steps").iter().filter_map(|step| step["topic"].as_str()).collect()
}

#[test]
fn from_nothing_to_a_ledger_row() {
    let program = built("bulkhead", "bulkhead");
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("d");
    let up = Up::start(&program, &data);
    let asking = Asking { program: &program, data: data.to_str().expect("UTF-8") };

    // Bad rows are named, and nothing of their file is taken.
    let bad = directory.path().join("bad.jsonl");
    let good = std::fs::read_to_string(example("campaigns.jsonl")).expect("rows");
    std::fs::write(&bad, format!("{good}{{\"op\":1}}\n\nnot json\n")).expect("written");
    let refused = asking.output(&["produce", "campaigns-changes", "--from", bad.to_str().expect("UTF-8")]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        refused.status.code() == Some(1) && said.contains("line 7: ") && said.contains("line 9: not JSON"),
        "{said}"
    );
    let refused = asking.output(&["produce", "campaign-changes", "--from", bad.to_str().expect("UTF-8")]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("did you mean `campaigns-changes`"));
    let produced =
        asking.json(&["produce", "campaigns-changes", "--from", example("campaigns.jsonl").to_str().expect("UTF-8")]);
    assert_eq!((&produced["ok"], &produced["appended"]["campaigns-changes"]), (&true.into(), &3.into()));
    // What changes something needs the token.
    let open = post(up.admin, "/produce/campaigns-changes", good.as_bytes());
    assert!(open.status == 401 && open.text().contains("authorization"), "{}", open.text());

    let request = std::fs::read(example("request.json")).expect("a request");
    let reply = post(up.edge, "/openrtb2/bid", &request);
    assert_eq!(reply.status, 200, "{} {}", reply.head, reply.text());
    let bid = &reply.json()["seatbid"][0]["bid"][0];
    assert_eq!((&bid["cid"], &bid["price"]), (&"camp-banner".into(), &2.0.into()));
    let adm = bid["adm"].as_str().expect("markup");
    let pixel = adm.split("<img src=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a pixel");
    let pixel = path_of(pixel).replace("${AUCTION_PRICE}", "1.25");
    assert_eq!((get(up.edge, &pixel).status, get(up.edge, &pixel).status), (200, 200));
    let no_bid = std::fs::read_to_string(example("requests.jsonl")).expect("rows");
    let no_bid = no_bid.lines().nth(3).expect("a request");
    let reply = post(up.edge, "/openrtb2/bid?nbr=1", no_bid.as_bytes());
    assert_eq!((reply.status, &reply.json()["nbr"]), (200, &503.into()));

    admin_answers(&up);
    the_registry_is_changed_with_the_token(&up, &program, directory.path());
    sampling_changes(&up);
    let actors = asking.text(&["actors"]);
    assert!(actors.contains("billing") && actors.contains("shard 1 running"), "{actors}");
    let top = asking.json(&["top", "--every", "200ms"]);
    let all_run = |row: &Value| row["ok"] == true && row["state"] == "running";
    assert!(top["services"].as_array().is_some_and(|rows| rows.len() > 8 && rows.iter().all(all_run)), "{top}");
    assert!(asking.text(&["top", "--every", "200ms"]).contains("all running"));
    assert_eq!(asking.output(&["top", "--every", "1ms"]).status.code(), Some(2));
    assert!(asking.text(&["graph", "--format", "dot"]).starts_with("digraph"));
    backed_up(&asking, directory.path());
    let rest = up.end();
    assert!(rest.contains("drain edge") && rest.contains("drain billing"), "{rest}");

    // At rest the same questions have the same answers.
    assert!(asking.output(&["up", "--until-idle"]).status.success());
    assert_eq!(asking.json(&["lag"])["records"], 0);
    let explained = asking.json(&["explain", "auction-1"]);
    for topic in [
        "bids",
        "reservations",
        "impression-pixels",
        "auction-results",
        "impressions",
        "billing-events",
        "budget-leases",
    ] {
        assert!(steps(&explained).contains(&topic), "{topic}: {explained}");
    }
    assert!(!explained.to_string().contains("reader-1"), "nobody's id is shown");
    assert_eq!(explained["steps"].as_array().expect("steps")[0]["records"][0]["value"]["user_id"], "***");
    let unbid = asking.json(&["explain", "auction-4"]);
    assert_eq!((&unbid["no_bid"], steps(&unbid)), (&"inactive".into(), vec!["bids"]));
    let ledger = asking.text(&["tap", "billing-events", "--where", "amount_micros=1250"]);
    assert_eq!(ledger.lines().count(), 1, "one row, exact to the micro: {ledger}");
    // Who has changed what: the row is there before the action is.
    let audit = asking.text(&["tap", "admin-audit"]);
    for told in ["produce", "campaigns-changes", "sampling", "camp-banner", "backup"] {
        assert!(audit.contains(told), "{told} in\n{audit}");
    }
    let forged = asking.output(&["produce", "admin-audit", "--from", bad.to_str().expect("UTF-8")]);
    assert!(!forged.status.success(), "nobody writes the audit");
    let topics = asking.json(&["topics", "describe", "impressions"]);
    assert_eq!((&topics["records"], &topics["written_by"][0]), (&1.into(), &"ads".into()));
    assert!(asking.text(&["topics", "ls"]).contains("billing-events"));
    let wrong = asking.output(&["explain", "auction-none"]);
    assert!(wrong.status.code() == Some(1) && String::from_utf8_lossy(&wrong.stderr).contains("auction-none"));
    let again =
        asking.json(&["produce", "budgets-changes", "--from", example("budgets.jsonl").to_str().expect("UTF-8")]);
    assert_eq!(again["appended"]["budgets-changes"], 2);
    assert_eq!(asking.json(&["lag"])["records"], 2, "what nobody has taken yet");
    assert!(asking.output(&["up", "--until-idle"]).status.success());
    assert_eq!(asking.json(&["lag"])["records"], 0);
}

/// A copy of the running platform, restored elsewhere, works off its backlog and is recounted.
fn backed_up(asking: &Asking<'_>, directory: &Path) {
    let (copy, restored) = (directory.join("copy"), directory.join("restored"));
    let (copy, restored) = (copy.to_str().expect("UTF-8"), restored.to_str().expect("UTF-8"));
    let copied = asking.json(&["backup", copy]);
    assert!(copied["files"].as_u64() > Some(5) && copied["bytes"].as_u64() > Some(1_000), "{copied}");
    let again = asking.output(&["backup", copy]);
    assert!(again.status.code() == Some(1) && String::from_utf8_lossy(&again.stderr).contains("is not empty"));
    let of = Asking { program: asking.program, data: restored };
    let text = of.text(&["restore", copy]);
    assert!(text.contains("goes on from there"), "{text}");
    let again = of.output(&["restore", copy]);
    assert!(again.status.code() == Some(2) && String::from_utf8_lossy(&again.stderr).contains("is not empty"));
    assert!(of.output(&["up", "--until-idle"]).status.success());
    let found = of.json(&["verify"]);
    assert_eq!((&found["ok"], &found["recount_diff_micros"]), (&true.into(), &0.into()), "{found}");
    assert!(steps(&of.json(&["explain", "auction-1"])).contains(&"bids"), "the copy knows the bid");
}

/// What is traced changes while it runs, for those who have the token.
fn sampling_changes(up: &Up) {
    let bearer = format!("Bearer {TOKEN}");
    let ask = |body: &str| http::request(up.admin, "POST", "/sampling", &[("authorization", &bearer)], body.as_bytes());
    assert_eq!(post(up.admin, "/sampling", b"{\"one_in\":1}").status, 401);
    assert_eq!(ask(r#"{"campaign":"camp-banner","for_s":300}"#).json()["campaigns_s"]["camp-banner"], 300);
    assert_eq!(ask(r#"{"service":"fraud","for_s":60}"#).json()["services_s"]["fraud"], 60);
    for wrong in [r#"{"service":"frauds"}"#, r#"{"for_s":86401}"#, r#"{"one":1}"#, "{"] {
        assert_eq!(ask(wrong).status, 400, "{wrong}");
    }
    assert_eq!(ask(r#"{"one_in":100}"#).status, 200);
    assert_eq!(get(up.admin, "/sampling").json()["one_in"], 100);
}

#[test]
fn a_directory_of_the_previous_release_opens_and_counts_up() {
    let program = built("bulkhead", "bulkhead");
    let directory = tempfile::tempdir().expect("a directory");
    // The journal's files, empty after a drain, are left out.
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/data-0.1.0.tar.gz");
    let unpacked = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(directory.path()).status();
    assert!(unpacked.expect("tar is there").success());
    let data = directory.path().join("data-0.1.0");
    let asking = Asking { program: &program, data: data.to_str().expect("UTF-8") };
    let counted = |asking: &Asking<'_>| {
        let found = asking.json(&["verify"]);
        assert_eq!((&found["ok"], &found["recount_diff_micros"]), (&true.into(), &0.into()), "{found}");
        found["rows_compared"].as_u64().expect("a number")
    };
    assert!(counted(&asking) > 100);
    assert!(asking.output(&["up", "--until-idle"]).status.success());
    assert!(counted(&asking) > 100);
}

#[test]
fn a_server_outlives_the_terminal_that_started_it() {
    let program = built("bulkhead", "bulkhead");
    let directory = tempfile::tempdir().expect("a directory");
    let Up { mut child, errors, .. } = Up::start(&program, &directory.path().join("d"));
    // From here on every line goes to a pipe that nobody reads.
    drop(errors);
    let killed = Command::new("kill").args(["-TERM", &child.0.id().to_string()]).status().expect("kill is there");
    assert!(killed.success());
    let status = child.0.wait().expect("it ends");
    assert!(status.success(), "drained, though nobody was told: {status}");
}

fn the_registry_is_changed_with_the_token(up: &Up, program: &Path, directory: &Path) {
    let body = br#"{"schema": "\"long\""}"#;
    let refused = post(up.admin, "/registry/subjects/sums-value/versions", body);
    assert!(refused.status == 401 && refused.text().contains("authorization"), "{}", refused.text());
    // A look-up changes nothing.
    assert_eq!(post(up.admin, "/registry/subjects/sums-value", body).status, 404);
    let file = directory.join("sums.avsc");
    std::fs::write(&file, "\"long\"").expect("written");
    let url = format!("http://{}/registry", up.admin);
    let line = ["schemas", "register", "--registry", &url, "--subject", "sums-value", "--file"];
    let output = Command::new(program).args(line).arg(&file).output().expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(post(up.admin, "/registry/subjects/sums-value", body).status, 200);
}

fn admin_answers(up: &Up) {
    for path in
        ["/livez", "/readyz", "/readyz?verbose", "/version", "/actors", "/topology", "/lag", "/topics", "/metrics"]
    {
        assert_eq!(get(up.admin, path).status, 200, "{path}");
    }
    let ready = get(up.admin, "/readyz?verbose").json();
    assert_eq!((&ready["ready"], ready["services"].as_array().map(Vec::len)), (&true.into(), Some(9)));
    for view in ["campaigns", "leases", "placeholders"] {
        assert!(get(up.admin, &format!("/views/{view}")).json()["age_ms"].is_i64(), "{view}");
    }
    assert_eq!(get(up.admin, "/views/none").status, 404);
    assert_eq!(get(up.admin, "/explain/none").status, 404);
    assert!(get(up.admin, "/topology?format=svg").text().starts_with("<svg"));
    assert_eq!(get(up.admin, "/topology?format=png").status, 400);
    let metrics = get(up.admin, "/metrics").text();
    for line in [
        "bulkhead_ready 1",
        "bulkhead_edge_requests_total{route=\"bid\",status=\"200\"} 2",
        "bulkhead_edge_requests_total{route=\"imp\",status=\"200\"} 2",
        "bulkhead_degraded{service=\"billing\"} 0",
        "bulkhead_breaker_opened_total{service=\"billing\"} 0",
        "bulkhead_credit_events_used{service=\"billing\",partition=\"1\"} 0",
        "bulkhead_commit_latency_seconds_count{service=\"budget\"}",
        "bulkhead_view_freshness_seconds_bucket{view=\"campaigns\",le=\"+Inf\"}",
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
    promtool(&metrics);
    let agent = http::AGENT;
    assert!(!metrics.contains("reader-1") && !metrics.contains(agent), "nobody is in the metrics");
}

/// Prometheus' own judgement, where it is installed (`apt-get install prometheus`).
fn promtool(metrics: &str) {
    use std::io::Write as _;
    let child =
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut child) = child else {
        println!("ABSENT: promtool (package prometheus); the format was not checked by it");
        return;
    };
    child.stdin.take().expect("piped").write_all(metrics.as_bytes()).expect("taken");
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}
