//! What nobody has signed, but firmware, boot loader or stub hand over: from the ESP, and from whoever
//! starts the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::tamper;
use crate::slots;
use crate::support::{good, hullwright, tool};

/// Arguments of QEMU's: SMBIOS strings for stub, boot loader and PID 1, and fw_cfg for PID 1.
const MACHINE: &[&str] = &[
    "-smbios",
    "type=11,value=io.systemd.stub.kernel-cmdline-extra=hwtest.smbios-stub",
    "-smbios",
    "type=11,value=io.systemd.boot.kernel-cmdline-extra=hwtest.smbios-boot",
    "-smbios",
    "type=11,value=io.systemd.credential:hwtest-smbios=x",
    "-smbios",
    // f /run/hwtest-effect
    "type=11,value=io.systemd.credential.binary:tmpfiles.extra=ZiAvcnVuL2h3dGVzdC1lZmZlY3QK",
    "-fw_cfg",
    "name=opt/io.systemd.credentials/hwtest-fwcfg,string=x",
];

/// Adds [`MACHINE`] to a `hullwright run`.
pub fn add_to_machine(command: &mut Command) {
    for argument in MACHINE {
        command.arg(format!("--qemu-arg={argument}"));
    }
}

/// A signed addon with the command line `word`, for machines of `arch`.
pub fn addon(state: &Path, keys: &Path, word: &str, arch: &str) -> PathBuf {
    let file = state.join(format!("{word}.addon.efi"));
    good(
        hullwright(state)
            .args(["addon", "new", "--arch", arch, "--cmdline", word, "--keys"])
            .arg(keys)
            .arg("-o")
            .arg(&file),
    );
    file
}

/// An extension image: an EROFS file system without verity and signature.
fn extension(state: &Path, kind: &str, tree: &str) -> PathBuf {
    let root = state.join(format!("{kind}-tree"));
    let release = root.join(tree).join("extension-release.d");
    fs::create_dir_all(&release).unwrap();
    fs::write(release.join("extension-release.hwtest"), "ID=_any\n").unwrap();
    let marker = match kind {
        "sysext" => root.join("usr/share/hwtest-extension"),
        _ => root.join("etc/hwtest-extension"),
    };
    fs::create_dir_all(marker.parent().unwrap()).unwrap();
    fs::write(marker, "").unwrap();
    let file = state.join(format!("hwtest.{kind}.raw"));
    good(tool("mkfs.erofs").arg("--quiet").arg(&file).arg(&root));
    file
}

/// Puts onto the ESP of `disk`: credentials and extensions, for one entry and for all; addons that
/// are unsigned, changed or signed by `other`; and a good one of `keys`, to show that the place is
/// looked at.
pub fn add_to_esp(state: &Path, disk: &Path, entry: &str, keys: &Path, other: &Path) {
    let esp = slots::esp(disk);
    let own = format!("::EFI/Linux/{entry}.efi.extra.d");
    let (addons, credentials) = ("::loader/addons", "::loader/credentials");
    good(
        tool("mmd")
            .arg("-i")
            .arg(&esp)
            .args([&own, addons, credentials]),
    );
    let put = |file: &Path, folder: &str| {
        let name = file.file_name().unwrap().to_str().unwrap();
        good(
            tool("mcopy")
                .arg("-i")
                .arg(&esp)
                .arg(file)
                .arg(format!("{folder}/{name}")),
        );
    };
    for (name, folder) in [("hwtest-own", own.as_str()), ("hwtest-all", credentials)] {
        let file = state.join(format!("{name}.cred"));
        fs::write(&file, "x").unwrap();
        put(&file, folder);
    }
    put(&extension(state, "sysext", "usr/lib"), &own);
    put(&extension(state, "confext", "etc"), &own);

    put(&addon(state, keys, "hwtest.addon-good", "x86_64"), addons);
    put(&addon(state, other, "hwtest.addon-other", "x86_64"), addons);
    let signed = addon(state, keys, "hwtest.addon-signed", "x86_64");
    let unsigned = state.join("hwtest.addon-unsigned.addon.efi");
    tamper::strip(&signed, &unsigned);
    put(&unsigned, addons);
    put(&unsigned, &own);
    let changed = state.join("hwtest.addon-changed.addon.efi");
    tamper::flip(&signed, ".cmdline", &changed);
    put(&changed, addons);
}
