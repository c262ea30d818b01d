//! Why a path is in the image, or is not.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};

use super::{File, FileKind, Lines, Maker, Sizes};
use crate::profile::Loaded;
use crate::report::human_size;
use crate::tree::parts;
use crate::tree::run_time::in_tree;
use crate::tree::{MOST_LINKS, TreePath};

/// How many of a directory's makers, and of paths that may be meant, are shown.
const MOST_SHOWN: usize = 10;

/// Where modules lie.
const MODULES: &str = "/usr/lib/modules/";
/// Where firmware lies.
const FIRMWARE: &str = "/usr/lib/firmware/";

/// What is found at a path of the running system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<'a> {
    /// Symbolic links on the way.
    pub links: Vec<&'a File>,
    /// What they lead to; the last link itself where that is not part of the image.
    pub file: &'a File,
}

/// What the running system finds at the absolute path `text`: `/bin`, `/etc` and the like are in
/// their places.
#[must_use]
pub fn find<'a>(sizes: &'a Sizes, text: &str) -> Option<Found<'a>> {
    let mut links = Vec::new();
    let mut todo = components(text);
    let mut at = TreePath::root();
    let mut found = None;
    // Components of the path that stand behind the last link.
    let mut behind = 0;
    while let Some(component) = todo.pop() {
        match component.as_str() {
            "." => continue,
            ".." => {
                at = at.parent().unwrap_or_default();
                continue;
            }
            _ => {}
        }
        let next = at.join(&component).ok()?;
        let Some(file) = sizes.file(&in_tree(&next)?.to_string()) else {
            // What a link leads to may be made at run time.
            let file = links.pop().filter(|_| behind == 0)?;
            return Some(Found { links, file });
        };
        if let FileKind::Symlink(target) = &file.kind {
            links.push(file);
            behind = todo.len();
            if links.len() > MOST_LINKS {
                return None;
            }
            if target.starts_with('/') {
                at = TreePath::root();
            }
            todo.extend(components(target));
        } else {
            found = Some(file);
            at = next;
        }
    }
    found.map(|file| Found { links, file })
}

/// The components of a path, the first one last.
fn components(path: &str) -> Vec<String> {
    let components = path.split('/').filter(|component| !component.is_empty());
    components.rev().map(str::to_owned).collect()
}

/// What leads to a maker, in words, the line of the profile first.
#[must_use]
pub fn chain(maker: &Maker, lines: &Lines) -> Vec<String> {
    let line = |line: Option<&crate::profile::Line>| {
        line.map_or_else(
            || "the profile".to_owned(),
            |line| format!("{}: {} ({})", line.key, line.value, line.place),
        )
    };
    match maker {
        Maker::Package(name) => {
            let packages = lines.chain(name);
            let first = packages.first().and_then(|first| lines.line(first));
            let mut chain = vec![line(first)];
            chain.extend(packages.iter().map(|name| {
                let version = lines.version(name).unwrap_or_default();
                match lines.by(name) {
                    Some((_, relation)) => format!("{relation} → {name} {version}"),
                    None => format!("{name} {version}"),
                }
            }));
            chain
        }
        Maker::Overlay(path) => vec![line(lines.overlay(path)), format!("the overlay {path}")],
        Maker::Generated(by) => vec![format!("made by hullwright: {by}")],
    }
}

fn kind(file: &File) -> &'static str {
    match file.kind {
        FileKind::File => "file",
        FileKind::Link => "one more name of a file",
        FileKind::Dir => "directory",
        FileKind::Symlink(_) => "symbolic link",
        FileKind::Special => "device or pipe",
    }
}

/// Everything below a directory by who put it there, the largest first.
fn below<'a>(sizes: &'a Sizes, dir: &File) -> Vec<(&'a Maker, (usize, u64))> {
    let start = format!("{}/", dir.path);
    let mut makers: BTreeMap<&Maker, (usize, u64)> = BTreeMap::new();
    let inside = |file: &&File| file.kind != FileKind::Dir && file.path.starts_with(&start);
    for file in sizes.files.iter().filter(inside) {
        if let Some(maker) = sizes.maker(file) {
            let (files, bytes) = makers.entry(maker).or_default();
            *files += 1;
            *bytes += file.stored();
        }
    }
    let mut makers: Vec<_> = makers.into_iter().collect();
    makers.sort_by(|(a, (_, x)), (b, (_, y))| y.cmp(x).then_with(|| a.cmp(b)));
    makers
}

