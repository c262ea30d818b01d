//! What every test binary needs: the program, a shared cache, scratch folders, other people's tools.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::disallowed_methods, reason = "tests live in the outside world")]

pub mod document;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The cache that tests share with each other and with runs before: content-addressed, so harmless.
pub fn cache() -> PathBuf {
    std::env::var_os("HULLWRIGHT_TEST_CACHE")
        .map_or_else(|| repository().join("target/test-cache"), PathBuf::from)
}

/// `hullwright` with the shared cache, and state of its own in `state`.
pub fn hullwright(state: &Path) -> Command {
    let program = env!("CARGO_BIN_EXE_hullwright");
    with_environment(Command::new(program), state)
}

fn with_environment(mut command: Command, state: &Path) -> Command {
    command.current_dir(state);
    command.env("HULLWRIGHT_CACHE", cache());
    command.env("HULLWRIGHT_STATE", repository().join("target/test-state"));
    command
        .env_remove("SOURCE_DATE_EPOCH")
        .env_remove("HULLWRIGHT_KEYS");
    command
}

/// The program that is shipped, where `cargo xtask test` has built it: it is twice as fast.
pub fn shipped_program() -> PathBuf {
    std::env::var_os("HULLWRIGHT_SHIPPED").map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_hullwright")),
        PathBuf::from,
    )
}

/// As [`hullwright`], with [`shipped_program`].
pub fn shipped(state: &Path) -> Command {
    with_environment(Command::new(shipped_program()), state)
}

/// Runs a command to its end and shows everything when it fails.
pub fn good(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
    assert!(output.status.success(), "{command:?}\n{}", shown(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command that must fail with `status`; returns its stderr.
pub fn bad(command: &mut Command, status: i32) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
    assert_eq!(
        output.status.code(),
        Some(status),
        "{command:?}\n{}",
        shown(&output)
    );
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// An output for people.
pub fn shown(output: &Output) -> String {
    format!(
        "{}\n--- stdout\n{}\n--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A tool of the host.
pub fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

/// A tool of the trixie tree, run with the tree as its root.
pub fn trixie_tool(name: &str) -> Command {
    let mut command = tool("chroot");
    // Where this machine has its temporary files, the tree may have nothing.
    command.env_remove("TMPDIR").arg(trixie()).arg(name);
    command
}

/// The tree of newer judges that `cargo xtask test` makes.
pub fn trixie() -> PathBuf {
    std::env::var_os("HULLWRIGHT_JUDGES_TREE").map_or_else(
        || PathBuf::from("/var/cache/hullwright-judges/trixie"),
        PathBuf::from,
    )
}

/// Debian 13's U-Boot for QEMU, of the judges' tree, as `run --firmware` takes it.
pub fn u_boot() -> String {
    let path = trixie().join("usr/lib/u-boot/qemu_arm64/u-boot.bin");
    assert!(path.is_file(), "{}", path.display());
    format!("u-boot={}", path.display())
}

/// Builds `profile` with `extra` arguments into `out`.
pub fn build(state: &Path, profile: impl AsRef<OsStr>, out: &Path, extra: &[&str]) {
    good(
        shipped(state)
            .arg("build")
            .arg(profile)
            .arg("-o")
            .arg(out)
            .args(extra),
    );
}

/// The glob that matches nothing but `path`.
pub fn literal(path: &str) -> String {
    let mut glob = String::new();
    for c in path.chars() {
        if "*?[\\".contains(c) {
            glob.push('\\');
        }
        glob.push(c);
    }
    glob
}

/// Whether the long loops were asked for.
pub fn exhaustive() -> bool {
    std::env::var_os("HULLWRIGHT_EXHAUSTIVE").is_some()
}
