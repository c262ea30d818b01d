//! Which modules of the kernel, and which files of firmware, an image has.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::Inputs;
use crate::failure::{Failure, Kind};
use crate::initrd;
use crate::kernel::depmod::Modules;
use crate::kernel::select::{Entry, Selection};
use crate::kernel::{CutOff, Missing, Needs, firmware, modules, underscored};
use crate::profile::Loaded;
use crate::report::size::why;
use crate::store::{key_of, remember};
use crate::tree::{self, Tree, TreePath};

/// At most so many modules without what they need are written out.
const SHOWN: usize = 20;

/// The modules that packages ship, before any was taken out.
#[derive(Debug)]
pub(super) struct Shipped {
    version: String,
    /// Paths in the tree, by the modules' names.
    paths: BTreeMap<String, TreePath>,
    /// What they say of themselves, where somebody had to ask.
    whole: Option<Modules>,
}

/// Takes out of the tree the modules that `kernel.modules` does not name and nothing named needs. What
/// the initrd takes stays: it is assembled from the tree, and a module that it loaded is then no other
/// after the root is switched.
pub(super) fn choose(tree: &mut Tree, version: &str, inputs: &Inputs<'_>) -> Result<Shipped> {
    let kernel = &inputs.loaded.profile.kernel;
    let mut shipped = Shipped {
        version: version.to_owned(),
        paths: modules::paths(tree, version)?,
        whole: None,
    };
    let entries = kernel
        .modules
        .iter()
        .map(|text| Entry::parse(text))
        .collect::<Result<Vec<_>, _>>()?;
    let takes_away = entries.iter().any(|entry| matches!(entry, Entry::Not(_)));
    if entries.is_empty() || entries.contains(&Entry::All) && !takes_away {
        return Ok(shipped);
    }
    let also = initrd::module_names(&kernel.initrd_modules)?;
    let whole = Modules::of(tree, version)?;
    let memo = &inputs.archive.store;
    // With the sets spelled out: they come with this program.
    let key = key_of(&[
        whole.key().as_bytes(),
        format!("{entries:?} {also:?}").as_bytes(),
    ]);
    let selection: Selection = remember(memo, "modules-kept-1", &key, || {
        Ok(whole.index(tree, memo)?.select(&entries, &also))
    })?;
    inputs
        .loaded
        .refuse_unknown_modules(version, &selection.unknown)?;
    let dir = modules::directory(version)?;
    let stays = selection
        .modules
        .iter()
        .map(|path| dir.join(path))
        .collect::<Result<BTreeSet<_>, _>>()?;
    let goes = shipped.paths.values().filter(|path| !stays.contains(path));
    let goes: BTreeSet<TreePath> = goes.cloned().collect();
    tree::leave_out(tree, &goes);
    shipped.whole = Some(whole);
    Ok(shipped)
}

impl Shipped {
    /// All modules, where they have been looked at.
    pub(super) const fn whole(&self) -> Option<&Modules> {
        self.whole.as_ref()
    }

    /// Takes out of the tree the files of firmware that `kernel.firmware` does not name. The tree's
    /// modules are those that stay.
    pub(super) fn choose_firmware(&self, tree: &mut Tree, inputs: &Inputs<'_>) -> Result<()> {
        let entries = inputs
            .loaded
            .profile
            .kernel
            .firmware
            .iter()
            .map(|text| firmware::Entry::parse(text))
            .collect::<Result<Vec<_>, _>>()?;
        if entries.is_empty() || entries.contains(&firmware::Entry::All) {
            return Ok(());
        }
        let needs = if entries.contains(&firmware::Entry::Modules) {
            let left = Modules::of(tree, &self.version)?;
            Needs::of(&left, tree, &inputs.archive.store)?
        } else {
            Needs::default()
        };
        let choice = firmware::choose(tree, &self.version, &entries, &needs);
        if !choice.unmatched.is_empty() {
            return Err(inputs.loaded.unmatched_firmware(&choice.unmatched));
        }
        tree::leave_out(tree, &choice.left_out);
        Ok(())
    }

    /// Refuses an initrd without a module that it was to have, if the kernel's package ships it: a kernel
    /// need not have all that a profile names, but what it has may not be taken away.
    pub(super) fn check_initrd(&self, missing: &[Missing], loaded: &Loaded) -> Result<()> {
        let taken = missing.iter().find_map(|missing| {
            let path = self.paths.get(&underscored(&missing.name))?;
            let why = why::left_out(loaded, &path.to_string()).ok().flatten();
            let why = why.unwrap_or_else(|| format!("{path} is not in the image"));
            Some(format!("the initrd is to have {}: {why}", missing.name))
        });
        match taken {
            None => Ok(()),
            Some(message) => Err(Failure::new(Kind::Audit, message)
                .hint("keep it (`!/…` in root.prune), or take it out: `-initrd_modules: [NAME]`")
                .into()),
        }
    }

    /// `error` with the line that took away what modules need, if that is what it is about.
    pub(super) fn explain(&self, error: anyhow::Error, loaded: &Loaded) -> anyhow::Error {
        let Some(CutOff(unmet)) = error.downcast_ref() else {
            return error;
        };
        let mut lines: Vec<String> = unmet
            .iter()
            .take(SHOWN)
            .map(|unmet| {
                let path = self.paths.get(&unmet.needs);
                let why = path.and_then(|path| why::left_out(loaded, &path.to_string()).ok()?);
                let why = match (why, path) {
                    (Some(why), _) => why,
                    (None, Some(path)) => format!("{path} is not in the image"),
                    (None, None) => "no package ships it".to_owned(),
                };
                format!("{} needs {}: {why}", unmet.module, unmet.needs)
            })
            .collect();
        if unmet.len() > SHOWN {
            lines.push(format!("and {} more", unmet.len() - SHOWN));
        }
        Failure::new(
            Kind::Audit,
            format!(
                "modules of kernel {} need others that the image does not have:\n  {}",
                self.version,
                lines.join("\n  ")
            ),
        )
        .hint("leave out the modules that need them, too, or keep what they need (`!/…` in root.prune)")
        .into()
    }
}
