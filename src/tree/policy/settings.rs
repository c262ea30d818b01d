//! Small settings of the profile that become one file each: locale, time zone, journal, sysctl,
//! tmpfiles.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::Result;

use crate::failure::{Failure, Kind};
use crate::profile::schema::Root;
use crate::tree::{Tree, TreePath};

use super::edit::{Editor, dropins, exists, text};
use super::tmpfiles;

/// Writes all of them.
///
/// # Errors
/// A time zone that the image does not have, or a value that breaks its file's syntax.
pub fn write(tree: &mut Tree, root: &Root) -> Result<()> {
    for (key, value) in [
        ("root.locale", &root.locale),
        ("root.timezone", &root.timezone),
        ("root.journal_max", &root.journal_max),
    ] {
        if value.is_empty() || value.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(usage(format!("`{value}` is not a value for `{key}`")).into());
        }
    }
    timezone(tree, &root.timezone)?;
    let mut edit = Editor::new(tree, "profile");
    edit.write(
        "etc/locale.conf",
        0o644,
        format!("LANG={}\n", root.locale).as_str(),
    )?;
    edit.write(
        "usr/lib/systemd/journald.conf.d/10-hullwright.conf",
        0o644,
        format!(
            "[Journal]\nStorage=persistent\nSystemMaxUse={}\n",
            root.journal_max
        )
        .as_str(),
    )?;
    if !root.sysctl.is_empty() {
        let mut lines = String::new();
        for (key, value) in &root.sysctl {
            if key.contains(['=', '\n', ' ']) || value.contains('\n') {
                return Err(usage(format!(
                    "`{key}: {value}` in `root.sysctl` is not a kernel parameter and its value"
                ))
                .into());
            }
            writeln!(lines, "{key} = {value}")?;
        }
        edit.write("usr/lib/sysctl.d/90-hullwright.conf", 0o644, lines.as_str())?;
    }
    for line in &root.tmpfiles {
        check_tmpfiles(line)?;
    }
    // systemd-tmpfiles complains on every boot about a second line for a path, an equal one too.
    let known = tmpfiles_lines(edit.tree)?;
    let lines: Vec<&str> = root
        .tmpfiles
        .iter()
        .filter(|line| !known.contains(&fields(line)))
        .map(String::as_str)
        .collect();
    if !lines.is_empty() {
        let text = lines.join("\n") + "\n";
        edit.write(
            "usr/lib/tmpfiles.d/hullwright-profile.conf",
            0o644,
            text.as_str(),
        )?;
    }
    Ok(())
}

/// A line without the differences that blanks make.
fn fields(line: &str) -> String {
    line.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// Every line of tmpfiles.d in the tree.
fn tmpfiles_lines(tree: &Tree) -> Result<BTreeSet<String>> {
    let mut out = BTreeSet::new();
    for file in dropins(tree, "tmpfiles.d", ".conf")? {
        out.extend(text(tree, &file)?.unwrap_or_default().lines().map(fields));
    }
    Ok(out)
}

fn usage(message: String) -> Failure {
    Failure::new(Kind::Usage, message)
}

fn timezone(tree: &mut Tree, zone: &str) -> Result<()> {
    let at = format!("usr/share/zoneinfo/{zone}");
    let known = TreePath::parse(&at)
        .ok()
        .and_then(|p| tree.resolve(&p))
        .is_some();
    if !known {
        // Without the link the system runs in UTC.
        if matches!(zone, "UTC" | "Etc/UTC") {
            return Ok(());
        }
        let failure = usage(format!(
            "the time zone `{zone}` of `root.timezone` is not in the image"
        ));
        return Err(if exists(tree, "usr/share/zoneinfo") {
            failure.hint("zones are named as in tzdata: `Europe/Berlin`, `Etc/UTC`")
        } else {
            failure.hint("add `tzdata` to `packages.include`")
        }
        .into());
    }
    Editor::new(tree, "profile").symlink("etc/localtime", &format!("/{at}"))
}

fn check_tmpfiles(line: &str) -> Result<()> {
    let one = if line.contains('\n') {
        Err("it contains a line break".into())
    } else {
        tmpfiles::parse_line(line).map(drop)
    };
    one.map_err(|why| {
        usage(format!(
            "`{line}` in `root.tmpfiles` is not a line of tmpfiles.d: {why}"
        ))
        .hint("lines are: type, absolute path, mode, user, group, age, argument; see tmpfiles.d(5)")
        .into()
    })
}
