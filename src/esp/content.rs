//! What is on the EFI system partition, and where.

use crate::arch::Arch;

/// Directory of unified kernel images (Boot Loader Specification, type 2).
pub const UKI_DIR: &str = "EFI/Linux";
/// systemd-boot's configuration.
pub const LOADER_CONF: &str = "loader/loader.conf";

/// File name of a UKI with `tries` tries left and none done (systemd's Automatic Boot Assessment);
/// with no tries it counts as good from the start.
#[must_use]
pub fn boot_entry_name(os_id: &str, version: &str, tries: u32) -> String {
    match tries {
        0 => format!("{os_id}_{version}.efi"),
        _ => format!("{os_id}_{version}+{tries}-0.efi"),
    }
}

/// Path of a UKI on the partition.
#[must_use]
pub fn boot_entry_path(os_id: &str, version: &str, tries: u32) -> String {
    format!("{UKI_DIR}/{}", boot_entry_name(os_id, version, tries))
}

/// Both paths of systemd-boot: where firmware looks on removable media, and where `bootctl` looks.
#[must_use]
pub fn boot_loader_paths(arch: Arch) -> [String; 2] {
    let traits = arch.traits();
    [
        format!("EFI/BOOT/{}", traits.efi_boot_name),
        format!("EFI/systemd/systemd-boot{}.efi", traits.efi_suffix),
    ]
}

/// `loader/loader.conf`. The command line in a UKI is signed, so there is nothing to edit, and keys
/// are enrolled by who owns the machine, not by booting a disk.
#[must_use]
pub fn loader_conf(timeout: u32) -> String {
    format!("timeout {timeout}\neditor no\nsecure-boot-enroll off\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_boot_assessment_and_firmware_expect() {
        assert_eq!(
            boot_entry_name("hullwright", "1.0.0", 3),
            "hullwright_1.0.0+3-0.efi"
        );
        assert_eq!(boot_entry_name("os", "2", 0), "os_2.efi");
        assert_eq!(
            boot_loader_paths(Arch::Arm64),
            ["EFI/BOOT/BOOTAA64.EFI", "EFI/systemd/systemd-bootaa64.efi"]
        );
    }
}
