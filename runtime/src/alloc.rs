//! An allocator that knows for whom: bytes by owner, so that a service that grows is seen, held back and, in the end,
//! started again before it takes the memory of all others.
//!
//! A thread belongs to a bulkhead, and what it allocates belongs to that bulkhead until it is freed, by whichever thread:
//! events are allocated by one and freed by another, and a count by thread would drift without bound. So each block carries
//! its owner in one byte behind its end. A thread gathers what it did for its owner and adds it up now and then.

#![allow(unsafe_code)] // an allocator is unsafe by its signature; what it does besides is one byte behind each block

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// Owners at most; nobody is the first.
const OWNERS: usize = 64;
/// What a thread gathers for its own owner, and for another one, before it adds it up: the counts are exact to twice this,
/// times the threads.
const GATHER_BYTES: i64 = 64 << 10;

/// Who allocates: a bulkhead, or nobody in particular.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner(u8);

/// Each on a cache line of its own: threads of different owners never meet.
#[repr(align(64))]
struct Count(AtomicI64);

static BYTES: [Count; OWNERS] = [const { Count(AtomicI64::new(0)) }; OWNERS];
static NAMES: Mutex<Vec<String>> = Mutex::new(Vec::new());
static IS_COUNTED: AtomicBool = AtomicBool::new(false);

thread_local! {
    static OWNER: Cell<u8> = const { Cell::new(0) };
    static GATHERED: Cell<i64> = const { Cell::new(0) };
    /// The other owner whose blocks this thread freed last, and what it did for that one: events come in runs.
    static FOREIGN: Cell<(u8, i64)> = const { Cell::new((0, 0)) };
}

impl Owner {
    /// The owner of that name, the same each time. Beyond the last free place: nobody.
    pub fn named(name: &str) -> Self {
        let mut names = NAMES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let at = names.iter().position(|known| known == name).unwrap_or(names.len());
        if at + 1 >= OWNERS {
            return Self(0);
        }
        if at == names.len() {
            names.push(name.to_owned());
        }
        Self(at as u8 + 1)
    }

    /// What the current thread allocates from now on is this owner's.
    pub fn adopt_thread(self) {
        let gathered = GATHERED.replace(0);
        BYTES[usize::from(OWNER.get())].0.fetch_add(gathered, Ordering::Relaxed);
        let (foreign, gathered) = FOREIGN.replace((0, 0));
        BYTES[usize::from(foreign)].0.fetch_add(gathered, Ordering::Relaxed);
        OWNER.set(self.0);
    }

    /// Bytes allocated and not freed; 0 where the process does not count.
    pub fn bytes(self) -> u64 {
        BYTES[usize::from(self.0)].0.load(Ordering::Relaxed).max(0) as u64
    }
}

/// This process counts: it was built with `Accounting` as its allocator.
pub fn is_counted() -> bool {
    IS_COUNTED.load(Ordering::Relaxed)
}

/// Bytes by owner, by name; the last entry, without a name, is nobody's.
pub fn by_owner() -> Vec<(String, u64)> {
    let names = NAMES.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    let of = |(at, name): (usize, String)| (name, Owner(at as u8 + 1).bytes());
    let mut all: Vec<_> = names.into_iter().enumerate().map(of).collect();
    all.push((String::new(), Owner::default().bytes()));
    all
}

fn add(owner: u8, bytes: i64) {
    if owner != OWNER.get() {
        add_foreign(owner, bytes);
        return;
    }
    let gathered = GATHERED.get() + bytes;
    if gathered.abs() < GATHER_BYTES {
        GATHERED.set(gathered);
    } else {
        GATHERED.set(0);
        BYTES[usize::from(owner)].0.fetch_add(gathered, Ordering::Relaxed);
    }
}

fn add_foreign(owner: u8, bytes: i64) {
    let (last, gathered) = FOREIGN.get();
    let (before, sum) = if owner == last { (0, gathered + bytes) } else { (gathered, bytes) };
    if before != 0 {
        BYTES[usize::from(last)].0.fetch_add(before, Ordering::Relaxed);
    }
    if sum.abs() < GATHER_BYTES {
        FOREIGN.set((owner, sum));
    } else {
        FOREIGN.set((owner, 0));
        BYTES[usize::from(owner)].0.fetch_add(sum, Ordering::Relaxed);
    }
}

/// `A`, with each block counted for its owner.
pub struct Accounting<A>(A);

impl<A> Accounting<A> {
    pub const fn over(inner: A) -> Self {
        Self(inner)
    }
}

/// The block and its owner's byte. `None`: no such layout.
fn with_owner(layout: Layout, size: usize) -> Option<Layout> {
    Layout::from_size_align(size.checked_add(1)?, layout.align()).ok()
}

