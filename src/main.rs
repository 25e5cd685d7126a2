//! The program `maru`; everything is in the library.

use std::process::ExitCode;

/// Gives memory back that the system's allocator keeps in an arena for each thread (decision 36).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    maru::cli::main()
}
