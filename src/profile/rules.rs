//! Rules between values, judged on the merged profile.

use std::collections::BTreeMap;

use super::checks::bytes_shown;
use super::cmdline;
use super::schema::{DiskSize, MIB, Packing, Profile, Reboot};
use super::source::{Origin, Problem};
use super::yaml::Node;
use crate::erofs::Codec;
use crate::words::nearest;

/// systemd units that open a way in.
const DEVELOPMENT_UNITS: [&str; 1] = ["debug-shell.service"];

/// The smallest ESP that every firmware takes for FAT32: 65525 clusters and room for two UKIs.
const LEAST_ESP: u64 = 64 * MIB;

/// Everything that single values can't show.
pub fn check(profile: &Profile, tree: &Node, problems: &mut Vec<Problem>) {
    super::board::rules::check(profile, tree, problems);
    archives(profile, tree, problems);
    accounts(profile, tree, problems);
    ways_in(profile, tree, problems);
    compression(profile, tree, problems);
    disk(profile, tree, problems);
    windows(profile, tree, problems);
    health(profile, tree, problems);
}

fn health(profile: &Profile, tree: &Node, problems: &mut Vec<Problem>) {
    let health = &profile.health;
    if health.grace >= health.timeout {
        let place = tree
            .at(&["health", "grace"])
            .or_else(|| tree.at(&["health", "timeout"]))
            .map_or(&tree.origin, |node| &node.origin);
        problems.push(
            Problem::at(
                place,
                format!(
                    "`health.grace` is {} s and `health.timeout` {} s: a boot would be ended before \
                     its checks are",
                    health.grace, health.timeout
                ),
            )
            .hint("`grace` is a part of `timeout`, which counts from the start of the kernel"),
        );
    }
}

fn windows(profile: &Profile, tree: &Node, problems: &mut Vec<Problem>) {
    let update = &profile.update;
    if update.reboot == Reboot::Window && update.windows.is_empty() {
        let origin = tree
            .at(&["update", "reboot"])
            .map_or(&tree.origin, |node| &node.origin);
        problems.push(
            Problem::at(
                origin,
                "`update.reboot` is `window`, and `update.windows` is empty",
            )
            .hint("add one: `windows: [{start: \"Sun 02:00\", duration: 2h}]`"),
        );
    }
}

/// The place of an element of a list, or of the whole profile.
fn place<'a>(tree: &'a Node, path: &[&str], index: usize) -> &'a Origin {
    tree.at(path)
        .and_then(|list| list.items().get(index))
        .map_or(&tree.origin, |item| &item.origin)
}

/// The place of a value in an element of a list.
fn place_in<'a>(tree: &'a Node, path: &[&str], index: usize, key: &str) -> &'a Origin {
    tree.at(path)
        .and_then(|list| list.items().get(index))
        .and_then(|item| item.get(key))
        .map_or_else(|| place(tree, path, index), |node| &node.origin)
}

fn unique<'a>(
    tree: &Node,
    path: &[&str],
    key: &str,
    values: impl Iterator<Item = Option<&'a str>>,
    problems: &mut Vec<Problem>,
) {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, value) in values.enumerate() {
        let Some(value) = value else { continue };
        if let Some(first) = seen.get(value) {
            problems.push(
                Problem::at(
                    place_in(tree, path, index, key),
                    format!(
                        "`{}` has two entries with the {key} `{value}`; the other is at {}",
                        path.join("."),
                        place_in(tree, path, *first, key).short()
                    ),
                )
                .hint(format!(
                    "lists append; take the inherited one away with `-{}: [NAME]`",
                    path.last().unwrap_or(&"")
                )),
            );
        } else {
            seen.insert(value, index);
        }
    }
}

