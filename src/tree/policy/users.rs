//! What the profile's users need besides an account: their SSH keys and a home.

use std::fmt::Write as _;

use anyhow::Result;

use crate::failure::{Failure, Kind};
use crate::profile::schema::User;
use crate::tree::Tree;

use super::accounts::Accounts;
use super::edit::{Editor, exists, files_in};

/// Where sshd looks for keys besides the home: verified, and not writable by anyone.
pub const KEYS: &str = "usr/share/hullwright/authorized_keys";

/// Writes keys and the tmpfiles lines for homes; returns notes.
///
/// # Errors
/// A key with a line break.
pub fn write(tree: &mut Tree, users: &[User], accounts: &Accounts) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let skeleton: Vec<String> = files_in(tree, "etc/skel", "")?
        .iter()
        .map(|p| String::from_utf8_lossy(p.name()).into_owned())
        .filter(|name| !name.contains(['%', '"', '\\', ' ']))
        .collect();
    let has_sshd = exists(tree, "usr/sbin/sshd") || exists(tree, "usr/bin/sshd");
    let mut homes = String::new();
    let mut edit = Editor::new(tree, "root.users");
    for user in users {
        let Some(account) = accounts.users.get(&user.name) else {
            continue;
        };
        let (home, name) = (&account.home, &user.name);
        // Only below /home: /root is made for everyone, and `/` or /var/lib/x is somebody else's.
        if home.starts_with("/home/") {
            // The argument of a line is its rest as it stands, without quotes.
            let home = home.replace('%', "%%");
            writeln!(homes, "d \"{home}\" 0700 {} {} -", account.uid, account.gid)?;
            for file in &skeleton {
                writeln!(
                    homes,
                    "C \"{home}/{file}\" 0644 {} {} - /etc/skel/{file}",
                    account.uid, account.gid
                )?;
            }
        }
        if user.ssh_authorized_keys.is_empty() {
            continue;
        }
        if let Some(key) = user
            .ssh_authorized_keys
            .iter()
            .find(|key| key.contains(['\n', '\r']) || key.trim().is_empty())
        {
            return Err(Failure::new(
                Kind::Usage,
                format!(
                    "`{}` in `ssh_authorized_keys` of `{name}` is not one line",
                    key.escape_debug()
                ),
            )
            .into());
        }
        if !has_sshd {
            notes.push(format!(
                "the user {name} has SSH keys, but the image has no sshd (package openssh-server)"
            ));
        }
        let keys = user.ssh_authorized_keys.join("\n") + "\n";
        edit.write(&format!("{KEYS}/{name}"), 0o644, keys.as_str())?;
    }
    if !homes.is_empty() {
        edit.write(
            "usr/lib/tmpfiles.d/hullwright-users.conf",
            0o644,
            homes.as_str(),
        )?;
    }
    Ok(notes)
}
