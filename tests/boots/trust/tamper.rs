//! What somebody with the disk, but without the keys, may change.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{good, tool};

/// Offset and size of a section in the file `program`.
fn section(program: &Path, name: &str) -> (usize, usize) {
    let text = good(tool("objdump").arg("-h").arg(program));
    let hex = |word: &str| usize::from_str_radix(word, 16).unwrap();
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|words| words.get(1) == Some(&name) && words.len() > 5)
        .map(|words| (hex(words[5]), hex(words[2])))
        .unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// A copy of `program` with one bit changed in the middle of a section.
pub fn flip(program: &Path, name: &str, to: &Path) {
    let (offset, size) = section(program, name);
    let mut bytes = fs::read(program).unwrap();
    bytes[offset + size / 2] ^= 1;
    fs::write(to, bytes).unwrap();
}

/// A copy of `program` without its signature.
pub fn strip(program: &Path, to: &Path) {
    fs::copy(program, to).unwrap();
    good(tool("sbattach").arg("--remove").arg(to));
}

/// A copy of `program` signed with the `db` key of the folder `keys`, by another tool than ours.
pub fn sign_again(program: &Path, keys: &Path, to: &Path) {
    let bare = to.with_extension("bare");
    strip(program, &bare);
    good(
        tool("sbsign")
            .arg("--key")
            .arg(keys.join("db.key"))
            .arg("--cert")
            .arg(keys.join("db.crt"))
            .arg("--output")
            .arg(to)
            .arg(&bare),
    );
    fs::remove_file(bare).unwrap();
    good(
        tool("sbverify")
            .arg("--cert")
            .arg(keys.join("db.crt"))
            .arg(to),
    );
}

/// A disk that is nothing but a FAT file system with a boot loader and one entry.
pub fn disk(dir: &Path, name: &str, loader: &Path, entry: &Path) -> PathBuf {
    let entry_name = format!("EFI/Linux/{name}.efi");
    fat(
        dir,
        name,
        &[(loader, "EFI/BOOT/BOOTX64.EFI"), (entry, &entry_name)],
    )
}

/// A FAT file system with `files`, which lie in `EFI/BOOT` or `EFI/Linux`.
pub fn fat(dir: &Path, name: &str, files: &[(&Path, &str)]) -> PathBuf {
    let disk = dir.join(format!("{name}.fat"));
    let bytes: u64 = files
        .iter()
        .map(|(file, _)| fs::metadata(file).unwrap().len())
        .sum();
    good(
        tool("mkfs.vfat")
            .args(["-n", "TEST", "-C"])
            .arg(&disk)
            .arg((bytes / 1024 + 4096).to_string()),
    );
    good(
        tool("mmd")
            .arg("-i")
            .arg(&disk)
            .args(["::EFI", "::EFI/BOOT", "::EFI/Linux"]),
    );
    for (file, to) in files {
        good(
            tool("mcopy")
                .arg("-i")
                .arg(&disk)
                .arg(file)
                .arg(format!("::{to}")),
        );
    }
    disk
}
