//! Users and groups of the image: from the lines of sysusers.d and the profile to numbers.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use crate::failure::{Failure, Kind};
use crate::profile::schema::{Group as ProfileGroup, User as ProfileUser};
use crate::tree::{Tree, TreePath};

use super::ids::{Class, Entity, IdTable};
use super::sysusers::{Id, Line, PrimaryGroup, valid_name};
use crate::words::nearest;

/// The shell of accounts that nobody logs in to.
pub const NOLOGIN: &str = "/usr/sbin/nologin";

/// One user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Number.
    pub uid: u32,
    /// Number of the primary group.
    pub gid: u32,
    /// GECOS.
    pub gecos: String,
    /// Home.
    pub home: String,
    /// Shell.
    pub shell: String,
    /// Whether the account is expired (`u!`).
    pub locked: bool,
    /// A crypt(5) hash; absent: no password fits.
    pub password: Option<String>,
}

/// One group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    /// Number.
    pub gid: u32,
    /// Names of users that have it as a supplementary group.
    pub members: BTreeSet<String>,
}

/// All users and groups, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accounts {
    /// Users.
    pub users: BTreeMap<String, User>,
    /// Groups.
    pub groups: BTreeMap<String, Group>,
}

/// Resolves lines and the profile's accounts against the table and the lock.
#[derive(Debug)]
pub struct Resolver<'a> {
    /// Fixed numbers.
    pub table: &'a IdTable,
    /// Numbers of earlier builds.
    pub lock: &'a BTreeMap<String, u32>,
    /// For `u name /path` lines.
    pub tree: &'a Tree,
}

struct Wanted {
    class: Class,
    id: Id,
}

impl Resolver<'_> {
    fn number(&self, entity: Entity, name: &str, class: Class, id: &Id) -> u32 {
        let owner = match id {
            Id::Number(n) => return *n,
            Id::Any => None,
            Id::OwnerOf(path) => TreePath::parse(path)
                .ok()
                .and_then(|p| self.tree.resolve(&p))
                .and_then(|p| self.tree.get(&p))
                .map(|node| match entity {
                    Entity::User => node.meta.uid,
                    Entity::Group => node.meta.gid,
                })
                .filter(|&n| n != 0),
        };
        owner
            .or_else(|| self.table.fixed(self.lock, entity, name))
            .unwrap_or_else(|| self.table.hashed(class, name))
    }

    /// Numbers for everything; of two lines for one name the first counts, as for systemd.
    ///
    /// # Errors
    /// Two names on one number, or a group that nobody declares.
    pub fn resolve(
        &self,
        lines: &[Line],
        users: &[ProfileUser],
        groups: &[ProfileGroup],
    ) -> Result<Accounts> {
        let mut wanted_groups: BTreeMap<&str, Wanted> = BTreeMap::new();
        for group in groups {
            check_name("root.groups", &group.name)?;
            wanted_groups.entry(&group.name).or_insert(Wanted {
                class: Class::Person,
                id: group.gid.map_or(Id::Any, Id::Number),
            });
        }
        for line in lines {
            if let Line::Group { name, id } = line {
                wanted_groups.entry(name).or_insert(Wanted {
                    class: Class::System,
                    id: id.clone(),
                });
            }
        }

        let mut out = Accounts::default();
        let mut primary: BTreeMap<String, PrimaryGroup> = BTreeMap::new();
        for user in users {
            let (entry, group) = self.person(user)?;
            primary.entry(user.name.clone()).or_insert(group);
            out.users.entry(user.name.clone()).or_insert(entry);
        }
        for line in lines {
            let Line::User {
                name,
                id,
                group,
                gecos,
                home,
                shell,
                locked,
            } = line
            else {
                continue;
            };
            if out.users.contains_key(name) {
                continue;
            }
            let default_shell = if name == "root" { "/bin/bash" } else { NOLOGIN };
            let default_home = if name == "root" { "/root" } else { "/" };
            let or = |value: &str, default: &str| {
                if value.is_empty() { default } else { value }.to_owned()
            };
            out.users.insert(
                name.clone(),
                User {
                    uid: self.number(Entity::User, name, Class::System, id),
                    gid: 0,
                    gecos: gecos.clone(),
                    home: or(home, default_home),
                    shell: or(shell, default_shell),
                    locked: *locked,
                    password: None,
                },
            );
            primary.insert(name.clone(), group.clone());
        }

        for (name, group) in &wanted_groups {
            let gid = self.number(Entity::Group, name, group.class, &group.id);
            out.groups.insert(
                (*name).to_owned(),
                Group {
                    gid,
                    members: BTreeSet::new(),
                },
            );
        }
        // A user's own group takes the user's number, unless the group is declared by itself.
        for (name, group) in &primary {
            if *group == PrimaryGroup::Own
                && !out.groups.contains_key(name)
                && let Some(user) = out.users.get(name)
            {
                let gid = self
                    .lock
                    .get(&Entity::Group.key(name))
                    .copied()
                    .unwrap_or(user.uid);
                out.groups.insert(
                    name.clone(),
                    Group {
                        gid,
                        members: BTreeSet::new(),
                    },
                );
            }
        }
        for (name, group) in &primary {
            let gid = match group {
                PrimaryGroup::Own => out.group(name, name)?,
                PrimaryGroup::Name(group) => out.group(group, name)?,
                PrimaryGroup::Number(gid) => *gid,
            };
            if let Some(user) = out.users.get_mut(name) {
                user.gid = gid;
            }
        }
        for line in lines {
            if let Line::Member { user, group } = line {
                // As for systemd: an `m` line makes what it names.
                if !out.groups.contains_key(group) {
                    let gid = self.number(Entity::Group, group, Class::System, &Id::Any);
                    out.groups.insert(
                        group.clone(),
                        Group {
                            gid,
                            members: BTreeSet::new(),
                        },
                    );
                }
                if !out.users.contains_key(user) {
                    return Err(unknown("user", user, out.users.keys(), "an `m` line").into());
                }
                out.join(user, group)?;
            }
        }
        for user in users {
            for group in &user.groups {
                out.join(&user.name, group)?;
            }
        }
        self.check(&out)?;
        Ok(out)
    }

    fn person(&self, user: &ProfileUser) -> Result<(User, PrimaryGroup)> {
        check_name("root.users", &user.name)?;
        let is_root = user.name == "root";
        let home = match &user.home {
            Some(home) => home.clone(),
            None if is_root => "/root".into(),
            None => format!("/home/{}", user.name),
        };
        let shell = user.shell.clone().unwrap_or_else(|| "/bin/bash".into());
        let password = user.password_hash.as_deref().unwrap_or("");
        for (what, value) in [
            ("comment", &*user.comment),
            ("home", &home),
            ("shell", &shell),
            ("password_hash", password),
        ] {
            if value.contains([':', '\n', '\0']) {
                return Err(Failure::new(
                    Kind::Usage,
                    format!(
                        "`{what}` of the user `{}` contains a colon or a line break",
                        user.name
                    ),
                )
                .into());
            }
        }
        let id = user.uid.map_or(Id::Any, Id::Number);
        let entry = User {
            uid: self.number(Entity::User, &user.name, Class::Person, &id),
            gid: 0,
            gecos: user.comment.clone(),
            home,
            shell,
            locked: false,
            password: user.password_hash.clone(),
        };
        let group = user
            .group
            .clone()
            .filter(|group| *group != user.name)
            .map_or(PrimaryGroup::Own, PrimaryGroup::Name);
        Ok((entry, group))
    }

    fn check(&self, accounts: &Accounts) -> Result<()> {
        let mut seen: BTreeMap<u32, &str> = BTreeMap::new();
        for (name, user) in &accounts.users {
            if let Some(first) = seen.insert(user.uid, name) {
                return Err(self
                    .table
                    .collision(Entity::User, user.uid, first, name)
                    .into());
            }
        }
        let mut seen: BTreeMap<u32, &str> = BTreeMap::new();
        for (name, group) in &accounts.groups {
            if let Some(first) = seen.insert(group.gid, name) {
                return Err(self
                    .table
                    .collision(Entity::Group, group.gid, first, name)
                    .into());
            }
        }
        for (name, user) in &accounts.users {
            if !seen.contains_key(&user.gid) {
                return Err(Failure::new(
                    Kind::Audit,
                    format!(
                        "the user `{name}` has the primary group {}, which nothing declares",
                        user.gid
                    ),
                )
                .into());
            }
        }
        Ok(())
    }
}

