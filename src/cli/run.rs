//! `hullwright run`: boot an image in QEMU.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use super::build::{self, BuildArguments};
use super::{Context, image};
use crate::failure::Kind;
use crate::run::machine::Forward;
use crate::run::{self, Mode, Settings};

/// Boot an image in QEMU, building it first when a profile is named.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hullwright run qemu                                  console on the terminal (Ctrl-A X ends it)\n  \
    hullwright run qemu --exec 'systemctl --failed'      run a command, exit with its status\n  \
    hullwright run out/qemu-x86_64-0.0.0-dev --persist   keep what the guest writes\n  \
    hullwright run qemu --ssh --forward 8080:80          a shell, and a port of the guest\n\n\
    --exec passes the guest's status on; 125 is a failure of hullwright's own, 124 the time limit.")]
pub struct Run {
    /// A disk.raw, the output folder of a build, or a profile to build.
    #[arg(default_value = "qemu", value_name = "IMAGE|PROFILE")]
    target: String,
    /// Run this command in the guest over SSH, print its output, exit with its status.
    #[arg(long, value_name = "CMD", conflicts_with = "ssh")]
    exec: Option<String>,
    /// A shell in the guest over SSH.
    #[arg(long)]
    ssh: bool,
    /// Let the guest write to the image itself instead of a copy that is thrown away.
    #[arg(long)]
    persist: bool,
    /// Forward a port of the loopback to the guest.
    #[arg(long, value_name = "HOST:GUEST")]
    forward: Vec<Forward>,
    #[command(flatten)]
    machine: MachineArguments,
    #[command(flatten)]
    build: BuildArguments,
}

/// What the virtual machine is made of.
#[derive(Debug, Clone, clap::Args)]
pub struct MachineArguments {
    /// Memory in MiB.
    #[arg(long, default_value_t = 2048, value_name = "MIB")]
    pub memory: u32,
    /// Virtual processors.
    #[arg(long, default_value_t = 2, value_name = "N")]
    pub cpus: u32,
    /// Seconds until the whole run is given up.
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
    /// Keep the guest's console in this file.
    #[arg(long, value_name = "FILE")]
    pub console: Option<PathBuf>,
}

impl MachineArguments {
    /// As the run room wants it.
    pub fn settings(&self, image: &image::Image) -> Settings {
        Settings {
            arch: image.arch,
            memory: self.memory,
            cpus: self.cpus,
            persist: false,
            timeout: self.timeout.map(Duration::from_secs),
            forwards: Vec::new(),
            console: self.console.clone(),
        }
    }
}

impl Run {
    /// The exit status for a failure of `kind`. With `--exec` every other status may be the
    /// command's, so hullwright's own failures share one that no command is expected to use.
    pub const fn failed(&self, kind: Kind) -> u8 {
        match kind {
            Kind::TimedOut | Kind::Interrupted => kind.exit_code(),
            _ if self.exec.is_some() => Kind::Guest.exit_code(),
            _ => kind.exit_code(),
        }
    }

    /// Runs the subcommand.
    pub fn run(&self, context: Context) -> Result<u8> {
        let given = Path::new(&self.target);
        let image = if given.is_dir() || given.extension().is_some_and(|e| e == "raw") {
            image::find(given)?
        } else {
            image::find(&build::build_one(&self.target, &self.build, context)?.directory)?
        };
        let settings = Settings {
            persist: self.persist,
            forwards: self.forward.clone(),
            ..self.machine.settings(&image)
        };
        let mode = match (&self.exec, self.ssh) {
            (Some(command), _) => Mode::Exec(command.clone()),
            (None, true) => Mode::Shell,
            (None, false) => Mode::Console,
        };
        run::run(&image.disk, &settings, &mode)
    }
}
