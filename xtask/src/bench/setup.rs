//! What has to be there before anything is measured.

use std::cell::OnceCell;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::arguments::Options;
use super::machine;
use super::measure::{self, Run};
use super::site::Site;
use crate::dist;
use crate::install::{apt, has, is_root};
use crate::steps::{call, cargo};
use crate::trixie::Tree;

/// Everything that stays between runs is below this folder.
pub const HOME: &str = "/var/cache/hullwright-bench";

/// Where the programs come from that hullwright is compared with: Debian 12's are too old.
pub const TREE: Tree = Tree {
    path: "/var/cache/hullwright-bench/trixie",
    packages: "apt-utils binutils bubblewrap ca-certificates cpio cryptsetup-bin debian-archive-keyring dosfstools e2fsprogs erofs-utils fdisk gnupg kmod mkosi mtools openssl python3-cryptography python3-pefile sbsigntool sqv squashfs-tools systemd-boot-efi systemd-boot-tools systemd-container systemd-dev systemd-repart systemd-ukify udev xz-utils zstd",
    then: "",
};

/// Programs of this machine, with the packages that have them.
const PROGRAMS: &[(&str, &str)] = &[
    ("cp", "coreutils"),
    ("debootstrap", "debootstrap"),
    ("mount", "mount"),
    ("openssl", "openssl"),
    ("unshare", "util-linux"),
];

/// Everything that sections share.
pub struct Bench {
    /// What was asked for.
    pub options: Options,
    /// Load average before anything was measured.
    pub load: String,
    scratch: PathBuf,
    workbench: PathBuf,
    site: OnceCell<Site>,
    tree: OnceCell<PathBuf>,
}

impl Bench {
    /// Installs, compiles, and makes room.
    pub fn prepare(options: Options) -> Result<Self> {
        install()?;
        let workbench = compile_workbench(options.dev)?;
        let scratch = Path::new(HOME).join("scratch");
        if scratch.exists() {
            fs::remove_dir_all(&scratch)
                .with_context(|| format!("removing {}", scratch.display()))?;
        }
        make_dir(&scratch)?;
        let bench = Self {
            load: machine::load(),
            options,
            scratch,
            workbench,
            site: OnceCell::new(),
            tree: OnceCell::new(),
        };
        if bench.load.parse().is_ok_and(|load: f64| load > 0.5) {
            eprintln!(
                "warning: the load average is {}: figures of a busy machine are of little worth",
                bench.load
            );
        }
        Ok(bench)
    }

    /// Removes what no later run needs.
    pub fn clean(&self) -> Result<()> {
        fs::remove_dir_all(&self.scratch)
            .with_context(|| format!("removing {}", self.scratch.display()))
    }

    /// A file or folder that nobody else uses.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// Where programs' messages go.
    pub fn log(&self) -> PathBuf {
        self.scratch("log")
    }

    /// The profile that is built, its cache filled with downloads.
    pub fn site(&self) -> Result<&Site> {
        if let Some(site) = self.site.get() {
            return Ok(site);
        }
        let program = if self.options.dev {
            call(&mut cargo(&[
                "build",
                "--all-features",
                "--bin",
                "hullwright",
            ]))?;
            target().join("debug/hullwright")
        } else {
            // What is shipped: it is linked statically, and so has another allocator.
            dist::run(dist::Arch::host()?)?
        };
        let program = std::path::absolute(program).context("finding hullwright")?;
        let site = Site::prepare(Path::new(HOME), program, self.log())?;
        Ok(self.site.get_or_init(|| site))
    }

    /// The files that images are made of: `--tree`, else the `/usr` that hullwright builds.
    pub fn tree(&self) -> Result<&Path> {
        if let Some(tree) = self
            .options
            .tree
            .as_deref()
            .or(self.tree.get().map(|tree| &**tree))
        {
            return Ok(tree);
        }
        let image = self.site()?.image();
        let tree = Path::new(HOME).join("usr");
        if tree.exists() {
            fs::remove_dir_all(&tree).with_context(|| format!("removing {}", tree.display()))?;
        }
        let mut extract = program("fsck.erofs");
        extract
            .arg(format!("--extract={}", tree.display()))
            .arg("--preserve")
            .arg(&image);
        measure::run(&mut extract, &self.log())
            .with_context(|| format!("extracting {}", image.display()))?;
        Ok(self.tree.get_or_init(|| tree))
    }

