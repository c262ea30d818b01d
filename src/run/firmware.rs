//! UEFI firmware that the host has installed, and a writable variable store for one machine.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::arch::Arch;
use crate::failure::{Failure, Kind};

/// Firmware code and the template of its variable store.
#[derive(Debug, Clone)]
pub struct Firmware {
    /// Read-only flash image.
    pub code: PathBuf,
    /// Template of the writable flash image.
    pub vars: PathBuf,
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

impl Firmware {
    /// The first firmware of the host's that fits `arch`.
    ///
    /// # Errors
    /// None is installed; the failure names the packages to install.
    pub fn find(arch: Arch) -> Result<Self> {
        let (candidates, package) = match arch {
            Arch::X86_64 => (X86_64, "ovmf"),
            Arch::Arm64 => (ARM64, "qemu-efi-aarch64"),
        };
        candidates
            .iter()
            .map(|(code, vars)| Self {
                code: code.into(),
                vars: vars.into(),
            })
            .find(|firmware| firmware.code.is_file() && firmware.vars.is_file())
            .ok_or_else(|| {
                Failure::new(
                    Kind::Environment,
                    format!("no UEFI firmware for {arch} is installed"),
                )
                .hint(format!(
                    "install it: apt install {package} (edk2-ovmf on Fedora and Arch)"
                ))
                .into()
            })
    }

    /// Makes the variable store of a machine at `path`; an existing one is kept.
    ///
    /// # Errors
    /// The template can't be read or `path` can't be written.
    pub fn make_variables(&self, path: &Path) -> Result<()> {
        if path.exists() {
            return Ok(());
        }
        std::fs::copy(&self.vars, path)
            .with_context(|| format!("copying {} to {}", self.vars.display(), path.display()))?;
        let mut permissions = std::fs::metadata(path)?.permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
        std::fs::set_permissions(path, permissions)?;
        Ok(())
    }
}
