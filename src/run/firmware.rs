//! Firmware that the host has installed, and a writable variable store for one machine.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::arch::Arch;
use crate::failure::{Failure, Kind};
use crate::sign::{Enrolment, Trust};
use crate::varstore::{VarStore, VarStoreError, enrol};

/// Whether a machine's firmware checks signatures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SecureBoot {
    /// Firmware without Secure Boot.
    #[default]
    Off,
    /// Firmware with Secure Boot that waits for an owner: no keys are enrolled.
    Setup,
    /// Firmware with these keys from its first start on.
    On(Enrolment),
}

impl SecureBoot {
    /// [`Self::On`] with the keys of `trust`.
    ///
    /// # Errors
    /// The key folder has no signed variables.
    pub fn with(trust: &Trust) -> Result<Self> {
        Ok(Self::On(enrolment(trust)?.clone()))
    }

    /// File of the variables in the state of a persistent image. Each mode has its own, so that going
    /// from one to another never meets variables of the other.
    #[must_use]
    pub const fn variables_file(&self) -> &'static str {
        match self {
            Self::Off => "vars.fd",
            Self::Setup => "vars-setup.fd",
            Self::On(_) => "vars-secure-boot.fd",
        }
    }
}

/// The signed variables of `trust`.
///
/// # Errors
/// The key folder has none.
pub fn enrolment(trust: &Trust) -> Result<&Enrolment> {
    trust.enrolment().ok_or_else(|| {
        let dir = trust.dir().display();
        Failure::new(
            Kind::Keys,
            format!(
                "the keys in {dir} have no signed variables to enrol (enrol/PK.auth and others)"
            ),
        )
        .hint("a key set of `hullwright keys new DIR` has them")
        .into()
    })
}

/// Which firmware a machine starts with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Choice {
    /// EDK II, as servers and clouds have it.
    #[default]
    Uefi,
    /// U-Boot, as small boards have it: its EFI can't rename files or set variables once Linux runs.
    /// A file, or the one that the host has installed.
    UBoot(Option<PathBuf>),
}

impl std::str::FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            None if text == "uefi" => Ok(Self::Uefi),
            None if text == "u-boot" => Ok(Self::UBoot(None)),
            Some(("u-boot", file)) if !file.is_empty() => Ok(Self::UBoot(Some(file.into()))),
            _ => Err("it is `uefi`, `u-boot`, or `u-boot=FILE`".into()),
        }
    }
}

/// A machine's firmware.
#[derive(Debug, Clone)]
pub enum Firmware {
    /// EDK II.
    Uefi(Uefi),
    /// U-Boot, which keeps its variables in a file of the ESP.
    UBoot(PathBuf),
}

/// Firmware code and the template of its variable store.
#[derive(Debug, Clone)]
pub struct Uefi {
    /// Read-only flash image.
    pub code: PathBuf,
    /// Template of the writable flash image.
    pub vars: PathBuf,
    arch: Arch,
    /// Whether variables are written in system management mode only, out of the guest's reach.
    smm: bool,
}

/// Where distributions put U-Boot for QEMU's `virt`.
const U_BOOT: &[&str] = &[
    "/usr/lib/u-boot/qemu_arm64/u-boot.bin",
    "/usr/share/uboot/qemu_arm64/u-boot.bin",
];

impl Firmware {
    /// The firmware of `choice` for `arch`, one with Secure Boot where `secure`.
    ///
    /// # Errors
    /// It is not installed, or there is none of that kind.
    pub fn find(choice: &Choice, arch: Arch, secure: bool) -> Result<Self> {
        let file = match choice {
            Choice::Uefi => return Uefi::find(arch, secure).map(Self::Uefi),
            Choice::UBoot(file) => file,
        };
        if arch != Arch::Arm64 {
            return Err(Failure::new(
                Kind::Usage,
                format!("machines with U-Boot are arm64, and the image is {arch}"),
            )
            .hint("leave --firmware out, or build the image with --arch arm64")
            .into());
        }
        if secure {
            return Err(
                Failure::new(Kind::Usage, "Debian's U-Boot checks no signatures")
                    .hint("leave --secure-boot out, or use --firmware uefi")
                    .into(),
            );
        }
        let found = match file {
            Some(file) => Some(file.clone()).filter(|file| file.is_file()),
            None => U_BOOT.iter().map(PathBuf::from).find(|file| file.is_file()),
        };
        found.map(Self::UBoot).ok_or_else(|| {
            let what = match file {
                Some(file) => format!("there is no U-Boot at {}", file.display()),
                None => "no U-Boot for QEMU is installed".into(),
            };
            Failure::new(Kind::Environment, what)
                .hint("install it: apt install u-boot-qemu, or name a file with --firmware u-boot=FILE")
                .into()
        })
    }

