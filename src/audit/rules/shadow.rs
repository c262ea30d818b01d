//! Who may read the files of passwords.

use anyhow::Result;

use super::Rule;
use crate::audit::accounts;
use crate::audit::{Finding, Subject};

pub(super) const RULE: Rule = Rule {
    name: "shadow",
    about: "`/etc/shadow` or `/etc/gshadow` can be read by everybody or written by others than root: \
            hashes of passwords, also of those set later, are there to be cracked or replaced.",
    check,
};

/// Nothing for others, and for the group `shadow` nothing but reading.
const MOST: u16 = 0o640;

fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let group = accounts::file(subject, "group")?.and_then(|(_, entries)| {
        let entry = entries
            .into_iter()
            .find(|entry| entry.field(0) == "shadow")?;
        entry.field(2).parse::<u32>().ok()
    });
    let mut found = Vec::new();
    for name in ["shadow", "gshadow", "shadow-", "gshadow-"] {
        let Some((path, node)) = subject.find(&format!("/etc/{name}")) else {
            continue;
        };
        let meta = &node.meta;
        let (mode, uid, gid) = (meta.mode, meta.uid, meta.gid);
        if mode & !MOST != 0 || uid != 0 || (gid != 0 && Some(gid) != group) {
            let message = format!(
                "has the mode {mode:04o} and the owner {uid}:{gid}; expected 0640 and root:shadow"
            );
            found.push(Finding::new(RULE.name, (&path, node), "mode", message));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{Image, file};

    #[test]
    fn only_root_and_its_helper_read_hashes() {
        for (mode, gid, good) in [
            (0o640, 42, true),
            (0o600, 0, true),
            (0o000, 0, true),
            (0o644, 42, false),
            (0o660, 42, false),
            (0o640, 5, false),
        ] {
            let mut node = file(mode, "root:*:1::::::\n");
            node.meta.gid = gid;
            let image = Image::new(&[("usr/share/factory/etc/group", "shadow:x:42:\n")])
                .with("usr/share/factory/etc/shadow", node);
            let wanted: &[&str] = if good {
                &[]
            } else {
                &["/usr/share/factory/etc/shadow: mode"]
            };
            assert_eq!(image.findings(&RULE), wanted, "{mode:o} {gid}");
        }
    }
}
