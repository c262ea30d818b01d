//! The other architecture, emulated whatever the host is.

use crate::support::build;
use crate::{HEALTH, assert_healthy, container, field, guest_with};

/// AAVMF with the keys of the image, and U-Boot, whose EFI is that of small boards.
#[test]
fn an_arm64_image_boots_checked_by_aavmf_and_runs_a_container() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path();
    let out = state.join("out");
    build(
        state,
        "qemu",
        &out,
        &["--arch", "arm64", "--set", "os.version=1.0.0"],
    );
    let script = format!(
        "{HEALTH}\n{}\necho \"machine_type=$(uname -m)\"\nbootctl status",
        container::SCRIPT
    );
    let disk = out.join("disk.raw");
    let image = container::oci_image("arm64");
    let output = guest_with(state, &disk, &["--secure-boot"], &script, &image);
    println!("{output}");
    assert_healthy(&output, "1.0.0");
    assert_eq!(field(&output, "machine_type"), "aarch64");
    assert!(output.contains("Secure Boot: enabled (user)"), "{output}");
    assert!(field(&output, "entries").contains("_1.0.0.efi"), "{output}");
    assert!(output.contains("HELLO-FROM-CONTAINER"), "{output}");
}
