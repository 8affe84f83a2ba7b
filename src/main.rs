//! The single binary; everything it does is in the library beside it.

/// Messages are allocated on one thread and freed on another: glibc's allocator pays for that, this one does not.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    bulkhead::cli::main()
}
