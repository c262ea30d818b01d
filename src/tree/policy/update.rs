//! Updates: what systemd-sysupdate is told, the keys that sign releases, and `hullwright-update` with
//! its timers. It is in every image; only the timers need a server.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use super::edit::{Editor, exists, path};
use super::install::UnitName;
use crate::failure::{Failure, Kind as FailureKind};
use crate::profile::Profile;
use crate::profile::schema::Units;
use crate::sign::openpgp;
use crate::tree::Tree;

/// What the policy depends on besides the profile.
#[derive(Debug, Clone, Copy, Default)]
pub struct UpdateInput<'a> {
    /// The armoured OpenPGP key that signs releases, where the keys have one.
    pub release_key: Option<&'a str>,
    /// More keys, in binary form.
    pub more_keys: &'a [u8],
    /// What systemd-boot says of itself.
    pub loader_version: Option<&'a str>,
}

macro_rules! embed {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../profiles/units/update/", $name)))),*]
    };
}

/// Executables, below `/usr/lib/hullwright`.
const SCRIPTS: &[(&str, &str)] = embed!(
    "update-setup",
    "update-reboot",
    "update-loader",
    "update-try"
);
/// What they share.
const LIBRARY: &str = include_str!("../../../profiles/units/update/update-lib.sh");
/// The command.
const COMMAND: &str = include_str!("../../../profiles/units/update/hullwright-update");
/// Templates of transfers; the node fills in its server, channel and tries.
const TRANSFERS: &[(&str, &str)] = embed!(
    "10-verity.transfer",
    "20-verity-sig.transfer",
    "30-usr.transfer",
    "90-uki.transfer",
);
/// Units that nothing is filled into.
const SERVICES: &[(&str, &str)] = embed!(
    "hullwright-update-setup.service",
    "hullwright-update.service",
    "hullwright-update-loader.service",
    "hullwright-update-reboot.service",
    "hullwright-update-try.service",
);
const TIMER: &str = include_str!("../../../profiles/units/update/hullwright-update.timer");
const WINDOW: &str = include_str!("../../../profiles/units/update/window.timer");

/// What verifies and writes updates; an image without it has none.
const SYSUPDATE: &str = "usr/lib/systemd/systemd-sysupdate";
/// The keys that systemd-pull takes (systemd 257, `VENDOR_KEYRING_PATH`).
const KEYRING: &str = "usr/lib/systemd/import-pubring.gpg";
const UNIT_DIR: &str = "usr/lib/systemd/system";

/// Writes all of it, where the image has systemd-sysupdate; the units to enable.
///
/// # Errors
/// The profile names a server, and the image could not verify or install what it serves.
pub fn write(tree: &mut Tree, profile: &Profile, input: UpdateInput<'_>) -> Result<Vec<String>> {
    let update = &profile.update;
    check(tree, profile, input)?;
    if !exists(tree, SYSUPDATE) {
        return Ok(Vec::new());
    }
    let mut keys = match input.release_key {
        Some(armoured) => {
            openpgp::keyring(armoured.as_bytes()).context("reading the release key")?
        }
        None => Vec::new(),
    };
    keys.extend_from_slice(input.more_keys);

    let mut edit = Editor::new(tree, "updates");
    // The package's keys are those of other distributions.
    edit.write(KEYRING, 0o644, keys)?;
    edit.write("usr/bin/hullwright-update", 0o755, COMMAND)?;
    edit.write("usr/lib/hullwright/update-lib.sh", 0o644, LIBRARY)?;
    for (name, text) in SCRIPTS {
        edit.write(&format!("usr/lib/hullwright/{name}"), 0o755, *text)?;
    }
    for (name, text) in TRANSFERS {
        edit.write(
            &format!("usr/lib/hullwright/transfers/{name}"),
            0o644,
            *text,
        )?;
    }
    edit.write(
        "usr/lib/hullwright/update.conf",
        0o644,
        defaults(profile)?.as_str(),
    )?;
    if let Some(version) = input.loader_version {
        let text = format!("{version}\n");
        edit.write(
            "usr/lib/hullwright/systemd-boot.version",
            0o644,
            text.as_str(),
        )?;
    }
    for (name, text) in SERVICES {
        edit.write(&format!("{UNIT_DIR}/{name}"), 0o644, *text)?;
    }
    let timer = TIMER
        .replace("@INTERVAL@", &update.interval)
        .replace("@DELAY@", &update.delay);
    edit.write(
        &format!("{UNIT_DIR}/hullwright-update.timer"),
        0o644,
        timer.as_str(),
    )?;
    let mut enabled = vec!["hullwright-update-setup.service".to_owned()];
    if update.url.is_some() {
        enabled.push("hullwright-update.timer".into());
        enabled.push("hullwright-update-loader.service".into());
    }
    for (number, window) in (1..).zip(&update.windows) {
        let name = format!("hullwright-update-window-{number}.timer");
        let text = WINDOW
            .replace("@NUMBER@", &number.to_string())
            .replace("@START@", &window.start)
            .replace("@DURATION@", &window.duration);
        edit.write(&format!("{UNIT_DIR}/{name}"), 0o644, text.as_str())?;
        enabled.push(name);
    }
    Ok(enabled)
}

/// The profile's units with those of updates, unless it has switched them off.
#[must_use]
pub fn enable(units: &Units, more: Vec<String>) -> Units {
    let mut units = units.clone();
    for name in more {
        let named = |list: &[String]| list.contains(&name);
        if !named(&units.enable) && !named(&units.disable) && !named(&units.mask) {
            debug_assert!(UnitName::parse(&name).is_some());
            units.enable.push(name);
        }
    }
    units
}

/// `/usr/lib/hullwright/update.conf`: what holds where a node sets nothing else. It has no channel: a
/// release is promoted without changing a byte.
fn defaults(profile: &Profile) -> Result<String> {
    let update = &profile.update;
    let mut text = String::from("# Made by hullwright; /etc/hullwright/update.conf wins.\n");
    writeln!(text, "arch={}", profile.arch.traits().name)?;
    writeln!(text, "tries={}", profile.boot.tries)?;
    let url = update.url.as_deref().unwrap_or_default();
    writeln!(text, "url={}", url.trim_end_matches('/'))?;
    writeln!(text, "reboot={}", update.reboot.word())?;
    Ok(text)
}

fn check(tree: &Tree, profile: &Profile, input: UpdateInput<'_>) -> Result<()> {
    if profile.update.url.is_none() {
        return Ok(());
    }
    for (file, package) in [
        (SYSUPDATE, "systemd-container"),
        ("usr/lib/systemd/systemd-pull", "systemd-container"),
        ("usr/bin/gpg", "gpg"),
        ("usr/bin/bootctl", "systemd-boot-tools"),
    ] {
        if tree.resolve(&path(file)?).is_none() {
            return Err(Failure::new(
                FailureKind::Usage,
                format!(
                    "the profile has `update.url`, and the image has no /{file} to update with"
                ),
            )
            .hint(format!(
                "add `{package}` to packages.include, or leave update.url out"
            ))
            .into());
        }
    }
    if input.release_key.is_none() && input.more_keys.is_empty() {
        return Err(Failure::new(
            FailureKind::Keys,
            "the profile has `update.url`, and there is no key that releases could be verified with",
        )
        .hint("make a whole set with `hullwright keys new DIR`, or name a keyring in update.keyring")
        .into());
    }
    Ok(())
}
