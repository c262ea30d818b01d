//! What a release must not be. Nodes in the field can't be mended from afar: whoever would break their
//! updates is told so before anything is published, with the numbers.

use std::collections::BTreeMap;

use super::index::{Index, Layout, Product, Release};
use super::names::Role;
use super::version;
use crate::esp;
use crate::failure::{Failure, Kind};
use crate::report::human_size;
use crate::resolve::Lock;

/// Of a slot or the ESP, so much may be filled: the rest is for the releases to come, since no node can
/// enlarge its partitions.
pub const FILL_PERCENT: u64 = 80;

/// By how much a release may be larger than the last one. Security updates move a release by one or
/// two percent, a new kernel or containerd by about five; what adds more was added on purpose or by
/// accident, and somebody should say which.
pub const DEFAULT_GROWTH: u32 = 10;

/// Checks version and stamp of a release-to-be against the last one of its product.
#[must_use]
pub fn order(product: Option<&Product>, channel: &str, version: &str, stamp: u64) -> Vec<Failure> {
    let Some(last) = product.and_then(Product::last) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    if version::compare(version, &last.version).is_le() {
        found.push(
            Failure::new(
                Kind::Usage,
                format!(
                    "version {version} is not above {}, the last one in {channel}",
                    last.version
                ),
            )
            .hint("nodes take only what is newer by systemd's order (`systemd-analyze compare-versions`)"),
        );
    }
    if stamp <= last.stamp {
        found.push(
            Failure::new(
                Kind::Usage,
                format!(
                    "the stamp {stamp} is not above {}, that of version {} in {channel}",
                    last.stamp, last.version
                ),
            )
            .hint("renew the lock with `hullwright lock PROFILE --upgrade`; its stamp is that of the newest package source")
            .hint("where the packages are meant to stay, give a later time with --stamp SECONDS"),
        );
    }
    found
}

/// Checks that the same version has the same bytes in every channel.
#[must_use]
pub fn elsewhere(
    others: &[Index],
    id: &str,
    arch: crate::arch::Arch,
    new: &Release,
) -> Vec<Failure> {
    let mut found = Vec::new();
    for index in others {
        let Some(other) = index
            .product(id, arch)
            .and_then(|product| product.release(&new.version))
        else {
            continue;
        };
        if !other.same_payloads(new) {
            let (version, channel) = (&new.version, &index.channel);
            found.push(
                Failure::new(
                    Kind::Usage,
                    format!("version {version} of {id} is in {channel} already, with other bytes"),
                )
                .hint(format!(
                    "promote it: hullwright release promote {version} --from {channel} --to CHANNEL DIR"
                ))
                .hint("or give this one another version"),
            );
        }
    }
    found
}

/// Checks that the payloads of `new` leave room in the partitions of every node that may run a release
/// of `product`, and of those that are installed with it.
#[must_use]
pub fn fit(product: Option<&Product>, new: &Release) -> Vec<Failure> {
    let listed = product.map_or(&[][..], |product| &product.releases);
    let releases = || listed.iter().chain([new]);
    let size = |release: &Release, role| release.file(role).map_or(0, |file| file.size);
    let mut found = Vec::new();
    for (role, what, key, of) in [
        (
            Role::Usr,
            "/usr",
            "usr",
            (|layout| layout.usr) as fn(&Layout) -> u64,
        ),
        (
            Role::Verity,
            "the verity data of /usr",
            "verity",
            |layout| layout.verity,
        ),
        (
            Role::Signature,
            "the signature of /usr",
            "signature",
            |layout| layout.signature,
        ),
    ] {
        found.extend(exceeds(releases(), size(new, role), what, key, of));
    }
    // On a node lie the UKIs of both slots, and a third is written before the oldest goes.
    let mut ukis: Vec<u64> = listed
        .iter()
        .map(|release| size(release, Role::Uki))
        .collect();
    ukis.sort_unstable();
    let uki = size(new, Role::Uki);
    let largest = ukis.pop().unwrap_or(uki);
    let second = ukis.pop().unwrap_or(largest);
    let loader = releases()
        .map(|release| size(release, Role::BootLoader))
        .max()
        .unwrap_or(0);
    let files = [
        ("EFI/Linux/1", largest),
        ("EFI/Linux/2", second),
        ("EFI/Linux/3", uki),
        // In both its places, and one that is being replaced.
        ("EFI/BOOT/1", loader),
        ("EFI/systemd/1", loader),
        ("EFI/systemd/2", loader),
        ("loader/loader.conf", 1),
        ("hullwright/update.conf", 1),
    ];
    let smallest = releases()
        .map(|release| release.layout.esp)
        .min()
        .unwrap_or(0);
    let needed = esp::required_bytes(&files, smallest);
    found.extend(exceeds(
        releases(),
        needed,
        "an ESP with three UKIs and the boot loader",
        "esp",
        |layout| layout.esp,
    ));
    found
}

