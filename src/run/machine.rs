//! One virtual machine: QEMU's command line, its life, its end.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::accel::Accelerator;
use super::firmware::Firmware;
use super::qmp::Qmp;
use crate::arch::Arch;
use crate::base64;
use crate::failure::{Failure, Kind};

/// Where the guest's serial console goes.
#[derive(Debug, Clone)]
pub enum Console {
    /// The terminal that hullwright was started from, and a file that keeps what it shows.
    Terminal(Option<PathBuf>),
    /// A file.
    File(PathBuf),
}

/// A TCP port of the host's loopback that reaches a port of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// Port on 127.0.0.1.
    pub host: u16,
    /// Port in the guest.
    pub guest: u16,
}

impl std::str::FromStr for Forward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not HOST:GUEST, two port numbers such as 8080:80");
        let (host, guest) = text.split_once(':').ok_or_else(wrong)?;
        Ok(Self {
            host: host.parse().map_err(|_| wrong())?,
            guest: guest.parse().map_err(|_| wrong())?,
        })
    }
}

/// What the machine is made of.
#[derive(Debug, Clone)]
pub struct Hardware {
    /// Architecture of the image.
    pub arch: Arch,
    /// MiB of memory.
    pub memory: u32,
    /// Virtual processors.
    pub cpus: u32,
    /// Raw disk image, written to.
    pub disk: PathBuf,
    /// Writable firmware variables.
    pub variables: PathBuf,
    /// Serial console.
    pub console: Console,
    /// Forwarded ports.
    pub forwards: Vec<Forward>,
    /// Whether it has a watchdog, which resets a guest that hangs.
    pub watchdog: bool,
    /// systemd credentials by name, handed over in SMBIOS strings of type 11, or as files of QEMU's
    /// firmware configuration device where the firmware passes no SMBIOS on (systemd.exec(5)).
    pub credentials: Vec<(String, Vec<u8>)>,
    /// Further arguments of QEMU's, passed on as they are.
    pub extra: Vec<OsString>,
}