// SAFETY: every block comes from `A` with one byte more than asked for, of the same alignment, and goes back to `A` with the
// same layout; that byte, behind what the caller may touch, holds an index below `OWNERS`, written before the block is
// handed out. Counting allocates nothing: constant thread locals without destructors, and atomics.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Accounting<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(whole) = with_owner(layout, layout.size()) else { return std::ptr::null_mut() };
        unsafe { mark(self.0.alloc(whole), layout.size()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some(whole) = with_owner(layout, layout.size()) else { return std::ptr::null_mut() };
        unsafe { mark(self.0.alloc_zeroed(whole), layout.size()) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe {
            let owner = block.add(layout.size()).read();
            add(owner, -(layout.size() as i64));
            self.0.dealloc(block, Layout::from_size_align_unchecked(layout.size() + 1, layout.align()));
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if with_owner(layout, size).is_none() {
            return std::ptr::null_mut();
        }
        unsafe {
            let owner = block.add(layout.size()).read();
            let whole = Layout::from_size_align_unchecked(layout.size() + 1, layout.align());
            let moved = self.0.realloc(block, whole, size + 1);
            if !moved.is_null() {
                // It stays its owner's, whoever lets it grow.
                moved.add(size).write(owner);
                add(owner, size as i64 - layout.size() as i64);
            }
            moved
        }
    }
}

/// Writes the owner behind a new block and counts it.
unsafe fn mark(block: *mut u8, size: usize) -> *mut u8 {
    if !block.is_null() {
        let owner = OWNER.get();
        unsafe { block.add(size).write(owner) };
        if owner != 0 && !IS_COUNTED.load(Ordering::Relaxed) {
            IS_COUNTED.store(true, Ordering::Relaxed);
        }
        add(owner, size as i64);
    }
    block
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // threads of a test
mod tests {
    use std::alloc::System;

    use super::*;

    /// Not the process's allocator: the tests call it by hand.
    static COUNTED: Accounting<System> = Accounting::over(System);

    fn alloc(size: usize) -> (*mut u8, Layout) {
        let layout = Layout::from_size_align(size, 8).unwrap();
        let block = unsafe { COUNTED.alloc(layout) };
        assert!(!block.is_null());
        // All of it is the caller's.
        unsafe { block.write_bytes(0xaa, size) };
        (block, layout)
    }

    fn in_thread<T: Send>(owner: Owner, work: impl FnOnce() -> T + Send) -> T {
        let adopted = || {
            owner.adopt_thread();
            let result = work();
            // Adds up what was gathered.
            Owner::default().adopt_thread();
            result
        };
        std::thread::scope(|scope| scope.spawn(adopted).join().unwrap())
    }

    #[test]
    fn what_one_thread_allocates_and_another_frees_is_counted_once() {
        let (giver, taker) = (Owner::named("giver"), Owner::named("taker"));
        assert_eq!((Owner::named("giver"), giver == taker), (giver, false));
        let (block, layout) = in_thread(giver, || {
            let (block, layout) = alloc(1 << 20);
            (block as usize, layout)
        });
        assert_eq!((giver.bytes(), taker.bytes()), (1 << 20, 0));
        let grown = in_thread(taker, || unsafe { COUNTED.realloc(block as *mut u8, layout, 3 << 20) as usize });
        assert_eq!((giver.bytes(), taker.bytes()), (3 << 20, 0), "it stays its owner's");
        in_thread(taker, || unsafe {
            COUNTED.dealloc(grown as *mut u8, Layout::from_size_align(3 << 20, 8).unwrap());
        });
        assert_eq!((giver.bytes(), taker.bytes()), (0, 0));
    }

    #[test]
    fn blocks_of_every_size_keep_their_bytes() {
        let owner = Owner::named("sizes");
        in_thread(owner, || {
            let blocks: Vec<_> = (1..2_000).map(alloc).collect();
            for (block, layout) in blocks {
                unsafe {
                    assert!((0..layout.size()).all(|at| block.add(at).read() == 0xaa));
                    COUNTED.dealloc(block, layout);
                }
            }
            let zeroed = Layout::from_size_align(4_096, 4_096).unwrap();
            unsafe {
                let block = COUNTED.alloc_zeroed(zeroed);
                assert!((block as usize).is_multiple_of(4_096) && (0..4_096).all(|at| block.add(at).read() == 0));
                COUNTED.dealloc(block, zeroed);
                assert!(COUNTED.realloc(COUNTED.alloc(zeroed), zeroed, usize::MAX / 2).is_null());
            }
        });
        // The block that could not grow is still there.
        assert_eq!(owner.bytes(), 4_096);
    }
}
