//! From the output of a build to the files of a release.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufReader, BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};

use super::index::{File, Layout, Release};
use super::names::Role;
use super::tree::Incoming;
use super::{diff, disk_zst, facts, lists};
use crate::arch::{Arch, ESP_TYPE};
use crate::build::Built;
use crate::disk::GptTable;
use crate::esp::{EspReader, content};
use crate::profile::Loaded;
use crate::report::{Progress, manifest};
use crate::resolve::Lock;
use crate::store::hash_file;

/// A release of one product, with its files in a folder of their own.
#[derive(Debug)]
pub struct Payload {
    /// `os.id`.
    pub id: String,
    /// Architecture.
    pub arch: Arch,
    /// What the index will say.
    pub release: Release,
    /// The lock that it was built from.
    pub lock: Lock,
    /// Its files.
    pub files: Vec<Incoming>,
}

/// The release before, for the difference.
#[derive(Debug, Clone, Copy)]
pub struct Before<'a> {
    /// The folder with its files.
    pub folder: &'a Path,
    /// What their names begin with.
    pub prefix: &'a str,
}

/// Makes the files of a release in the empty `folder`, which is on the file system of the build: what
/// that has made under other names is moved.
///
/// # Errors
/// A file can't be read or written.
pub fn make(
    built: &Built,
    loaded: &Loaded,
    before: Option<Before<'_>>,
    folder: &Path,
    progress: &Progress,
) -> Result<Payload> {
    let stage = progress.stage("release", None);
    let manifest = &built.manifest;
    let (id, version, root) = (&manifest.id, &manifest.version, &manifest.root_hash);
    let place = |role: Role| folder.join(role.file_name(id, version, root));
    let from = |name: &str| built.directory.join(name);
    let disk = from("disk.raw");
    let (_, table) = facts::layout::table(&disk)?;
    let loader = boot_loader(&disk, &table, manifest.arch)?;

    fs::write(place(Role::BootLoader), loader).context("writing the boot loader")?;
    let prefix = format!("{id}_{version}.");
    let facts = lists::write(built, loaded, folder, &prefix).context("writing the lists")?;
    if let Some(before) = before {
        let before = facts::Facts::read(before.folder, before.prefix)
            .context("reading the facts of the release before")?;
        let diff = diff::diff(&before, &facts);
        fs::write(place(Role::DiffMarkdown), diff.markdown()).context("writing the diff")?;
        let mut text = serde_json::to_string_pretty(&diff).context("writing the diff")?;
        text.push('\n');
        fs::write(place(Role::DiffJson), text).context("writing the diff")?;
    }
    let uki = content::boot_entry_name(id, version, 0);
    // The build has hashed its artefacts while it wrote them.
    let mut known = BTreeMap::new();
    for (role, name) in [
        (Role::Usr, "usr.erofs"),
        (Role::Verity, "usr.verity"),
        (Role::Signature, manifest::SIGNATURE),
        (Role::Uki, uki.as_str()),
        (Role::Manifest, manifest::MANIFEST),
    ] {
        fs::rename(from(name), place(role)).with_context(|| format!("moving {name}"))?;
        if let Some(artefact) = manifest.artefact(name) {
            known.insert(role, artefact.sha256);
        }
    }
    compress(&disk, &place(Role::Disk))?;
    fs::remove_file(&disk).context("removing disk.raw")?;

    let mut files = Vec::new();
    let mut incoming = Vec::new();
    for role in Role::ALL {
        let path = place(role);
        let Ok(data) = fs::metadata(&path) else {
            continue;
        };
        let name = role.file_name(id, version, root);
        let sha256 = match known.get(&role) {
            Some(sha256) => *sha256,
            None => hash_file(&path).with_context(|| format!("reading {name}"))?,
        };
        stage.add(data.len());
        files.push(File {
            name: name.clone(),
            role,
            size: data.len(),
            sha256,
        });
        incoming.push(Incoming {
            arch: manifest.arch,
            name,
            path,
        });
    }
    Ok(Payload {
        id: id.clone(),
        arch: manifest.arch,
        release: Release {
            version: version.clone(),
            stamp: manifest.stamp,
            root_hash: *root,
            layout: layout(&table, manifest.arch)?,
            files,
            yanked: None,
        },
        lock: built.lock.clone(),
        files: incoming,
    })
}

/// systemd-boot as the disk image has it: signed.
fn boot_loader(disk: &Path, table: &GptTable, arch: Arch) -> Result<Vec<u8>> {
    let esp = table.by_type(ESP_TYPE).context("disk.raw has no ESP")?;
    let file = fs::File::open(disk).with_context(|| format!("opening {}", disk.display()))?;
    let [_, path] = content::boot_loader_paths(arch);
    EspReader::open(BufReader::new(file), esp.offset())
        .and_then(|mut esp| esp.read(&path))
        .with_context(|| format!("reading {path} from the ESP of disk.raw"))
}

fn layout(table: &GptTable, arch: Arch) -> Result<Layout> {
    let traits = arch.traits();
    let len = |kind| {
        let entry = table.by_type(kind).context("disk.raw lacks a partition")?;
        Ok::<_, anyhow::Error>(entry.len())
    };
    Ok(Layout {
        esp: len(ESP_TYPE)?,
        usr: len(traits.dps_usr)?,
        verity: len(traits.dps_usr_verity)?,
        signature: len(traits.dps_usr_verity_sig)?,
    })
}

fn compress(disk: &Path, to: &Path) -> Result<()> {
    let context = || format!("writing {}", to.display());
    let file = fs::File::create(to).with_context(context)?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    disk_zst::write(disk, &mut out)?;
    out.flush().with_context(context)
}
