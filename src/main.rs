//! The single binary; everything it does is in the library beside it.

/// Messages are allocated on one thread and freed on another: glibc's allocator pays for that, this one does not.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // Tens of threads with heaps of their own, each rounded up to huge pages, would triple the memory. A refusal only
    // costs that memory.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    bulkhead::panics::quiet();
    bulkhead::cli::main()
}
