//! mkosi, in the tree of Debian 13, building an image like hullwright's: the same packages, `/usr` as
//! EROFS with verity, a signed UKI, a GPT disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::measure::{self, Sample};
use super::setup::{self, TREE};
use crate::install::mirror;

/// Runs the words after the first two in the tree `$1` with the folder `$2` as `/w`. By
/// `pivot_root`, because mkosi makes user namespaces, which a process in a chroot may not
/// (`user_namespaces(7)`, EPERM of `unshare(2)`).
const ENTER: &str = r#"
tree=$1 work=$2
shift 2
mount --bind "$tree" "$tree"
cd "$tree"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mkdir -p w old
mount --bind "$work" w
cp -L --remove-destination /etc/resolv.conf /etc/hosts etc/
pivot_root . old
umount -l old
cd /w
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 TERM=dumb "$@"
"#;

/// `{architecture}` and `{packages}` are filled in. The workspace has to lie outside the folder of
/// the configuration.
const CONFIGURATION: &str = "\
[Distribution]
Distribution=debian
Release=trixie
Architecture={architecture}

[Output]
Format=disk
ImageId=bench
ImageVersion=1
OutputDirectory=mkosi.output
RepartDirectories=mkosi.repart
SplitArtifacts=uki,partitions
Seed=2f6d9f3e-6a51-4d0c-9a58-5f6f2d2f7f10

[Content]
SourceDateEpoch=1700000000
Bootable=yes
Bootloader=systemd-boot
UnifiedKernelImages=yes
KernelCommandLine=rw console=ttyS0
WithRecommends=no
WithDocs=no
ExtraTrees=mkosi.extra
FinalizeScripts=mkosi.finalize
Packages=
{packages}

[Validation]
SecureBoot=yes
SecureBootAutoEnroll=no
SecureBootKey=mkosi.key
SecureBootCertificate=mkosi.crt

[Build]
CacheDirectory=mkosi.cache
PackageCacheDirectory=mkosi.pkgcache
WorkspaceDirectory=/w/workspace
";

/// Name and content of the other files.
const FILES: &[(&str, &str)] = &[
    (
        "mkosi.repart/00-esp.conf",
        "[Partition]\nType=esp\nFormat=vfat\nCopyFiles=/efi:/\nCopyFiles=/boot:/\nSizeMinBytes=512M\nSizeMaxBytes=512M\n",
    ),
    (
        "mkosi.repart/10-usr.conf",
        "[Partition]\nType=usr\nFormat=erofs\nCompression=zstd\nCopyFiles=/usr:/\nVerity=data\nVerityMatchKey=usr\nMinimize=best\nSplitName=usr\n",
    ),
    (
        "mkosi.repart/20-usr-verity.conf",
        "[Partition]\nType=usr-verity\nVerity=hash\nVerityMatchKey=usr\nMinimize=best\nSplitName=usr-verity\n",
    ),
    (
        "mkosi.extra/usr/lib/repart.d/10-root.conf",
        "[Partition]\nType=root\nFormat=ext4\nSizeMinBytes=1G\nFactoryReset=yes\n",
    ),
    // The image has only /usr: what /etc has at first boot comes from there.
    (
        "mkosi.finalize",
        "#!/bin/sh\nset -e\nmkdir -p \"$BUILDROOT/usr/share/factory\"\ncp -a \"$BUILDROOT/etc\" \"$BUILDROOT/usr/share/factory/etc\"\n",
    ),
];

/// A build that is not incremental removes the cached trees of those that are: it gets another folder
/// for them.
const FULL: &[&str] = &["--incremental=no", "--cache-directory=/w/no-cache"];

/// The file whose change is the one-line change, in the configuration's folder.
const MARKER: &str = "mkosi.extra/usr/lib/bench-marker";

/// A configuration, and the caches of what was built with it.
pub struct Mkosi {
    work: PathBuf,
    mirror: String,
    log: PathBuf,
}

