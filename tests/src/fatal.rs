//! Ways to end a process that nothing inside it can contain. Held apart because one of them needs `unsafe`.

#![allow(unsafe_code)] // a fault in C code cannot be had without calling C

use std::hint::black_box;
use std::io::Write as _;

use rustix::process::{Resource, Rlimit, Signal, getpid, getrlimit, kill_process, setrlimit};

/// Memory that is asked for while it may not be had.
const TOO_MUCH_BYTES: usize = 64 << 30;
/// Address space that is left when allocations are to fail: more than a platform has, less than [`TOO_MUCH_BYTES`].
const ADDRESS_SPACE_BYTES: u64 = 32 << 30;
/// Filled in steps, up to a limit in case nobody kills.
const FILL_BYTES: usize = 16 << 20;
const FILL_MAX_BYTES: usize = 2 << 30;

/// What ends the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A fold that calls itself for ever.
    StackOverflow,
    /// An allocation that the system refuses.
    AllocationFailure,
    /// The kernel takes the process because memory is short.
    OutOfMemory,
    /// C code writes where nothing is.
    CFault,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::StackOverflow, Self::AllocationFailure, Self::OutOfMemory, Self::CFault];

    /// Stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::StackOverflow => "stack",
            Self::AllocationFailure => "allocation",
            Self::OutOfMemory => "oom",
            Self::CFault => "c",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The signal that the process ends by.
    pub fn signal(self) -> i32 {
        match self {
            Self::StackOverflow | Self::AllocationFailure => Signal::ABORT.as_raw(),
            Self::OutOfMemory => Signal::KILL.as_raw(),
            Self::CFault => Signal::SEGV.as_raw(),
        }
    }

    /// Ends the process.
    pub fn strike(self) {
        match self {
            Self::StackOverflow => {
                black_box(deeper(1));
            }
            Self::AllocationFailure => {
                let limit = Rlimit { current: Some(ADDRESS_SPACE_BYTES), maximum: getrlimit(Resource::As).maximum };
                let _ = setrlimit(Resource::As, limit);
                black_box(vec![1u8; TOO_MUCH_BYTES]);
            }
            Self::OutOfMemory => run_out(),
            Self::CFault => c_fault(),
        }
        panic!("{} has not ended the process", self.name());
    }
}

#[allow(unconditional_recursion)] // that is the point
fn deeper(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    deeper(frame[0] + 1) + frame[63]
}

/// In a control group with a limit (`BOUNDARY_CGROUP`, made by the test) memory is filled until the kernel kills; elsewhere, or
/// where the limit is not kept, the same signal comes from here.
fn run_out() {
    let pid = getpid();
    let group = std::env::var_os("BOUNDARY_CGROUP").map(std::path::PathBuf::from);
    let joined =
        group.is_some_and(|group| std::fs::write(group.join("cgroup.procs"), pid.as_raw_nonzero().to_string()).is_ok());
    let mut held = Vec::new();
    while joined && held.len() * FILL_BYTES < FILL_MAX_BYTES {
        held.push(black_box(vec![1u8; FILL_BYTES]));
    }
    let _ = writeln!(std::io::stderr(), "no limit is kept here: SIGKILL as the kernel would send it");
    let _ = kill_process(pid, Signal::KILL);
}

fn c_fault() {
    // SAFETY: there is none. C is told to write to an address where nothing can be, so the kernel ends the process.
    unsafe {
        libc::memset(black_box(8usize) as *mut libc::c_void, 1, 8);
    }
}
