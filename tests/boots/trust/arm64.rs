//! AAVMF with the variables that `keys vars` writes. Addons are the smallest signed programs there are:
//! started as a boot loader they give up, which firmware tells from not loading them.

use super::{console, keys, tamper, unsigned};
use crate::support::{good, hullwright, tool};

#[test]
fn aavmf_starts_what_is_signed_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path();
    let keys = keys::make(state, "keys", "release");
    let variables = state.join("vars.fd");
    good(
        hullwright(state)
            .args(["keys", "vars", "--arch", "arm64"])
            .arg(&keys)
            .arg("-o")
            .arg(&variables),
    );
    let signed = unsigned::addon(state, &keys, "hwtest", "arm64");
    let bare = state.join("bare.efi");
    tamper::strip(&signed, &bare);
    let mut command = tool("qemu-system-aarch64");
    command.args(["-machine", "virt", "-cpu", "cortex-a57", "-m", "512"]);
    command.args(["-nodefaults", "-display", "none", "-serial", "stdio"]);
    let flash = "if=pflash,format=raw,file";
    command
        .arg("-drive")
        .arg(format!(
            "{flash}=/usr/share/AAVMF/AAVMF_CODE.fd,readonly=on"
        ))
        .arg("-drive")
        .arg(format!("{flash}={}", variables.display()));
    for (index, program) in [(1, &bare), (2, &signed)] {
        let files = [(program.as_path(), "EFI/BOOT/BOOTAA64.EFI")];
        let disk = tamper::fat(state, &format!("disk{index}"), &files);
        command
            .arg("-drive")
            .arg(format!(
                "if=none,id=d{index},format=raw,file={}",
                disk.display()
            ))
            .arg("-device")
            .arg(format!("virtio-blk-pci,drive=d{index},bootindex={index}"));
    }
    let log = state.join("aavmf.log");
    let console = console::listen(&mut command, &log, &["failed to start Boot"]);
    println!("{console}");
    let refused = console.find("failed to load Boot").unwrap();
    let started = console.find("failed to start Boot").unwrap();
    assert!(refused < started, "{console}");
    assert!(
        console[refused..started].contains("Access Denied"),
        "{console}"
    );
    assert!(console[started..].contains("Unsupported"), "{console}");
}
