//! What one process cannot contain (docs/boundary.md): it is ended by each of those, in the middle of the work of all
//! services, started again, and nothing is lost or counted twice. How soon it was ready is printed, not judged.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tests::fatal::Kind;
use tests::program::built;

/// Beyond what the platform has when the marked event comes.
const GROUP_BYTES: &str = "402653184";

fn says(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{:?}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr))
}

fn run(program: &Path, data: &Path, kind: &str, group: Option<&Group>) -> Output {
    let mut command = Command::new(program);
    group.map(|group| command.env("BOUNDARY_CGROUP", &group.0));
    command.arg(data).arg(kind).output().expect("the program starts")
}

/// A control group of the kernel with a limit of memory, of either version, where one may be made.
struct Group(PathBuf);

impl Group {
    fn new() -> Option<Self> {
        let name = format!("bulkhead-boundary-{}", std::process::id());
        [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")].into_iter().find_map(
            |(root, limit)| {
                let path = Path::new(root).join(&name);
                std::fs::create_dir(&path).ok()?;
                let group = Self(path);
                // Not created: where it is missing this is a plain directory and no control group.
                let is_kept = group.0.join(limit).exists() && std::fs::write(group.0.join(limit), GROUP_BYTES).is_ok();
                is_kept.then_some(group)
            },
        )
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn whatever_ends_the_process_it_comes_back_with_nothing_lost_or_doubled() {
    let (bulkhead, boundary) = (built("bulkhead", "bulkhead"), built("tests", "boundary"));
    for kind in Kind::ALL {
        let data = tempfile::tempdir().expect("a directory");
        let group = (kind == Kind::OutOfMemory).then(Group::new).flatten();
        let ended = run(&boundary, data.path(), kind.name(), group.as_ref());
        assert_eq!(ended.status.signal(), Some(kind.signal()), "{}: {}", kind.name(), says(&ended));
        let again = run(&boundary, data.path(), "none", None);
        assert!(again.status.success(), "{}: {}", kind.name(), says(&again));
        let ready_ms = String::from_utf8_lossy(&again.stdout).trim().to_owned();
        let how = String::from_utf8_lossy(&ended.stderr).lines().last().unwrap_or_default().to_owned();
        eprintln!("{}: ready again after {ready_ms} ms ({how})", kind.name());

        let verify = Command::new(&bulkhead).args(["verify", "--output", "json", "--data"]).arg(data.path()).output();
        let verify = verify.expect("the program starts");
        assert!(verify.status.success(), "{}: {}", kind.name(), says(&verify));
        let found: Value = serde_json::from_slice(&verify.stdout).expect("one JSON document");
        assert!(found["rows_compared"].as_u64().is_some_and(|rows| rows > 0), "{found}");
        let accounts = found["offsets"].as_object().expect("accounts");
        for (name, account) in accounts {
            assert_eq!((&account["unaccounted"], &account["dead_lettered"]), (&0.into(), &0.into()), "{name}");
        }
        assert!(accounts["impressions/fraud"]["done"].as_u64() > Some(300), "the marked event too: {found}");
    }
}
