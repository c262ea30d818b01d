//! Whether an output directory holds already what a build would write.
//!
//! `build-report.json` keeps the hash of all inputs and, of each file beside it, length and time of the
//! last change. Both as they were, the build would write the same bytes: outputs are reproducible, and
//! nobody has touched these.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use blake3::{Hash, Hasher};
use serde::{Deserialize, Serialize};

use crate::build::Inputs;
use crate::digest::hex;
use crate::profile::OverlayKind;
use crate::report::manifest::Manifest;
use crate::resolve::Lock;
use crate::sign::Role;
use crate::store::key_of;

/// File name of the report.
pub const REPORT: &str = "build-report.json";

/// What the report says of inputs and outputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// Hash of everything that the output follows from.
    inputs: String,
    /// Every other file of the directory.
    files: Vec<Seen>,
}

/// A file, as far as it can be told without reading it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Seen {
    name: String,
    size: u64,
    /// Seconds and nanoseconds.
    changed: (i64, i64),
}

/// The hash of all inputs but the lock, which gets its last numbers while an image is linked.
#[derive(Debug, Clone, Copy)]
pub struct Given {
    all: Hash,
    /// Without who signs, and when.
    content: Hash,
}

impl Given {
    fn with(self, lock: &Lock) -> String {
        let hash = key_of(&[self.all.as_bytes(), &lock.hash().0]);
        hex(hash.as_bytes())
    }

    /// The key of what follows from the inputs and `lock`, and not from whether it is signed already:
    /// a signature takes the place that was kept for it.
    #[must_use]
    pub fn content(self, lock: &Lock) -> Hash {
        key_of(&[self.content.as_bytes(), &lock.hash().0])
    }
}

/// The trace of `folder`, which was built from what was `given` and `lock`.
///
/// # Errors
/// The folder can't be read.
pub fn trace(given: Given, lock: &Lock, folder: &Path) -> Result<Trace> {
    Ok(Trace {
        inputs: given.with(lock),
        files: files(folder)?,
    })
}

/// The manifest of the output directory, if a build of `inputs` would change nothing in it.
///
/// # Errors
/// A file that the profile names can't be read.
pub fn unchanged(inputs: &Inputs<'_>) -> Result<Option<Manifest>> {
    let Ok(text) = fs::read(inputs.output.join(REPORT)) else {
        return Ok(None);
    };
    let Ok(known) = serde_json::from_slice::<Trace>(&text) else {
        return Ok(None);
    };
    if files(inputs.output).ok().as_ref() != Some(&known.files)
        || given(inputs)?.with(inputs.lock) != known.inputs
    {
        return Ok(None);
    }
    Ok(Manifest::read(inputs.output).ok())
}

fn files(folder: &Path) -> Result<Vec<Seen>> {
    let reading = || format!("reading {}", folder.display());
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).with_context(reading)? {
        let entry = entry.with_context(reading)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == REPORT {
            continue;
        }
        let data = entry.metadata().with_context(reading)?;
        out.push(Seen {
            name,
            size: data.len(),
            changed: (data.mtime(), data.mtime_nsec()),
        });
    }
    out.sort_unstable();
    Ok(out)
}

/// The hash of profile, keys, the files that they name, and of this very program. To be taken before
/// anything is read for the image: what is changed meanwhile is then not mistaken for what was linked.
///
/// # Errors
/// A file that the profile names can't be read.
pub fn given(inputs: &Inputs<'_>) -> Result<Given> {
    let mut hash = Hasher::new();
    let mut put = |bytes: &[u8]| {
        hash.update(&bytes.len().to_le_bytes()).update(bytes);
    };
    program(&mut put);
    put(inputs.loaded.whole().as_bytes());
    put(&inputs.stamp.seconds().to_le_bytes());
    for entry in inputs.loaded.overlay()? {
        put(entry.path.as_bytes());
        put(&entry.meta.mode.to_le_bytes());
        match entry.kind {
            OverlayKind::Dir => put(b"dir"),
            OverlayKind::File(bytes) => {
                put(b"file");
                put(&bytes);
            }
            OverlayKind::Symlink(target) => {
                put(b"link");
                put(&target);
            }
        }
    }
    put(&inputs.loaded.update_keys()?);
    let trust = inputs.trust;
    for role in [Role::Db, Role::Verity] {
        put(trust.certificate(role).unwrap_or_default());
    }
    put(trust.release_key().unwrap_or_default().as_bytes());
    if let Some(variables) = trust.enrolment() {
        put(&variables.pk);
        put(&variables.kek);
        put(&variables.db);
        put(variables.dbx.as_deref().unwrap_or_default());
    }
    put(&[u8::from(trust.is_development())]);
    let content = hash.finalize();
    hash.update(&[u8::from(inputs.signers.is_some())]);
    Ok(Given {
        all: hash.finalize(),
        content,
    })
}

/// Another program may write other bytes; one under development has the same version all day.
fn program(put: &mut impl FnMut(&[u8])) {
    put(env!("CARGO_PKG_VERSION").as_bytes());
    if let Ok(data) = std::env::current_exe().and_then(fs::metadata) {
        put(&data.len().to_le_bytes());
        put(&data.mtime().to_le_bytes());
        put(&data.mtime_nsec().to_le_bytes());
    }
}
