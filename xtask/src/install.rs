//! What the tests need besides Rust: QEMU 10, firmware, and judges written by others.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::dist::{Arch, has_target};
use crate::steps::call;
use crate::trixie::Tree;

/// A program and the Debian package that has it.
const PROGRAMS: &[(&str, &str)] = &[
    ("qemu-img", "qemu-utils"),
    ("fsck.erofs", "erofs-utils"),
    ("veritysetup", "cryptsetup-bin"),
    ("sbverify", "sbsigntool"),
    ("sign-efi-sig-list", "efitools"),
    ("gpg", "gpg"),
    ("gpgv", "gpgv"),
    ("openssl", "openssl"),
    ("softhsm2-util", "softhsm2"),
    ("osslsigncode", "osslsigncode"),
    ("perl", "perl-base"),
    ("sgdisk", "gdisk"),
    ("fdtput", "device-tree-compiler"),
    ("fsck.vfat", "dosfstools"),
    ("mcopy", "mtools"),
    ("depmod", "kmod"),
    ("debootstrap", "debootstrap"),
    ("mmdebstrap", "mmdebstrap"),
    ("strace", "strace"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
    ("rsync", "rsync"),
    ("git", "git"),
    ("cpio", "cpio"),
    ("gcc", "gcc"),
    ("g++", "g++"),
    ("setpriv", "util-linux"),
    ("objcopy", "binutils"),
    ("faketime", "faketime"),
    ("shellcheck", "shellcheck"),
    ("qemu-aarch64", "qemu-user"),
];

/// Oldest QEMU that has been seen to boot everything.
const QEMU: u32 = 10;

/// Packages of the trixie tree: tools newer than Debian 12's, and what a container is made of.
const TRIXIE: &str = "busybox-static cryptsetup-bin erofs-utils gpg kmod systemd systemd-container u-boot-qemu xz-utils zstd";

/// What runs in containers of arm64 guests: it goes into a folder of the tree.
const FOREIGN: &str = "
    dpkg --add-architecture arm64
    apt-get update -qq
    cd /tmp
    apt-get download -qq busybox-static:arm64
    dpkg-deb -x busybox-static_*_arm64.deb /arm64
    rm busybox-static_*_arm64.deb
";

/// The trixie tree of the judges.
const JUDGES: Tree = Tree {
    path: "/var/cache/hullwright-judges/trixie",
    packages: TRIXIE,
    then: FOREIGN,
};

/// Folder of the trixie tree.
pub fn trixie() -> PathBuf {
    PathBuf::from(JUDGES.path)
}

/// Installs what is missing, or says what is. Only exhaustive tests need what makes programs for arm64
/// hosts.
pub fn run(exhaustive: bool) -> Result<()> {
    let mut missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| !has(program))
        .map(|(_, package)| *package)
        .collect();
    if !Path::new("/usr/share/OVMF/OVMF_CODE_4M.fd").exists() {
        missing.push("ovmf");
    }
    if !Path::new("/usr/share/AAVMF/AAVMF_CODE.fd").exists() {
        missing.push("qemu-efi-aarch64");
    }
    let other = if exhaustive { other_arch()? } else { None };
    if let Some(arch) = other {
        if !has(&arch.cross_gcc()) {
            missing.push("gcc-aarch64-linux-gnu");
        }
        if !Path::new("/usr/aarch64-linux-gnu/lib/libc.a").exists() {
            missing.push("libc6-dev-arm64-cross");
        }
    }
    let no_target = other
        .map(Arch::gnu_target)
        .filter(|target| has_target(target).is_ok_and(|there| !there));
    missing.sort_unstable();
    missing.dedup();
    // Of one version, because both share files.
    let old_qemu =
        qemu_version().is_none_or(|version| version < QEMU) || !has("qemu-system-aarch64");
    let no_tree = !JUDGES.is_complete();
    if let Some(target) = &no_target {
        // As whoever owns the toolchain; no packages are needed for it.
        call(Command::new("rustup").args(["target", "add", target]))?;
    }
    if missing.is_empty() && !old_qemu && !no_tree {
        return Ok(());
    }
    if !is_root() || !has("apt-get") {
        let mut lines = missing
            .iter()
            .map(|p| format!("  package {p}"))
            .collect::<Vec<_>>();
        if old_qemu {
            lines.push(format!(
                "  qemu-system-x86_64 and qemu-system-aarch64 {QEMU} or newer"
            ));
        }
        if no_tree {
            lines.push(format!("  a trixie tree: {}", JUDGES.by_hand()));
        }
        bail!(
            "the tests need, and only root on Debian can install by itself:\n{}",
            lines.join("\n")
        );
    }
    apt(&["update", "-qq"])?;
    if !missing.is_empty() {
        let mut words = vec!["install", "-y", "-qq", "--no-install-recommends"];
        words.extend(&missing);
        apt(&words)?;
    }
    if old_qemu {
        install_qemu()?;
    }
    if no_tree {
        JUDGES.make()?;
    }
    Ok(())
}

/// The architecture whose hosts are emulated here: there is a cross compiler and an emulator for arm64.
fn other_arch() -> Result<Option<Arch>> {
    Ok((Arch::host()? == Arch::X86_64).then_some(Arch::Arm64))
}

/// Whether `program` can be run here.
pub fn has(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|paths| {
        std::env::split_paths(&paths)
            .chain(["/usr/sbin".into(), "/sbin".into()])
            .any(|dir| dir.join(program).is_file())
    })
}

/// Whether this may install and mount.
pub fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|out| out.stdout.starts_with(b"0\n"))
}

fn qemu_version() -> Option<u32> {
    let out = Command::new("qemu-system-x86_64")
        .arg("--version")
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    text.split("version ")
        .nth(1)?
        .split('.')
        .next()?
        .parse()
        .ok()
}

/// Runs apt-get with nobody to ask.
pub fn apt(words: &[&str]) -> Result<()> {
    call(
        Command::new("apt-get")
            .args(["-o", "Acquire::Retries=3"])
            .args(words)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null()),
    )
}

/// The Debian mirror of the host's apt sources, for its release `codename`.
pub fn mirror() -> Result<(String, String)> {
    let os = fs::read_to_string("/etc/os-release").context("reading /etc/os-release")?;
    let codename = os
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .context("/etc/os-release names no release")?
        .to_owned();
    let out = Command::new("apt-get")
        .args([
            "indextargets",
            "--format",
            "$(REPO_URI) $(RELEASE)",
            "Identifier: Packages",
        ])
        .output()
        .context("asking apt for its sources")?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let uri = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(_, release)| *release == codename)
        .map(|(uri, _)| uri.trim_end_matches('/').to_owned())
        .context("apt has no source for the host's own release")?;
    Ok((uri, codename))
}

fn install_qemu() -> Result<()> {
    let (uri, codename) = mirror()?;
    let backports = format!("{codename}-backports");
    let list = Path::new("/etc/apt/sources.list.d/hullwright-backports.list");
    fs::write(list, format!("deb {uri} {backports} main\n"))
        .with_context(|| format!("writing {}", list.display()))?;
    apt(&["update", "-qq"])?;
    apt(&[
        "install",
        "-y",
        "-qq",
        "--no-install-recommends",
        "-t",
        &backports,
        "qemu-system-x86",
        "qemu-system-arm",
        "qemu-utils",
    ])
}
