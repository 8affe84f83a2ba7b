//! What a panic prints. In a shard it is an outcome like any other: caught, counted, and the event set aside with its
//! message; a backtrace an event would bury everything else.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicU32, Ordering};

/// Panics told in full sentences; later ones are in the counters and the dead letters.
const TOLD: u32 = 5;

static PANICS: AtomicU32 = AtomicU32::new(0);

/// From now on a panic is one line on stderr, and after the first few none. `RUST_BACKTRACE` brings the backtraces back.
pub fn quiet() {
    std::panic::set_hook(Box::new(tell));
}

fn tell(panic: &PanicHookInfo<'_>) {
    let number = PANICS.fetch_add(1, Ordering::Relaxed);
    if number >= TOLD {
        return;
    }
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("unnamed");
    let place = panic.location().map(|location| format!(" at {location}")).unwrap_or_default();
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let message = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    eprintln!("panic in {name}{place}: {message}");
    let backtrace = Backtrace::capture();
    // Where a panic on purpose comes from is known.
    if number == 0 && !message.starts_with("injected") && backtrace.status() == BacktraceStatus::Captured {
        eprintln!("{backtrace}");
    }
    if number + 1 == TOLD {
        eprintln!("further panics are counted, not printed");
    }
}
