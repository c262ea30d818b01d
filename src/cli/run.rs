//! `hullwright run`: boot an image in QEMU.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use super::build::{self, BuildArguments};
use super::{Context, image};
use crate::failure::Kind;
use crate::run::firmware::{Choice, SecureBoot};
use crate::run::machine::Forward;
use crate::run::{self, Mode, Settings};
use crate::sign::Trust;

/// Boot an image in QEMU, building it first when a profile is named.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hullwright run qemu                                  console on the terminal (Ctrl-A X ends it)\n  \
    hullwright run qemu --exec 'systemctl --failed'      run a command, exit with its status\n  \
    hullwright run out/qemu-x86_64-0.0.0-dev --persist   keep what the guest writes\n  \
    hullwright run qemu --ssh --forward 8080:80          a shell, and a port of the guest\n  \
    hullwright run qemu --secure-boot                    firmware that checks signatures\n  \
    hullwright run qemu --arch arm64                     another architecture, emulated\n  \
    hullwright run qemu --arch arm64 --firmware u-boot   firmware of a small board\n\n\
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
    /// What the machine starts with: uefi, u-boot (arm64; the one that is installed), or u-boot=FILE.
    #[arg(long, default_value = "uefi", value_name = "FIRMWARE")]
    pub firmware: Choice,
    /// Firmware that checks signatures, with the keys that sign the image enrolled (see --keys).
    #[arg(
        long,
        value_enum,
        value_name = "MODE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "on"
    )]
    pub secure_boot: Option<SecureBootMode>,
    /// A machine without a watchdog, which resets a guest that hangs.
    #[arg(long)]
    pub no_watchdog: bool,
    /// For experts: one more argument of QEMU's, passed on as it is.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub qemu_arg: Vec<OsString>,
}

/// The state of the firmware's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SecureBootMode {
    /// The keys are enrolled from the first start on.
    On,
    /// No keys yet: the image may enrol its own.
    Setup,
}

impl MachineArguments {
    /// As the run room wants it; `trust` finds the keys where they are needed.
    pub fn settings(
        &self,
        image: &image::Image,
        trust: impl FnOnce() -> Result<Trust>,
    ) -> Result<Settings> {
        let secure_boot = match self.secure_boot {
            None => SecureBoot::Off,
            Some(SecureBootMode::Setup) => SecureBoot::Setup,
            Some(SecureBootMode::On) => {
                let trust = trust()?;
                image.note_other_keys(&trust);
                SecureBoot::with(&trust)?
            }
        };
        Ok(Settings {
            arch: image.arch,
            memory: self.memory,
            cpus: self.cpus,
            persist: false,
            timeout: self.timeout.map(Duration::from_secs),
            forwards: Vec::new(),
            console: self.console.clone(),
            firmware: self.firmware.clone(),
            secure_boot,
            watchdog: !self.no_watchdog,
            qemu: self.qemu_arg.clone(),
        })
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
        let finished = given.is_dir() || given.extension().is_some_and(|e| e == "raw");
        let image = if finished {
            image::find(given)?
        } else {
            image::find(&build::build_one(&self.target, &self.build, context)?)?
        };
        let trust = || {
            let profile = (!finished).then_some(self.target.as_str());
            self.build.trust(profile)
        };
        let settings = Settings {
            persist: self.persist,
            forwards: self.forward.clone(),
            ..self.machine.settings(&image, trust)?
        };
        let mode = match (&self.exec, self.ssh) {
            (Some(command), _) => Mode::Exec(command.clone()),
            (None, true) => Mode::Shell,
            (None, false) => Mode::Console,
        };
        run::run(&image.disk, &settings, &mode)
    }
}
