//! The `pagewright` command; see the library for what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    pagewright_lab::cli::run()
}
