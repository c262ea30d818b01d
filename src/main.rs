//! Parse arguments, run, print the error, exit.

fn main() {}
