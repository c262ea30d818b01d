//! A compiled package in the cache.
//!
//! Its head is everything but the content of files, its data are their blocks. Nothing of the
//! package itself is needed to link it.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::compile::{DebId, check_control};
use super::object::{Control, Entry, EntryKind, PackageObject};
use crate::digest::Sha256;
use crate::erofs::{CodecSettings, StoredBlob};
use crate::store::{self, DamagedObject, NewData, ObjectFile, Store};
use crate::tree::{Meta, PathError, TreePath};

/// Version of what a package compiles to, apart from blobs: a higher one makes all of them anew. To be
/// raised whenever [`Head`] changes, or what is read from a package.
const VERSION: u32 = 2;

#[derive(Serialize, Deserialize)]
struct Head {
    deb: [u8; 32],
    name: String,
    version: String,
    architecture: String,
    replaces: String,
    conffiles: Vec<Vec<u8>>,
    entries: Vec<StoredEntry>,
}

#[derive(Serialize, Deserialize)]
struct StoredEntry {
    path: Vec<u8>,
    mode: u16,
    uid: u32,
    gid: u32,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    kind: StoredKind,
}

#[derive(Serialize, Deserialize)]
enum StoredKind {
    Dir,
    File(StoredBlob),
    HardLink(Vec<u8>),
    Symlink(Vec<u8>),
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
}

fn key(deb: &Sha256, settings: &CodecSettings) -> Result<blake3::Hash> {
    Ok(store::key_of(&[
        &VERSION.to_le_bytes(),
        &postcard::to_stdvec(settings)?,
        &deb.0,
    ]))
}

fn what(id: &DebId) -> String {
    format!("the object of {} {}", id.name, id.version)
}

/// The object of `id` compiled with `settings`, if the cache has it. What is damaged in it is removed,
/// and the object missing then.
///
/// # Errors
/// The machine refuses to open the file.
pub fn stored(
    store: &Store,
    id: &DebId,
    settings: &CodecSettings,
) -> Result<Option<PackageObject>> {
    let key = key(&id.sha256, settings)?;
    let Some((file, head)) = store.object(store::PACKAGE, &key, &what(id))? else {
        return Ok(None);
    };
    let object = store::decode::<Head>(&head)
        .map_err(|problem| file.damaged(problem))
        .and_then(|head| head.open(&file));
    match object {
        Ok(object) if object.deb == id.sha256 => {
            check_control(&object, id)?;
            Ok(Some(object))
        }
        Ok(_) => {
            file.damaged("it is that of another package");
            store.discard_damaged();
            Ok(None)
        }
        Err(DamagedObject { .. }) => {
            store.discard_damaged();
            Ok(None)
        }
    }
}

/// Keeps `object`, and returns it with its content in the cache instead of in memory.
///
/// # Errors
/// The file cannot be written.
pub fn keep(
    store: &Store,
    id: &DebId,
    settings: &CodecSettings,
    object: &PackageObject,
) -> Result<PackageObject> {
    let key = key(&id.sha256, settings)?;
    let mut data = NewData::default();
    let head = Head::new(object, &mut data)?;
    let bytes = postcard::to_stdvec(&head)?;
    let file = store.keep_object(store::PACKAGE, &key, &what(id), &bytes, &data)?;
    Ok(head.open(&file)?)
}

