//! What the modules of a tree ask of it: other modules, and files of firmware.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::closure::soft_names;
use super::depmod::Modules;
use super::order::{ModuleIndex, builtin_values};
use crate::store::{Memo, remember};
use crate::tree::Tree;

/// What all modules of a tree ask for. It is kept from build to build, so that whoever asks again
/// reads no module.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Needs {
    /// The modules, in depmod's order.
    pub modules: Vec<ModuleNeeds>,
    /// Names of what is part of the kernel itself, with `_` for `-`.
    pub builtin: BTreeSet<String>,
    /// Firmware that parts of the kernel itself ask for: name and file below `/usr/lib/firmware`.
    pub builtin_firmware: Vec<(String, String)>,
}

/// What one module asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ModuleNeeds {
    /// Its file, relative to `usr/lib/modules/VERSION`.
    pub path: String,
    /// Its name, with `_` for `-`.
    pub name: String,
    /// Names of the modules without which it cannot be loaded.
    pub depends: Vec<String>,
    /// Names and aliases of what modprobe loads with it, where it is there.
    pub soft: Vec<String>,
    /// Files below `/usr/lib/firmware`, or globs of them, that it may ask for; as a rule of several only
    /// the one for the machine's device.
    pub firmware: Vec<String>,
}

impl Needs {
    /// What the modules of `tree` ask for.
    ///
    /// # Errors
    /// A module that cannot be read.
    pub fn of(modules: &Modules, tree: &Tree, memo: &dyn Memo) -> Result<Self> {
        remember(memo, "module-needs-1", modules.key(), || {
            Ok(Self::from(modules.index(tree, memo)?))
        })
    }

    /// The modules that need one which is neither there nor part of the kernel.
    #[must_use]
    pub fn cut_off(&self) -> Vec<Unmet> {
        let known: BTreeSet<&str> = self.modules.iter().map(|m| m.name.as_str()).collect();
        let modules = self.modules.iter().flat_map(|module| {
            let missing = module.depends.iter().filter(|name| {
                !known.contains(name.as_str()) && !self.builtin.contains(name.as_str())
            });
            missing.map(|name| Unmet {
                module: module.name.clone(),
                needs: name.clone(),
            })
        });
        modules.collect()
    }
}

impl From<&ModuleIndex> for Needs {
    fn from(index: &ModuleIndex) -> Self {
        let modules = index.modules().iter().map(|module| ModuleNeeds {
            path: module.path.clone(),
            name: module.name.clone(),
            depends: module.depends.clone(),
            soft: module
                .softdeps
                .iter()
                .flat_map(|line| soft_names(line))
                .map(str::to_owned)
                .collect(),
            firmware: module.firmware.clone(),
        });
        let firmware = builtin_values(&index.sources.builtin_modinfo, "firmware");
        Self {
            modules: modules.collect(),
            builtin: index.builtin.clone(),
            builtin_firmware: firmware
                .map(|(module, file)| (module.to_owned(), file.to_owned()))
                .collect(),
        }
    }
}

/// A module, and one that it needs and that is not there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unmet {
    /// The module's name.
    pub module: String,
    /// The name of the one that it needs.
    pub needs: String,
}

/// Modules without something that they need: they cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutOff(pub Vec<Unmet>);

impl fmt::Display for CutOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("modules need others that are not there:")?;
        for Unmet { module, needs } in &self.0 {
            write!(f, " {module} needs {needs};")?;
        }
        Ok(())
    }
}

impl std::error::Error for CutOff {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Module, Sources};

    #[test]
    fn what_modules_ask_for_is_listed_and_what_is_not_there_told() {
        let module = |name: &str, depends: &[&str]| Module {
            path: format!("kernel/{name}.ko.xz"),
            name: name.into(),
            depends: depends.iter().map(ToString::to_string).collect(),
            ..Module::default()
        };
        let modules = vec![
            Module {
                softdeps: vec!["pre: a-b post: c".into()],
                firmware: vec!["card/*.bin".into()],
                ..module("card", &["bus", "core", "gone"])
            },
            module("bus", &[]),
        ];
        let sources = Sources {
            builtin: b"kernel/core.ko\n".to_vec(),
            builtin_modinfo: b"core.firmware=core.fw\0core.license=GPL\0".to_vec(),
            ..Sources::default()
        };
        let needs = Needs::from(&ModuleIndex::new("6", modules, sources).unwrap());
        let card = needs.modules.iter().find(|m| m.name == "card").unwrap();
        assert_eq!(card.soft, ["a-b", "c"]);
        assert_eq!(card.firmware, ["card/*.bin"]);
        assert_eq!(
            needs.builtin_firmware,
            [("core".to_owned(), "core.fw".to_owned())]
        );
        let unmet = needs.cut_off();
        assert_eq!(
            CutOff(unmet).to_string(),
            "modules need others that are not there: card needs gone;"
        );
    }
}
