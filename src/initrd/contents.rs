//! The list of contents, and the files that hullwright adds to it.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::collect::Collector;
use crate::tree::TreePath;

const LIST: &str = include_str!("../../profiles/initrd/contents.yaml");
const UNITS: &str = "usr/lib/systemd/system";

macro_rules! shipped {
    ($($path:literal $mode:literal),* $(,)?) => {
        &[$(($path, $mode, include_str!(concat!("../../profiles/initrd/files/", $path)))),*]
    };
}

/// Path, mode and text of each file of our own.
const OWN_FILES: &[(&str, u16, &str)] = shipped! {
    "etc/nsswitch.conf" 0o644,
    "etc/shadow" 0o600,
    "usr/lib/hullwright/boot-count" 0o644,
    "usr/lib/hullwright/deadline" 0o644,
    "usr/lib/hullwright/etc-overlay.conf" 0o644,
    "usr/lib/systemd/system.conf.d/10-hullwright.conf" 0o644,
    "usr/lib/systemd/system/dev-gpt\\x2dauto\\x2droot.device.d/10-hullwright.conf" 0o644,
    "usr/lib/systemd/system/emergency.service" 0o644,
    "usr/lib/systemd/system/emergency.target" 0o644,
    "usr/lib/systemd/system/hullwright-boot-count.service" 0o644,
    "usr/lib/systemd/system/hullwright-etc-prepare.service" 0o644,
    "usr/lib/systemd/system/hullwright-initrd-deadline.service" 0o644,
    "usr/lib/systemd/system/hullwright-initrd-deadline.timer" 0o644,
    "usr/lib/systemd/system/sysroot-etc.mount" 0o644,
    "usr/lib/systemd/system/systemd-veritysetup@usr.service.d/10-hullwright.conf" 0o644,
};

/// `profiles/initrd/contents.yaml`, where each key is explained.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Contents {
    binaries: Vec<String>,
    renamed: BTreeMap<String, String>,
    development_binaries: Vec<String>,
    pub(super) dlopen_features: Vec<String>,
    units: Vec<String>,
    wants: BTreeMap<String, Vec<String>>,
    requires: BTreeMap<String, Vec<String>>,
    files: Vec<String>,
    etc: Vec<String>,
    links: BTreeMap<String, String>,
    empty_files: Vec<String>,
    directories: BTreeMap<String, u16>,
    pub(super) load_modules: Vec<String>,
    pub(super) load_modules_if_present: Vec<String>,
}

impl Contents {
    /// The list that hullwright carries.
    pub(super) fn shipped() -> Result<Self> {
        serde_yaml::from_str(LIST).context("reading profiles/initrd/contents.yaml")
    }

    /// Paths of the image that an initrd cannot be without.
    #[cfg(test)]
    pub(super) fn demanded(&self) -> Vec<String> {
        let units = self.units.iter().map(|unit| format!("{UNITS}/{unit}"));
        let etc = self
            .etc
            .iter()
            .map(|name| format!("usr/share/factory/etc/{name}"));
        let files = self
            .binaries
            .iter()
            .chain(self.renamed.keys())
            .chain(&self.development_binaries)
            .chain(&self.files);
        units
            .chain(etc)
            .chain(files.filter(|path| !path.ends_with('?')).cloned())
            .collect()
    }

