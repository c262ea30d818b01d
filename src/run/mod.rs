//! Booting images in QEMU, and looking into them.
//!
//! This is the one room that starts other programs: QEMU, and OpenSSH's client for a way in.

pub mod accel;
pub mod boot_test;
pub mod firmware;
pub mod junit;
pub mod machine;
pub mod qmp;
pub mod scratch;
pub mod ssh;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::arch::Arch;
use crate::failure::{Failure, Kind};
use crate::staging::Unfinished;
use accel::Accelerator;
use firmware::{Choice, Firmware, SecureBoot};
use machine::{Console, Forward, Hardware, Machine};

/// What to do with a booted guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// The guest's console on the terminal, until the guest powers off.
    Console,
    /// A command over SSH; its status is the result.
    Exec(String),
    /// A shell over SSH.
    Shell,
}

/// How to boot.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Architecture of the image.
    pub arch: Arch,
    /// MiB of memory.
    pub memory: u32,
    /// Virtual processors.
    pub cpus: u32,
    /// Whether writes go to the image itself; otherwise to a copy that is thrown away.
    pub persist: bool,
    /// Time limit for the whole run.
    pub timeout: Option<Duration>,
    /// Forwarded ports.
    pub forwards: Vec<Forward>,
    /// Keep the console in this file.
    pub console: Option<PathBuf>,
    /// What it starts with.
    pub firmware: Choice,
    /// Whether firmware checks signatures.
    pub secure_boot: SecureBoot,
    /// Whether the machine has a watchdog.
    pub watchdog: bool,
    /// Further arguments of QEMU's, passed on as they are.
    pub qemu: Vec<OsString>,
}

/// The limit of `--exec` where none is given: emulated boots take minutes on busy machines.
const EXEC_LIMIT: Duration = Duration::from_secs(900);
/// How long an orderly power-off may take.
const POWER_DOWN: Duration = Duration::from_secs(120);

/// An `auto` image has no space for root: the copy is put on a disk as large as a small one is today.
const SMALLEST_DISK: u64 = 8 << 30;

fn grow(disk: &Path) -> Result<()> {
    let file = std::fs::OpenOptions::new().write(true).open(disk)?;
    if file.metadata()?.len() < SMALLEST_DISK {
        file.set_len(SMALLEST_DISK)
            .with_context(|| format!("growing {}", disk.display()))?;
    }
    Ok(())
}

/// Everything a machine needs before it starts: disk, variables, key, firmware, accelerator.
#[derive(Debug)]
pub struct Bench {
    dir: tempfile::TempDir,
    _removed_on_interrupt: Unfinished,
    settings: Settings,
    firmware: Firmware,
    accelerator: Accelerator,
    variables: PathBuf,
    key: PathBuf,
    /// The disk that the guest writes to.
    pub disk: PathBuf,
}

impl Bench {
    /// A copy of `image`, or with `persist` `image` itself, its state beside it in `IMAGE.state/`.
    ///
    /// # Errors
    /// No such image, no space, no firmware.
    pub fn set_up(image: &Path, settings: &Settings) -> Result<Self> {
        if !image.is_file() {
            return Err(Failure::new(
                Kind::Usage,
                format!("{} is not a disk image", image.display()),
            )
            .hint(
                "give the path of a disk.raw, of a build's output folder, or the name of a profile",
            )
            .into());
        }
        let secure = settings.secure_boot != SecureBoot::Off;
        let firmware = Firmware::find(&settings.firmware, settings.arch, secure)?;
        let accelerator = Accelerator::choose(settings.arch, &firmware);
        let dir = tempfile::Builder::new()
            .prefix("hullwright-run-")
            .tempdir()
            .context("making a temporary folder")?;
        let (state, disk) = if settings.persist {
            let mut name = OsString::from(image);
            name.push(".state");
            let state = PathBuf::from(name);
            std::fs::create_dir_all(&state)
                .with_context(|| format!("making {}", state.display()))?;
            (state, image.to_owned())
        } else {
            let disk = dir.path().join("disk.raw");
            scratch::copy_sparse(image, &disk)?;
            grow(&disk)?;
            (dir.path().to_owned(), disk)
        };
        let variables = state.join(settings.secure_boot.variables_file());
        firmware.make_variables(&variables, &settings.secure_boot)?;
        eprintln!(
            "booting {} with {}",
            image.display(),
            accelerator.describe()
        );
        Ok(Self {
            _removed_on_interrupt: Unfinished::new(dir.path().to_owned()),
            settings: settings.clone(),
            firmware,
            accelerator,
            variables,
            key: state.join("key"),
            disk,
            dir,
        })
    }

