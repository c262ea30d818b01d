//! A folder of the disk as a tree in memory.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use hullwright::erofs::{Blob, CodecSettings};
use hullwright::tree::{Content, Kind, LinkGroup, Meta, Node, Origin, Tree, TreePath};
use rayon::prelude::*;

/// A name in the folder.
pub struct Found {
    /// Path below the folder.
    pub path: TreePath,
    /// Path to open.
    pub file: PathBuf,
    /// What it is.
    pub metadata: Metadata,
}

/// Everything below `dir`, itself included, in path order.
pub fn list(dir: &Path) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut todo = vec![(TreePath::root(), dir.to_owned())];
    while let Some((path, file)) = todo.pop() {
        let metadata = fs::symlink_metadata(&file)
            .with_context(|| format!("looking at {}", file.display()))?;
        if metadata.is_dir() {
            let entries =
                fs::read_dir(&file).with_context(|| format!("listing {}", file.display()))?;
            for entry in entries {
                let name = entry
                    .with_context(|| format!("listing {}", file.display()))?
                    .file_name();
                todo.push((path.join(name.as_bytes())?, file.join(&name)));
            }
        }
        found.push(Found {
            path,
            file,
            metadata,
        });
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// The package of each path.
pub type Origins = BTreeMap<String, Arc<str>>;

/// Reads what `workbench origins` has printed.
pub fn origins(file: &Path) -> Result<Origins> {
    let reading = || format!("reading {}", file.display());
    let text = fs::read_to_string(file).with_context(reading)?;
    let map: BTreeMap<String, String> = serde_json::from_str(&text).with_context(reading)?;
    Ok(map
        .into_iter()
        .map(|(path, package)| (path, package.into()))
        .collect())
}

/// The tree below `dir`, its files compiled on all threads, the largest first.
pub fn compile(dir: &Path, settings: &CodecSettings, origins: &Origins) -> Result<Tree> {
    let found = list(dir)?;
    let links = links(&found);
    let mut files: Vec<(usize, &Found)> = found
        .iter()
        .enumerate()
        .filter(|(at, found)| found.metadata.is_file() && first(&links, *at, found))
        .collect();
    files.sort_by_key(|(at, found)| (std::cmp::Reverse(found.metadata.len()), *at));
    // By a bridge, which hands them out in order.
    let blobs: BTreeMap<usize, Arc<Blob>> = files
        .into_iter()
        .par_bridge()
        .map(|(at, found)| Ok((at, Arc::new(blob(found, settings)?))))
        .collect::<Result<_>>()?;
    let mut tree = Tree::new();
    for (at, found) in found.iter().enumerate() {
        let link = links.get(&inode(&found.metadata));
        let blob = blobs.get(&link.map_or(at, |(_, first)| *first));
        let group = link.map(|(group, _)| *group);
        let node = Node {
            meta: meta(found)?,
            kind: kind(found, blob, group)?,
            origin: match origins.get(&found.path.to_string()) {
                Some(package) => Origin::Package(Arc::clone(package)),
                None => Origin::Generated("workbench".into()),
            },
        };
        tree.insert(found.path.clone(), node);
    }
    Ok(tree)
}

fn blob(found: &Found, settings: &CodecSettings) -> Result<Blob> {
    let reading = || format!("reading {}", found.file.display());
    // As packages are compiled: large files while they are read.
    if found.metadata.len() > hullwright::package::limits::STREAM_FROM {
        let mut file = fs::File::open(&found.file).with_context(reading)?;
        return Blob::compile_reader(&mut file, found.metadata.len(), settings);
    }
    let bytes = fs::read(&found.file).with_context(reading)?;
    Ok(Blob::compile(&bytes, settings))
}

type Links = BTreeMap<(u64, u64), (LinkGroup, usize)>;

fn inode(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// A group for each inode of several names, and where the first of them is.
fn links(found: &[Found]) -> Links {
    let mut links = Links::new();
    for (at, found) in found.iter().enumerate() {
        if found.metadata.is_file() && found.metadata.nlink() > 1 {
            let number = links.len() as u64;
            links
                .entry(inode(&found.metadata))
                .or_insert((LinkGroup(number), at));
        }
    }
    links
}

fn first(links: &Links, at: usize, found: &Found) -> bool {
    links
        .get(&inode(&found.metadata))
        .is_none_or(|(_, first)| *first == at)
}

fn meta(found: &Found) -> Result<Meta> {
    Ok(Meta {
        mode: (found.metadata.mode() & 0o7777) as u16,
        uid: found.metadata.uid(),
        gid: found.metadata.gid(),
        xattrs: xattrs(&found.file)?,
    })
}

fn kind(found: &Found, blob: Option<&Arc<Blob>>, link: Option<LinkGroup>) -> Result<Kind> {
    let file_type = found.metadata.file_type();
    let device = found.metadata.rdev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    Ok(if file_type.is_dir() {
        Kind::Dir
    } else if file_type.is_symlink() {
        let target = fs::read_link(&found.file)
            .with_context(|| format!("reading the link {}", found.file.display()))?;
        Kind::Symlink(target.as_os_str().as_bytes().to_vec())
    } else if file_type.is_char_device() {
        Kind::CharDevice { major, minor }
    } else if file_type.is_block_device() {
        Kind::BlockDevice { major, minor }
    } else if file_type.is_fifo() {
        Kind::Fifo
    } else {
        let Some(blob) = blob else {
            bail!("{} is nothing that an image can hold", found.file.display());
        };
        Kind::File {
            content: Content::Blob(Arc::clone(blob)),
            link,
        }
    })
}

/// All extended attributes. `llistxattr(2)`: names that end with NUL, one after another.
fn xattrs(path: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let what = || format!("reading the attributes of {}", path.display());
    let mut names = vec![0_u8; 65536];
    let len = match rustix::fs::llistxattr(path, names.as_mut_slice()) {
        Ok(len) => len,
        Err(rustix::io::Errno::NOTSUP) => 0,
        Err(error) => return Err(error).with_context(what),
    };
    let mut out = BTreeMap::new();
    for name in names[..len].split(|&byte| byte == 0) {
        if name.is_empty() {
            continue;
        }
        let mut value = vec![0_u8; 65536];
        let len = rustix::fs::lgetxattr(path, name, value.as_mut_slice()).with_context(what)?;
        value.truncate(len);
        out.insert(name.to_vec(), value);
    }
    Ok(out)
}