    /// Puts everything but libraries and modules into `to`.
    pub(super) fn collect(&self, to: &mut Collector<'_>, development: bool) -> Result<()> {
        const LIST_NAME: &str = "profiles/initrd/contents.yaml";
        for (path, mode) in &self.directories {
            to.make_directory(TreePath::parse(path)?, *mode);
        }
        to.link_merged_directories()?;
        for (path, target) in &self.links {
            to.make_link(TreePath::parse(path)?, target);
        }
        for path in &self.empty_files {
            to.make_file(TreePath::parse(path)?, 0o644, "");
        }
        for (path, mode, text) in OWN_FILES {
            to.make_file(TreePath::parse(path)?, *mode, text);
        }
        for name in &self.etc {
            let from = TreePath::parse(format!("usr/share/factory/etc/{name}"))?;
            to.copy_to(&from, TreePath::parse(format!("etc/{name}"))?, LIST_NAME)?;
        }
        for (from, path) in &self.renamed {
            to.copy_to(&TreePath::parse(from)?, TreePath::parse(path)?, LIST_NAME)?;
        }
        let development: &[String] = if development {
            &self.development_binaries
        } else {
            &[]
        };
        for path in self.binaries.iter().chain(development).chain(&self.files) {
            match path.strip_suffix('?') {
                Some(path) => to.take_if_present(&TreePath::parse(path)?, LIST_NAME)?,
                None => to.take(&TreePath::parse(path)?, LIST_NAME).map(drop)?,
            }
        }
        for unit in &self.units {
            let path = format!("{UNITS}/{unit}");
            to.take(&TreePath::parse(&path)?, LIST_NAME)?;
            to.take_if_present(&TreePath::parse(format!("{path}.d"))?, LIST_NAME)?;
        }
        for (kind, lists) in [("wants", &self.wants), ("requires", &self.requires)] {
            for (unit, pulled) in lists {
                for other in pulled {
                    let path = TreePath::parse(format!("{UNITS}/{unit}.{kind}/{other}"))?;
                    to.make_link(path, &format!("../{other}"));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_that_is_pulled_in_is_part_of_the_list() {
        let contents = Contents::shipped().unwrap();
        let own = |unit: &String| {
            OWN_FILES
                .iter()
                .any(|(path, ..)| path.strip_prefix(UNITS).is_some_and(|p| p[1..] == *unit))
        };
        let pulled = contents.wants.iter().chain(&contents.requires);
        for (unit, others) in pulled {
            for name in others.iter().chain([unit]) {
                assert!(contents.units.contains(name) || own(name), "{name}");
            }
        }
    }

    #[test]
    fn the_overlay_records_nothing_about_its_lower_layer() {
        let (.., text) = OWN_FILES
            .iter()
            .find(|(path, ..)| path.ends_with("/sysroot-etc.mount"))
            .unwrap();
        for option in [
            "index=off",
            "metacopy=off",
            "xino=off",
            "redirect_dir=nofollow",
        ] {
            assert!(text.contains(option), "{option}");
        }
    }

    #[test]
    fn no_shell_is_where_one_is_looked_for() {
        let contents = Contents::shipped().unwrap();
        for path in contents
            .binaries
            .iter()
            .chain(&contents.development_binaries)
        {
            let name = path.rsplit('/').next().unwrap();
            assert!(
                !["sh", "bash", "dash", "busybox", "sulogin"].contains(&name),
                "{path}"
            );
        }
        for path in contents.renamed.values() {
            assert!(path.starts_with("usr/lib/hullwright/"), "{path}");
        }
    }

    #[test]
    fn the_shell_of_the_initrd_only_ever_runs_a_script_of_ours() {
        let shell = "usr/lib/hullwright/sh";
        for (path, _, text) in OWN_FILES {
            for line in text.lines().filter(|line| line.contains(shell)) {
                let script = line
                    .strip_prefix("ExecStart=/usr/lib/hullwright/sh /")
                    .unwrap_or_else(|| panic!("{path}: {line}"));
                assert!(OWN_FILES.iter().any(|(path, ..)| *path == script), "{line}");
            }
        }
    }

    #[test]
    fn nothing_in_the_list_reads_what_the_stub_takes_from_the_esp() {
        // systemd-stub(7), "Files": credentials and extension images land in /.extra. Libraries name
        // it too, but act on it for these programs only; PID 1 is told not to.
        let readers = [
            "systemd-confext",
            "systemd-creds",
            "systemd-pcr",
            "systemd-sysext",
            "systemd-sysusers",
            "systemd-stub",
            "systemd-tpm2",
        ];
        let contents = Contents::shipped().unwrap();
        let own = OWN_FILES.iter().map(|(path, ..)| (*path).to_owned());
        for path in contents.demanded().into_iter().chain(own) {
            assert!(!readers.iter().any(|r| path.contains(r)), "{path}");
        }
        for (path, _, text) in OWN_FILES {
            assert!(!text.contains("/.extra"), "{path}");
        }
    }
}
