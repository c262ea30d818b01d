//! The files of one release: each against its hash, then what they say of each other. What has not the
//! hash that was signed says nothing that counts.

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::Check;
use super::channel::plain;
use super::hashing::{examine, load};
use crate::arch::Arch;
use crate::digest::Sha256;
use crate::esp::boot_entry_name;
use crate::initrd::root_hash_signature;
use crate::inspect;
use crate::release::index::{File, Release};
use crate::release::names::Role;
use crate::report::manifest::{self, Manifest};
use crate::report::progress::Stage;
use crate::resolve::Lock;
use crate::sign::authenticode;
use crate::uki::Pe;
use crate::verity::format::{BLOCK, levels};
use crate::verity::{self, signature::Document};

/// UKIs are read into memory, as firmware does; none is larger.
const MAX_PROGRAM: u64 = 1 << 30;
/// Hash trees are read into memory; this is one for 64 GiB.
const MAX_TREE: u64 = 1 << 29;
/// Records are read into memory.
pub(super) const MAX_RECORD: u64 = 256 << 20;

struct Files<'a> {
    check: &'a Check<'a>,
    stage: &'a Stage,
    folder: &'a str,
    id: &'a str,
    arch: Arch,
    release: &'a Release,
}

/// Checks everything but the disk image.
pub(super) fn check(
    check: &Check<'_>,
    stage: &Stage,
    folder: &str,
    id: &str,
    arch: Arch,
    release: &Release,
) {
    let files = Files {
        check,
        stage,
        folder,
        id,
        arch,
        release,
    };
    if let Ok(mut report) = check.report.lock() {
        report.releases += 1;
    }
    for file in release.present() {
        let read_below = matches!(
            file.role,
            Role::Usr
                | Role::Verity
                | Role::Signature
                | Role::Uki
                | Role::BootLoader
                | Role::Disk
                | Role::Manifest
                | Role::Lock
                | Role::Facts
        );
        if !read_below {
            plain(check, stage, folder, file);
        }
    }
    let manifest = files.manifest();
    files.lock(manifest.as_ref());
    files.facts();
    if release.yanked.is_none() {
        let in_uki = files.uki(manifest.as_ref());
        files.boot_loader(manifest.as_ref());
        files.usr();
        files.signature(in_uki);
    }
}

