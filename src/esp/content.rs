//! What is on the EFI system partition, and where.

use super::EspFile;
use crate::arch::Arch;
use crate::profile::Profile;
use crate::profile::schema::SecureBootEnroll;
use crate::sign::Enrolment;

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

/// `loader/loader.conf`. The command line in a UKI is signed, so there is nothing to edit; whether a
/// disk may enrol its keys is the profile's to say.
#[must_use]
pub fn loader_conf(timeout: u32, enroll: SecureBootEnroll) -> String {
    format!(
        "timeout {timeout}\neditor no\nsecure-boot-enroll {}\n",
        enroll.word()
    )
}

/// Where a node finds the channel that it is to follow, on its first boot.
pub const UPDATE_SEED: &str = "hullwright/update.conf";

/// [`UPDATE_SEED`], for nodes that are updated. The channel is here and nowhere else, so that a release
/// is promoted without changing a byte of it.
#[must_use]
pub fn update_seed(profile: &Profile) -> Option<EspFile> {
    if profile.update.url.is_none() && profile.os.channel.is_none() {
        return None;
    }
    Some(EspFile {
        path: UPDATE_SEED.into(),
        data: format!("channel={}\n", profile.os.channel())
            .into_bytes()
            .into(),
    })
}

/// What systemd-boot says of itself, in words that `bootctl` looks for (systemd, `src/boot/boot.c`).
#[must_use]
pub fn loader_version(program: &[u8]) -> Option<&str> {
    const BEFORE: &[u8] = b"#### LoaderInfo: systemd-boot ";
    const BEHIND: &[u8] = b" ####";
    let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|w| w == what);
    let rest = program.get(find(program, BEFORE)? + BEFORE.len()..)?;
    let version = rest.get(..find(rest.get(..100)?, BEHIND)?)?;
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b".+~-".contains(b);
    std::str::from_utf8(version)
        .ok()
        .filter(|text| !text.is_empty() && text.as_bytes().iter().all(plain))
}

/// Where systemd-boot finds signed variables: of the folders below `loader/keys`, `auto` is the one
/// that `if-safe` and `force` enrol (systemd-boot(7), "Files").
pub const KEYS_DIR: &str = "loader/keys/auto";

/// The files of [`KEYS_DIR`].
#[must_use]
pub fn enrolment(of: &Enrolment) -> Vec<EspFile> {
    [
        ("PK", Some(&of.pk)),
        ("KEK", Some(&of.kek)),
        ("db", Some(&of.db)),
        ("dbx", of.dbx.as_ref()),
    ]
    .into_iter()
    .filter_map(|(name, data)| {
        Some(EspFile {
            path: format!("{KEYS_DIR}/{name}.auth"),
            data: data?.clone().into(),
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_loader_says_its_version() {
        let program = |text: &str| [b"MZ\0", text.as_bytes(), &[0; 100]].concat();
        for (text, version) in [
            (
                "#### LoaderInfo: systemd-boot 257.13-1~deb13u1 ####",
                Some("257.13-1~deb13u1"),
            ),
            ("#### LoaderInfo: systemd-stub 257 ####", None),
            ("#### LoaderInfo: systemd-boot a b ####", None),
            ("#### LoaderInfo: systemd-boot ####", None),
            ("", None),
        ] {
            assert_eq!(loader_version(&program(text)), version, "{text}");
        }
        assert_eq!(loader_version(b"#### LoaderInfo: systemd-boot 2"), None);
    }

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
    #[test]
    fn the_boot_loader_is_told_to_enrol_what_lies_beside_it() {
        let words = [
            (SecureBootEnroll::Off, "off"),
            (SecureBootEnroll::Manual, "manual"),
            (SecureBootEnroll::IfSafe, "if-safe"),
            (SecureBootEnroll::Force, "force"),
        ];
        for (policy, word) in words {
            let conf = loader_conf(5, policy);
            assert_eq!(
                conf,
                format!("timeout 5\neditor no\nsecure-boot-enroll {word}\n")
            );
        }
        let mut variables = Enrolment {
            pk: b"p".to_vec(),
            kek: b"k".to_vec(),
            db: b"d".to_vec(),
            dbx: None,
        };
        let paths = |of: &Enrolment| -> Vec<_> {
            enrolment(of).into_iter().map(|file| file.path).collect()
        };
        let three = [
            "loader/keys/auto/PK.auth",
            "loader/keys/auto/KEK.auth",
            "loader/keys/auto/db.auth",
        ];
        assert_eq!(paths(&variables), three);
        variables.dbx = Some(b"x".to_vec());
        assert_eq!(paths(&variables)[3], "loader/keys/auto/dbx.auth");
    }
}
