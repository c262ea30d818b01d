//! Which files of firmware stay in `/usr`: what `kernel.firmware` names, and what the modules that stay
//! say they ask for.
//!
//! A driver asks for a name below one of four folders, and the kernel also takes the same name with
//! `.zst` or `.xz` behind it (Documentation/driver-api/firmware/fw_search_path.rst and
//! drivers/base/firmware_loader/main.c). Names may be symbolic links, or lie behind one; whatever the
//! kernel would follow stays.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::needs::Needs;
use crate::tree::glob::{Glob, GlobError};
use crate::tree::{Kind, Node, Origin, Tree, TreePath, follow};
use crate::words::glob;

/// Where firmware lies.
pub const FOLDER: &str = "usr/lib/firmware";

/// What may stand behind a name.
const SUFFIXES: [&str; 3] = ["", ".zst", ".xz"];

/// An entry of `kernel.firmware`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// All files.
    All,
    /// What modules ask for.
    Modules,
    /// Files that match, or lie in a folder that does.
    Path(Glob),
}

/// Why a text is no entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Paths are relative.
    #[error("`all`, `modules`, or a path below /usr/lib/firmware, such as `rtl_nic/**`")]
    Absolute,
    /// No pattern.
    #[error("`all`, `modules`, or a path such as `rtl_nic/**`; {0}")]
    Glob(GlobError),
}

impl Entry {
    /// Reads an entry.
    ///
    /// # Errors
    /// A text that is none.
    pub fn parse(text: &str) -> Result<Self, EntryError> {
        match text {
            "all" => Ok(Self::All),
            "modules" => Ok(Self::Modules),
            _ if text.starts_with('/') => Err(EntryError::Absolute),
            _ => Glob::new(&format!("/{text}"))
                .map(Self::Path)
                .map_err(EntryError::Glob),
        }
    }
}

/// What does not stay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Choice {
    /// Files of packages that go.
    pub left_out: BTreeSet<TreePath>,
    /// Patterns that match nothing, by their places in the list.
    pub unmatched: Vec<usize>,
}

/// Chooses among the firmware of `tree`, whose modules `needs` are of, for kernel `version`. Only files
/// of packages may go, and licences stay.
#[must_use]
pub fn choose(tree: &Tree, version: &str, entries: &[Entry], needs: &Needs) -> Choice {
    let mut choice = Choice::default();
    let Ok(folder) = TreePath::parse(FOLDER) else {
        return choice;
    };
    if entries.contains(&Entry::All) {
        return choice;
    }
    let files: Vec<(&TreePath, &Node)> = tree
        .below(&folder)
        .filter(|(_, node)| !node.is_dir())
        .collect();
    let mut stays = BTreeSet::new();
    for (path, _) in &files {
        if is_licence(path.name()) {
            stays.insert((*path).clone());
        }
    }
    for (number, entry) in entries.iter().enumerate() {
        let Entry::Path(glob) = entry else { continue };
        let mut found = false;
        for (path, _) in &files {
            if lies_in(glob, &folder, path) {
                found = true;
                stays.extend(way(tree, path));
            }
        }
        if !found {
            choice.unmatched.push(number);
        }
    }
    if entries.contains(&Entry::Modules) {
        let asked: BTreeSet<&str> = needs
            .modules
            .iter()
            .flat_map(|module| module.firmware.iter().map(String::as_str))
            .chain(needs.builtin_firmware.iter().map(|(_, file)| file.as_str()))
            .collect();
        for name in asked {
            stays.extend(asked_for(tree, &folder, version, name, &files));
        }
    }
    choice.left_out = files
        .into_iter()
        .filter(|(path, node)| matches!(node.origin, Origin::Package(_)) && !stays.contains(*path))
        .map(|(path, _)| path.clone())
        .collect();
    choice
}

