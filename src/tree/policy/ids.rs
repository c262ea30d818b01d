//! Fixed numbers for users and groups: they are on disks in the field, so they never move.
//!
//! The lock's number wins, then `profiles/ids.yaml`; a name that neither knows is hashed into a
//! reserved range, so that its number depends on nothing but the name.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::failure::{Failure, Kind};

const TABLE: &str = include_str!("../../../profiles/ids.yaml");

/// The table of fixed numbers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdTable {
    /// Where unknown names are hashed to.
    pub ranges: Ranges,
    /// Users by name; a user's own group has the same number.
    pub users: BTreeMap<String, u32>,
    /// Groups that are not a user's own.
    pub groups: BTreeMap<String, u32>,
}

/// Reserved ranges, both ends included.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ranges {
    /// System accounts of packages.
    pub system: (u32, u32),
    /// Accounts of profiles.
    pub users: (u32, u32),
}

/// What a number belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entity {
    /// A user.
    User,
    /// A group.
    Group,
}

impl Entity {
    const fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
        }
    }

    /// The key of the lock's `ids`.
    #[must_use]
    pub fn key(self, name: &str) -> String {
        format!("{} {name}", self.word())
    }
}

/// Which reserved range an unknown name goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// From a package.
    System,
    /// From the profile.
    Person,
}

impl IdTable {
    /// The built-in table.
    ///
    /// # Errors
    /// The embedded file is malformed.
    pub fn built_in() -> Result<Self> {
        serde_yaml::from_str(TABLE).context("reading profiles/ids.yaml")
    }

    /// The number that the lock or the table fixes for a name; a user's own group takes the
    /// user's.
    #[must_use]
    pub fn fixed(&self, lock: &BTreeMap<String, u32>, entity: Entity, name: &str) -> Option<u32> {
        let of = |entity: Entity| lock.get(&entity.key(name)).copied();
        match entity {
            Entity::User => of(Entity::User).or_else(|| self.users.get(name).copied()),
            Entity::Group => of(Entity::Group)
                .or_else(|| self.groups.get(name).copied())
                .or_else(|| of(Entity::User))
                .or_else(|| self.users.get(name).copied()),
        }
    }

    /// The number that an unknown name is hashed to. Users and groups of one name get one number.
    #[must_use]
    pub fn hashed(&self, class: Class, name: &str) -> u32 {
        let (low, high) = match class {
            Class::System => self.ranges.system,
            Class::Person => self.ranges.users,
        };
        let digest = Sha256::digest(format!("hullwright-id:{name}"));
        let bytes: [u8; 8] = std::array::from_fn(|i| digest[i]);
        let span = u64::from(high.saturating_sub(low)) + 1;
        low + u32::try_from(u64::from_le_bytes(bytes) % span).unwrap_or(0)
    }

    /// The failure for two names on one number.
    #[must_use]
    pub fn collision(&self, entity: Entity, id: u32, first: &str, second: &str) -> Failure {
        let (low, high) = self.ranges.system;
        let taken: std::collections::BTreeSet<u32> = self
            .users
            .values()
            .chain(self.groups.values())
            .copied()
            .collect();
        // Above the hashed range and below what systemd-sysusers itself hands out last.
        let free = (high + 1..1000)
            .rev()
            .find(|n| !taken.contains(n))
            .unwrap_or(low);
        let word = entity.word();
        Failure::new(
            Kind::Usage,
            format!("the {word}s `{first}` and `{second}` both have the number {id}"),
        )
        .hint(format!(
            "add the line `{second}: {free}` to `{word}s` in profiles/ids.yaml, or fix a number in the profile"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_no_number_twice_and_none_in_the_hashed_ranges() {
        let table = IdTable::built_in().unwrap();
        let mut groups: Vec<u32> = table.groups.values().copied().collect();
        groups.extend(
            table
                .users
                .iter()
                .filter(|(name, _)| !table.groups.contains_key(*name))
                .map(|(_, id)| *id),
        );
        let mut users: Vec<u32> = table.users.values().copied().collect();
        for ids in [&mut users, &mut groups] {
            // Debian's static users have static groups, often of another number.
            ids.retain(|id| (100..65534).contains(id));
            ids.sort_unstable();
            let count = ids.len();
            ids.dedup();
            assert_eq!(ids.len(), count);
            for id in ids {
                for (low, high) in [table.ranges.system, table.ranges.users] {
                    assert!(!(low..=high).contains(id), "{id}");
                }
            }
        }
    }

    #[test]
    fn the_lock_wins_over_the_table_and_the_table_over_the_hash() {
        let table = IdTable::built_in().unwrap();
        let lock = BTreeMap::from([("user messagebus".to_owned(), 801)]);
        let none = BTreeMap::new();
        assert_eq!(table.fixed(&lock, Entity::User, "messagebus"), Some(801));
        assert_eq!(table.fixed(&lock, Entity::Group, "messagebus"), Some(801));
        assert_eq!(table.fixed(&none, Entity::User, "messagebus"), Some(992));
        assert_eq!(table.fixed(&none, Entity::User, "nobody-knows"), None);
        let id = table.hashed(Class::System, "nobody-knows");
        assert!((600..=799).contains(&id));
        assert_eq!(id, table.hashed(Class::System, "nobody-knows"));
    }

    #[test]
    fn a_collision_names_the_line_to_add() {
        let table = IdTable::built_in().unwrap();
        let failure = table.collision(Entity::User, 700, "a", "b");
        assert!(failure.message.contains("`a` and `b`"));
        assert!(failure.hints[0].contains("`b: "), "{}", failure.hints[0]);
    }
}
