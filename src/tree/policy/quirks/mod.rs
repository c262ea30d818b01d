//! Quirks: data in `profiles/quirks` that stands in for maintainer scripts.
//!
//! What a quirk expects has to be there: a Debian update that moves a file is an error that names the
//! quirk, not an image that lacks something.

mod data;
mod schema;

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use crate::failure::{Failure, Kind as FailureKind};
use crate::tree::{Content, Kind, Origin, Tree, TreePath};

use super::accounts::Accounts;
use super::edit::{Editor, exists, path, text};
use super::{nsswitch, units};
use crate::words::glob;

pub use schema::{Action, Quirk, When};

/// What quirks know about the build; `{serial}` and `{triplet}` in their texts stand for it.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Whether the image is for development.
    pub development: bool,
    /// Serial console device.
    pub serial: &'a str,
    /// Multiarch triplet.
    pub triplet: &'static str,
}

/// Reads one file of quirks.
///
/// # Errors
/// Malformed YAML, an unknown key or action.
pub fn parse(file: &str, text: &str) -> Result<Vec<Quirk>> {
    serde_yaml::from_str(text).with_context(|| format!("reading profiles/quirks/{file}"))
}

/// The built-in quirks that apply to `tree`.
///
/// # Errors
/// An embedded file is malformed.
pub fn applicable(tree: &Tree, facts: Facts<'_>) -> Result<Vec<Quirk>> {
    let mut all = Vec::new();
    for (file, text) in data::QUIRKS {
        all.extend(parse(file, text)?);
    }
    Ok(select(all, tree, facts))
}

fn select(mut quirks: Vec<Quirk>, tree: &Tree, facts: Facts<'_>) -> Vec<Quirk> {
    let present: BTreeSet<&str> = tree
        .iter()
        .filter_map(|(_, node)| match &node.origin {
            Origin::Package(name) => Some(&**name),
            _ => None,
        })
        .collect();
    quirks.retain(|quirk| {
        let wanted = match quirk.when {
            None => true,
            Some(When::Development) => facts.development,
            Some(When::Production) => !facts.development,
        };
        let has = |package: &str| present.contains(package);
        wanted
            && quirk.package.as_deref().is_none_or(has)
            && !quirk.unless_package.as_deref().is_some_and(has)
    });
    quirks
}

/// Applies everything but owners.
///
/// # Errors
/// A quirk that no longer fits the tree.
pub fn apply(tree: &mut Tree, quirks: &[Quirk], facts: Facts<'_>) -> Result<()> {
    for quirk in quirks {
        for action in &quirk.actions {
            run(tree, quirk, action, facts)
                .with_context(|| format!("applying the quirk `{}`", quirk.name))?;
        }
    }
    Ok(())
}

/// Applies the owners and modes, once accounts have numbers.
///
/// # Errors
/// A path, user or group that does not exist.
pub fn apply_owners(tree: &mut Tree, quirks: &[Quirk], accounts: &Accounts) -> Result<()> {
    for quirk in quirks {
        for action in &quirk.actions {
            let Action::Owner(owner) = action else {
                continue;
            };
            set_owner(tree, quirk, owner, accounts)
                .with_context(|| format!("applying the quirk `{}`", quirk.name))?;
        }
    }
    Ok(())
}

/// The quirk expects something that the tree does not have.
fn stale(quirk: &Quirk, message: String) -> anyhow::Error {
    let failure = Failure::new(
        FailureKind::Audit,
        format!("the quirk `{}` no longer fits: {message}", quirk.name),
    )
    .hint(format!("it stands in for: {}", quirk.why));
    match &quirk.package {
        Some(package) => failure.hint(format!(
            "look at what the package `{package}` ships now and mend profiles/quirks, or stop pruning the path"
        )),
        None => failure.hint("mend profiles/quirks, or stop pruning the path"),
    }
    .into()
}