    /// QEMU's arguments for the machine that this firmware is made for.
    #[must_use]
    pub const fn machine(&self) -> &'static [&'static str] {
        match self {
            Self::Uefi(uefi) => uefi.machine(),
            Self::UBoot(_) => &["-machine", "virt"],
        }
    }

    /// Makes the variable store of a machine at `path`; an existing one is kept, as a machine keeps its
    /// flash. U-Boot has none.
    ///
    /// # Errors
    /// The template can't be read or `path` can't be written.
    pub fn make_variables(&self, path: &Path, secure_boot: &SecureBoot) -> Result<()> {
        match self {
            Self::Uefi(uefi) => uefi.make_variables(path, secure_boot),
            Self::UBoot(_) => Ok(()),
        }
    }

    /// Whether the guest finds SMBIOS tables that QEMU has written.
    #[must_use]
    pub const fn passes_smbios(&self) -> bool {
        matches!(self, Self::Uefi(_))
    }
}

/// Where distributions put firmware, code and variables, best first.
const X86_64: &[(&str, &str)] = &[
    (
        "/usr/share/OVMF/OVMF_CODE_4M.fd",
        "/usr/share/OVMF/OVMF_VARS_4M.fd",
    ),
    (
        "/usr/share/OVMF/OVMF_CODE.fd",
        "/usr/share/OVMF/OVMF_VARS.fd",
    ),
    (
        "/usr/share/edk2/ovmf/OVMF_CODE.fd",
        "/usr/share/edk2/ovmf/OVMF_VARS.fd",
    ),
    (
        "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
        "/usr/share/edk2/x64/OVMF_VARS.4m.fd",
    ),
    (
        "/usr/share/qemu/edk2-x86_64-code.fd",
        "/usr/share/qemu/edk2-i386-vars.fd",
    ),
    (
        "/opt/homebrew/share/qemu/edk2-x86_64-code.fd",
        "/opt/homebrew/share/qemu/edk2-i386-vars.fd",
    ),
];

/// Builds with Secure Boot; all of them keep variables in system management mode.
const X86_64_SECURE: &[(&str, &str)] = &[
    (
        "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd",
        "/usr/share/OVMF/OVMF_VARS_4M.fd",
    ),
    (
        "/usr/share/OVMF/OVMF_CODE.secboot.fd",
        "/usr/share/OVMF/OVMF_VARS.fd",
    ),
    (
        "/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd",
        "/usr/share/edk2/ovmf/OVMF_VARS.fd",
    ),
    (
        "/usr/share/edk2/x64/OVMF_CODE.secboot.4m.fd",
        "/usr/share/edk2/x64/OVMF_VARS.4m.fd",
    ),
    (
        "/usr/share/qemu/ovmf-x86_64-smm-code.bin",
        "/usr/share/qemu/ovmf-x86_64-smm-vars.bin",
    ),
    (
        "/usr/share/qemu/edk2-x86_64-secure-code.fd",
        "/usr/share/qemu/edk2-i386-vars.fd",
    ),
    (
        "/opt/homebrew/share/qemu/edk2-x86_64-secure-code.fd",
        "/opt/homebrew/share/qemu/edk2-i386-vars.fd",
    ),
];