impl Files<'_> {
    fn file(&self, role: Role) -> Option<&File> {
        self.release.present().find(|file| file.role == role)
    }

    fn path(&self, file: &File) -> String {
        format!("{}/{}", self.folder, file.name)
    }

    fn load(&self, role: Role, limit: u64) -> Option<Vec<u8>> {
        let file = self.file(role)?;
        load(self.check, self.stage, &self.path(file), file, limit)
    }

    /// Tells what is wrong with the file of `role`.
    fn judge(&self, role: Role, result: Result<()>) {
        if let (Some(file), Err(error)) = (self.file(role), result) {
            self.check.find(self.path(file), format!("{error:#}"));
        }
    }

    fn manifest(&self) -> Option<Manifest> {
        let bytes = self.load(Role::Manifest, MAX_RECORD)?;
        let manifest: Manifest = match serde_json::from_slice(&bytes) {
            Ok(manifest) => manifest,
            Err(error) => {
                self.judge(
                    Role::Manifest,
                    Err(anyhow::anyhow!("it is no manifest: {error}")),
                );
                return None;
            }
        };
        self.judge(Role::Manifest, self.check_manifest(&manifest));
        Some(manifest)
    }

    fn check_manifest(&self, manifest: &Manifest) -> Result<()> {
        let release = self.release;
        ensure!(!manifest.development, "the release is for development");
        same("id", &manifest.id.as_str(), &self.id)?;
        same("version", &manifest.version, &release.version)?;
        same("architecture", &manifest.arch, &self.arch)?;
        same("stamp", &manifest.stamp, &release.stamp)?;
        same("root hash", &manifest.root_hash, &release.root_hash)?;
        let uki = boot_entry_name(self.id, &release.version, 0);
        for (role, name) in [
            (Role::Usr, "usr.erofs"),
            (Role::Verity, "usr.verity"),
            (Role::Signature, manifest::SIGNATURE),
            (Role::Uki, uki.as_str()),
        ] {
            let artefact = manifest.artefact(name);
            let artefact = artefact.with_context(|| format!("it does not have {name}"))?;
            let file = release.file(role);
            let file = file.with_context(|| format!("the index does not have {name}"))?;
            same(&format!("{name}'s hash"), &artefact.sha256, &file.sha256)?;
        }
        Ok(())
    }

    fn lock(&self, manifest: Option<&Manifest>) {
        let Some(bytes) = self.load(Role::Lock, MAX_RECORD) else {
            return;
        };
        let result = (|| {
            let text = std::str::from_utf8(&bytes).context("it is no text")?;
            let lock = Lock::parse(text, std::path::Path::new("it"))?;
            same("architecture", &lock.arch, &self.arch)?;
            if let Some(manifest) = manifest {
                let found = Sha256::of(&bytes);
                ensure!(
                    manifest.lock == found,
                    "its SHA-256 is {found}, and the manifest was made from {}",
                    manifest.lock
                );
            }
            Ok(())
        })();
        self.judge(Role::Lock, result);
    }

    fn facts(&self) {
        let Some(bytes) = self.load(Role::Facts, MAX_RECORD) else {
            return;
        };
        self.judge(Role::Facts, self.check_facts(&bytes));
    }

    fn check_facts(&self, bytes: &[u8]) -> Result<()> {
        #[derive(Deserialize)]
        struct Partition {
            role: String,
            size: u64,
        }
        #[derive(Deserialize)]
        struct Facts {
            id: String,
            version: String,
            root_hash: Sha256,
            files: Sha256,
            layout: Vec<Partition>,
        }
        let facts: Facts = serde_json::from_slice(bytes).context("it has no facts")?;
        same("id", &facts.id.as_str(), &self.id)?;
        same("version", &facts.version, &self.release.version)?;
        same("root hash", &facts.root_hash, &self.release.root_hash)?;
        if let Some(list) = self.file(Role::Files) {
            same("list of files", &facts.files, &list.sha256)?;
        }
        let layout = self.release.layout;
        for (role, size) in [
            ("esp", layout.esp),
            ("usr-a", layout.usr),
            ("usr-b", layout.usr),
            ("usr-verity-a", layout.verity),
            ("usr-verity-sig-a", layout.signature),
        ] {
            let found = facts.layout.iter().find(|part| part.role == role);
            let found = found.with_context(|| format!("it has no partition {role}"))?;
            same(&format!("size of {role}"), &found.size, &size)?;
        }
        Ok(())
    }

    /// Checks the UKI; the signature of the root hash that it carries.
    fn uki(&self, manifest: Option<&Manifest>) -> Option<Vec<u8>> {
        let data = self.load(Role::Uki, MAX_PROGRAM)?;
        self.judge(Role::Uki, self.check_uki(&data, manifest));
        let pe = Pe::parse(&data).ok()?;
        let p7s = root_hash_signature::read(pe.section(".initrd")?)?;
        Some(p7s.to_vec())
    }

    fn check_uki(&self, data: &[u8], manifest: Option<&Manifest>) -> Result<()> {
        self.check_program(data, manifest)?;
        let pe = Pe::parse(data)?;
        let release = pe.section(".osrel").context("it has no .osrel section")?;
        let release = String::from_utf8_lossy(release);
        for (key, expected) in [
            ("IMAGE_ID", self.id),
            ("IMAGE_VERSION", self.release.version.as_str()),
        ] {
            let found = os_release(&release, key)
                .with_context(|| format!("its os-release has no {key}"))?;
            same(&format!("{key} in its os-release"), &found, &expected)?;
        }
        let hash = inspect::facts::root_hash(&pe).context("its command line has no usrhash=")?;
        same(
            "usrhash= in its command line",
            &hash,
            &self.release.root_hash,
        )?;
        if let Some(manifest) = manifest {
            let cmdline = pe.section(".cmdline").unwrap_or_default();
            let cmdline = String::from_utf8_lossy(cmdline);
            same(
                "command line",
                &cmdline.trim_end_matches('\0'),
                &manifest.cmdline.as_str(),
            )?;
        }
        Ok(())
    }

    fn boot_loader(&self, manifest: Option<&Manifest>) {
        if let Some(data) = self.load(Role::BootLoader, MAX_PROGRAM) {
            self.judge(Role::BootLoader, self.check_program(&data, manifest));
        }
    }

    /// Whether a program is for this architecture, and whole since it was signed for Secure Boot.
    fn check_program(&self, data: &[u8], manifest: Option<&Manifest>) -> Result<()> {
        let pe = Pe::parse(data)?;
        let machine = pe.machine()?;
        let expected = self.arch.traits().pe_machine;
        ensure!(
            machine == expected,
            "it is for machine {machine:#x}, and {} is {expected:#x}",
            self.arch
        );
        let certificates = authenticode::certificates(data)?;
        ensure!(!certificates.is_empty(), "it has no Secure Boot signature");
        let mut last = Ok(());
        let good =
            certificates.iter().find(
                |certificate| match authenticode::verify(data, certificate) {
                    Ok(()) => true,
                    Err(error) => {
                        last = Err(error);
                        false
                    }
                },
            );
        let Some(good) = good else { return last };
        if let Some(manifest) = manifest {
            let found = Sha256::of(good);
            same("signing certificate", &found, &manifest.signing_certificate)?;
        }
        Ok(())
    }

    /// `/usr` against its hash tree, and that against the root hash.
    fn usr(&self) {
        let Some(usr) = self.file(Role::Usr) else {
            return;
        };
        let path = self.path(usr);
        let Some(tree) = self.load(Role::Verity, MAX_TREE) else {
            return plain(self.check, self.stage, self.folder, usr);
        };
        let root = &self.release.root_hash;
        let verified = examine(self.check, self.stage, &path, usr, |mut reader| {
            verity::verify(&mut reader, &tree, root)
        });
        match verified {
            Some(Ok(superblock)) => {
                let salt = verity::salt(self.id);
                if superblock.salt != salt {
                    self.judge(
                        Role::Verity,
                        Err(anyhow::anyhow!("its salt is not that of {}", self.id)),
                    );
                }
                let blocks = 1 + levels(superblock.data_blocks).iter().sum::<u64>();
                let used = blocks * BLOCK as u64;
                let len = tree.len() as u64;
                if used != len {
                    let what = format!("its tree has {used} bytes, and the file {len}");
                    self.judge(Role::Verity, Err(anyhow::anyhow!(what)));
                }
            }
            Some(Err(error)) => self.check.find(path, error.to_string()),
            None => {}
        }
    }

    /// The signature partition against the root hash and the UKI.
    fn signature(&self, in_uki: Option<Vec<u8>>) {
        let Some(bytes) = self.load(Role::Signature, MAX_RECORD) else {
            return;
        };
        let result = Document::read(&bytes).and_then(|document| {
            let Some(document) = document else {
                ensure!(in_uki.is_none(), "it has no signature, and the UKI has one");
                return Ok(());
            };
            same("root hash", &document.root_hash, &self.release.root_hash)?;
            ensure!(
                in_uki.is_none() || in_uki == document.p7s(),
                "it has another signature of the root hash than the UKI"
            );
            Ok(())
        });
        self.judge(Role::Signature, result);
    }
}

fn same<T: PartialEq + std::fmt::Display>(what: &str, found: &T, expected: &T) -> Result<()> {
    let shown = |value: &T| value.to_string().escape_debug().to_string();
    ensure!(
        found == expected,
        "its {what} is {}, expected {}",
        shown(found),
        shown(expected)
    );
    Ok(())
}

/// The value of a key in os-release(5), without the quotes that it may have.
fn os_release<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    let value = value.trim_end_matches('\0');
    let quoted = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'));
    Some(quoted.unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_is_read_with_and_without_quotes() {
        let text = "NAME=\"My OS\"\nIMAGE_ID=myos\nIMAGE_VERSION=\"1.0\"\n";
        assert_eq!(os_release(text, "IMAGE_ID"), Some("myos"));
        assert_eq!(os_release(text, "IMAGE_VERSION"), Some("1.0"));
        assert_eq!(os_release(text, "NAME"), Some("My OS"));
        assert_eq!(os_release(text, "IMAGE"), None);
    }
}