fn mode(text: Option<&str>, default: u16) -> Result<u16> {
    let Some(text) = text else {
        return Ok(default);
    };
    u16::from_str_radix(text, 8)
        .ok()
        .filter(|m| *m <= 0o7777)
        .with_context(|| format!("`{text}` is not an octal mode"))
}

fn run(tree: &mut Tree, quirk: &Quirk, action: &Action, facts: Facts<'_>) -> Result<()> {
    let fill = |text: &str| {
        text.replace("{serial}", facts.serial)
            .replace("{triplet}", facts.triplet)
    };
    let mut edit = Editor::new(tree, format!("quirk {}", quirk.name));
    match action {
        Action::Write(a) => {
            let content = match (&a.content, &a.file) {
                (Some(content), None) => content,
                (None, Some(file)) => data::FILES
                    .iter()
                    .find(|(name, _)| name == file)
                    .map(|(_, content)| *content)
                    .with_context(|| format!("`{file}` is not a file of profiles/units"))?,
                _ => anyhow::bail!("`write` needs either `content` or `file`"),
            };
            let content = fill(content);
            edit.write(
                &fill(&a.path),
                mode(a.mode.as_deref(), 0o644)?,
                content.as_str(),
            )
        }
        Action::Copy(a) => {
            let source = path(&fill(&a.from))?;
            let found = edit.tree.resolve(&source);
            match found.and_then(|p| edit.tree.get(&p)?.content().cloned()) {
                Some(content) => edit.write(&fill(&a.to), mode(a.mode.as_deref(), 0o644)?, content),
                None if a.optional => Ok(()),
                None => Err(stale(quirk, format!("the file {source} is missing"))),
            }
        }
        Action::Symlink(a) => {
            let (at, target) = (fill(&a.path), fill(&a.target));
            if a.must_exist && !leads_somewhere(edit.tree, &at, &target)? {
                return if a.optional {
                    Ok(())
                } else {
                    Err(stale(
                        quirk,
                        format!("the target {target} of /{at} is missing"),
                    ))
                };
            }
            edit.symlink(&at, &target)
        }
        Action::Remove(a) => {
            if !edit.remove(&fill(&a.path))? && !a.optional {
                return Err(stale(quirk, format!("{} is missing", a.path)));
            }
            Ok(())
        }
        Action::Mkdir(a) => edit.mkdir(&fill(&a.path), mode(a.mode.as_deref(), 0o755)?),
        Action::Owner(_) => Ok(()),
        Action::Append(a) => change(&mut edit, quirk, &fill(&a.path), a.optional, |text| {
            let end = if text.is_empty() || text.ends_with('\n') {
                ""
            } else {
                "\n"
            };
            Some(format!("{text}{end}{}\n", fill(&a.line)))
        }),
        Action::DeleteLines(a) => change(&mut edit, quirk, &fill(&a.path), a.optional, |text| {
            let kept: Vec<_> = text.lines().filter(|l| !l.contains(&a.line)).collect();
            (kept.len() < text.lines().count()).then(|| kept.join("\n") + "\n")
        }),
        Action::Nsswitch(a) => change(&mut edit, quirk, "etc/nsswitch.conf", false, |text| {
            nsswitch::set(text, &a.database, &a.services)
        }),
        Action::Concatenate(a) => concatenate(&mut edit, quirk, a),
        Action::Mask(a) => {
            let at = format!("usr/lib/systemd/system/{}", a.unit);
            if exists(edit.tree, &at) {
                units::mask(edit.tree, &a.unit)
            } else if a.optional {
                Ok(())
            } else {
                Err(stale(quirk, format!("the unit {} is missing", a.unit)))
            }
        }
        Action::Unwant(a) => {
            if units::unwant(edit.tree, &a.unit)? == 0 && !a.optional {
                return Err(stale(quirk, format!("no unit starts {}", a.unit)));
            }
            Ok(())
        }
    }
}