const ARM64: &[(&str, &str)] = &[
    (
        "/usr/share/AAVMF/AAVMF_CODE.fd",
        "/usr/share/AAVMF/AAVMF_VARS.fd",
    ),
    (
        "/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw",
        "/usr/share/edk2/aarch64/vars-template-pflash.raw",
    ),
    (
        "/usr/share/qemu/edk2-aarch64-code.fd",
        "/usr/share/qemu/edk2-arm-vars.fd",
    ),
    (
        "/opt/homebrew/share/qemu/edk2-aarch64-code.fd",
        "/opt/homebrew/share/qemu/edk2-arm-vars.fd",
    ),
];

/// Builds with Secure Boot. Debian 12's only build has it; Debian 13 has one with and one without.
const ARM64_SECURE: &[(&str, &str)] = &[
    (
        "/usr/share/AAVMF/AAVMF_CODE.secboot.fd",
        "/usr/share/AAVMF/AAVMF_VARS.fd",
    ),
    (
        "/usr/share/AAVMF/AAVMF_CODE.fd",
        "/usr/share/AAVMF/AAVMF_VARS.fd",
    ),
];

impl Uefi {
    /// The first firmware of the host's that fits `arch`, one with Secure Boot where `secure`.
    ///
    /// # Errors
    /// None is installed; the failure names the packages to install.
    pub fn find(arch: Arch, secure: bool) -> Result<Self> {
        let (candidates, package) = match (arch, secure) {
            (Arch::X86_64, false) => (X86_64, "ovmf"),
            (Arch::X86_64, true) => (X86_64_SECURE, "ovmf"),
            (Arch::Arm64, false) => (ARM64, "qemu-efi-aarch64"),
            (Arch::Arm64, true) => (ARM64_SECURE, "qemu-efi-aarch64"),
        };
        candidates
            .iter()
            .map(|(code, vars)| Self {
                code: code.into(),
                vars: vars.into(),
                arch,
                smm: secure && arch == Arch::X86_64,
            })
            .find(|firmware| firmware.code.is_file() && firmware.vars.is_file())
            .ok_or_else(|| {
                let with = if secure { " with Secure Boot" } else { "" };
                Failure::new(
                    Kind::Environment,
                    format!("no UEFI firmware{with} for {arch} is installed"),
                )
                .hint(format!(
                    "install it: apt install {package} (edk2-ovmf on Fedora and Arch)"
                ))
                .into()
            })
    }

    /// QEMU's arguments for the machine that this firmware is made for.
    #[must_use]
    pub const fn machine(&self) -> &'static [&'static str] {
        match (self.arch, self.smm) {
            (Arch::X86_64, false) => &["-machine", "q35"],
            (Arch::X86_64, true) => &[
                "-machine",
                "q35,smm=on",
                "-global",
                "driver=cfi.pflash01,property=secure,value=on",
            ],
            (Arch::Arm64, _) => &["-machine", "virt"],
        }
    }

    /// Makes the variable store of a machine at `path`; an existing one is kept, as a machine keeps its
    /// flash.
    ///
    /// # Errors
    /// The template can't be read or `path` can't be written.
    pub fn make_variables(&self, path: &Path, secure_boot: &SecureBoot) -> Result<()> {
        if path.exists() {
            return Ok(());
        }
        let bytes = match secure_boot {
            SecureBoot::On(enrolment) => enrolled(&self.vars, self.arch, enrolment)?,
            SecureBoot::Off | SecureBoot::Setup => read(&self.vars)?,
        };
        write(path, &bytes)
    }
}

