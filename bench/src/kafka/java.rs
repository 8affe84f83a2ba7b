//! Peers on the Java machine: compiled at the first run from `bench/peers/java`, their libraries from Maven.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::project;
use crate::Failed;

pub struct Java {
    directory: PathBuf,
}

impl Java {
    /// # Errors
    /// No Java compiler, no Maven, or a library that cannot be had.
    pub fn build() -> Result<Self, Failed> {
        let (sources, directory) = (project().join("bench/peers/java"), project().join("target/bench-java"));
        std::fs::create_dir_all(&directory)?;
        let lib = directory.join("lib");
        if !lib.join("complete").exists() {
            eprintln!("fetching the libraries of the Java peers (once)");
            let mut maven = Command::new("mvn");
            maven.args(["-B", "-q", "-f"]).arg(sources.join("pom.xml")).args(["dependency:copy-dependencies"]);
            ran(maven.arg("-DincludeScope=runtime").arg(format!("-DoutputDirectory={}", lib.display())))?;
            std::fs::write(lib.join("complete"), "")?;
        }
        // What is built in is the source of truth for the peers, too.
        std::fs::write(directory.join("ImpressionEvent.avsc"), schemas::builtin()[0].avsc)?;
        let java = Self { directory };
        let mut javac = Command::new("javac");
        javac.arg("-cp").arg(java.class_path()).arg("-d").arg(java.directory.join("classes"));
        for entry in std::fs::read_dir(&sources)? {
            let path = entry?.path();
            if path.extension().is_some_and(|kind| kind == "java") {
                javac.arg(path);
            }
        }
        ran(&mut javac)?;
        Ok(java)
    }

    fn class_path(&self) -> String {
        format!("{}:{}/*", self.directory.join("classes").display(), self.directory.join("lib").display())
    }

    /// A reader of `topic`.
    pub fn command(&self, class: &str, brokers: &str, topic: &str, events: u64) -> Command {
        let mut command = Command::new("java");
        command.args(["-Xmx1g", "-cp"]).arg(self.class_path()).args([class, brokers, topic, &events.to_string()]);
        command.arg(self.schema()).arg(self.directory.join("state"));
        command
    }

    fn schema(&self) -> PathBuf {
        Path::new(&self.directory).join("ImpressionEvent.avsc")
    }
}

fn ran(command: &mut Command) -> Result<(), Failed> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    let status = status
        .map_err(|error| format!("{program}: {error}; the Java peers need a JDK and Maven, or --without-java"))?;
    if status.success() { Ok(()) } else { Err(format!("{program} failed: {status}").into()) }
}
