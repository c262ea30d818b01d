//! The kernel of a profile without the rest of it: its version and configuration.

use anyhow::Result;

use super::{compressed_modules, kernel_needs, objects};
use crate::archive::{self, Keyrings};
use crate::failure::{Failure, Kind};
use crate::kernel::contract::Topic;
use crate::profile::Loaded;
use crate::resolve::Lock;
use crate::tree::{self, TreePath};

/// What a kernel's package ships.
#[derive(Debug)]
pub struct PackagedKernel {
    /// `uname -r`.
    pub version: String,
    /// Its configuration.
    pub config: Vec<u8>,
    /// The topics that the profile's image asks for.
    pub topics: Vec<&'static Topic>,
}

/// Fetches the kernel that `lock` names for a profile, and nothing else.
///
/// # Errors
/// No network for a package that is not in the cache; a package without a configuration.
pub fn packaged_kernel(
    loaded: &Loaded,
    lock: &Lock,
    keyrings: &Keyrings,
    archive: &archive::Context,
) -> Result<PackagedKernel> {
    let profile = &loaded.profile;
    let package = profile
        .kernel
        .package
        .replace("{arch}", profile.arch.traits().debian);
    // A metapackage leads to the kernel by a dependency of its own.
    let chain = format!("{package} Depends: ");
    let alone = Lock {
        packages: lock
            .packages
            .iter()
            .filter(|locked| locked.name == package || locked.why.starts_with(&chain))
            .cloned()
            .collect(),
        ..lock.clone()
    };
    let tree = tree::merge(&objects(loaded, &alone, keyrings, archive)?)?;
    let boot = TreePath::parse("boot")?;
    let found = tree.children(&boot).find_map(|(path, node)| {
        let version = path.name().strip_prefix(b"config-")?;
        Some((
            String::from_utf8_lossy(version).into_owned(),
            node.content()?,
        ))
    });
    let Some((version, config)) = found else {
        return Err(Failure::new(
            Kind::Usage,
            format!("{package} ships no configuration, so there is nothing to check"),
        )
        .hint("give the file instead: hullwright kernel check CONFIG")
        .into());
    };
    let needs = kernel_needs(profile, compressed_modules(&tree, &version)?);
    Ok(PackagedKernel {
        topics: needs.asked(),
        config: config.read()?.into_owned(),
        version,
    })
}