/// The flash image at `template` with the keys of `enrolment`.
///
/// # Errors
/// The template is no variable store, or a file of the enrolment no signed variable.
pub fn enrolled(template: &Path, arch: Arch, enrolment: &Enrolment) -> Result<Vec<u8>> {
    let bytes = read(template)?;
    let blank = match arch {
        Arch::Arm64 => VarStore::format_virt(&bytes),
        Arch::X86_64 => None,
    };
    let unusable = |error: VarStoreError| {
        let failure = Failure::new(
            Kind::Environment,
            format!(
                "{} is no template of a variable store: {error}",
                template.display()
            ),
        );
        match error {
            VarStoreError::Qcow2 => failure.hint(format!(
                "convert it: qemu-img convert -O raw {} vars-template.fd",
                template.display()
            )),
            _ => failure.hint(
                "Debian's are /usr/share/OVMF/OVMF_VARS_4M.fd and /usr/share/AAVMF/AAVMF_VARS.fd",
            ),
        }
    };
    let mut store = match blank {
        Some(store) => store,
        None => VarStore::parse(bytes).map_err(unusable)?,
    };
    enrol(&mut store, enrolment).map_err(|error| Failure::new(Kind::Keys, error.to_string()))?;
    Ok(store.to_bytes().map_err(unusable)?)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// Writes a flash image that only its owner may read or change, with a hole for the zeros at its end.
///
/// # Errors
/// `path` can't be written.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let used = bytes
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last + 1);
    let write = || {
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(bytes.get(..used).unwrap_or(bytes))?;
        file.set_len(bytes.len() as u64)
    };
    write().with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;
    use crate::failure::failure_of;

    fn enrolment() -> Enrolment {
        Enrolment {
            pk: Vec::new(),
            kek: Vec::new(),
            db: Vec::new(),
            dbx: None,
        }
    }

    #[test]
    fn variables_are_the_owners_and_sparse_and_those_of_before_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (template, vars) = (dir.path().join("template"), dir.path().join("vars"));
        let mut bytes = vec![0; 8 << 20];
        bytes[0] = 1;
        std::fs::write(&template, &bytes).unwrap();
        let firmware = Uefi {
            code: template.clone(),
            vars: template.clone(),
            arch: Arch::X86_64,
            smm: true,
        };
        firmware.make_variables(&vars, &SecureBoot::Setup).unwrap();
        let metadata = std::fs::metadata(&vars).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        assert!(metadata.blocks() * 512 < 1 << 20);
        assert!(std::fs::read(&vars).unwrap() == bytes);
        std::fs::write(&vars, "of the machine").unwrap();
        firmware.make_variables(&vars, &SecureBoot::Setup).unwrap();
        assert_eq!(std::fs::read(&vars).unwrap(), b"of the machine");
    }

    #[test]
    fn templates_and_keys_that_can_not_be_used_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let template = dir.path().join("vars.qcow2");
        let blank = vec![0; 1 << 20];
        for (bytes, arch, expected, hint) in [
            (
                &b"QFI\xfb"[..],
                Arch::X86_64,
                "raw one is needed",
                "qemu-img",
            ),
            (
                &blank,
                Arch::X86_64,
                "no firmware volume",
                "OVMF_VARS_4M.fd",
            ),
            (&blank, Arch::Arm64, "PK.auth", ""),
        ] {
            std::fs::write(&template, bytes).unwrap();
            let error = enrolled(&template, arch, &enrolment()).unwrap_err();
            let failure = failure_of(&error).unwrap();
            assert!(failure.message.contains(expected), "{}", failure.message);
            let hints = failure.hints.join(" ");
            assert!(hints.contains(hint), "{hints}");
        }
    }

    #[test]
    fn u_boot_is_for_arm64_and_checks_nothing() {
        assert_eq!("u-boot=a=b".parse(), Ok(Choice::UBoot(Some("a=b".into()))));
        for bad in ["", "bios", "u-boot=", "uefi=x"] {
            assert!(bad.parse::<Choice>().is_err(), "{bad}");
        }
        let missing = Choice::UBoot(Some("/no/such".into()));
        for (arch, secure, kind, said) in [
            (Arch::X86_64, false, Kind::Usage, "image is x86_64"),
            (Arch::Arm64, true, Kind::Usage, "no signatures"),
            (Arch::Arm64, false, Kind::Environment, "/no/such"),
        ] {
            let error = Firmware::find(&missing, arch, secure).unwrap_err();
            let failure = failure_of(&error).unwrap();
            assert_eq!(failure.kind, kind);
            assert!(failure.message.contains(said), "{}", failure.message);
        }
    }

    #[test]
    fn each_mode_keeps_its_own_variables() {
        let on = SecureBoot::On(enrolment());
        let files = [SecureBoot::Off, SecureBoot::Setup, on].map(|mode| mode.variables_file());
        assert_eq!(files, ["vars.fd", "vars-setup.fd", "vars-secure-boot.fd"]);
    }
}
