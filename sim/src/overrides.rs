//! Time and randomness of the whole process, taken from libc's hands: in this program only.
//!
//! Dependencies ask the system behind our back (a hash map's keys, a library's clock). Here they get constants, so that two
//! processes with one seed do the same. The real clock is found with `dlsym(RTLD_NEXT)`: a raw system call would halve the
//! speed. Processor time is never replaced: every run prints how much it took.
#![allow(unsafe_code)] // symbols of libc are replaced by ours, with libc's own signatures

use std::ffi::{CStr, c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use libc::{clockid_t, cpu_set_t, pid_t, size_t, ssize_t, timespec, timeval};

static ENGAGED: AtomicBool = AtomicBool::new(false);
static RANDOM: AtomicU64 = AtomicU64::new(0x9e37_79b9_7f4a_7c15);
/// 2023-11-14T22:13:20Z, where every simulated world begins.
const EPOCH_S: i64 = 1_700_000_000;
/// Cores that every simulated world believes in: some libraries size their tables by it.
const CORES: usize = 2;

/// From now on the clocks stand still, and memory comes in small pages: a world lives a second and touches little of each
/// huge one, of which the kernel would clear all (a third of the time).
pub fn engage() {
    // SAFETY: no pointer is passed. Where it is refused, worlds are slower and nothing else.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
    ENGAGED.store(true, Ordering::Relaxed);
}

fn next_random() -> u64 {
    let mut x = RANDOM.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

unsafe fn fill(buffer: *mut u8, len: usize) {
    // SAFETY: the caller of libc's function promises `len` writable bytes.
    let buffer = unsafe { std::slice::from_raw_parts_mut(buffer, len) };
    for chunk in buffer.chunks_mut(8) {
        chunk.copy_from_slice(&next_random().to_le_bytes()[..chunk.len()]);
    }
}

/// The next definition of a symbol behind ours.
fn real(name: &CStr, cache: &AtomicUsize) -> *mut c_void {
    let known = cache.load(Ordering::Relaxed);
    if known != 0 {
        return known as *mut c_void;
    }
    // SAFETY: dlsym takes a constant name; the result is checked before use.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    cache.store(found as usize, Ordering::Relaxed);
    found
}

fn is_processor_time(clock: clockid_t) -> bool {
    // Negative ids are processor clocks of other processes and threads.
    clock < 0 || clock == libc::CLOCK_PROCESS_CPUTIME_ID || clock == libc::CLOCK_THREAD_CPUTIME_ID
}

type ClockGettime = unsafe extern "C" fn(clockid_t, *mut timespec) -> c_int;

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, to: *mut timespec) -> c_int {
    static REAL: AtomicUsize = AtomicUsize::new(0);
    if ENGAGED.load(Ordering::Relaxed) && !is_processor_time(clock) {
        // SAFETY: the caller gives a valid place.
        unsafe { *to = timespec { tv_sec: EPOCH_S, tv_nsec: 0 } };
        return 0;
    }
    let found = real(c"clock_gettime", &REAL);
    if found.is_null() {
        return -1;
    }
    // SAFETY: libc's function of this name has this type.
    let function: ClockGettime = unsafe { std::mem::transmute(found) };
    // SAFETY: arguments are the caller's.
    unsafe { function(clock, to) }
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gettimeofday(to: *mut timeval, _zone: *mut c_void) -> c_int {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a place of our own.
    let result = unsafe { clock_gettime(libc::CLOCK_REALTIME, &mut now) };
    if !to.is_null() {
        // SAFETY: the caller gives a valid place.
        unsafe { *to = timeval { tv_sec: now.tv_sec, tv_usec: now.tv_nsec / 1_000 } };
    }
    result
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, len: size_t, _flags: u32) -> ssize_t {
    // SAFETY: the caller gives `len` writable bytes.
    unsafe { fill(buffer.cast(), len) };
    len as ssize_t
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getentropy(buffer: *mut c_void, len: size_t) -> c_int {
    // SAFETY: the caller gives `len` writable bytes.
    unsafe { fill(buffer.cast(), len) };
    0
}

/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sched_getaffinity(_pid: pid_t, size: size_t, set: *mut cpu_set_t) -> c_int {
    // SAFETY: the caller gives `size` writable bytes.
    let bytes = unsafe { std::slice::from_raw_parts_mut(set.cast::<u8>(), size) };
    bytes.fill(0);
    if let Some(first) = bytes.first_mut() {
        *first = (1 << CORES) - 1;
    }
    0
}

/// Processor time of this process, seconds.
pub fn cpu_s() -> f64 {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a place of our own.
    let result = unsafe { clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut now) };
    if result == 0 { now.tv_sec as f64 + now.tv_nsec as f64 / 1e9 } else { 0.0 }
}

/// Real time, seconds since some moment; for the programs that start worlds, never inside one.
pub fn wall_s() -> f64 {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a place of our own.
    let result = unsafe { clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    if result == 0 { now.tv_sec as f64 + now.tv_nsec as f64 / 1e9 } else { 0.0 }
}
