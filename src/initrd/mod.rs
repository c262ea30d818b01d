//! The initrd: what of the image it carries, and the archive that the kernel unpacks.
//!
//! It is assembled from the image's own files, so that both speak with one version. The list of
//! what to take is data (`profiles/initrd/contents.yaml`); libraries follow from the binaries
//! ([`libraries`]), modules from their dependencies. The result is a few cpio archives, each in a
//! zstd frame of its own: the kernel unpacks them one after the other, they compress in parallel, and
//! those that did not change are taken from the last build ([`groups`]). What is signed after the rest
//! is settled comes last, in a place of its own ([`root_hash_signature`]).

mod collect;
mod contents;
pub mod cpio;
mod groups;
mod libraries;
mod modules;
mod pack;
pub mod root_hash_signature;

use anyhow::{Context, Result};

pub use pack::{Segment, list};

use crate::arch::Arch;
use crate::kernel::Missing;
use crate::kernel::depmod::Modules;
use crate::stamp::Stamp;
use crate::store::Memo;
use crate::tree::Tree;
use collect::Collector;
use contents::Contents;
use groups::Part;
use pack::Packing;

/// Origin of the files that every initrd has from hullwright itself.
const OWN: &str = "initrd";

/// What an initrd is made of.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations, reason = "a memo shows nothing")]
pub struct InitrdInput<'a> {
    /// The finished image: all files below `usr`, `/etc` in `usr/share/factory/etc`.
    pub tree: &'a Tree,
    /// Architecture of the image.
    pub arch: Arch,
    /// The image's modules, as [`crate::kernel::depmod::write`] returns them.
    pub modules: &'a Modules,
    /// Names of modules to carry, beside those that every initrd has.
    pub wanted_modules: &'a [String],
    /// Whether the hypervisor may add units (systemd-debug-generator).
    pub development: bool,
    /// Time of every file.
    pub stamp: Stamp,
    /// zstd level, 1 to 19.
    pub level: i32,
    /// What earlier builds have packed.
    pub memo: &'a dyn Memo,
}

/// A finished initrd.
#[derive(Debug, Clone)]
pub struct Initrd {
    /// The compressed archives, as the kernel takes them.
    pub bytes: Vec<u8>,
    /// The archives in `bytes`, in order.
    pub segments: Vec<Segment>,
    /// Bytes of each part that changes at a time of its own, by name and in order.
    pub parts: Vec<(&'static str, u64)>,
    /// Everything in it, in path order.
    pub files: Vec<InitrdFile>,
    /// Names of the modules in it.
    pub modules: Vec<String>,
    /// Wanted modules that are part of the kernel itself.
    pub builtin: Vec<String>,
    /// Wanted modules that this kernel does not have.
    pub missing: Vec<Missing>,
}

/// A path in the initrd.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct InitrdFile {
    /// Path without leading slash; `.` is the root.
    pub path: String,
    /// Bytes of a regular file or of a link's target.
    pub size: u64,
}

/// The names of all modules that the initrd takes, those of `wanted` among them, as far as the kernel has
/// them.
///
/// # Errors
/// The embedded list of contents is damaged.
pub fn module_names(wanted: &[String]) -> Result<Vec<String>> {
    let contents = Contents::shipped()?;
    Ok(contents
        .load_modules
        .iter()
        .chain(&contents.load_modules_if_present)
        .chain(wanted)
        .cloned()
        .collect())
}

/// Assembles the initrd.
///
/// # Errors
/// Something that the list of contents names, or that a binary needs, is not in the image; the
/// kernel lacks a module without which no image boots.
pub fn build(input: &InitrdInput<'_>) -> Result<Initrd> {
    let contents = Contents::shipped()?;
    let mut collector = Collector::new(input.tree);
    contents
        .collect(&mut collector, input.development)
        .context("collecting the initrd's files")?;
    libraries::close(&mut collector, input.arch, &contents, input.memo)
        .context("collecting the initrd's libraries")?;
    let (lasting, own) = groups::divide(&collector.finish());
    let packing = Packing {
        stamp: input.stamp,
        level: input.level,
    };
    let userspace = groups::packed(Part::Userspace, &lasting, packing, input.memo)?;
    let modules =
        modules::packed(input, &contents, packing).context("collecting the initrd's modules")?;
    let own = groups::packed(Part::Profile, &own, packing, input.memo)?;
    let mut initrd = Initrd {
        bytes: Vec::with_capacity(
            userspace.frames.len() + modules.group.frames.len() + own.frames.len(),
        ),
        segments: Vec::new(),
        parts: [
            (Part::Userspace, &userspace),
            (Part::Modules, &modules.group),
            (Part::Profile, &own),
        ]
        .map(|(part, group)| (part.name(), group.frames.len() as u64))
        .to_vec(),
        files: Vec::new(),
        modules: modules.closure.modules,
        builtin: modules.closure.builtin,
        missing: modules.closure.missing,
    };
    for group in [userspace, modules.group, own] {
        initrd.bytes.extend(group.frames);
        initrd.segments.extend(group.segments);
        initrd.files.extend(group.files);
    }
    // Directories stand in each archive that has something in them.
    initrd.files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    initrd.files.dedup_by(|a, b| a.path == b.path);
    Ok(initrd)
}

#[cfg(test)]
mod tests;
