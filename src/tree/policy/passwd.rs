//! `/etc/passwd`, `group`, `shadow`, `gshadow`, and the sysusers.d file with explicit numbers.

use std::fmt::Write as _;

use anyhow::Result;

use crate::profile::Profile;
use crate::stamp::Stamp;
use crate::tree::Tree;

use super::accounts::Accounts;
use super::edit::{Editor, files_in, path};

/// No password fits, and `passwd -S` and sshd see a locked account, as systemd-sysusers writes it.
const LOCKED: &str = "!*";

/// Debian's number of the group `shadow`: unix_chkpwd reads the shadow files through it.
const SHADOW_GID: u32 = 42;

/// Writes the four files into `/etc` and the numbers into `/usr/lib/sysusers.d`.
///
/// # Errors
/// None that a valid tree can cause.
pub fn write(tree: &mut Tree, accounts: &Accounts, profile: &Profile, stamp: Stamp) -> Result<()> {
    let mut edit = Editor::new(tree, "accounts");
    let mut users: Vec<_> = accounts.users.iter().collect();
    users.sort_by_key(|(_, user)| user.uid);
    let mut groups: Vec<_> = accounts.groups.iter().collect();
    groups.sort_by_key(|(_, group)| group.gid);

    let day = stamp.seconds() / 86400;
    let (mut passwd, mut shadow) = (String::new(), String::new());
    for (name, user) in &users {
        let secret = match &user.password {
            Some(hash) => hash,
            // sulogin and a console login need a root that can be entered; only development may.
            None if *name == "root" && profile.development => "",
            None => LOCKED,
        };
        let expired = if user.locked { "1" } else { "" };
        writeln!(
            passwd,
            "{name}:x:{}:{}:{}:{}:{}",
            user.uid, user.gid, user.gecos, user.home, user.shell
        )?;
        writeln!(shadow, "{name}:{secret}:{day}:::::{expired}:")?;
    }
    let (mut group, mut gshadow) = (String::new(), String::new());
    for (name, entry) in &groups {
        let members = entry
            .members
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(",");
        writeln!(group, "{name}:x:{}:{members}", entry.gid)?;
        writeln!(gshadow, "{name}:{LOCKED}::{members}")?;
    }
    edit.write("etc/passwd", 0o644, passwd.as_str())?;
    edit.write("etc/group", 0o644, group.as_str())?;
    // systemd-sysusers would write mode 0000 root:root, which unix_chkpwd (setgid shadow) cannot read.
    for (file, text) in [("etc/shadow", shadow), ("etc/gshadow", gshadow)] {
        edit.write(file, 0o640, text.as_str())?;
        if let Some(node) = edit.tree.get_mut(&path(file)?) {
            node.meta.gid = SHADOW_GID;
        }
    }

    // Of two unequal lines for one name systemd-sysusers takes the first and warns about the second
    // on every boot: the packages' files are replaced, not only preceded.
    for file in files_in(edit.tree, "usr/lib/sysusers.d", ".conf")? {
        edit.tree.remove(&file);
    }
    let mut lines = String::from(
        "# Every account of the image with its number, made by hullwright from the packages' sysusers.d\n\
         # files, profiles/ids.yaml and the profile, so that numbers never move.\n",
    );
    for (name, entry) in &groups {
        writeln!(lines, "g {name} {}", entry.gid)?;
    }
    for (name, user) in &users {
        let mark = if user.locked { "!" } else { "" };
        let gecos = quoted(&user.gecos);
        writeln!(
            lines,
            "u{mark} {name} {}:{} {gecos} {} {}",
            user.uid,
            user.gid,
            quoted(&user.home),
            quoted(&user.shell)
        )?;
    }
    for (name, entry) in &groups {
        for member in &entry.members {
            writeln!(lines, "m {member} {name}")?;
        }
    }
    edit.write(
        "usr/lib/sysusers.d/00-hullwright-ids.conf",
        0o644,
        lines.as_str(),
    )
}

fn quoted(text: &str) -> String {
    if text.is_empty() {
        return "-".into();
    }
    let text = text
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('%', "%%");
    if text.contains([' ', '\t', '\'', '"', '\\']) {
        format!("\"{text}\"")
    } else {
        text
    }
}