fn archives(profile: &Profile, tree: &Node, problems: &mut Vec<Problem>) {
    let names = || profile.archives.iter().map(|a| a.name.as_str());
    unique(tree, &["archives"], "name", names().map(Some), problems);
    for (index, archive) in profile.archives.iter().enumerate() {
        if archive.suites.is_empty() {
            problems.push(Problem::at(
                place_in(tree, &["archives"], index, "suites"),
                format!("the archive `{}` has no suite", archive.name),
            ));
        }
    }
    let include = ["packages", "include"];
    for (index, spec) in profile.packages.include.iter().enumerate() {
        if let Some((_, archive)) = spec.split_once('/')
            && !names().any(|name| name == archive)
        {
            let problem = Problem::at(
                place(tree, &include, index),
                format!("`{spec}` names the archive `{archive}`, which this profile does not have"),
            );
            problems.push(match nearest(archive, names()) {
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None => problem,
            });
        }
        let name = spec.split(['=', '/']).next().unwrap_or(spec);
        if let Some(at) = profile.packages.exclude.iter().position(|x| x == name) {
            problems.push(
                Problem::at(
                    place(tree, &["packages", "exclude"], at),
                    format!(
                        "`{name}` is excluded here and asked for at {}",
                        place(tree, &include, index).short()
                    ),
                )
                .hint(format!("take it out of the list with `-include: [{name}]`")),
            );
        }
    }
}

fn accounts(profile: &Profile, tree: &Node, problems: &mut Vec<Problem>) {
    let users = ["root", "users"];
    let groups = ["root", "groups"];
    let user_names = profile.root.users.iter().map(|u| Some(u.name.as_str()));
    unique(tree, &users, "name", user_names, problems);
    let group_names = profile.root.groups.iter().map(|g| Some(g.name.as_str()));
    unique(tree, &groups, "name", group_names, problems);
    let uids: Vec<_> = profile
        .root
        .users
        .iter()
        .map(|u| u.uid.map(|n| n.to_string()))
        .collect();
    unique(
        tree,
        &users,
        "uid",
        uids.iter().map(Option::as_deref),
        problems,
    );
    let gids: Vec<_> = profile
        .root
        .groups
        .iter()
        .map(|g| g.gid.map(|n| n.to_string()))
        .collect();
    unique(
        tree,
        &groups,
        "gid",
        gids.iter().map(Option::as_deref),
        problems,
    );
    for (index, user) in profile.root.users.iter().enumerate() {
        let is_root = user.name == "root";
        if user.uid.is_some_and(|uid| (uid == 0) != is_root) {
            problems.push(Problem::at(
                place_in(tree, &users, index, "uid"),
                "the uid 0 belongs to `root` and to nobody else",
            ));
        }
        match user.password_hash.as_deref() {
            Some("") if !profile.development => problems.push(
                Problem::at(
                    place_in(tree, &users, index, "password_hash"),
                    format!(
                        "`{}` would need no password; only development profiles may have that",
                        user.name
                    ),
                )
                .hint(
                    "leave `password_hash` out to lock the account, and use `ssh_authorized_keys`",
                ),
            ),
            Some(_) if is_root && !profile.development => problems.push(
                Problem::at(
                    place_in(tree, &users, index, "password_hash"),
                    "root has a password; outside development root is locked",
                )
                .hint("use `ssh_authorized_keys`, or an account of its own"),
            ),
            _ => {}
        }
    }
    for (index, group) in profile.root.groups.iter().enumerate() {
        if group
            .gid
            .is_some_and(|gid| (gid == 0) != (group.name == "root"))
        {
            problems.push(Problem::at(
                place_in(tree, &groups, index, "gid"),
                "the gid 0 belongs to `root` and to no other group",
            ));
        }
    }
}

