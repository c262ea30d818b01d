//! What judges each boot, and ends one that is not good: units and scripts of `profiles/health`, and
//! what the profile's `health` says to them. `docs/failure-modes.md` has the whole.

use std::fmt::Write as _;

use anyhow::Result;

use super::edit::{Editor, exists};
use super::no_shell;
use crate::profile::Profile;
use crate::profile::schema::Health;
use crate::tree::Tree;

/// Scripts of the running system.
const SCRIPTS: &str = "usr/lib/hullwright";
/// Checks that belong to every image, or to a package.
const CHECKS: &str = "usr/lib/hullwright/health.d";
const UNITS: &str = "usr/lib/systemd/system";

macro_rules! shipped {
    ($($to:literal $mode:literal $file:literal),* $(,)?) => {
        &[$(($to, $mode, include_str!(concat!("../../../profiles/health/", $file)))),*]
    };
}

/// Path, mode and text of each file.
const FILES: &[(&str, u16, &str)] = shipped! {
    "usr/lib/hullwright/node.sh" 0o644 "scripts/node.sh",
    "usr/lib/hullwright/oneshot.sh" 0o644 "scripts/oneshot.sh",
    "usr/lib/hullwright/boot.sh" 0o644 "scripts/boot.sh",
    "usr/lib/hullwright/health" 0o755 "scripts/health",
    "usr/lib/hullwright/boot-failed" 0o755 "scripts/boot-failed",
    "usr/lib/hullwright/boot-good" 0o755 "scripts/boot-good",
    "usr/lib/hullwright/deadline" 0o755 "scripts/deadline",
    "usr/lib/hullwright/softdog" 0o755 "scripts/softdog",
    "usr/lib/systemd/system/hullwright-health.service" 0o644 "units/hullwright-health.service",
    "usr/lib/systemd/system/hullwright-boot-good.service" 0o644 "units/hullwright-boot-good.service",
    "usr/lib/systemd/system/hullwright-boot-failed.service" 0o644 "units/hullwright-boot-failed.service",
    "usr/lib/systemd/system/hullwright-deadline.service" 0o644 "units/hullwright-deadline.service",
    "usr/lib/systemd/system/hullwright-again.timer" 0o644 "units/hullwright-again.timer",
    "usr/lib/systemd/system/hullwright-softdog.service" 0o644 "units/hullwright-softdog.service",
};

/// What images with and without a shell have.
const SHARED: &[(&str, u16, &str)] = shipped! {
    "usr/lib/systemd/system/boot-complete.target.d/10-hullwright.conf" 0o644 "boot-complete.target.conf",
    "usr/lib/systemd/system/reboot.target.d/10-hullwright.conf" 0o644 "reboot.target.conf",
    "usr/lib/systemd/system.conf.d/10-hullwright.conf" 0o644 "manager.conf",
};

/// Who starts what. These links are the image's, not presets: no profile switches them off by mistake.
/// `basic.target` wants the last unit of the chain, as systemd-bless-boot-generator does it, so that
/// boots without a counter are judged too.
const STARTED_BY: &[(&str, &str)] = &[
    ("boot-complete.target.requires", "hullwright-health.service"),
    ("basic.target.wants", "hullwright-boot-good.service"),
    ("sysinit.target.wants", "hullwright-deadline.timer"),
    ("multi-user.target.wants", "hullwright-softdog.service"),
];

/// Checks of packages, by a file of theirs.
const PACKAGE_CHECKS: &[(&str, &str, &str)] = &[(
    "usr/bin/containerd",
    "50-containerd",
    include_str!("../../../profiles/health/scripts/containerd"),
)];

/// What the scripts are for, which have `#!/bin/sh`.
const SHELL: &str = "usr/bin/sh";

/// Writes all of it; where the image has no shell, what does without one.
///
/// # Errors
/// The image has no shell, and the profile asks for what needs one.
pub fn write(tree: &mut Tree, profile: &Profile) -> Result<()> {
    let health = &profile.health;
    let has_shell = exists(tree, SHELL);
    let mut edit = Editor::new(tree, "health");
    for (path, mode, text) in SHARED {
        edit.write(path, *mode, *text)?;
    }
    for (by, unit) in STARTED_BY {
        edit.symlink(&format!("{UNITS}/{by}/{unit}"), &format!("../{unit}"))?;
    }
    edit.write(
        &format!("{UNITS}/hullwright-deadline.timer"),
        0o644,
        deadline(health).as_str(),
    )?;
    if has_shell {
        write_scripts(&mut edit, health)
    } else {
        no_shell::write(&mut edit, profile)
    }
}