impl Head {
    fn new<'a>(object: &'a PackageObject, data: &mut NewData<'a>) -> Result<Self, DamagedObject> {
        let control = &object.control;
        let bytes = |path: &TreePath| path.as_bytes().to_vec();
        let mut entries = Vec::with_capacity(object.entries.len());
        for entry in &object.entries {
            let kind = match &entry.kind {
                EntryKind::Dir => StoredKind::Dir,
                EntryKind::File(blob) => StoredKind::File(StoredBlob::put(blob, data)?),
                EntryKind::HardLink(target) => StoredKind::HardLink(bytes(target)),
                EntryKind::Symlink(target) => StoredKind::Symlink(target.clone()),
                &EntryKind::CharDevice { major, minor } => StoredKind::CharDevice(major, minor),
                &EntryKind::BlockDevice { major, minor } => StoredKind::BlockDevice(major, minor),
                EntryKind::Fifo => StoredKind::Fifo,
            };
            entries.push(StoredEntry {
                path: bytes(&entry.path),
                mode: entry.meta.mode,
                uid: entry.meta.uid,
                gid: entry.meta.gid,
                xattrs: entry.meta.xattrs.clone(),
                kind,
            });
        }
        for (stored, entry) in entries.iter_mut().zip(&object.entries) {
            if let (StoredKind::File(stored), EntryKind::File(blob)) =
                (&mut stored.kind, &entry.kind)
            {
                stored.put_tail(blob, data)?;
            }
        }
        Ok(Self {
            deb: object.deb.0,
            name: control.name.clone(),
            version: control.version.clone(),
            architecture: control.architecture.clone(),
            replaces: control.replaces.clone(),
            conffiles: control.conffiles.iter().map(bytes).collect(),
            entries,
        })
    }

    fn open(self, file: &Arc<ObjectFile>) -> Result<PackageObject, DamagedObject> {
        let path = |bytes: Vec<u8>| {
            TreePath::parse(bytes).map_err(|error: PathError| file.damaged(error.to_string()))
        };
        let mut entries = Vec::with_capacity(self.entries.len());
        for entry in self.entries {
            if entry.mode > 0o7777 {
                return Err(file.damaged(format!("an entry has the mode {:o}", entry.mode)));
            }
            let kind = match entry.kind {
                StoredKind::Dir => EntryKind::Dir,
                StoredKind::File(blob) => EntryKind::File(Arc::new(blob.open(file)?)),
                StoredKind::HardLink(target) => EntryKind::HardLink(path(target)?),
                StoredKind::Symlink(target) => EntryKind::Symlink(target),
                StoredKind::CharDevice(major, minor) => EntryKind::CharDevice { major, minor },
                StoredKind::BlockDevice(major, minor) => EntryKind::BlockDevice { major, minor },
                StoredKind::Fifo => EntryKind::Fifo,
            };
            entries.push(Entry {
                path: path(entry.path)?,
                meta: Meta {
                    mode: entry.mode,
                    uid: entry.uid,
                    gid: entry.gid,
                    xattrs: entry.xattrs,
                },
                kind,
            });
        }
        Ok(PackageObject {
            deb: Sha256(self.deb),
            control: Control {
                name: self.name,
                version: self.version,
                architecture: self.architecture,
                replaces: self.replaces,
                conffiles: self
                    .conffiles
                    .into_iter()
                    .map(path)
                    .collect::<Result<_, _>>()?,
            },
            entries,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::package::parse;
    use crate::package::testing::{SETTINGS, deb, dir, file, hardlink, symlink};

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn heads_of_others_never_panic(
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..9),
        ) {
            let items = [
                dir("./"),
                file("./a", &[7; 9000]),
                hardlink("./b", "./a"),
                symlink("./c", "b"),
            ];
            let bytes = deb("x", "1", "", &items);
            let id = DebId {
                name: "x".into(),
                version: "1".into(),
                architecture: "amd64".into(),
                sha256: Sha256::of(&bytes),
            };
            let object = parse(bytes, id.sha256, &SETTINGS).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let store = Store::open(folder.path()).unwrap();
            keep(&store, &id, &SETTINGS, &object).unwrap();
            let key = key(&id.sha256, &SETTINGS).unwrap();
            let (file, mut head) = store.object(store::PACKAGE, &key, "x").unwrap().unwrap();
            for (at, value) in flips {
                let at = at.index(head.len());
                head[at] ^= value;
            }
            if let Ok(object) = store::decode::<Head>(&head).map(|head| head.open(&file))
                && let Ok(object) = object
            {
                for entry in &object.entries {
                    if let EntryKind::File(blob) = &entry.kind {
                        let _ = blob.read();
                    }
                }
            }
        }
    }
}