/// Whether `tree` has what a module of kernel `version` means by `name`.
#[must_use]
pub fn is_there(tree: &Tree, version: &str, name: &str) -> bool {
    let Ok(folder) = TreePath::parse(FOLDER) else {
        return false;
    };
    let files: Vec<(&TreePath, &Node)> = if is_glob(name) {
        tree.below(&folder).collect()
    } else {
        Vec::new()
    };
    !asked_for(tree, &folder, version, name, &files).is_empty()
}

fn is_glob(name: &str) -> bool {
    name.contains(['*', '?', '['])
}

/// What the kernel would read for `name`, with the links on the way there.
fn asked_for(
    tree: &Tree,
    folder: &TreePath,
    version: &str,
    name: &str,
    files: &[(&TreePath, &Node)],
) -> Vec<TreePath> {
    let updates = format!("updates/{version}");
    let folders = [updates.as_str(), "updates", version, ""];
    let folders = folders.iter().filter_map(|sub| folder.join(sub).ok());
    let mut out = Vec::new();
    for folder in folders {
        for suffix in SUFFIXES {
            let wanted = format!("{name}{suffix}");
            if !is_glob(name) {
                if let Ok(path) = folder.join(&wanted) {
                    out.extend(way(tree, &path));
                }
                continue;
            }
            for (path, _) in files {
                let relative = path.strip_prefix(&folder);
                if relative.is_some_and(|relative| {
                    glob::matches(&wanted, &String::from_utf8_lossy(relative.as_bytes()))
                }) {
                    out.extend(way(tree, path));
                }
            }
        }
    }
    out
}

/// The file at `path`, with the symbolic links on the way; nothing where they lead nowhere.
fn way(tree: &Tree, path: &TreePath) -> Vec<TreePath> {
    let links = RefCell::new(Vec::new());
    let end = follow(path.as_bytes(), |at| {
        let node = tree.get(at)?;
        if matches!(node.kind, Kind::Symlink(_)) {
            links.borrow_mut().push(at.clone());
        }
        Some(node)
    });
    let mut out = links.into_inner();
    match end {
        Some(end) if tree.get(&end).is_some() => out.push(end),
        _ => out.clear(),
    }
    out
}

/// Whether the file, with or without a compression's suffix, or a folder above it matches.
fn lies_in(glob: &Glob, folder: &TreePath, path: &TreePath) -> bool {
    let Some(relative) = path.strip_prefix(folder) else {
        return false;
    };
    let matches = |path: &[u8]| {
        let components: Vec<&[u8]> = path.split(|&byte| byte == b'/').collect();
        (1..=components.len())
            .any(|end| glob.matches_components(components.get(..end).unwrap_or_default()))
    };
    let bytes = relative.as_bytes();
    SUFFIXES
        .iter()
        .filter_map(|suffix| bytes.strip_suffix(suffix.as_bytes()))
        .any(matches)
}

