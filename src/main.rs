//! The program `maru`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    maru::cli::main()
}