    /// Which package each file of the tree comes from, where that can be known.
    pub fn origins(&self) -> Result<Option<PathBuf>> {
        if self.options.tree.is_some() {
            return Ok(None);
        }
        let path = self.scratch("origins.json");
        if !path.exists() {
            let mut command = self.workbench();
            command.arg("origins").args(self.site()?.debs()?);
            write_file(&path, &self.run(&mut command)?.output)?;
        }
        Ok(Some(path))
    }

    /// Runs the workbench, the example program of this repository that does one thing at a time.
    pub fn workbench(&self) -> Command {
        Command::new(&self.workbench)
    }

    /// Runs `command` and keeps its messages.
    pub fn run(&self, command: &mut Command) -> Result<Run> {
        measure::run(command, &self.log())
    }

    /// As [`Self::run`], for commands that make `file`, whose size counts.
    pub fn run_making(&self, command: &mut Command, file: &Path) -> Result<Run> {
        if file.exists() {
            fs::remove_file(file).with_context(|| format!("removing {}", file.display()))?;
        }
        let mut run = self.run(command)?;
        let made = fs::metadata(file).with_context(|| format!("looking at {}", file.display()))?;
        run.sample.size = Some(made.len());
        Ok(run)
    }
}

impl Run {
    /// A figure of the JSON that the program printed.
    pub fn figure(&self, name: &str) -> Result<f64> {
        let value: Value = serde_json::from_str(&self.output)
            .with_context(|| format!("`{}` is not JSON", self.output.trim()))?;
        value[name]
            .as_f64()
            .with_context(|| format!("`{}` has no `{name}`", self.output.trim()))
    }
}

fn install() -> Result<()> {
    let missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| !has(program))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() && TREE.is_complete() && is_root() {
        return Ok(());
    }
    if !is_root() || !has("apt-get") {
        let mut lines = vec!["  root, to mount images and for mkosi's build".to_owned()];
        lines.extend(missing.iter().map(|package| format!("  package {package}")));
        if !TREE.is_complete() {
            lines.push(format!("  a trixie tree: {}", TREE.by_hand()));
        }
        bail!(
            "the benchmark needs, and only root on Debian can install by itself:\n{}",
            lines.join("\n")
        );
    }
    if !missing.is_empty() {
        apt(&["update", "-qq"])?;
        let mut words = vec!["install", "-y", "-qq", "--no-install-recommends"];
        words.extend(&missing);
        apt(&words)?;
    }
    if !TREE.is_complete() {
        eprintln!("installing what is compared with into {}", TREE.path);
        TREE.make()?;
    }
    Ok(())
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from)
}

fn compile_workbench(dev: bool) -> Result<PathBuf> {
    let mut words = vec!["build", "--all-features", "--example", "workbench"];
    let folder = if dev {
        "debug"
    } else {
        words.push("--release");
        "release"
    };
    call(&mut cargo(&words))?;
    std::path::absolute(target().join(folder).join("examples/workbench"))
        .context("finding the workbench")
}

/// A program of the trixie tree, started by that tree's loader with its libraries: no chroot, so that
/// it sees the same files, and nothing but the program itself is measured.
pub fn program(name: &str) -> Command {
    let tree = Path::new(TREE.path);
    let (loader, libraries) = match std::env::consts::ARCH {
        "aarch64" => ("lib/ld-linux-aarch64.so.1", "usr/lib/aarch64-linux-gnu"),
        _ => ("lib64/ld-linux-x86-64.so.2", "usr/lib/x86_64-linux-gnu"),
    };
    let path = ["usr/bin", "usr/sbin"]
        .into_iter()
        .map(|folder| tree.join(folder).join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| tree.join("usr/bin").join(name));
    let mut command = Command::new(tree.join(loader));
    command
        .arg("--library-path")
        .arg(tree.join(libraries))
        .arg(path);
    command
}

/// Makes a folder with everything above it.
pub fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))
}

/// Writes a file, with the folders above it.
pub fn write_file(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        make_dir(folder)?;
    }
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// Lets everybody run a file.
pub fn make_executable(path: &Path) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("changing {}", path.display()))
}

/// Bytes that a sparse file takes on its disk.
pub fn allocated(path: &Path) -> Result<u64> {
    let metadata = fs::metadata(path).with_context(|| format!("looking at {}", path.display()))?;
    Ok(metadata.blocks() * 512)
}
