//! Everything that differs between architectures, as one table.

use serde::{Deserialize, Serialize};
use uuid::{Uuid, uuid};

/// A target architecture, under the name that commands, files and manifests use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Arch {
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit Arm.
    #[serde(rename = "arm64")]
    Arm64,
}

/// The properties of one architecture.
#[derive(Debug)]
pub struct Traits {
    /// hullwright's name.
    pub name: &'static str,
    /// Debian's name.
    pub debian: &'static str,
    /// Multiarch triplet: the folder of libraries below `/usr/lib`.
    pub triplet: &'static str,
    /// systemd's name, as in `ConditionArchitecture=` and DPS.
    pub systemd: &'static str,
    /// ELF `e_machine`.
    pub elf_machine: u16,
    /// PE/COFF machine.
    pub pe_machine: u16,
    /// The removable-media boot path's file name (UEFI 2.10, section 3.5.1.1).
    pub efi_boot_name: &'static str,
    /// Suffix of systemd's EFI files, as in `linuxx64.efi.stub`.
    pub efi_suffix: &'static str,
    /// DPS type GUID of `/usr`.
    pub dps_usr: Uuid,
    /// DPS type GUID of `/usr` verity data.
    pub dps_usr_verity: Uuid,
    /// DPS type GUID of `/usr` verity signatures.
    pub dps_usr_verity_sig: Uuid,
    /// DPS type GUID of root.
    pub dps_root: Uuid,
    /// Serial console device of virtual machines.
    pub serial: &'static str,
    /// QEMU system emulator.
    pub qemu: &'static str,
}

const X86_64: Traits = Traits {
    name: "x86_64",
    debian: "amd64",
    triplet: "x86_64-linux-gnu",
    systemd: "x86-64",
    elf_machine: 62,
    pe_machine: 0x8664,
    efi_boot_name: "BOOTX64.EFI",
    efi_suffix: "x64",
    dps_usr: uuid!("8484680c-9521-48c6-9c11-b0720656f69e"),
    dps_usr_verity: uuid!("77ff5f63-e7b6-4633-acf4-1565b864c0e6"),
    dps_usr_verity_sig: uuid!("e7bb33fb-06cf-4e81-8273-e543b413e2e2"),
    dps_root: uuid!("4f68bce3-e8cd-4db1-96e7-fbcaf984b709"),
    serial: "ttyS0",
    qemu: "qemu-system-x86_64",
};

const ARM64: Traits = Traits {
    name: "arm64",
    debian: "arm64",
    triplet: "aarch64-linux-gnu",
    systemd: "arm64",
    elf_machine: 183,
    pe_machine: 0xaa64,
    efi_boot_name: "BOOTAA64.EFI",
    efi_suffix: "aa64",
    dps_usr: uuid!("b0e01050-ee5f-4390-949a-9101b17104e9"),
    dps_usr_verity: uuid!("6e11a4e7-fbca-4ded-b9e9-e1a512bb664e"),
    dps_usr_verity_sig: uuid!("c23ce4ff-44bd-4b00-b2d4-b41b3419e02a"),
    dps_root: uuid!("b921b045-1df0-41c3-af44-4c6f280d3fae"),
    serial: "ttyAMA0",
    qemu: "qemu-system-aarch64",
};

/// DPS type GUID of the EFI system partition (UEFI 2.10, section 5.3.3).
pub const ESP_TYPE: Uuid = uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");

impl Arch {
    /// The row of the table.
    #[must_use]
    pub const fn traits(self) -> &'static Traits {
        match self {
            Self::X86_64 => &X86_64,
            Self::Arm64 => &ARM64,
        }
    }

    /// hullwright's name, as in file names.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.traits().name
    }
}

impl std::fmt::Display for Arch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Arch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "x86_64" => Ok(Self::X86_64),
            "arm64" => Ok(Self::Arm64),
            other => Err(format!(
                "`{other}` is not an architecture; expected x86_64 or arm64"
            )),
        }
    }
}
