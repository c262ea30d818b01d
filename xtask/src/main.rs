//! `cargo xtask …`: everything about this repository that is more than one cargo command.
#![allow(
    clippy::disallowed_methods,
    reason = "this runs programs of the machine it is on"
)]

mod bench;
mod compare;
mod dist;
mod fuzz;
mod install;
mod licences;
mod scratch;
mod steps;
mod test;
mod trixie;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask test [--fast] [--exhaustive]
    installs what the tests need (as root on Debian; otherwise prints what is missing), then runs
    them all: format, licences, lints, unit and command-line tests, fuzzers, judges, boots.
    --fast        no network, no judges, no boots
    --exhaustive  the long loops: all mutations, longer fuzzing
cargo xtask install
    only installs what the tests need
cargo xtask dist [--arch x86_64|arm64]
    builds the static binary into target/dist/, for this machine or for that architecture
cargo xtask licences
    holds the licence of every locked crate against deny.toml
cargo xtask fuzz [SECONDS]
    runs every fuzz target for so long (default 20)
cargo xtask compare
    puts container-host beside what apt-get and mmdebstrap make of its list of packages, into
    docs/minimal.md
cargo xtask bench [--only NAME] [--runs N] [--json] [--write-docs] …
    measures hullwright against the tools that people use today; `bench --help` tells more
";

fn main() -> ExitCode {
    if let Err(error) = std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")) {
        eprintln!("error: entering the repository: {error}");
        return ExitCode::FAILURE;
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["test", flags @ ..] if flags.iter().all(|f| ["--fast", "--exhaustive"].contains(f)) => {
            test::run(flags.contains(&"--fast"), flags.contains(&"--exhaustive"))
        }
        ["bench", words @ ..] => bench::run(words),
        ["compare"] => compare::run(),
        ["install"] => install::run(true),
        ["dist"] => dist::Arch::host().and_then(built),
        ["dist", "--arch", name] => match dist::Arch::named(name) {
            Some(arch) => built(arch),
            None => return usage(),
        },
        ["licences"] => licences::run(),
        ["fuzz"] => fuzz::run(20),
        ["fuzz", seconds] => match seconds.parse() {
            Ok(seconds) => fuzz::run(seconds),
            Err(_) => return usage(),
        },
        _ => return usage(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn built(arch: dist::Arch) -> anyhow::Result<()> {
    dist::run(arch).map(|path| println!("{}", path.display()))
}

fn usage() -> ExitCode {
    eprint!("{USAGE}");
    ExitCode::from(2)
}
