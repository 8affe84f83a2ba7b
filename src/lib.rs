//! The program `bulkhead`: command line, configuration, and the one composition of services, log and views.

/// As std's, but where nobody reads, the line is lost and nothing else: a server outlives the terminal that started it.
macro_rules! eprintln {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

/// As std's; a reader that has enough (`| head`) is no panic.
macro_rules! println {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

/// As `println`, without the end of the line.
macro_rules! print {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = write!(std::io::stdout(), $($text)*);
    }};
}

pub mod admin;
pub mod args;
pub mod backend;
pub mod bridge;
pub mod cli;
pub mod commands;
pub mod config;
pub mod demo;
pub mod dlq;
pub mod edge;
pub mod exit;
pub mod isolation;
pub mod operate;
pub mod panics;
pub mod platform;
pub mod registry;
pub mod report;
pub mod scaffold;
pub mod server;
pub mod sources;
pub mod systemd;
pub mod telemetry;
pub mod usage;
pub mod verify;
