//! Users and groups with their numbers, from the `passwd` and `group` files that every `/etc` begins with.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::tree::{Node, Tree, TreePath};

/// Where the files of a new `/etc` are.
const FACTORY: &str = "usr/share/factory/etc";

/// All users and groups, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Accounts {
    /// Users.
    pub users: BTreeMap<String, User>,
    /// Groups.
    pub groups: BTreeMap<String, Group>,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Number.
    pub uid: u32,
    /// Number of the primary group.
    pub gid: u32,
    /// Home.
    pub home: String,
    /// Shell.
    pub shell: String,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Number.
    pub gid: u32,
    /// Users that have it as a supplementary group.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub members: BTreeSet<String>,
}

impl Accounts {
    /// The accounts of `tree`.
    ///
    /// # Errors
    /// A line that is not one of passwd(5) or group(5).
    pub fn of(tree: &Tree) -> Result<Self> {
        let mut out = Self::default();
        for line in text(tree, "passwd")?.lines() {
            let (name, user) =
                user(line).with_context(|| format!("/{FACTORY}/passwd: `{line}` is no user"))?;
            out.users.insert(name, user);
        }
        for line in text(tree, "group")?.lines() {
            let (name, group) =
                group(line).with_context(|| format!("/{FACTORY}/group: `{line}` is no group"))?;
            out.groups.insert(name, group);
        }
        Ok(out)
    }
}

fn text(tree: &Tree, name: &str) -> Result<String> {
    let path = TreePath::parse(format!("{FACTORY}/{name}"))?;
    let Some(content) = tree.get(&path).and_then(Node::content) else {
        return Ok(String::new());
    };
    Ok(String::from_utf8_lossy(&content.read()?).into_owned())
}

fn user(line: &str) -> Option<(String, User)> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    let home = fields.nth(1)?.to_owned();
    let shell = fields.next()?.to_owned();
    Some((
        name,
        User {
            uid,
            gid,
            home,
            shell,
        },
    ))
}

fn group(line: &str) -> Option<(String, Group)> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let gid = fields.nth(1)?.parse().ok()?;
    let members = fields
        .next()?
        .split(',')
        .filter(|member| !member.is_empty())
        .map(String::from)
        .collect();
    Some((name, Group { gid, members }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Kind, Meta, Origin};

    fn tree(passwd: &str, group: &str) -> Tree {
        let mut tree = Tree::new();
        for (name, text) in [("passwd", passwd), ("group", group)] {
            tree.insert(
                TreePath::parse(format!("{FACTORY}/{name}")).unwrap(),
                Node {
                    meta: Meta::root(0o644),
                    kind: Kind::File {
                        content: text.into(),
                        link: None,
                    },
                    origin: Origin::Generated("accounts".into()),
                },
            );
        }
        tree
    }

    #[test]
    fn users_and_groups_have_the_numbers_of_the_files() {
        let accounts = Accounts::of(&tree(
            "root:x:0:0:root:/root:/bin/bash\nsshd:x:301:65534::/run/sshd:/usr/sbin/nologin\n",
            "root:x:0:\nkvm:x:302:root,sshd\n",
        ))
        .unwrap();
        assert_eq!(accounts.users.len(), 2);
        let sshd = &accounts.users["sshd"];
        assert_eq!((sshd.uid, sshd.gid), (301, 65534));
        assert_eq!(
            (sshd.home.as_str(), sshd.shell.as_str()),
            ("/run/sshd", "/usr/sbin/nologin")
        );
        assert_eq!(accounts.groups["kvm"].gid, 302);
        assert_eq!(accounts.groups["kvm"].members.len(), 2);
        assert!(accounts.groups["root"].members.is_empty());
    }

    #[test]
    fn a_line_that_is_no_account_is_named() {
        for (passwd, group) in [("root:x:none:0:::\n", ""), ("root\n", ""), ("", "kvm:x\n")] {
            let error = Accounts::of(&tree(passwd, group)).unwrap_err();
            assert!(error.to_string().contains(" is no "), "{error:#}");
        }
        assert_eq!(Accounts::of(&Tree::new()).unwrap(), Accounts::default());
    }
}
