//! Parse arguments, run, print the error, exit.

fn main() -> std::process::ExitCode {
    hullwright::cli::main()
}