/// Guests that a signal handler has to end, because nothing is dropped when a process exits.
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Ends every guest; for the signal handler, just before the process exits.
pub fn stop_all() {
    let running = RUNNING.lock().map(|list| list.clone()).unwrap_or_default();
    for id in running {
        if let Some(pid) = i32::try_from(id)
            .ok()
            .and_then(rustix::process::Pid::from_raw)
        {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// A running QEMU.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    control: PathBuf,
}

/// Longer than an emulated guest takes to begin its shutdown.
const PRESS_AGAIN: Duration = Duration::from_secs(15);

/// A port of the loopback that was free a moment ago.
///
/// # Errors
/// The host has no free port.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("looking for a free port")?;
    Ok(listener.local_addr()?.port())
}

impl Machine {
    /// Starts `hardware` with its control socket in `dir`.
    ///
    /// # Errors
    /// QEMU is not installed or does not start.
    pub fn start(
        hardware: &Hardware,
        firmware: &Firmware,
        accelerator: &Accelerator,
        dir: &Path,
    ) -> Result<Self> {
        let control = dir.join("qmp");
        let program = hardware.arch.traits().qemu;
        let mut command = Command::new(program);
        command.args(arguments(hardware, firmware, accelerator, &control));
        command.args(credentials(hardware, firmware, dir)?);
        command.args(&hardware.extra);
        if matches!(hardware.console, Console::File(_)) {
            command.stdin(Stdio::null());
        }
        tracing::debug!(?command, "starting QEMU");
        let child = command.spawn().map_err(|error| {
            Failure::new(Kind::Environment, format!("starting {program}: {error}"))
                .hint("install QEMU: apt install qemu-system-x86 (or qemu-system-arm for arm64)")
        })?;
        if let Ok(mut running) = RUNNING.lock() {
            running.push(child.id());
        }
        Ok(Self { child, control })
    }

    /// The exit status, if QEMU has ended.
    ///
    /// # Errors
    /// The process can't be waited for.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("waiting for QEMU")
    }

    /// Waits for the end, at most until `deadline`; `None` when that has passed.
    ///
    /// # Errors
    /// The process can't be waited for.
    pub fn wait_until(&mut self, deadline: Option<Instant>) -> Result<Option<ExitStatus>> {
        loop {
            if let Some(status) = self.ended()? {
                return Ok(Some(status));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Presses the power button until the guest ends, at most for `patience`; then stops it. Returns
    /// whether the guest ended by itself. One press is not enough: whoever listens for it in the guest
    /// may not be up yet.
    ///
    /// # Errors
    /// The process can't be waited for.
    pub fn power_down(&mut self, patience: Duration) -> Result<bool> {
        let deadline = Instant::now() + patience;
        let mut ended = false;
        while !ended && Instant::now() < deadline {
            // QEMU closes its socket when the guest is about to end.
            if let Ok(mut qmp) = Qmp::connect(&self.control) {
                let _ = qmp.command("system_powerdown");
            }
            let next = (Instant::now() + PRESS_AGAIN).min(deadline);
            ended = self.wait_until(Some(next))?.is_some();
        }
        self.stop();
        Ok(ended)
    }

    /// Ends QEMU without asking the guest.
    pub fn stop(&mut self) {
        if let Ok(mut running) = RUNNING.lock() {
            running.retain(|id| *id != self.child.id());
        }
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop();
    }
}

/// QEMU separates options by commas; a comma in a file name is doubled.
fn escaped(path: &Path) -> OsString {
    path.to_string_lossy().replace(',', ",,").into()
}

/// `head` with the file `path` behind it, as QEMU reads it.
pub(super) fn drive(head: &str, path: &Path) -> OsString {
    let mut out = OsString::from(head);
    out.push(escaped(path));
    out
}

fn arguments(
    hardware: &Hardware,
    firmware: &Firmware,
    accelerator: &Accelerator,
    control: &Path,
) -> Vec<OsString> {
    let mut all: Vec<OsString> = Vec::new();
    let mut add = |words: &[&str]| all.extend(words.iter().map(OsString::from));
    add(firmware.machine());
    add(&accelerator.arguments());
    add(&[
        "-m",
        &hardware.memory.to_string(),
        "-smp",
        &hardware.cpus.to_string(),
    ]);
    add(&[
        "-nodefaults",
        "-display",
        "none",
        "-device",
        "virtio-rng-pci",
    ]);
    let mut network = "user,id=net0".to_owned();
    for Forward { host, guest } in &hardware.forwards {
        network.push_str(&format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}"));
    }
    add(&[
        "-netdev",
        &network,
        "-device",
        "virtio-net-pci,netdev=net0,romfile=",
    ]);
    // Not the first index, so that `extra` can put others before it.
    add(&["-device", "virtio-blk-pci,drive=disk,bootindex=100"]);
    if hardware.watchdog {
        // QEMU has this PCI device on both architectures, and Debian's cloud kernel its driver.
        add(&["-device", "i6300esb", "-action", "watchdog=reset"]);
    }
    let mut pairs: Vec<(&str, OsString)> = match firmware {
        Firmware::Uefi(uefi) => vec![
            (
                "-drive",
                drive("if=pflash,unit=0,format=raw,readonly=on,file=", &uefi.code),
            ),
            (
                "-drive",
                drive("if=pflash,unit=1,format=raw,file=", &hardware.variables),
            ),
        ],
        Firmware::UBoot(code) => vec![("-bios", code.into())],
    };
    pairs.extend([
        (
            "-drive",
            drive(
                "if=none,id=disk,format=raw,discard=unmap,file=",
                &hardware.disk,
            ),
        ),
        ("-qmp", {
            let mut socket = drive("unix:", control);
            socket.push(",server=on,wait=off");
            socket
        }),
        ("-chardev", {
            match &hardware.console {
                // Ctrl-A C is QEMU's monitor there, Ctrl-A X its end.
                Console::Terminal(None) => "stdio,id=console,mux=on,signal=off".into(),
                Console::Terminal(Some(log)) => {
                    drive("stdio,id=console,mux=on,signal=off,logfile=", log)
                }
                Console::File(path) => drive("file,id=console,path=", path),
            }
        }),
    ]);
    for (option, value) in pairs {
        all.push(option.into());
        all.push(value);
    }
    all.extend(["-serial", "chardev:console"].map(OsString::from));
    if matches!(hardware.console, Console::Terminal(_)) {
        all.extend(["-mon", "chardev=console"].map(OsString::from));
    }
    all
}

/// QEMU's arguments that hand the credentials over; files of theirs go into `dir`.
fn credentials(hardware: &Hardware, firmware: &Firmware, dir: &Path) -> Result<Vec<OsString>> {
    let mut all = Vec::new();
    for (name, value) in &hardware.credentials {
        if firmware.passes_smbios() {
            let text = base64::encode(value);
            all.push("-smbios".into());
            all.push(format!("type=11,value=io.systemd.credential.binary:{name}={text}").into());
        } else {
            let file = dir.join(format!("credential-{name}"));
            std::fs::write(&file, value).with_context(|| format!("writing {}", file.display()))?;
            let head = format!("name=opt/io.systemd.credentials/{name},file=");
            all.extend(["-fw_cfg".into(), drive(&head, &file)]);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwards_are_two_ports() {
        assert_eq!(
            "8080:80".parse(),
            Ok(Forward {
                host: 8080,
                guest: 80
            })
        );
        for bad in ["8080", "a:80", "80:70000", ":"] {
            assert!(bad.parse::<Forward>().is_err(), "{bad}");
        }
    }
}
