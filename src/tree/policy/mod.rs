//! Policy: what turns the merged files of packages into a system that boots, though no maintainer
//! script ever ran.
//!
//! Everything works on `/etc` and `/usr` as the running system will see them; the last step moves
//! `/etc` to its place in `/usr` and drops the rest. What is special about one package is data in
//! `profiles/quirks`; what every image needs is code here, one file an idea.

mod accounts;
mod cmdline;
pub mod containers;
mod edit;
mod etc_factory;
mod health;
pub mod ids;
pub mod install;
mod no_shell;
mod nsswitch;
mod os_release;
mod overlay;
mod pam;
mod passwd;
mod presets;
mod quirks;
mod repart;
mod secrets;
mod settings;
pub mod sysusers;
pub mod tmpfiles;
pub mod unit_syntax;
mod units;
mod update;
mod users;
pub mod words;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use crate::profile::Profile;
use crate::stamp::Stamp;
use crate::tree::{Kind, Tree};

pub use cmdline::cmdline;
pub use etc_factory::FACTORY;
pub use overlay::OverlayEntry;
pub use update::UpdateInput;

/// What policies depend on besides the tree.
#[derive(Debug, Clone, Copy)]
pub struct PolicyInput<'a> {
    /// The merged profile.
    pub profile: &'a Profile,
    /// Time of the build.
    pub stamp: Stamp,
    /// Who signs releases, and what else updates depend on.
    pub update: UpdateInput<'a>,
    /// Files of the profile's overlay directories, in order.
    pub overlay: &'a [OverlayEntry],
    /// `ids` of the lock: they win over every table.
    pub locked_ids: &'a BTreeMap<String, u32>,
}

/// What the policies found out.
#[derive(Debug, Clone)]
pub struct PolicyReport {
    /// Numbers of all users and groups, for the lock.
    pub ids: BTreeMap<String, u32>,
    /// Units of PID 1 that presets enabled.
    pub enabled_units: Vec<String>,
    /// Quirks that were applied, by name.
    pub quirks: Vec<String>,
    /// What a person may want to know, one sentence each.
    pub notes: Vec<String>,
    /// Everything that packages ship outside `/usr` and `/etc`, such as `/boot/vmlinuz-*`, as a tree
    /// of its own: the image does not have it.
    pub outside: Tree,
}

/// Applies every policy: afterwards `tree` has `/usr` and nothing else.
///
/// # Errors
/// A quirk that no longer fits the packages, a malformed sysusers.d, preset or unit file, a number
/// that is taken twice, or a profile that names what the image does not have.
pub fn apply(tree: &mut Tree, input: &PolicyInput<'_>) -> Result<PolicyReport> {
    let profile = input.profile;
    let traits = profile.arch.traits();
    let facts = quirks::Facts {
        development: profile.development,
        serial: profile.serial(),
        triplet: traits.triplet,
    };

    // Laid twice: now, so that accounts, units and certificates that it brings are seen; and at the
    // end, so that it wins over everything made here.
    overlay::lay(tree, input.overlay);
    let quirks = quirks::applicable(tree, facts)?;
    quirks::apply(tree, &quirks, facts)?;
    pam::write(tree)?;
    os_release::write(tree, profile)?;
    settings::write(tree, &profile.root)?;
    repart::write(tree, &profile.disk)?;
    let mut own_units = update::write(tree, profile, input.update)?;
    own_units.extend(containers::write(tree, &profile.containers)?);
    health::write(tree, profile)?;

    let accounts = resolve_accounts(tree, input).context("numbering users and groups")?;
    passwd::write(tree, &accounts, profile, input.stamp)?;
    let mut notes = users::write(tree, &profile.root.users, &accounts)?;
    quirks::apply_owners(tree, &quirks, &accounts)?;

    let wanted = update::enable(&profile.root.units, own_units);
    notes.extend(units::write_preset(tree, &wanted)?);
    for name in &profile.root.units.mask {
        units::mask(tree, name)?;
    }
    let enabled_units =
        presets::apply(tree, install::Scope::System, traits.systemd).context("enabling units")?;
    presets::apply(tree, install::Scope::User, traits.systemd).context("enabling user units")?;

    overlay::lay(tree, input.overlay);
    for name in &profile.root.units.mask {
        units::mask(tree, name)?;
    }
    etc_factory::move_etc(tree)?;
    let (outside, dropped) = etc_factory::drop_outside(tree)?;
    notes.extend(dropped);
    notes.extend(foreign_owners(tree, &accounts));
    etc_factory::check_only_usr(tree)?;
    secrets::check(tree)?;
    Ok(PolicyReport {
        ids: accounts.ids(),
        enabled_units,
        quirks: quirks.into_iter().map(|quirk| quirk.name).collect(),
        notes,
        outside,
    })
}

fn resolve_accounts(tree: &Tree, input: &PolicyInput<'_>) -> Result<accounts::Accounts> {
    let specifiers = sysusers::specifiers(input.profile);
    let mut lines = Vec::new();
    for file in edit::dropins(tree, "sysusers.d", ".conf")? {
        let text = edit::text(tree, &file)?.unwrap_or_default();
        lines.extend(sysusers::parse(&file.to_string(), &text, &specifiers)?);
    }
    let root = &input.profile.root;
    accounts::Resolver {
        table: &ids::IdTable::built_in()?,
        lock: input.locked_ids,
        tree,
    }
    .resolve(&lines, &root.users, &root.groups)
}

/// Files that belong to a number without a name.
fn foreign_owners(tree: &Tree, accounts: &accounts::Accounts) -> Vec<String> {
    let uids: BTreeSet<u32> = accounts.users.values().map(|user| user.uid).collect();
    let gids: BTreeSet<u32> = accounts.groups.values().map(|group| group.gid).collect();
    let known = |meta: &crate::tree::Meta| uids.contains(&meta.uid) && gids.contains(&meta.gid);
    tree.iter()
        .filter(|(_, node)| {
            !known(&node.meta)
                && !matches!(node.kind, Kind::Symlink(_))
                // An image without any accounts is a test's, or one that does without them.
                && !uids.is_empty()
        })
        .map(|(at, node)| {
            format!(
                "{at} belongs to {}:{}, which no account of the image has",
                node.meta.uid, node.meta.gid
            )
        })
        .collect()
}

#[cfg(test)]
mod tests;
