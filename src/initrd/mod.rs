//! The initrd: what of the image it carries, and the archive that the kernel unpacks.
//!
//! It is assembled from the image's own files, so that both speak with one version. The list of
//! what to take is data (`profiles/initrd/contents.yaml`); libraries follow from the binaries
//! ([`libraries`]), modules from their dependencies. The result is a few cpio archives, each in a
//! zstd frame of its own: the kernel unpacks them one after the other, and they compress in
//! parallel. What is signed after the rest is settled comes last, in a place of its own
//! ([`root_hash_signature`]).

mod collect;
mod contents;
pub mod cpio;
pub mod elf;
mod libraries;
mod modules;
mod pack;
pub mod root_hash_signature;

use anyhow::{Context, Result};

pub use pack::{Segment, list};

use crate::arch::Arch;
use crate::kernel::{Missing, ModuleIndex};
use crate::stamp::Stamp;
use crate::tree::{Kind, Tree};
use collect::Collector;
use contents::Contents;

/// zstd level: 19 makes the initrd a tenth smaller and takes about nine times the CPU.
pub const DEFAULT_LEVEL: i32 = 12;

/// What an initrd is made of.
#[derive(Debug, Clone, Copy)]
pub struct InitrdInput<'a> {
    /// The finished image: all files below `usr`, `/etc` in `usr/share/factory/etc`.
    pub tree: &'a Tree,
    /// Architecture of the image.
    pub arch: Arch,
    /// The image's modules, as [`crate::kernel::depmod::write`] returns them.
    pub modules: &'a ModuleIndex,
    /// Names of modules to carry, beside those that every initrd has.
    pub wanted_modules: &'a [String],
    /// Whether the hypervisor may add units (systemd-debug-generator).
    pub development: bool,
    /// Time of every file.
    pub stamp: Stamp,
    /// zstd level, 1 to 19.
    pub level: i32,
}

/// A finished initrd.
#[derive(Debug, Clone)]
pub struct Initrd {
    /// The compressed archives, as the kernel takes them.
    pub bytes: Vec<u8>,
    /// The archives in `bytes`, in order.
    pub segments: Vec<Segment>,
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
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct InitrdFile {
    /// Path without leading slash; `.` is the root.
    pub path: String,
    /// Bytes of a regular file or of a link's target.
    pub size: u64,
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
    libraries::close(&mut collector, input.arch, &contents.dlopen_features)
        .context("collecting the initrd's libraries")?;
    let mut tree = collector.finish();
    let closure =
        modules::add(&mut tree, input, &contents).context("collecting the initrd's modules")?;
    let packed = pack::pack(&tree, input.stamp, input.level).context("packing the initrd")?;
    Ok(Initrd {
        bytes: packed.bytes,
        segments: packed.segments,
        files: tree
            .iter()
            .map(|(path, node)| InitrdFile {
                path: cpio::name_of(path),
                size: match &node.kind {
                    Kind::File { content, .. } => content.len(),
                    Kind::Symlink(target) => target.len() as u64,
                    _ => 0,
                },
            })
            .collect(),
        modules: closure.modules,
        builtin: closure.builtin,
        missing: closure.missing,
    })
}

#[cfg(test)]
mod tests;