fn write_scripts(edit: &mut Editor<'_>, health: &Health) -> Result<()> {
    for (path, mode, text) in FILES {
        edit.write(path, *mode, *text)?;
    }
    edit.write(
        &format!("{SCRIPTS}/health.conf"),
        0o644,
        settings(health)?.as_str(),
    )?;
    if !health.units.is_empty() {
        let lines = health.units.join("\n") + "\n";
        edit.write(&format!("{CHECKS}/profile.units"), 0o644, lines.as_str())?;
    }
    for (of, name, text) in PACKAGE_CHECKS {
        if exists(edit.tree, of) {
            edit.write(&format!("{CHECKS}/{name}"), 0o755, *text)?;
        }
    }
    Ok(())
}

/// The timer is early and stays through the emergency mode, which is one of the ways to hang.
fn deadline(health: &Health) -> String {
    format!(
        "[Unit]\n\
         Description=Deadline of a boot\n\
         DefaultDependencies=no\n\
         IgnoreOnIsolate=yes\n\
         Conflicts=shutdown.target\n\
         \n\
         [Timer]\n\
         OnBootSec={}\n\
         AccuracySec=1s\n",
        health.timeout
    )
}

/// For the scripts. Values are words of checked characters.
fn settings(health: &Health) -> Result<String> {
    let mut text =
        String::from("# From the profile's `health`; /etc/hullwright/health.conf wins.\n");
    writeln!(text, "grace={}", health.grace)?;
    writeln!(text, "network={}", health.network.word())?;
    writeln!(text, "allow_failed='{}'", health.allow_failed.join(" "))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::schema::HealthNetwork;
    use crate::tree::TreePath;

    fn written(health: &Health, with: &[&str]) -> Tree {
        let mut tree = Tree::new();
        let mut edit = Editor::new(&mut tree, "test");
        for path in with.iter().chain(&[SHELL]) {
            edit.write(path, 0o755, "x").unwrap();
        }
        let mut profile = super::super::tests::profile("");
        profile.health = health.clone();
        write(&mut tree, &profile).unwrap();
        tree
    }

    fn text(tree: &Tree, path: &str) -> Option<String> {
        let path = TreePath::parse(path).unwrap();
        super::super::edit::text(tree, &path).unwrap()
    }

    #[test]
    fn what_the_profile_says_reaches_the_scripts() {
        let health = Health {
            timeout: 900,
            grace: 30,
            network: HealthNetwork::Require,
            units: vec!["app.service".into(), "db.service".into()],
            allow_failed: vec!["flaky-*.service".into()],
        };
        let tree = written(&health, &["usr/bin/containerd"]);
        let conf = text(&tree, "usr/lib/hullwright/health.conf").unwrap();
        for line in [
            "grace=30",
            "network=require",
            "allow_failed='flaky-*.service'",
        ] {
            assert!(conf.lines().any(|l| l == line), "{line} in {conf}");
        }
        let timer = text(&tree, "usr/lib/systemd/system/hullwright-deadline.timer").unwrap();
        assert!(timer.contains("OnBootSec=900\n"), "{timer}");
        assert_eq!(
            text(&tree, "usr/lib/hullwright/health.d/profile.units").unwrap(),
            "app.service\ndb.service\n"
        );
        assert!(text(&tree, "usr/lib/hullwright/health.d/50-containerd").is_some());
    }

    #[test]
    fn checks_of_absent_packages_are_left_out() {
        let tree = written(&Health::default(), &[]);
        assert!(text(&tree, "usr/lib/hullwright/health.d/50-containerd").is_none());
        assert!(text(&tree, "usr/lib/hullwright/health.d/profile.units").is_none());
    }

    #[test]
    fn every_unit_that_is_started_is_there_and_every_script_that_a_unit_starts() {
        let tree = written(&Health::default(), &[]);
        for (_, unit) in STARTED_BY {
            assert!(text(&tree, &format!("{UNITS}/{unit}")).is_some(), "{unit}");
        }
        for (path, _, unit) in FILES.iter().filter(|(path, ..)| path.ends_with(".service")) {
            let script = unit
                .lines()
                .find_map(|line| line.strip_prefix("ExecStart=/"))
                .unwrap_or_else(|| panic!("{path} starts nothing"));
            let node = tree.get(&TreePath::parse(script).unwrap()).unwrap();
            assert_eq!(node.meta.mode, 0o755, "{script}");
        }
    }

    #[test]
    fn pid_1_has_the_same_watchdog_in_the_initrd_and_behind_it() {
        let (.., ours) = SHARED
            .iter()
            .find(|(path, ..)| path.contains("system.conf.d"))
            .unwrap();
        let initrd = include_str!(
            "../../../profiles/initrd/files/usr/lib/systemd/system.conf.d/10-hullwright.conf"
        );
        assert_eq!(*ours, initrd);
    }
}