fn ways_in(profile: &Profile, tree: &Node, problems: &mut Vec<Problem>) {
    let units = &profile.root.units;
    for (index, unit) in units.enable.iter().enumerate() {
        let origin = place(tree, &["root", "units", "enable"], index);
        if let Some(at) = units.mask.iter().position(|masked| masked == unit) {
            problems.push(Problem::at(
                place(tree, &["root", "units", "mask"], at),
                format!("`{unit}` is masked here and enabled at {}", origin.short()),
            ));
        }
        if !profile.development && DEVELOPMENT_UNITS.contains(&unit.as_str()) {
            problems.push(
                Problem::at(
                    origin,
                    format!("`{unit}` opens a root shell; only development profiles may enable it"),
                )
                .hint("extend `dev` in a profile that is for development only"),
            );
        }
    }
    if profile.development {
        return;
    }
    for (index, word) in profile.kernel.cmdline.iter().enumerate() {
        if let Some(refusal) = cmdline::refusal(word) {
            problems.push(
                Problem::at(
                    place(tree, &["kernel", "cmdline"], index),
                    format!("`{word}` {refusal}; only development profiles may have it"),
                )
                .hint("extend `dev` in a profile that is for development only"),
            );
        }
    }
}

fn compression(profile: &Profile, tree: &Node, problems: &mut Vec<Problem>) {
    let settings = &profile.root.compression;
    let (name, most) = match settings.codec {
        Codec::None => {
            if settings.packing != Packing::None {
                let path = ["root", "compression", "packing"];
                problems.push(
                    Problem::at(
                        tree.at(&path).map_or(&tree.origin, |node| &node.origin),
                        "`root.compression.packing` is for files that are compressed, and \
                         `root.compression.codec` is `none`"
                            .to_owned(),
                    )
                    .hint("set `packing: none`, or a codec"),
                );
            }
            return;
        }
        Codec::Zstd => ("zstd", 22),
        Codec::Lz4hc => ("lz4hc", 12),
    };
    if !(1..=most).contains(&settings.level) {
        let path = ["root", "compression"];
        let origin = tree.at(&path).map_or(&tree.origin, |node| {
            node.get("level")
                .map_or(&node.origin, |level| &level.origin)
        });
        problems.push(Problem::at(
            origin,
            format!("{name} has the levels 1 to {most}, not {}", settings.level),
        ));
    }
}

fn disk(profile: &Profile, tree: &Node, problems: &mut Vec<Problem>) {
    let disk = &profile.disk;
    let origin = |key: &str| {
        tree.at(&["disk", key])
            .or_else(|| tree.get("disk"))
            .map_or(&tree.origin, |node| &node.origin)
    };
    if disk.esp.0 < LEAST_ESP {
        problems.push(Problem::at(
            origin("esp"),
            format!(
                "the ESP has {}; FAT32 with two UKIs needs at least {}",
                bytes_shown(disk.esp.0),
                bytes_shown(LEAST_ESP)
            ),
        ));
    }
    let slots = [disk.usr.0, disk.verity.0, disk.signature.0]
        .iter()
        .fold(0_u64, |sum, size| sum.saturating_add(*size))
        .saturating_mul(2);
    let needed = slots
        .saturating_add(disk.esp.0)
        .saturating_add(disk.slack.0)
        .saturating_add(2 * MIB);
    if needed >= 1 << 62 {
        problems.push(Problem::at(
            origin("usr"),
            "the partitions together are larger than any disk",
        ));
        return;
    }
    if let DiskSize::Bytes(size) = disk.size
        && size.0 < needed
    {
        problems.push(
            Problem::at(
                origin("size"),
                format!(
                    "a disk of {} is too small: ESP {}, two slots of {} + {} + {}, slack {} and 2 MiB for the partition tables need {}",
                    bytes_shown(size.0),
                    bytes_shown(disk.esp.0),
                    bytes_shown(disk.usr.0),
                    bytes_shown(disk.verity.0),
                    bytes_shown(disk.signature.0),
                    bytes_shown(disk.slack.0),
                    bytes_shown(needed)
                ),
            )
            .hint("make the disk larger, or `size: auto`, or the partitions smaller"),
        );
    }
}
