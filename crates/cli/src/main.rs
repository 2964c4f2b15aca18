//! The `tidings` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidings_cli::main()
}