/// The answer for people.
#[must_use]
pub fn text(sizes: &Sizes, lines: &Lines, found: &Found<'_>) -> String {
    let mut out = String::new();
    for link in &found.links {
        if let FileKind::Symlink(target) = &link.kind {
            out.push_str(&format!("{} → {target}", link.path));
            out.push_str(&from(sizes.maker(link)));
        }
    }
    let file = found.file;
    out.push_str(&format!("{}: {}", file.path, kind(file)));
    if file.kind == FileKind::File {
        out.push_str(&format!(
            ", {}, in the image {}",
            human_size(file.installed),
            human_size(file.stored())
        ));
    }
    if let FileKind::Symlink(target) = &file.kind {
        out.push_str(&format!(
            " to {target}, which is made at run time or not at all"
        ));
    }
    if file.kind == FileKind::Dir {
        out.push('\n');
        let makers = below(sizes, file);
        for (maker, (files, bytes)) in makers.iter().take(MOST_SHOWN) {
            let named = name(maker);
            let size = human_size(*bytes);
            let word = if *files == 1 { "file" } else { "files" };
            out.push_str(&format!("  {size:>10} in {files} {word} {named}\n"));
        }
        if makers.len() > MOST_SHOWN {
            out.push_str(&format!("  … and {} more\n", makers.len() - MOST_SHOWN));
        }
        return out;
    }
    out.push('\n');
    if let Some(maker) = sizes.maker(file) {
        for (depth, step) in chain(maker, lines).iter().enumerate() {
            out.push_str(&format!("{}{step}\n", "  ".repeat(depth + 1)));
        }
    }
    out
}

fn name(maker: &Maker) -> String {
    match maker {
        Maker::Package(name) => format!("of {name}"),
        Maker::Overlay(path) => format!("of the overlay {path}"),
        Maker::Generated(by) => format!("made by hullwright: {by}"),
    }
}

fn from(maker: Option<&Maker>) -> String {
    maker.map_or_else(|| "\n".into(), |maker| format!(" ({})\n", name(maker)))
}

/// The answer for programs.
#[must_use]
pub fn json(sizes: &Sizes, lines: &Lines, found: &Found<'_>) -> Value {
    let file = found.file;
    let maker = sizes.maker(file);
    let (package, overlay, generated) = match maker {
        Some(Maker::Package(name)) => (Some(name), None, None),
        Some(Maker::Overlay(path)) => (None, Some(path), None),
        Some(Maker::Generated(by)) => (None, None, Some(by)),
        None => (None, None, None),
    };
    json!({
        "path": file.path,
        "links": found.links.iter().map(|link| &link.path).collect::<Vec<_>>(),
        "kind": match file.kind {
            FileKind::File => "file",
            FileKind::Link => "hard-link",
            FileKind::Dir => "directory",
            FileKind::Symlink(_) => "symlink",
            FileKind::Special => "special",
        },
        "installed": file.installed,
        "stored": file.stored(),
        "package": package,
        "overlay": overlay,
        "generated": generated,
        "chain": maker.map(|maker| chain(maker, lines)),
    })
}

/// Why the image has nothing at `path`, as far as the profile says: the rule that leaves it out.
///
/// # Errors
/// The embedded list of parts is damaged.
pub fn left_out(loaded: &Loaded, path: &str) -> Result<Option<String>> {
    let root = &loaded.profile.root;
    if let Some((number, false)) = parts::decider(&root.initrd_only, path) {
        return Ok(loaded.line_of_initrd_only(number).map(|line| {
            format!(
                "{}: `{}` leaves it to the initrd ({})",
                line.key, line.value, line.place
            )
        }));
    }
    let rules = parts::rules(root)?;
    let Some((number, false)) = parts::decider(&rules, path) else {
        return Ok(by_need(loaded, path));
    };
    let Some(own) = number.checked_sub(rules.len() - root.prune.len()) else {
        let rule = rules.get(number);
        let part = parts::all()?.iter().find(|part| {
            root.parts.drop.contains(&part.name) && rule.is_some_and(|r| part.prune.contains(r))
        });
        return Ok(part.map(|part| {
            let place = loaded.line_of_part(&part.name);
            let place = place.map_or_else(String::new, |line| format!(" ({})", line.place));
            format!("root.parts.drop: `{}` leaves it out{place}", part.name)
        }));
    };
    Ok(loaded.line_of_prune(own).map(|line| {
        format!(
            "root.prune: `{}` leaves it out ({})",
            line.value, line.place
        )
    }))
}

/// The lines that leave out a module or a file of firmware, if it is one and nothing asks for it.
fn by_need(loaded: &Loaded, path: &str) -> Option<String> {
    let path = in_tree(&TreePath::parse(path).ok()?)?.to_string();
    let kernel = &loaded.profile.kernel;
    let (key, list, who) = if path.starts_with(MODULES) && path.contains(".ko") {
        (
            "kernel.modules",
            &kernel.modules,
            "none of its entries names it, and no module that stays needs it",
        )
    } else if path.starts_with(FIRMWARE) {
        (
            "kernel.firmware",
            &kernel.firmware,
            "none of its entries asks for it",
        )
    } else {
        return None;
    };
    if list.is_empty() || list.iter().any(|entry| entry == "all") {
        return None;
    }
    let lines = loaded.lines_of(key);
    let lines: Vec<_> = lines
        .iter()
        .map(|line| format!("`{}` ({})", line.value, line.place))
        .collect();
    Some(format!("{key}: {}: {who}", lines.join(", ")))
}

/// Paths of the image with the same name, where something may have been meant.
#[must_use]
pub fn same_name<'a>(sizes: &'a Sizes, path: &str) -> Vec<&'a str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let named = |file: &&File| !name.is_empty() && file.path.rsplit('/').next() == Some(name);
    let files = sizes.files.iter().filter(named);
    files
        .map(|file| file.path.as_str())
        .take(MOST_SHOWN)
        .collect()
}
