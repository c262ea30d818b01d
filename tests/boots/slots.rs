//! Fills slot B by hand, as an update will, with other people's tools.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::support::{good, tool};

/// Makes the UKI of the build `output` panic: there is no such program in its initrd. Profiles refuse
/// such words, so the signed command line is changed in place, by one of equal length.
pub fn make_panic(output: &Path) {
    const GOOD: &[u8] = b"systemd.verity_usr_options=panic-on-corruption";
    let path = uki(output);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes
        .windows(GOOD.len())
        .position(|window| window == GOOD)
        .unwrap();
    let mut bad = b"rdinit=/absent".to_vec();
    bad.resize(GOOD.len(), b' ');
    bytes[at..at + GOOD.len()].copy_from_slice(&bad);
    fs::write(path, bytes).unwrap();
}

/// First sector and number of sectors of partition `number`.
fn partition(disk: &Path, number: u32) -> (u64, u64) {
    let text = good(tool("sgdisk").arg(format!("--info={number}")).arg(disk));
    let value = |key: &str| -> u64 {
        text.lines()
            .find_map(|line| line.strip_prefix(key))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("no {key} in {text}"))
    };
    let first = value("First sector: ");
    (first, value("Last sector: ") + 1 - first)
}

/// Writes `file` over the beginning of partition `number`.
pub fn copy_into(disk: &Path, number: u32, file: &Path) {
    let bytes = fs::read(file).unwrap();
    let (first, sectors) = partition(disk, number);
    assert!(bytes.len() as u64 <= sectors * 512);
    let disk = File::options().write(true).open(disk).unwrap();
    disk.write_all_at(&bytes, first * 512).unwrap();
}

/// The ESP of `disk`, as mtools name it.
pub fn esp(disk: &Path) -> String {
    format!("{}@@{}", disk.display(), partition(disk, 1).0 * 512)
}

/// The UKI of the build `output`.
pub fn uki(output: &Path) -> PathBuf {
    fs::read_dir(output)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|e| e == "efi"))
        .unwrap()
}

fn uuid(hex: &str) -> String {
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..32]
    )
}

/// Puts the version of the build `output` into slot B of `disk`.
pub fn fill_b(disk: &Path, output: &Path, version: &str) {
    let id = fill_b_partitions(disk, output, version);
    let entry = format!("::EFI/Linux/{id}_{version}+3-0.efi");
    good(
        tool("mcopy")
            .arg("-o")
            .arg("-i")
            .arg(esp(disk))
            .arg(uki(output))
            .arg(entry),
    );
}

/// As [`fill_b`], without the boot entry; returns the image's id.
pub fn fill_b_partitions(disk: &Path, output: &Path, version: &str) -> String {
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(output.join("manifest.json")).unwrap()).unwrap();
    let (id, hash) = (
        manifest["id"].as_str().unwrap(),
        manifest["root_hash"].as_str().unwrap(),
    );
    copy_into(disk, 5, &output.join("usr.erofs"));
    copy_into(disk, 6, &output.join("usr.verity"));
    good(
        tool("sgdisk")
            .args([
                format!("--change-name=5:{id}_usr_{version}"),
                format!("--change-name=6:{id}_vty_{version}"),
                format!("--partition-guid=5:{}", uuid(&hash[..32])),
                format!("--partition-guid=6:{}", uuid(&hash[32..])),
            ])
            .arg(disk),
    );
    id.to_owned()
}

/// Removes the boot entry of `version` (with its counter) from the ESP.
pub fn remove_entry(disk: &Path, version: &str) {
    let listing = good(
        tool("mdir")
            .arg("-b")
            .arg("-i")
            .arg(esp(disk))
            .arg("::EFI/Linux"),
    );
    let name = listing
        .lines()
        .find(|line| line.contains(&format!("_{version}.efi")))
        .unwrap_or_else(|| panic!("no entry of {version} in {listing}"))
        .to_owned();
    good(tool("mdel").arg("-i").arg(esp(disk)).arg(name));
}

/// Flips bits in every block of slot A's file data, so that whatever the boot reads is damaged.
pub fn flip_byte_of_usr(disk: &Path, output: &Path) {
    flip_byte_of_usr_in(disk, output, 2);
}

/// As [`flip_byte_of_usr`], in the partition `number`.
pub fn flip_byte_of_usr_in(disk: &Path, output: &Path, number: u32) {
    let length = fs::metadata(output.join("usr.erofs")).unwrap().len();
    let (first, _) = partition(disk, number);
    let disk = File::options().read(true).write(true).open(disk).unwrap();
    // The superblock stays good, so that the damage is met while files are read.
    for block in (64..length / 4096).step_by(97) {
        let at = first * 512 + block * 4096 + 100;
        let mut byte = [0];
        disk.read_exact_at(&mut byte, at).unwrap();
        byte[0] ^= 0x40;
        disk.write_all_at(&byte, at).unwrap();
    }
}
