//! What a build keeps of where its bytes go, and how it is had again without one.

use anyhow::{Context as _, Result};

use super::usr;
use super::{
    Assembled, Inputs, Uki, divide, gather, kept, make_initrd, make_uki, numbered, persistently,
};
use crate::digest::Sha256;
use crate::erofs::Account;
use crate::initrd::{Initrd, root_hash_signature};
use crate::profile::schema::VeritySignature;
use crate::report::size::{Part, Sizes};
use crate::resolve::Lock;
use crate::tree::policy;
use crate::tree::{Origin, TreePath};
use crate::unchanged::{self, Given};
use crate::verity;

/// How the result is called in the cache.
const KIND: &str = "sizes-1";

/// The account of an image that is `assembled`.
pub(super) fn of(
    assembled: &Assembled,
    account: &Account,
    uki: &Uki,
    initrd: &[Part],
) -> Result<Sizes> {
    let mut sizes = Sizes::of_usr(&assembled.tree, account);
    sizes.verity = verity::size_for(sizes.usr);
    sizes
        .add_uki(&uki.name, &uki.bytes, initrd)
        .context("reading the finished UKI")?;
    let modules = TreePath::parse(format!(
        "usr/lib/modules/{}/kernel",
        assembled.boot.kernel_version
    ))?;
    sizes.kernel_package = assembled
        .tree
        .get(&modules)
        .and_then(|node| match &node.origin {
            Origin::Package(name) => Some(name.as_ref().to_owned()),
            Origin::Overlay(_) | Origin::Generated(_) => None,
        });
    Ok(sizes)
}

/// The parts of an initrd.
pub(super) fn parts(initrd: &Initrd) -> Vec<Part> {
    let known: u64 = initrd.parts.iter().map(|(_, bytes)| bytes).sum();
    let rest = (initrd.bytes.len() as u64).saturating_sub(known);
    let parts = initrd.parts.iter().copied();
    parts
        .chain([("signature of the root hash", rest)])
        .filter(|(_, bytes)| *bytes > 0)
        .map(|(name, bytes)| Part::new(name, bytes))
        .collect()
}

/// Keeps `sizes` for whoever asks about the image that `given` and `lock` make.
pub(super) fn keep(inputs: &Inputs<'_>, given: Given, lock: &Lock, sizes: &Sizes) {
    kept::keep(KIND, inputs, given, lock, sizes);
}

/// Where the bytes of an image go: as the last build has kept it, or from its parts, of which
/// everything is made but nothing written.
///
/// # Errors
/// As [`build`](super::build).
pub fn sizes(inputs: &Inputs<'_>) -> Result<Sizes> {
    let given = unchanged::given(inputs)?;
    if let Some(sizes) = kept::recall(KIND, inputs, given) {
        return Ok(sizes);
    }
    persistently(inputs, |inputs| make(inputs, given))
}

fn make(inputs: &Inputs<'_>, given: Given) -> Result<Sizes> {
    let profile = &inputs.loaded.profile;
    let (mut assembled, additions) = gather(inputs)?;
    let (lock, seed) = numbered(inputs, &assembled);
    let (initrd, modules) = divide(inputs, &mut assembled)?;
    let mut initrd = initrd.map_or_else(|| make_initrd(inputs, &assembled, &modules), Ok)?;
    let plan = usr::plan(inputs, &assembled.tree, seed)?;
    // Root hash and signatures have one length, whatever they are.
    if profile.boot.verity_signature == VeritySignature::Require {
        root_hash_signature::append(&mut initrd.bytes, None)?;
    }
    let parts = parts(&initrd);
    let unsigned = Inputs {
        signers: None,
        ..*inputs
    };
    let cmdline = policy::cmdline(profile, &Sha256([0; 32]));
    let uki = make_uki(
        &unsigned,
        &assembled,
        (assembled.boot.vmlinuz.read()?, initrd),
        &additions.devicetrees,
        &cmdline,
    )?;
    let sizes = of(&assembled, plan.account(), &uki, &parts)?;
    keep(inputs, given, &lock, &sizes);
    Ok(sizes)
}
