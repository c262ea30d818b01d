//! No image holds a key, a seed or an identity: every node makes its own.

use crate::failure::{Failure, Kind};
use crate::tree::Tree;

use crate::words::glob;

/// What a node makes for itself, and what it would share if an overlay shipped it.
const PRIVATE: [(&str, &str); 6] = [
    (
        "/usr/share/factory/etc/ssh/ssh_host_*_key",
        "an SSH host key",
    ),
    ("/usr/lib/ssh/ssh_host_*_key", "an SSH host key"),
    ("/usr/lib/systemd/random-seed", "a random seed"),
    ("/usr/share/factory/etc/random-seed", "a random seed"),
    ("/usr/share/factory/etc/ssl/private/?*", "a private key"),
    (
        "/usr/share/factory/etc/.pwd.lock",
        "a lock file of the machine that the files were taken from",
    ),
];

/// Refuses a finished tree that holds one.
///
/// # Errors
/// The path, and what it would give away.
pub fn check(tree: &Tree) -> anyhow::Result<()> {
    for (at, node) in tree.iter().filter(|(_, node)| !node.is_dir()) {
        let text = at.to_string();
        if let Some((_, what)) = PRIVATE.iter().find(|(p, _)| glob::matches(p, &text)) {
            return Err(Failure::new(
                Kind::Usage,
                format!("{text} is {what}: every machine that runs the image would share it"),
            )
            .hint("take it out of the overlay; machines make their own on the first boot")
            .into());
        }
        let is_id = text == "/usr/share/factory/etc/machine-id";
        if is_id
            && node.content().is_none_or(|c| {
                c.read()
                    .is_ok_and(|b| !b.is_empty() && &*b != b"uninitialized\n")
            })
        {
            return Err(Failure::new(
                Kind::Usage,
                format!(
                    "{text} holds an identity: every machine that runs the image would share it"
                ),
            )
            .hint("take /etc/machine-id out of the overlay")
            .into());
        }
    }
    Ok(())
}