impl Mkosi {
    /// Lays the configuration down, with `packages` beside the kernel.
    pub fn prepare(dir: &Path, packages: &[String], log: PathBuf) -> Result<Self> {
        let (mirror, _) = mirror()?;
        let mkosi = Self {
            work: dir.join("mkosi"),
            mirror,
            log,
        };
        let configuration = configuration(packages)?;
        let config = mkosi.config();
        for folder in ["mkosi.output", "mkosi.cache", "mkosi.pkgcache"] {
            make_dir(&config.join(folder))?;
        }
        make_dir(&mkosi.work.join("workspace"))?;
        make_dir(&mkosi.work.join("no-cache"))?;
        write_changed(&config.join("mkosi.conf"), &configuration)?;
        for (name, content) in FILES {
            write_changed(&config.join(name), content)?;
        }
        setup::make_executable(&config.join("mkosi.finalize"))?;
        if !config.join("mkosi.crt").exists() {
            let mut command = Command::new("openssl");
            command
                .args([
                    "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650",
                ])
                .args([
                    "-subj",
                    "/CN=bench",
                    "-keyout",
                    "mkosi.key",
                    "-out",
                    "mkosi.crt",
                ])
                .current_dir(&config);
            measure::run(&mut command, &mkosi.log).context("making keys for mkosi")?;
        }
        mkosi.change("first")?;
        Ok(mkosi)
    }

    fn config(&self) -> PathBuf {
        self.work.join("config")
    }

    /// Changes the one line.
    pub fn change(&self, line: &str) -> Result<()> {
        write_changed(&self.config().join(MARKER), &format!("{line}\n"))
    }

    /// Fills the caches of packages and of the incremental build, where that was not done yet.
    pub fn fill(&self) -> Result<()> {
        let filled = self.work.join(".filled");
        let configuration = fs::read_to_string(self.config().join("mkosi.conf"))
            .context("reading mkosi's configuration")?;
        if fs::read_to_string(&filled).is_ok_and(|last| last == configuration) {
            return Ok(());
        }
        eprintln!("filling mkosi's caches: some minutes");
        self.run(&["--incremental=yes", "--force", "--force"])?;
        // What a full build needs beyond that.
        self.run(&[FULL, &["--force"]].concat())?;
        write_changed(&filled, &configuration)
    }

    /// A full build, with all packages there.
    pub fn full(&self) -> Result<Sample> {
        self.run(&[FULL, &["--cache-only=always", "--force"]].concat())
    }

    /// A build from the cached tree.
    pub fn incremental(&self) -> Result<Sample> {
        let sample = self.run(&["--incremental=yes", "--cache-only=always", "--force"])?;
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        if !said.contains("Copying cached trees") || said.contains("Installing cache copies") {
            bail!(
                "mkosi made its cached tree anew, so this was no incremental build; remove {} and run again",
                self.work.display()
            );
        }
        Ok(sample)
    }

    fn run(&self, words: &[&str]) -> Result<Sample> {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-ec", ENTER])
            .arg("enter")
            .arg(TREE.path)
            .arg(&self.work)
            .args(["mkosi", "--directory", "/w/config"])
            // With --mirror it adds archives of hosts of its own.
            .args(["--local-mirror", &self.mirror])
            .args(words)
            .arg("build");
        let mut run = measure::run(&mut command, &self.log).context("running mkosi")?;
        let image = self.config().join("mkosi.output/bench_1.raw");
        run.sample.size = Some(setup::allocated(&image)?);
        Ok(run.sample)
    }
}

/// What to build, with `packages` and the kernel.
fn configuration(packages: &[String]) -> Result<String> {
    let (architecture, kernel) = match std::env::consts::ARCH {
        "x86_64" => ("x86-64", "linux-image-cloud-amd64"),
        "aarch64" => ("arm64", "linux-image-cloud-arm64"),
        other => bail!("mkosi's side of the comparison is not written for {other}"),
    };
    let list: Vec<String> = packages
        .iter()
        .map(String::as_str)
        .chain([kernel])
        .map(|name| format!("        {name}"))
        .collect();
    Ok(CONFIGURATION
        .replace("{architecture}", architecture)
        .replace("{packages}", &list.join("\n")))
}

fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))
}

/// Leaves a file alone that is right already: mkosi judges its caches by modification times.
fn write_changed(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        make_dir(folder)?;
    }
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_and_a_kernel_are_in_the_configuration() {
        let text = configuration(&["base-files".into(), "bash".into()]).unwrap_or_default();
        assert!(
            text.contains(
                "Packages=\n        base-files\n        bash\n        linux-image-cloud-"
            )
        );
        assert!(!text.contains('{'), "{text}");
    }
}