/// Whether a link at `at` with `target` would lead to something in the tree.
fn leads_somewhere(tree: &Tree, at: &str, target: &str) -> Result<bool> {
    let full = if target.starts_with('/') {
        path(target)?
    } else {
        // Quirks write targets beside or below the link; `..` is resolved by hand.
        let mut dir = path(at)?.parent().unwrap_or_default();
        for component in target.split('/').filter(|c| !c.is_empty() && *c != ".") {
            dir = match component {
                ".." => dir.parent().unwrap_or_default(),
                name => dir.join(name)?,
            };
        }
        dir
    };
    Ok(tree.resolve(&full).is_some())
}

fn change(
    edit: &mut Editor<'_>,
    quirk: &Quirk,
    at: &str,
    optional: bool,
    new: impl FnOnce(&str) -> Option<String>,
) -> Result<()> {
    let file = path(at)?;
    let Some(old) = text(edit.tree, &file)? else {
        return if optional {
            Ok(())
        } else {
            Err(stale(quirk, format!("the file {file} is missing")))
        };
    };
    match new(&old) {
        Some(new) => {
            let mode = edit
                .tree
                .get(&file)
                .filter(|n| n.content().is_some())
                .map_or(0o644, |n| n.meta.mode);
            edit.write(at, mode, new.as_str())
        }
        None if optional => Ok(()),
        None => Err(stale(quirk, format!("{file} has no such line"))),
    }
}

fn concatenate(edit: &mut Editor<'_>, quirk: &Quirk, a: &schema::Concatenate) -> Result<()> {
    let sources: Vec<TreePath> = edit
        .tree
        .iter()
        .filter(|(p, n)| n.content().is_some() && glob::matches(&a.from, &p.to_string()))
        .map(|(p, _)| p.clone())
        .collect();
    if sources.len() < a.at_least {
        return Err(stale(
            quirk,
            format!(
                "{} files match {}, expected at least {}",
                sources.len(),
                a.from,
                a.at_least
            ),
        ));
    }
    let mut out = Vec::new();
    for source in &sources {
        if let Some(content) = edit.tree.get(source).and_then(|n| n.content()) {
            let bytes = content
                .read()
                .with_context(|| format!("reading {source}"))?;
            out.extend_from_slice(bytes.trim_ascii_end());
            out.push(b'\n');
        }
    }
    edit.write(&a.to, 0o644, Content::from(out))
}

fn set_owner(
    tree: &mut Tree,
    quirk: &Quirk,
    owner: &schema::Owner,
    accounts: &Accounts,
) -> Result<()> {
    let unknown =
        |what: &str, name: &str| stale(quirk, format!("the {what} `{name}` does not exist"));
    let uid = match &owner.user {
        Some(name) => Some(
            accounts
                .users
                .get(name)
                .ok_or_else(|| unknown("user", name))?
                .uid,
        ),
        None => None,
    };
    let gid = match &owner.group {
        Some(name) => Some(
            accounts
                .groups
                .get(name)
                .ok_or_else(|| unknown("group", name))?
                .gid,
        ),
        None => None,
    };
    let at = path(&owner.path)?;
    let Some(node) = tree.get_mut(&at) else {
        return if owner.optional {
            Ok(())
        } else {
            Err(stale(quirk, format!("{} is missing", owner.path)))
        };
    };
    node.meta.uid = uid.unwrap_or(node.meta.uid);
    node.meta.gid = gid.unwrap_or(node.meta.gid);
    node.meta.mode = mode(owner.mode.as_deref(), node.meta.mode)?;
    // Names of one inode share its metadata.
    if let Kind::File {
        link: Some(group), ..
    } = node.kind
    {
        let meta = node.meta.clone();
        for (_, other) in tree.iter_mut() {
            if matches!(other.kind, Kind::File { link: Some(g), .. } if g == group) {
                other.meta = meta.clone();
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
