//! Files that no package ships: what overlays bring and what policies make.

use std::sync::Arc;

use super::blob::{Blob, CodecSettings};
use super::pack::Packs;
use crate::store::key_of;

/// Smaller ones are compiled faster than they are looked for.
const KEPT_FROM: usize = 64 * 1024;

/// The compiled form of `bytes`: what was kept of them before, or made now and kept.
pub(super) fn compiled(bytes: &[u8], settings: &CodecSettings, kept: &dyn Packs) -> Arc<Blob> {
    if bytes.len() < KEPT_FROM {
        return Arc::new(Blob::compile(bytes, settings));
    }
    let id = blake3::hash(bytes);
    let settings_shown = format!("{settings:?}");
    let key = key_of(&[b"file", settings_shown.as_bytes(), id.as_bytes()]);
    kept.get(key)
        .filter(|blob| blob.size() == bytes.len() as u64 && blob.hash() == id)
        .unwrap_or_else(|| kept.keep(key, Arc::new(Blob::compile(bytes, settings))))
}
