//! The `pagewright` command.
fn main() {}