/// Whether it is a licence or the list of them, as the collection of linux-firmware calls these.
fn is_licence(name: &[u8]) -> bool {
    let name = name.to_ascii_uppercase();
    let text = String::from_utf8_lossy(&name);
    [
        "LICENSE",
        "LICENCE",
        "WHENCE",
        "COPYRIGHT",
        "COPYING",
        "NOTICE",
    ]
    .iter()
    .any(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::ModuleNeeds;
    use crate::tree::Meta;

    fn tree() -> Tree {
        let mut tree = Tree::new();
        let mut put = |path: &str, kind: Kind, origin: Origin| {
            let node = Node {
                meta: Meta::root(0o644),
                kind,
                origin,
            };
            tree.insert(TreePath::parse(format!("{FOLDER}/{path}")).unwrap(), node);
        };
        let file = || Kind::File {
            content: "x".into(),
            link: None,
        };
        let link = |to: &str| Kind::Symlink(to.into());
        let package = || Origin::Package("firmware".into());
        for path in [
            "plain.bin",
            "packed.bin.xz",
            "packed2.bin.zst",
            "net/a-1.fw",
            "net/a-2.fw",
            "net/b.fw",
            "net/LICENCE.net",
            "new/data/real.bin",
            "6.12/own.bin",
            "unused/x/y.bin.xz",
        ] {
            put(path, file(), package());
        }
        put("link.bin", link("new/alias.bin"), package());
        put("new/alias.bin", link("data/real.bin"), package());
        put("old", link("new/data"), package());
        put("broken.bin", link("nowhere"), package());
        put("overlay.bin", file(), Origin::Overlay("files".into()));
        tree
    }

    fn left(entries: &[&str], asked: &[&str], builtin: &[&str]) -> (String, Vec<usize>) {
        let entries: Vec<_> = entries.iter().map(|e| Entry::parse(e).unwrap()).collect();
        let needs = Needs {
            modules: vec![ModuleNeeds {
                firmware: asked.iter().map(ToString::to_string).collect(),
                ..ModuleNeeds::default()
            }],
            builtin_firmware: builtin
                .iter()
                .map(|file| ("core".to_owned(), (*file).to_owned()))
                .collect(),
            ..Needs::default()
        };
        let tree = tree();
        let choice = choose(&tree, "6.12", &entries, &needs);
        let folder = TreePath::parse(FOLDER).unwrap();
        let left: Vec<_> = tree
            .below(&folder)
            .filter(|(path, node)| !node.is_dir() && !choice.left_out.contains(*path))
            .map(|(path, _)| {
                String::from_utf8_lossy(path.as_bytes())[FOLDER.len() + 1..].to_owned()
            })
            .filter(|path| path != "net/LICENCE.net" && path != "overlay.bin")
            .collect();
        (left.join(" "), choice.unmatched)
    }

    #[test]
    fn what_modules_ask_for_stays_however_it_is_written() {
        for (asked, wanted) in [
            (&["plain.bin", "not/there"][..], "plain.bin"),
            (
                &["packed.bin", "packed2.bin"],
                "packed.bin.xz packed2.bin.zst",
            ),
            (&["net/a-*.fw"], "net/a-1.fw net/a-2.fw"),
            (&["own.bin"], "6.12/own.bin"),
            // Links stay with what they lead to, also those of folders.
            (&["link.bin"], "link.bin new/alias.bin new/data/real.bin"),
            (&["old/real.bin"], "new/data/real.bin old"),
            (&["broken.bin"], ""),
            (&[], ""),
        ] {
            assert_eq!(
                left(&["modules"], asked, &[]),
                (wanted.into(), vec![]),
                "{asked:?}"
            );
        }
        assert_eq!(left(&["modules"], &[], &["net/b.fw"]).0, "net/b.fw");
    }

    #[test]
    fn patterns_keep_files_and_folders_and_those_without_a_match_are_told() {
        for (entries, wanted, unmatched) in [
            (&["net/**"][..], "net/a-1.fw net/a-2.fw net/b.fw", &[][..]),
            (&["unused"], "unused/x/y.bin.xz", &[]),
            (&["unused/x/y.bin", "gone/*"], "unused/x/y.bin.xz", &[1]),
            (&["link.*"], "link.bin new/alias.bin new/data/real.bin", &[]),
        ] {
            assert_eq!(
                left(entries, &["plain.bin"], &[]),
                (wanted.into(), unmatched.to_vec()),
                "{entries:?}"
            );
        }
        assert_eq!(
            left(&["modules", "net/b.fw"], &["plain.bin"], &[]).0,
            "net/b.fw plain.bin"
        );
        assert_eq!(left(&["all", "net"], &[], &[]).0.split(' ').count(), 13);
    }

    #[test]
    fn texts_that_are_no_entries_are_refused() {
        assert_eq!(Entry::parse("/usr/x"), Err(EntryError::Absolute));
        assert_eq!(
            Entry::parse("a/../b"),
            Err(EntryError::Glob(GlobError::Dots))
        );
        assert_eq!(Entry::parse(""), Err(EntryError::Glob(GlobError::Root)));
    }
}
