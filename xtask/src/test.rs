//! All tests, in the order in which they fail fastest.

use anyhow::Result;

use crate::dist::Arch;
use crate::scratch::{self, Scratch};
use crate::steps::{Steps, call, call_tests, cargo};
use crate::{dist, fuzz, install, licences};

/// What the compilers, the caches and the suites need at once, with some to spare.
const ROOM: u64 = 40;

/// Runs them. `fast` leaves out what needs network, judges or a guest.
pub fn run(fast: bool, exhaustive: bool) -> Result<()> {
    if !fast {
        scratch::room(ROOM)?;
    }
    let mut steps = Steps::default();
    if !fast {
        steps.run("install what the tests need", || install::run(exhaustive));
    }
    steps.run("format", || call(&mut cargo(&["fmt", "--all", "--check"])));
    steps.run("licences", licences::run);
    steps.run("lints", || {
        call(&mut cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]))
    });
    steps.run("unit and command-line tests", || {
        // The same features everywhere, so that the library is compiled once.
        call_tests(&mut cargo(&[
            "test",
            "--workspace",
            "--all-features",
            "--locked",
            "--quiet",
            "--lib",
            "--bins",
            "--test",
            "cli",
        ]))
    });
    if fast {
        return steps.finish();
    }
    steps.run("fuzz targets", || {
        fuzz::run(if exhaustive { 300 } else { 8 })
    });
    let mut shipped = None;
    steps.run("static binary", || {
        shipped = Some(std::path::absolute(dist::run(Arch::host()?)?)?);
        Ok(())
    });
    let mut arm64 = None;
    if exhaustive && Arch::host()? == Arch::X86_64 {
        steps.run("static binary for arm64 hosts", || {
            arm64 = Some(std::path::absolute(dist::run(Arch::Arm64)?)?);
            Ok(())
        });
    }
    // Both spend much of their time on one core, or waiting.
    for suite in ["judges", "boots"] {
        steps.run(suite, || {
            let mut command = cargo(&[
                "test",
                "--locked",
                "--all-features",
                "--test",
                suite,
                "--",
                "--test-threads=2",
                "--nocapture",
            ]);
            let scratch = Scratch::new()?;
            command.env("TMPDIR", scratch.dir());
            command.env("HULLWRIGHT_JUDGES_TREE", install::trixie());
            if let Some(program) = &shipped {
                command.env("HULLWRIGHT_SHIPPED", program);
            }
            if let Some(program) = &arm64 {
                command.env("HULLWRIGHT_SHIPPED_ARM64", program);
            }
            if exhaustive {
                command.env("HULLWRIGHT_EXHAUSTIVE", "1");
            }
            call_tests(&mut command)?;
            scratch::sweep()
        });
    }
    steps.finish()
}
