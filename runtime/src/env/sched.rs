//! Who runs first: threads of this process, to the operating system's scheduler.

#![allow(unsafe_code)] // a scheduling class is set by a system call that has no safe form (decision 0015)

/// The current thread, to the operating system.
pub fn thread_id() -> i32 {
    thread_local! {
        static ID: i32 = rustix::thread::gettid().as_raw_nonzero().get();
    }
    ID.with(|id| *id)
}

/// CPU time that a thread of this process has used, microseconds; `None` where the system does not tell.
pub fn cpu_us(thread: i32) -> Option<u64> {
    // Nanoseconds on a core, waiting for one, and slices; `stat` knows ticks of 10 ms only.
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
    Some(stat.split_ascii_whitespace().next()?.parse::<u64>().ok()? / 1_000)
}

/// Raises the niceness of the current thread. On Linux it is a thread's own (kernel threads are processes to the scheduler).
pub(super) fn lower_priority(nice: i32) {
    if nice > 0 {
        // A refusal costs fairness under load, never correctness.
        let _ = rustix::process::setpriority_process(None, nice);
    }
}

/// When a thread gets a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// In turn, by its niceness.
    Normal,
    /// When nobody else wants one, and whoever wakes takes it away at once.
    Idle,
}

/// Puts a thread of this process into a class; its niceness stays. [`Class::Idle`] is always allowed, the way back may not be.
pub fn set_class(thread: i32, class: Class) -> bool {
    let policy = match class {
        Class::Normal => libc::SCHED_OTHER,
        Class::Idle => libc::SCHED_IDLE,
    };
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the call reads `parameters` while it lasts; whatever the number of the thread, the answer is an error at worst.
    thread > 0 && unsafe { libc::sched_setscheduler(thread, policy, &raw const parameters) } == 0
}

/// The class of a thread of this process.
pub fn class(thread: i32) -> Option<Class> {
    // SAFETY: nothing of ours is read or written.
    match unsafe { libc::sched_getscheduler(thread) } {
        libc::SCHED_OTHER => Some(Class::Normal),
        libc::SCHED_IDLE => Some(Class::Idle),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods)] // a thread that nobody else shares
    fn a_class_is_a_thread_s_own() {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let own = thread_id();
                assert_eq!(class(own), Some(Class::Normal));
                assert!(set_class(own, Class::Idle));
                assert_eq!(class(own), Some(Class::Idle));
                // Where it may not come back it says so, and stays.
                assert_eq!(set_class(own, Class::Normal), class(own) == Some(Class::Normal));
            });
        });
        assert_eq!((class(thread_id()), set_class(0, Class::Idle)), (Some(Class::Normal), false));
    }
}
