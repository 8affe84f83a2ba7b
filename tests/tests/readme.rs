//! The README's commands, run as they stand there. The demo has tests of its own (`demo.rs`, `crash.rs`), `./test.sh` is this.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bulkhead::cli::Cli;
use clap::Parser as _;
use tests::program::{Running, built};

const CARGO: &str = "cargo run --release ";
/// A demo that is killed has done something by then.
const KILLED_AFTER: Duration = Duration::from_secs(3);

fn project() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn readme() -> String {
    std::fs::read_to_string(project().join("README.md")).expect("there")
}

/// A line without its remark.
fn bare(line: &str) -> &str {
    line.split("   #").next().unwrap_or(line).split(" # ").next().unwrap_or(line).trim()
}

/// Lines of the `sh` blocks below a heading.
fn lines(readme: &str, heading: &str) -> Vec<String> {
    let from = readme.find(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no heading {heading}"));
    let section = &readme[from + 4..];
    let section = &section[..section.find("\n## ").unwrap_or(section.len())];
    let blocks = section.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.flat_map(str::lines).map(|line| bare(line).to_owned()).filter(|line| !line.is_empty()).collect()
}

/// Arguments of a line of cargo, for our own program.
fn arguments(line: &str) -> Option<Vec<&str>> {
    let rest = line.strip_prefix(CARGO)?.strip_prefix("-- ")?;
    Some(rest.trim_end_matches('&').split_whitespace().collect())
}

fn run(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new(built("bulkhead", "bulkhead")).current_dir(folder).args(arguments).output();
    let output = output.expect("the program runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A folder that has what the README's commands read.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a directory");
    std::os::unix::fs::symlink(project().join("examples"), folder.path().join("examples")).expect("linked");
    folder
}

#[test]
fn every_command_is_one() {
    let (readme, mut known) = (readme(), 0);
    let blocks = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let quoted = readme.split('`').filter(|text| text.starts_with(CARGO) && !text.contains('\n'));
    for line in blocks.flat_map(str::lines).chain(quoted).map(bare).filter(|line| !line.is_empty()) {
        if let Some(arguments) = arguments(line) {
            let parsed = Cli::try_parse_from(std::iter::once("bulkhead").chain(arguments));
            assert!(parsed.is_ok(), "{line}: {:?}", parsed.err());
        } else if let Some(rest) = line.strip_prefix(CARGO).and_then(|rest| rest.strip_prefix("-p sim -- ")) {
            let command = rest.split_whitespace().next().expect("a command");
            let help = Command::new(built("sim", "bulkhead-sim")).args([command, "--help"]).output().expect("it runs");
            let help = String::from_utf8_lossy(&help.stdout).into_owned();
            let flags = rest.split_whitespace().filter(|word| word.starts_with("--"));
            flags.for_each(|flag| assert!(help.contains(flag), "{line}: {flag}"));
            assert!(help.contains("Usage"), "{line}");
        } else {
            assert!(line == "./test.sh" || line.starts_with("curl "), "what is `{line}`?");
        }
        known += 1;
    }
    assert!(known >= 12, "{known} commands");
}

#[test]
fn run_it() {
    let (lines, folder) = (lines(&readme(), "Run it"), folder());
    let [up, produce, curl, explain] = lines.as_slice() else { panic!("{lines:?}") };
    // Any port, for others may run tests here; the README's is the one that is usual.
    let mut command = Command::new(built("bulkhead", "bulkhead"));
    command.current_dir(folder.path()).args(arguments(up).expect("ours"));
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]).stderr(Stdio::piped());
    let mut process = Running(command.spawn().expect("starts"));
    let said = BufReader::new(process.0.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let mut said =
        said.filter_map(|line| line.split_once(" on http://").map(|(what, at)| (what.to_owned(), at.to_owned())));
    let (edge, admin) = (said.next().expect("the edge"), said.next().expect("the admin listener"));
    assert_eq!((edge.0.as_str(), admin.0.as_str()), ("edge", "admin"));
    let asked = ["--admin", admin.1.trim()];
    run(folder.path(), &[arguments(produce).expect("ours").as_slice(), &asked].concat());
    let curl = curl.replace("127.0.0.1:8080", edge.1.trim());
    let answer = || Command::new("sh").current_dir(folder.path()).args(["-c", &curl]).output().expect("curl is there");
    // The campaign reaches the views within moments; the same auction is answered as before for ten seconds, so not too early.
    std::thread::sleep(Duration::from_secs(2));
    let answer = String::from_utf8(answer().stdout).expect("UTF-8");
    assert!(answer.contains("seatbid"), "a real bid: {answer}");
    let mut explained = String::new();
    for _ in 0..50 {
        let arguments = [arguments(explain).expect("ours").as_slice(), &asked].concat();
        let output = Command::new(built("bulkhead", "bulkhead")).args(arguments).output().expect("it runs");
        explained = String::from_utf8_lossy(&output.stdout).into_owned();
        if explained.contains("reservations") {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(explained.contains("auction auction-1") && explained.contains("reservations"), "{explained}");
}

#[test]
fn kill_it() {
    let (lines, folder) = (lines(&readme(), "Kill it"), folder());
    let [demo, up, verify] = lines.as_slice() else { panic!("{lines:?}") };
    let mut command = Command::new(built("bulkhead", "bulkhead"));
    command.current_dir(folder.path()).args(arguments(demo).expect("ours")).stdout(Stdio::null()).stderr(Stdio::null());
    let process = Running(command.spawn().expect("starts"));
    std::thread::sleep(KILLED_AFTER);
    drop(process); // SIGKILL.
    run(folder.path(), &arguments(up).expect("ours"));
    // Exit 0: no difference, every event accounted for.
    run(folder.path(), &arguments(verify).expect("ours"));
}