/// The complaint, where `needed` bytes are too many for the smallest partition.
fn exceeds<'r>(
    releases: impl Iterator<Item = &'r Release>,
    needed: u64,
    what: &str,
    key: &str,
    of: fn(&Layout) -> u64,
) -> Option<Failure> {
    // Of equals the first, which is the oldest.
    let oldest = releases.min_by_key(|release| of(&release.layout))?;
    let size = of(&oldest.layout);
    let limit = size / 100 * FILL_PERCENT + size % 100 * FILL_PERCENT / 100;
    (needed > limit).then(|| {
        Failure::new(
            Kind::DoesNotFit,
            format!(
                "{what} needs {needed} bytes, and {FILL_PERCENT} % of the {size} bytes that machines \
                 installed with version {} have for it are {limit}",
                oldest.version
            ),
        )
        .hint("leave out packages, or compress better (root.compression)")
        .hint(format!(
            "those machines can't grow: for new ones raise `disk.{key}` and release under another os.id"
        ))
    })
}

/// Checks how much more a node has to download than for the last release.
#[must_use]
pub fn growth(last: Option<&Release>, new: &Release, percent: u32) -> Option<Failure> {
    let last = last?;
    let (before, now) = (last.update_size(), new.update_size());
    let limit = u128::from(before) * (100 + u128::from(percent)) / 100;
    (u128::from(now) > limit).then(|| {
        let grown = u128::from(now.saturating_sub(before)) * 1000 / u128::from(before.max(1));
        Failure::new(
            Kind::DoesNotFit,
            format!(
                "an update to version {} is {now} bytes ({}), {}.{} % more than the {before} bytes of {}; \
                 the budget is {percent} %",
                new.version,
                human_size(now),
                grown / 10,
                grown % 10,
                last.version
            ),
        )
        .hint("see what grew in the diff of package and file lists")
        .hint("if it is meant so, raise the budget with --max-growth PERCENT")
    })
}

/// Checks that no number of a user or group means another than in the last release: nodes keep files
/// with these numbers.
#[must_use]
pub fn ids(last: &Lock, new: &Lock, version: &str) -> Vec<Failure> {
    let kind = |name: &str| name.split(' ').next().unwrap_or_default().to_owned();
    let owners: BTreeMap<(String, u32), &str> = last
        .ids
        .iter()
        .map(|(name, number)| ((kind(name), *number), name.as_str()))
        .collect();
    let mut found = Vec::new();
    let hint = "keep the lock of the last release (its `ids`), or set the number in the profile";
    for (name, number) in &new.ids {
        let moved = last.ids.get(name).filter(|before| *before != number);
        let taken = owners
            .get(&(kind(name), *number))
            .filter(|owner| *owner != name);
        let message = match (moved, taken) {
            (Some(before), _) => {
                format!("{name} had number {before} in version {version}, and has {number} now")
            }
            (None, Some(owner)) => {
                format!(
                    "{name} has number {number}, which was that of {owner} in version {version}"
                )
            }
            (None, None) => continue,
        };
        found.push(Failure::new(Kind::Usage, message).hint(hint));
    }
    found
}

/// One error of all that was found.
///
/// # Errors
/// Something was.
pub fn refuse(found: Vec<Failure>) -> anyhow::Result<()> {
    let mut found = found.into_iter();
    let Some(mut first) = found.next() else {
        return Ok(());
    };
    first.others = found.collect();
    Err(first.into())
}

#[cfg(test)]
mod tests;
