//! Container images that the image carries: each archive is one file of `/usr`, compiled once and kept
//! under its hash. An archive that is kept is not read again.

use std::sync::Arc;

use anyhow::Result;

use crate::erofs::{Blob, CodecSettings};
use crate::profile::{ContainerFile, Loaded};
use crate::store::{Store, key_of};
use crate::tree::policy::{OverlayEntry, containers};
use crate::tree::{Content, Kind, Meta, TreePath};

/// How compiled archives are called where they are kept.
const KIND: &str = "container-1";

/// The archives of `containers`, to be laid over the tree.
pub(super) fn entries(loaded: &Loaded, store: &Store) -> Result<Vec<OverlayEntry>> {
    let settings = loaded.profile.root.compression.settings();
    let files = loaded.container_files()?;
    files
        .iter()
        .map(|file| {
            Ok(OverlayEntry {
                path: TreePath::parse(containers::archive(&file.sha256))?,
                meta: Meta::root(0o644),
                kind: Kind::File {
                    content: Content::Blob(compiled(file, &settings, store)?),
                    link: None,
                },
                source: file.written.as_str().into(),
            })
        })
        .collect()
}

fn compiled(file: &ContainerFile, settings: &CodecSettings, store: &Store) -> Result<Arc<Blob>> {
    let key = key_of(&[&file.sha256.0, format!("{settings:?}").as_bytes()]);
    if let Some(known) = store.derived_blob(KIND, &key)? {
        return Ok(known);
    }
    let blob = file.read(|reader, size| Blob::compile_reader(reader, size, settings))?;
    store.keep_derived_blob(KIND, &key, &blob)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Sha256;
    use crate::erofs::{Codec, Tails};

    #[test]
    fn an_archive_is_read_once_and_another_of_its_name_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cache")).unwrap();
        let settings = CodecSettings {
            codec: Codec::Zstd,
            level: 1,
            chunk: 4096,
            tails: Tails::Own,
        };
        let bytes = vec![b'x'; 10_000];
        let mut file = ContainerFile {
            written: "app.tar".into(),
            path: dir.path().join("app.tar"),
            sha256: Sha256::of(&bytes),
            origin: "host.yaml:7".into(),
        };
        std::fs::write(&file.path, &bytes).unwrap();
        assert!(compiled(&file, &settings, &store).unwrap().read().unwrap() == bytes);
        std::fs::remove_file(&file.path).unwrap();
        assert!(compiled(&file, &settings, &store).unwrap().read().unwrap() == bytes);
        std::fs::write(&file.path, b"something else").unwrap();
        file.sha256 = Sha256::of(b"what was meant");
        compiled(&file, &settings, &store).unwrap_err();
        // What was refused is not kept either.
        compiled(&file, &settings, &store).unwrap_err();
    }
}
