//! The single binary; everything it does is in the library beside it.

use runtime::alloc::Accounting;

/// Messages are allocated on one thread and freed on another: glibc's allocator pays for that, this one does not. Bytes are
/// counted by service.
#[global_allocator]
static ALLOCATOR: Accounting<mimalloc::MiMalloc> = Accounting::over(mimalloc::MiMalloc);

fn main() -> std::process::ExitCode {
    // Tens of threads with heaps of their own, each rounded up to huge pages, would triple the memory. A refusal only
    // costs that memory.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    bulkhead::panics::quiet();
    bulkhead::cli::main()
}
