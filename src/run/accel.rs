//! Which accelerator QEMU gets. A readable `/dev/kvm` proves nothing (nested virtualisation may lack
//! instructions), so KVM is used only after firmware was seen to run on it.

use std::ffi::OsString;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::firmware::Firmware;
use super::machine::drive;
use crate::arch::Arch;

/// How the guest's instructions are executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accelerator {
    /// Hardware virtualisation.
    Kvm,
    /// Emulation, with the reason why KVM is not used.
    Tcg(String),
}

/// Working KVM prints the firmware's first characters in well under a second.
const PROBE_LIMIT: Duration = Duration::from_secs(8);

impl Accelerator {
    /// Probes the host.
    #[must_use]
    pub fn choose(arch: Arch, firmware: &Firmware) -> Self {
        let native = match arch {
            Arch::X86_64 => cfg!(target_arch = "x86_64"),
            Arch::Arm64 => cfg!(target_arch = "aarch64"),
        };
        if !native {
            return Self::Tcg(format!("the host is not {arch}"));
        }
        if let Err(error) = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/kvm")
        {
            return Self::Tcg(format!("/dev/kvm: {error}"));
        }
        match probe(arch, firmware) {
            Ok(()) => Self::Kvm,
            Err(why) => Self::Tcg(why),
        }
    }

    /// QEMU's `-accel` and `-cpu` values.
    #[must_use]
    pub const fn arguments(&self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Tcg(_) => ["-accel", "tcg,thread=multi", "-cpu", "max"],
        }
    }

    /// What is used, and why not KVM, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Kvm => "KVM".into(),
            Self::Tcg(why) => format!("software emulation ({why})"),
        }
    }
}

/// QEMU's arguments for firmware that keeps nothing.
fn flash(firmware: &Firmware) -> Vec<OsString> {
    let uefi = match firmware {
        Firmware::UBoot(code) => return vec!["-bios".into(), code.into()],
        Firmware::Uefi(uefi) => uefi,
    };
    vec![
        "-drive".into(),
        drive("if=pflash,format=raw,readonly=on,file=", &uefi.code),
        "-drive".into(),
        drive("if=pflash,format=raw,snapshot=on,file=", &uefi.vars),
    ]
}

/// Starts the firmware on KVM and waits for its first byte on the serial line.
fn probe(arch: Arch, firmware: &Firmware) -> Result<(), String> {
    let mut child = Command::new(arch.traits().qemu)
        .args(firmware.machine())
        .args([
            "-accel", "kvm", "-cpu", "host", "-m", "256", "-display", "none",
        ])
        .args(["-nodefaults", "-no-reboot", "-serial", "stdio"])
        .args(flash(firmware))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{}: {error}", arch.traits().qemu))?;
    let (sender, receiver) = std::sync::mpsc::channel();
    let watch = |mut stream: Box<dyn std::io::Read + Send>, wanted: bool| {
        let sender = sender.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 256];
            while let Ok(n) = stream.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
                if n == 0 || sender.send((wanted, text)).is_err() {
                    break;
                }
            }
        });
    };
    if let Some(stdout) = child.stdout.take() {
        watch(Box::new(stdout), true);
    }
    if let Some(stderr) = child.stderr.take() {
        watch(Box::new(stderr), false);
    }
    let begun = Instant::now();
    let mut verdict = Err("KVM did not run the firmware within 8 s".to_owned());
    while let Some(left) = PROBE_LIMIT.checked_sub(begun.elapsed()) {
        match receiver.recv_timeout(left.min(Duration::from_millis(200))) {
            Ok((true, _)) => {
                verdict = Ok(());
                break;
            }
            Ok((false, text)) if text.contains("KVM internal error") => {
                verdict = Err("KVM here fails with an internal error".into());
                break;
            }
            Ok(_) => {}
            Err(_) => {
                if let Ok(Some(status)) = child.try_wait() {
                    verdict = Err(format!("QEMU with KVM ended at once: {status}"));
                    break;
                }
            }
        }
    }
    // The guest is a probe: nothing in it is worth an orderly end.
    let _ = child.kill();
    let _ = child.wait();
    verdict
}
