//! What judges a boot in an image without a shell: systemd's own programs, in units of
//! `profiles/health/no-shell`. `docs/profiles.md` says what the scripts of other images do beyond it.

use std::fmt::Write as _;

use anyhow::Result;

use super::edit::Editor;
use crate::failure::{Failure, Kind};
use crate::profile::Profile;
use crate::profile::schema::{Health, HealthNetwork};

const UNITS: &str = "usr/lib/systemd/system";
const TMPFILES: &str = "usr/lib/hullwright/boot-good.conf";

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../profiles/health/no-shell/", $name)))),*]
    };
}

const SERVICES: &[(&str, &str)] = shipped!(
    "hullwright-boot-failed.service",
    "hullwright-boot-good.service",
    "hullwright-deadline.service",
    "hullwright-failed.service",
    "hullwright-softdog.service",
);

/// Writes the units.
///
/// # Errors
/// The profile asks for what needs a shell.
pub fn write(edit: &mut Editor<'_>, profile: &Profile) -> Result<()> {
    check(profile)?;
    for (name, text) in SERVICES {
        edit.write(&format!("{UNITS}/{name}"), 0o644, *text)?;
    }
    edit.symlink(
        &format!("{UNITS}/boot-complete.target.requires/hullwright-failed.service"),
        "../hullwright-failed.service",
    )?;
    edit.write(
        &format!("{UNITS}/hullwright-health.service"),
        0o644,
        health_unit(&profile.health)?.as_str(),
    )?;
    edit.write(TMPFILES, 0o644, good(&profile.os.version).as_str())
}

fn check(profile: &Profile) -> Result<()> {
    let needs = if profile.board.is_some() {
        "firmware that can't count boots (`board`)"
    } else if !profile.health.allow_failed.is_empty() {
        "`health.allow_failed`"
    } else {
        return Ok(());
    };
    Err(Failure::new(
        Kind::Usage,
        format!("{needs} needs the scripts of hullwright, and the image has no /usr/bin/sh"),
    )
    .hint("add `dash` to packages.include, and let no rule of root.prune take /usr/bin/sh away")
    .into())
}

/// Waits for the network, and then asks for each unit.
fn health_unit(health: &Health) -> Result<String> {
    let mut text = String::from(
        "[Unit]\n\
         Description=Judge this boot\n\
         # What the boot starts has started, or failed.\n\
         After=default.target multi-user.target graphical.target\n\
         Before=boot-complete.target\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n",
    );
    let tolerant = match health.network {
        HealthNetwork::Require => Some(""),
        // A node whose links have no carrier has no network to wait for.
        HealthNetwork::Auto => Some("-"),
        HealthNetwork::Off => None,
    };
    if let Some(tolerant) = tolerant {
        let grace = health.grace;
        writeln!(
            text,
            "ExecStart={tolerant}/usr/lib/systemd/systemd-networkd-wait-online --any --timeout={grace}\n\
             TimeoutStartSec={}",
            grace + 60
        )?;
    }
    for unit in &health.units {
        writeln!(text, "ExecStart=/usr/bin/systemctl is-active {unit}")?;
    }
    if text.ends_with("RemainAfterExit=yes\n") {
        text.push_str("ExecStart=/usr/bin/systemctl --version\n");
    }
    Ok(text)
}

/// Lines of tmpfiles.d(5). The initrd's boot-count writes an attempt where nothing else counts, and takes
/// the folder for granted; systemd-gpt-auto-generator mounts the ESP at /boot when it is looked at.
fn good(version: &str) -> String {
    format!(
        "f /run/hullwright/healthy\n\
         d /boot/hullwright/attempts - - -\n\
         r /boot/hullwright/attempts/{version}.*\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Tree, TreePath};

    fn profile() -> Profile {
        let mut profile = super::super::tests::profile("");
        profile.board = None;
        profile
    }

    fn written(profile: &Profile) -> Result<Tree> {
        let mut tree = Tree::new();
        write(&mut Editor::new(&mut tree, "test"), profile)?;
        Ok(tree)
    }

    fn text(tree: &Tree, path: &str) -> String {
        let path = TreePath::parse(path).unwrap();
        super::super::edit::text(tree, &path).unwrap().unwrap()
    }

    #[test]
    fn no_unit_starts_a_script() {
        let tree = written(&profile()).unwrap();
        let mut seen = 0;
        for (path, _) in tree
            .iter()
            .filter(|(path, _)| path.to_string().ends_with(".service"))
        {
            let Ok(Some(unit)) = super::super::edit::text(&tree, path) else {
                continue;
            };
            for line in unit.lines().filter(|line| line.starts_with("Exec")) {
                let (_, command) = line.split_once('=').unwrap();
                let program = command.trim_start_matches('-').split(' ').next().unwrap();
                assert!(
                    program.contains("/systemd")
                        || program.contains("ctl")
                        || program.contains("udevadm")
                        || program == "/usr/sbin/modprobe",
                    "{path}: {line}"
                );
                seen += 1;
            }
        }
        assert!(seen > 6, "{seen}");
    }

    #[test]
    fn what_the_profile_asks_for_reaches_the_unit() {
        let mut profile = profile();
        profile.health.units = vec!["app.service".into(), "db.service".into()];
        profile.health.network = HealthNetwork::Require;
        profile.health.grace = 30;
        profile.os.version = "1.2.3".into();
        let tree = written(&profile).unwrap();
        let unit = text(&tree, "usr/lib/systemd/system/hullwright-health.service");
        for line in [
            "ExecStart=/usr/bin/systemctl is-active app.service",
            "ExecStart=/usr/bin/systemctl is-active db.service",
            "ExecStart=/usr/lib/systemd/systemd-networkd-wait-online --any --timeout=30",
        ] {
            assert!(unit.lines().any(|l| l == line), "{line} in {unit}");
        }
        assert!(text(&tree, TMPFILES).contains("r /boot/hullwright/attempts/1.2.3.*\n"));
        profile.health.network = HealthNetwork::Off;
        let tree = written(&profile).unwrap();
        let unit = text(&tree, "usr/lib/systemd/system/hullwright-health.service");
        assert!(!unit.contains("wait-online"), "{unit}");
    }

    #[test]
    fn what_needs_a_script_is_refused() {
        let mut profile = profile();
        profile.health.allow_failed = vec!["flaky.service".into()];
        let error = written(&profile).unwrap_err();
        assert!(
            error.to_string().contains("health.allow_failed"),
            "{error:#}"
        );
    }
}
