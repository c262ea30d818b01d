//! The kernel's modules, and which of them the image is known to load.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::config::{self, Text};
use super::{Finding, Subject};
use crate::initrd;
use crate::kernel::modules::directory;
use crate::kernel::select::Entry;
use crate::kernel::{ModuleNeeds, Needs, underscored};

/// Lists of modules that are loaded at every boot (modules-load.d(5)).
const LISTS: [&str; 3] = [
    "/etc/modules-load.d",
    "/usr/local/lib/modules-load.d",
    "/usr/lib/modules-load.d",
];

/// What is known of the modules of the image's kernel.
#[derive(Debug)]
pub struct Modules {
    needs: Needs,
    by_name: BTreeMap<String, usize>,
}

impl Modules {
    /// Those of an image.
    ///
    /// # Errors
    /// A module that cannot be read.
    pub fn of<'a>(subject: &'a Subject<'_>) -> Result<&'a Self> {
        subject.shared.modules.get(|| Self::read(subject))
    }

    fn read(subject: &Subject<'_>) -> Result<Self> {
        let needs = Needs::of(subject.modules, subject.tree, subject.memo)?;
        let names = needs.modules.iter().map(|module| module.name.clone());
        Ok(Self {
            by_name: names.zip(0..).collect(),
            needs,
        })
    }

    /// Whether the image has modules at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.needs.modules.is_empty()
    }

    /// All modules.
    pub fn iter(&self) -> impl Iterator<Item = &ModuleNeeds> {
        self.needs.modules.iter()
    }

    /// The module of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&ModuleNeeds> {
        self.needs
            .modules
            .get(*self.by_name.get(&underscored(name))?)
    }

    /// Whether this is the name of a module, or of a part of the kernel.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        let name = underscored(name);
        self.by_name.contains_key(&name) || self.needs.builtin.contains(&name)
    }
}

/// A finding about the file of a module.
#[must_use]
pub fn finding(
    rule: &'static str,
    subject: &Subject<'_>,
    module: &ModuleNeeds,
    what: &str,
    message: String,
) -> Option<Finding> {
    let directory = directory(subject.modules.version()).ok()?;
    let path = directory.join(&module.path).ok()?;
    let node = subject.tree.get(&path)?;
    Some(Finding::new(rule, (&path, node), what, message))
}

/// A line of modules-load.d(5): its number and what it says.
pub type Line<'a> = (usize, &'a str);

/// The files of modules-load.d.
///
/// # Errors
/// Content that does not decompress.
pub fn lists<'a>(subject: &Subject<'a>) -> Result<Vec<Text<'a>>> {
    config::texts(subject, &LISTS, ".conf")
}

/// The names in such a file.
pub fn listed(text: &str) -> impl Iterator<Item = Line<'_>> {
    let lines = (1..).zip(text.lines().map(str::trim));
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with(['#', ';']))
}

/// The names of the modules that the image is made to load: at every boot, in the initrd, or by
/// `kernel.modules` of the profile.
///
/// # Errors
/// Content that does not decompress.
pub fn chosen(subject: &Subject<'_>) -> Result<BTreeSet<String>> {
    let kernel = &subject.profile.kernel;
    let mut out = BTreeSet::from_iter(initrd::module_names(&kernel.initrd_modules)?);
    for list in lists(subject)? {
        out.extend(listed(&list.text).map(|(_, name)| name.to_owned()));
    }
    let entries = kernel.modules.iter().flat_map(|text| Entry::parse(text));
    out.extend(entries.filter_map(|entry| match entry {
        Entry::Name(name) => Some(name),
        _ => None,
    }));
    Ok(out)
}
