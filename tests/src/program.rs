//! Programs of the workspace, found beside the test's own executable, built first if they are absent or older.

use std::path::PathBuf;
use std::process::{Child, Command};

/// The program `name` of package `package`, as the release profile built it.
pub fn built(package: &str, name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let profile = test.parent().and_then(|deps| deps.parent()).expect("target/PROFILE/deps/TEST");
    let status = Command::new(env!("CARGO"))
        // The whole workspace's, as the test command has built them: one package alone has other features of what is
        // shared, and all of that would be built a second time.
        .args(["build", "--release", "--quiet", "--workspace", "--bins"])
        .status()
        .expect("cargo runs");
    assert!(status.success(), "cargo build --workspace --bins failed; {name} of {package} was wanted");
    let program = profile.join(name);
    assert!(program.exists(), "{} is not there; run the tests with --release", program.display());
    program
}

/// A program that does not outlive its test, however the test ends.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