fn check_name(key: &str, name: &str) -> Result<()> {
    if valid_name(name) {
        return Ok(());
    }
    Err(Failure::new(
        Kind::Usage,
        format!("`{name}` in `{key}` is not a name for an account"),
    )
    .hint("names begin with a letter or `_`, go on with letters, digits, `_`, `-` and `.`, and have at most 31 characters")
    .into())
}

fn unknown<'a>(
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'a String>,
    wanted_by: &str,
) -> Failure {
    let failure = Failure::new(
        Kind::Usage,
        format!("{wanted_by} names the {what} `{name}`, which does not exist in the image"),
    );
    match nearest(name, known.map(String::as_str)) {
        Some(close) => failure.hint(format!("did you mean `{close}`?")),
        None => failure.hint(format!(
            "declare it under `root.{what}s`, or install the package that brings it"
        )),
    }
}

impl Accounts {
    fn group(&self, name: &str, user: &str) -> Result<u32> {
        match self.groups.get(name) {
            Some(group) => Ok(group.gid),
            None => Err(unknown(
                "group",
                name,
                self.groups.keys(),
                &format!("the user `{user}`"),
            )
            .into()),
        }
    }

    fn join(&mut self, user: &str, group: &str) -> Result<()> {
        self.group(group, user)?;
        if let Some(group) = self.groups.get_mut(group) {
            group.members.insert(user.to_owned());
        }
        Ok(())
    }

    /// The numbers for the lock.
    #[must_use]
    pub fn ids(&self) -> BTreeMap<String, u32> {
        let users = self
            .users
            .iter()
            .map(|(name, user)| (Entity::User.key(name), user.uid));
        let groups = self
            .groups
            .iter()
            .map(|(name, group)| (Entity::Group.key(name), group.gid));
        users.chain(groups).collect()
    }
}
