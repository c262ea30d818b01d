//! The command line: one file a subcommand, each an argument struct and a thin call into the library.

mod addon;
mod arguments;
mod audit;
mod board;
mod build;
mod cache;
mod check;
mod completions;
mod environment;
mod fetch;
mod image;
mod init;
mod inspect;
mod interrupt;
mod kernel;
mod keys;
mod lock;
mod look;
mod output;
mod passphrase;
mod profile;
mod release;
mod run;
mod sign;
mod size;
mod test;
mod why;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::Kind;
use crate::report::human_size;

/// What every subcommand gets.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// JSON Lines on stdout.
    pub json: bool,
    /// No progress, no words but errors.
    pub quiet: bool,
}

const GLOBAL: &str = "Options of every command";

#[derive(Debug, Parser)]
#[command(
    name = "hullwright",
    version,
    about = "Links Debian packages into an immutable, signed, verified container-host image.",
    after_help = "Examples:\n  \
        hullwright build qemu                       build the development image\n  \
        hullwright run qemu                         build it and boot it in QEMU\n  \
        hullwright run qemu --exec 'ctr version'    run a command in it\n  \
        hullwright init my-host                     start a project of your own\n  \
        hullwright lock my-host.yaml --upgrade      renew the locked packages\n\n\
        Exit status: 0 ok, 2 usage or profile, 3 unsatisfiable, 4 archive or verification, 5 audit,\n\
        6 does not fit, 7 environment, 8 keys or signer, 9 something newer is there (`board update --check`),\n\
        70 bug, 130 interrupted.",
    arg_required_else_help = true
)]
struct Arguments {
    /// Tell more; twice for traces.
    #[arg(short, long, global = true, help_heading = GLOBAL, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Only errors.
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    quiet: bool,
    /// JSON Lines on stdout: events, then one `result` or `error`.
    #[arg(long, global = true, help_heading = GLOBAL)]
    json: bool,
    /// Worker threads; 0 is one a core.
    #[arg(long, global = true, help_heading = GLOBAL, default_value_t = 0, value_name = "N")]
    threads: usize,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Build(build::Build),
    Run(run::Run),
    Test(test::Test),
    Inspect(inspect::Inspect),
    Lock(lock::LockCommand),
    Why(why::Why),
    Size(size::Size),
    Audit(audit::Audit),
    Fetch(fetch::Fetch),
    Cache(cache::CacheCommand),
    Init(init::Init),
    Check(check::Check),
    Profile(profile::ProfileCommand),
    Kernel(kernel::KernelCommand),
    Keys(keys::Keys),
    Board(board::BoardCommand),
    Addon(addon::AddonCommand),
    Sign(sign::Sign),
    Release(release::ReleaseCommand),
    Completions(completions::Completions),
}

/// Runs the program and gives its exit status.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            return ExitCode::from(misused(&error));
        }
    };
    trace(arguments.verbose);
    open_many_files();
    let result = interrupt::install(arguments.json).and_then(|()| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(arguments.threads)
            .build_global()?;
        dispatch(&arguments)
    });
    if let Some(status) = interrupt::status(arguments.json) {
        return ExitCode::from(status);
    }
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            let kind = output::error(&error, arguments.json);
            ExitCode::from(match &arguments.command {
                Command::Run(command) => command.failed(kind),
                _ => kind.exit_code(),
            })
        }
    }
}

/// Prints what clap has to say: help, version, or what is wrong with the command line.
fn misused(error: &clap::Error) -> u8 {
    // A closed pipe behind `--help | head` is no failure.
    let _ = error.print();
    if !error.use_stderr() {
        return 0;
    }
    if std::env::args_os().any(|argument| argument == "--json") {
        let text = error.to_string();
        let (message, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
        let words: Vec<&str> = message.split_whitespace().collect();
        let message = words.join(" ");
        let hints: Vec<&str> = rest
            .lines()
            .filter_map(|line| line.trim().strip_prefix("tip: "))
            .collect();
        output::event(
            "error",
            serde_json::json!({
                "kind": Kind::Usage.name(),
                "message": message.strip_prefix("error: ").unwrap_or(&message),
                "file": null,
                "line": null,
                "column": null,
                "hints": hints,
            }),
        );
    }
    Kind::Usage.exit_code()
}

fn dispatch(arguments: &Arguments) -> anyhow::Result<u8> {
    let context = Context {
        json: arguments.json,
        quiet: arguments.quiet,
    };
    match &arguments.command {
        Command::Build(command) => command.run(context),
        Command::Run(command) => command.run(context),
        Command::Test(command) => command.run(context),
        Command::Inspect(command) => command.run(context),
        Command::Lock(command) => command.run(context),
        Command::Why(command) => command.run(context),
        Command::Size(command) => command.run(context),
        Command::Audit(command) => command.run(context),
        Command::Fetch(command) => command.run(context),
        Command::Cache(command) => command.run(context),
        Command::Init(command) => command.run(context),
        Command::Check(command) => command.run(context),
        Command::Profile(command) => command.run(context),
        Command::Kernel(command) => command.run(context),
        Command::Keys(command) => command.run(context),
        Command::Board(command) => command.run(context),
        Command::Addon(command) => command.run(context),
        Command::Sign(command) => command.run(context),
        Command::Release(command) => command.run(context),
        Command::Completions(command) => command.run(),
    }
}

/// A build has the object of each of its packages open, and some systems begin with 1024 files.
fn open_many_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    const ENOUGH: u64 = 16 * 1024;
    let mut limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.map_or(ENOUGH, |most| most.min(ENOUGH));
    if limit.current.is_some_and(|current| current < most) {
        limit.current = Some(most);
        // With fewer, profiles with very many packages fail, and say why.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

fn trace(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "hullwright=debug",
        _ => "trace",
    };
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(level))
        .with_writer(std::io::stderr)
        .with_ansi(!environment::no_color() && std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .without_time()
        .with_target(false)
        .init();
}

/// The whole command line, for tests and generated documentation.
#[must_use]
pub fn command() -> clap::Command {
    <Arguments as clap::CommandFactory>::command()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }

    #[test]
    fn failures_of_run_exec_are_told_from_the_commands_status() {
        use super::{Arguments, Command, Kind};
        use clap::Parser as _;

        let failed = |words: &[&str], kind| match Arguments::try_parse_from(words).unwrap().command
        {
            Command::Run(run) => run.failed(kind),
            _ => unreachable!(),
        };
        let exec = ["hullwright", "run", "qemu", "--exec", "true"];
        for (kind, with_exec, without) in [
            (Kind::Usage, 125, 2),
            (Kind::Environment, 125, 7),
            (Kind::Guest, 125, 125),
            (Kind::TimedOut, 124, 124),
            (Kind::Interrupted, 130, 130),
        ] {
            assert_eq!(failed(&exec, kind), with_exec, "{kind:?}");
            assert_eq!(failed(&exec[..3], kind), without, "{kind:?}");
        }
    }
}
