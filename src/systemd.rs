//! Tells systemd how it stands (`sd_notify(3)`): a datagram to the socket that it names, nothing where it names none.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Sends a state such as `READY=1`. Nobody waits for systemd, and nothing depends on it: failures are passed over.
pub fn notify(state: &str) {
    if let Some(path) = std::env::var_os("NOTIFY_SOCKET").and_then(|path| path.into_string().ok()) {
        let _ = send(&path, state);
    }
}

fn send(path: &str, state: &str) -> std::io::Result<()> {
    // `@` stands for the zero byte of an abstract name.
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(state.as_bytes(), &address).map(|_| ())
}

/// How often systemd wants to hear that we are alive: half of its own limit; `None` where it does not.
pub fn watchdog_interval() -> Option<Duration> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    let limit_us = number("WATCHDOG_USEC").filter(|us| *us > 0 && is_ours)?;
    Some(Duration::from_micros((limit_us / 2).max(1_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_by_path_and_by_abstract_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("s");
        let name = format!("bulkhead-test-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).expect("a socket");
        let by_name =
            SocketAddr::from_abstract_name(&name).and_then(|a| UnixDatagram::bind_addr(&a)).expect("a socket");
        for (socket, address) in [(by_path, path.display().to_string()), (by_name, format!("@{name}"))] {
            send(&address, "READY=1").expect("sent");
            let mut buffer = [0; 32];
            let length = socket.recv(&mut buffer).expect("received");
            assert_eq!(&buffer[..length], b"READY=1");
        }
        assert!(send("/nowhere/at/all", "READY=1").is_err());
    }
}