    /// Folder for sockets and logs; it goes with the value.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where the console goes when it is not on the terminal.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        let default = || self.dir().join("console.log");
        self.settings.console.clone().unwrap_or_else(default)
    }

    /// What executes the guest, for people.
    #[must_use]
    pub fn accelerator(&self) -> String {
        self.accelerator.describe()
    }

    /// Starts the machine, with `key` as root's way in.
    ///
    /// # Errors
    /// QEMU is not installed or does not start.
    pub fn start(
        &self,
        console: Console,
        forwards: Vec<Forward>,
        key: Option<&ssh::Key>,
    ) -> Result<Machine> {
        let hardware = Hardware {
            arch: self.settings.arch,
            memory: self.settings.memory,
            cpus: self.settings.cpus,
            disk: self.disk.clone(),
            variables: self.variables.clone(),
            console,
            forwards,
            watchdog: self.settings.watchdog,
            credentials: key
                .map(|key| (ssh::CREDENTIAL.to_owned(), key.public().as_bytes().to_vec()))
                .into_iter()
                .collect(),
            extra: self.settings.qemu.clone(),
        };
        Machine::start(&hardware, &self.firmware, &self.accelerator, self.dir())
    }
}

/// Boots `image` and does what `mode` asks; the result is the process's exit status.
///
/// # Errors
/// QEMU or firmware missing, the guest did not come up, a time limit has passed.
pub fn run(image: &Path, settings: &Settings, mode: &Mode) -> Result<u8> {
    let bench = Bench::set_up(image, settings)?;
    let key = ssh::Key::at(&bench.key);
    let key = match mode {
        // The console is a way in; SSH is an extra there.
        Mode::Console => key.ok(),
        _ => Some(key?),
    };
    let port = machine::free_port()?;
    let mut forwards = settings.forwards.clone();
    forwards.push(Forward {
        host: port,
        guest: 22,
    });
    let log = bench.log();
    let console = match mode {
        Mode::Console => Console::Terminal(settings.console.clone()),
        _ => Console::File(log.clone()),
    };
    let begun = Instant::now();
    let mut machine = bench.start(console, forwards, key.as_ref())?;
    if *mode == Mode::Console {
        let deadline = settings.timeout.map(|limit| begun + limit);
        return match machine.wait_until(deadline)? {
            Some(status) if status.success() => Ok(0),
            Some(status) => {
                Err(Failure::new(Kind::Environment, format!("QEMU failed ({status})")).into())
            }
            None => Err(Failure::new(Kind::TimedOut, "the time limit has passed").into()),
        };
    }
    let deadline = begun + settings.timeout.unwrap_or(EXEC_LIMIT);
    let talked = talk(&mut machine, key.as_ref(), port, &bench, mode, deadline);
    if talked.is_err() {
        show_tail(&log);
    }
    let status = talked?;
    if settings.persist {
        machine.power_down(POWER_DOWN)?;
    }
    Ok(status)
}

fn talk(
    machine: &mut Machine,
    key: Option<&ssh::Key>,
    port: u16,
    bench: &Bench,
    mode: &Mode,
    deadline: Instant,
) -> Result<u8> {
    let Some(key) = key else { return Ok(0) };
    let session = ssh::Session::open(machine, key, port, bench.dir(), deadline)?;
    let status = match mode {
        Mode::Exec(command) => session.exec(command, deadline)?,
        Mode::Shell | Mode::Console => session.shell()?,
    };
    match status.code() {
        Some(code) => Ok(u8::try_from(code).unwrap_or(u8::MAX)),
        None => {
            Err(Failure::new(Kind::Guest, format!("ssh was ended by a signal ({status})")).into())
        }
    }
}

/// The end of the console, which says why a guest did not come up.
fn show_tail(log: &Path) {
    let Ok(bytes) = std::fs::read(log) else {
        return;
    };
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    let tail = &lines[lines.len().saturating_sub(25)..];
    eprintln!("--- end of the guest's console ---");
    for line in tail {
        let clean: String = line
            .chars()
            .filter(|c| !c.is_control() || *c == '\t')
            .collect();
        eprintln!("{clean}");
    }
    eprintln!("---");
}
