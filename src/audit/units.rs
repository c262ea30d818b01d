//! Unit files of one manager, merged with their drop-ins as systemd merges them (systemd.unit(5)).

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;

use super::{Finding, Subject, config};
use crate::tree::policy::install::{Scope, UnitName};
use crate::tree::policy::unit_syntax;
use crate::tree::{Kind, Node, TreePath};

/// Aliases of aliases that are followed.
const MOST_ALIASES: usize = 8;

/// A setting of a unit and where it stands.
#[derive(Debug)]
pub struct Line {
    /// Section without brackets.
    pub section: String,
    /// Key.
    pub key: String,
    /// Value.
    pub value: String,
    file: Arc<TreePath>,
    line: usize,
}

impl Line {
    /// For messages: ``line 7, `User=x`,``.
    #[must_use]
    pub fn place(&self) -> String {
        format!("line {}, `{}={}`,", self.line, self.key, self.value)
    }

    /// A finding about this line: its message is the place, and then `message`.
    #[must_use]
    pub fn finding(
        &self,
        rule: &'static str,
        subject: &Subject<'_>,
        what: impl Into<String>,
        message: impl std::fmt::Display,
    ) -> Option<Finding> {
        let node = subject.tree.get(&self.file)?;
        let message = format!("{} {message}", self.place());
        Some(Finding::new(rule, (&self.file, node), what, message))
    }
}

/// A unit.
#[derive(Debug)]
pub struct Unit {
    /// Its own name, not that of an alias.
    pub name: String,
    /// The unit file in the tree.
    pub path: TreePath,
    /// Whether it is masked.
    pub masked: bool,
    /// Everything that the file and its drop-ins say, in order.
    pub settings: Vec<Line>,
}

impl Unit {
    /// All lines of `key` in `section`. Dependencies are such lists: nothing takes from them.
    #[must_use]
    pub fn all(&self, section: &str, key: &str) -> Vec<&Line> {
        let lines = self.settings.iter();
        lines
            .filter(|line| line.section == section && line.key == key)
            .collect()
    }

    /// The lines of a list that an empty value resets.
    #[must_use]
    pub fn list(&self, section: &str, key: &str) -> Vec<&Line> {
        let mut out = Vec::new();
        for line in self.all(section, key) {
            if line.value.is_empty() {
                out.clear();
            } else {
                out.push(line);
            }
        }
        out
    }

    /// The line that counts where only one does.
    #[must_use]
    pub fn last(&self, section: &str, key: &str) -> Option<&Line> {
        self.list(section, key).pop()
    }

    /// Whether a switch is on.
    #[must_use]
    pub fn is_on(&self, section: &str, key: &str) -> bool {
        self.last(section, key)
            .is_some_and(|line| matches!(&*line.value, "yes" | "true" | "on" | "1"))
    }

    /// The kind of unit with its dot.
    #[must_use]
    pub fn suffix(&self) -> &str {
        UnitName::parse(&self.name).map_or("", |name| name.suffix)
    }

    /// Whether no machine that runs the image starts it: it is masked, meant for the initrd, or has a
    /// condition on a path below `/usr` that isn't there. In `/etc` an administrator may add one.
    #[must_use]
    pub fn never_runs(&self, subject: &Subject<'_>) -> bool {
        self.masked
            || self.conditions().any(|path| {
                path == "/etc/initrd-release"
                    || (is_below_usr(path) && subject.find(path).is_none())
            })
    }

    /// Whether a condition keeps the unit from starting where there is no `path`.
    #[must_use]
    pub fn does_without(&self, path: &str) -> bool {
        self.conditions().any(|condition| condition == path)
    }

    /// The values of conditions on paths; those with a `!` or `|` in front are others.
    fn conditions(&self) -> impl Iterator<Item = &str> {
        let lines = CONDITIONS.iter().flat_map(|key| self.list("Unit", key));
        lines.map(|line| line.value.as_str())
    }
}

/// Conditions that a missing path fails.
const CONDITIONS: [&str; 5] = [
    "ConditionPathExists",
    "ConditionPathIsDirectory",
    "ConditionFileIsExecutable",
    "ConditionFileNotEmpty",
    "ConditionDirectoryNotEmpty",
];

fn is_below_usr(path: &str) -> bool {
    let top = ["/usr/", "/bin/", "/sbin/", "/lib/"];
    !path.contains('%') && top.iter().any(|top| path.starts_with(top))
}

/// A link of `NAME.wants` and the like.
#[derive(Debug)]
pub struct Link {
    /// The unit whose folder it lies in.
    pub by: String,
    /// Whether `by` can't start without it.
    pub required: bool,
    /// The unit that it names.
    pub unit: String,
    /// Where it lies in the tree.
    pub path: TreePath,
}

impl Link {
    /// A finding about this link.
    #[must_use]
    pub fn finding(
        &self,
        rule: &'static str,
        subject: &Subject<'_>,
        what: &str,
        message: String,
    ) -> Option<Finding> {
        let node = subject.tree.get(&self.path)?;
        Some(Finding::new(rule, (&self.path, node), what, message))
    }
}

/// All units of one manager.
#[derive(Debug)]
pub struct Units {
    units: BTreeMap<String, Unit>,
    aliases: BTreeMap<String, Alias>,
    /// Links of `NAME.wants`, `NAME.requires` and `NAME.upholds`.
    pub links: Vec<Link>,
}

/// Another name of a unit.
#[derive(Debug)]
pub struct Alias {
    /// The name that the link leads to.
    pub of: String,
    /// The link in the tree.
    pub path: TreePath,
}

/// Names that stand for whatever an installation has or has not: `display-manager.service` is an alias
/// of one of several, and `syslog.service` of none where the journal is all (systemd.special(7)).
pub const BY_CONVENTION: [&str; 2] = ["display-manager.service", "syslog.service"];

/// The folders of unit files, the winning one first. Generators' and the control folders in `/run`
/// are the running system's.
const fn folders(scope: Scope) -> &'static [&'static str] {
    match scope {
        Scope::System => &[
            "/etc/systemd/system",
            "/usr/local/lib/systemd/system",
            "/usr/lib/systemd/system",
        ],
        Scope::User => &[
            "/etc/systemd/user",
            "/usr/local/lib/systemd/user",
            "/usr/lib/systemd/user",
            "/usr/share/systemd/user",
        ],
    }
}

/// A folder `NAME.d` with its files.
type Dropins = BTreeMap<String, BTreeMap<String, String>>;

impl Units {
    /// Those of one manager.
    ///
    /// # Errors
    /// Content that does not decompress.
    pub fn of<'a>(subject: &'a Subject<'_>, scope: Scope) -> Result<&'a Self> {
        let place = match scope {
            Scope::System => &subject.shared.system,
            Scope::User => &subject.shared.user,
        };
        place.get(|| Self::read(subject, scope))
    }

    fn read(subject: &Subject<'_>, scope: Scope) -> Result<Self> {
        let mut out = Self {
            units: BTreeMap::new(),
            aliases: BTreeMap::new(),
            links: Vec::new(),
        };
        let mut dropins = Dropins::new();
        for folder in folders(scope) {
            let Some((dir, _)) = subject.find(folder) else {
                continue;
            };
            for (path, node) in subject.tree.children(&dir) {
                let name = String::from_utf8_lossy(path.name()).into_owned();
                if node.is_dir() {
                    out.add_folder(subject, path, &name, &mut dropins);
                } else if UnitName::parse(&name).is_some() && !out.knows(&name) {
                    out.add_file(subject, path, node, name)?;
                }
            }
        }
        let others: BTreeMap<String, Vec<String>> =
            out.aliases
                .iter()
                .fold(BTreeMap::new(), |mut all, (name, alias)| {
                    let names: &mut Vec<String> = all.entry(alias.of.clone()).or_default();
                    names.push(name.clone());
                    all
                });
        for unit in out.units.values_mut() {
            let mut files: BTreeMap<&String, &String> = BTreeMap::new();
            let names = others.get(&unit.name).into_iter().flatten();
            for name in names
                .chain([&unit.name])
                .flat_map(|name| dropin_names(name))
            {
                files.extend(dropins.get(&name).into_iter().flatten());
            }
            for at in files.into_values() {
                if let Some(text) = config::text(subject, at)? {
                    unit.add(&text.path, &text.text);
                }
            }
        }
        Ok(out)
    }

    fn knows(&self, name: &str) -> bool {
        self.units.contains_key(name) || self.aliases.contains_key(name)
    }

    fn add_file(
        &mut self,
        subject: &Subject<'_>,
        path: &TreePath,
        node: &Node,
        name: String,
    ) -> Result<()> {
        if let Kind::Symlink(target) = &node.kind {
            let last = target.rsplit(|&byte| byte == b'/').next();
            let last = String::from_utf8_lossy(last.unwrap_or_default()).into_owned();
            if last != name && UnitName::parse(&last).is_some() {
                let path = path.clone();
                self.aliases.insert(name, Alias { of: last, path });
                return Ok(());
            }
        }
        let text = config::text(subject, &Subject::at_run_time(path))?;
        let mut unit = Unit {
            name: name.clone(),
            path: path.clone(),
            // A link to /dev/null, or an empty file.
            masked: text.as_ref().is_none_or(|text| text.text.is_empty()),
            settings: Vec::new(),
        };
        if let Some(text) = text {
            unit.add(&text.path, &text.text);
        }
        self.units.insert(name, unit);
        Ok(())
    }

    fn add_folder(
        &mut self,
        subject: &Subject<'_>,
        dir: &TreePath,
        name: &str,
        dropins: &mut Dropins,
    ) {
        if let Some(of) = name.strip_suffix(".d") {
            let files = dropins.entry(of.to_owned()).or_default();
            let at = Subject::at_run_time(dir);
            for (file, path) in config::names(subject, &[&at], ".conf") {
                files.entry(file).or_insert(path);
            }
            return;
        }
        for (suffix, required) in [(".wants", false), (".requires", true), (".upholds", false)] {
            let Some(by) = name.strip_suffix(suffix) else {
                continue;
            };
            for (path, _) in subject.tree.children(dir) {
                self.links.push(Link {
                    by: by.to_owned(),
                    required,
                    unit: String::from_utf8_lossy(path.name()).into_owned(),
                    path: path.clone(),
                });
            }
        }
    }

    /// The unit of this name: through aliases, and of an instance its template.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Unit> {
        let mut name = name.to_owned();
        for _ in 0..MOST_ALIASES {
            if let Some(unit) = self.units.get(&name) {
                return Some(unit);
            }
            if let Some(alias) = self.aliases.get(&name) {
                name.clone_from(&alias.of);
                continue;
            }
            let template = UnitName::parse(&name)?.template();
            if template == name || !name.contains('@') {
                return None;
            }
            name = template;
        }
        None
    }

    /// All units by name, without aliases.
    pub fn iter(&self) -> impl Iterator<Item = &Unit> {
        self.units.values()
    }

    /// The units that the image may start.
    pub fn that_may_run<'a>(&'a self, subject: &'a Subject<'_>) -> impl Iterator<Item = &'a Unit> {
        self.iter().filter(|unit| !unit.never_runs(subject))
    }

    /// All aliases by name.
    pub fn aliases(&self) -> impl Iterator<Item = (&String, &Alias)> {
        self.aliases.iter()
    }
}

impl Unit {
    fn add(&mut self, file: &TreePath, text: &str) {
        let file = Arc::new(file.clone());
        let settings = unit_syntax::settings(text).into_iter();
        self.settings.extend(settings.map(|setting| Line {
            section: setting.section,
            key: setting.key,
            value: setting.value,
            line: setting.line,
            file: Arc::clone(&file),
        }));
    }
}

/// The names `X` of the folders `X.d` that count for a unit: `service`, those of its prefixes
/// (`foo-.service` for `foo-bar.service`), its template's and its own.
fn dropin_names(name: &str) -> Vec<String> {
    let Some(parsed) = UnitName::parse(name) else {
        return Vec::new();
    };
    let mut out = vec![parsed.suffix.trim_start_matches('.').to_owned()];
    for (dash, _) in parsed.prefix.match_indices('-') {
        let prefix = &parsed.prefix[..=dash];
        out.push(format!("{prefix}{}", parsed.suffix));
    }
    if parsed.instance.is_some() {
        out.push(parsed.template());
    }
    out.push(name.to_owned());
    out.dedup();
    out
}

/// The names of units in a value that a build can know: the template where the instance is open, and
/// only of kinds that are files. Devices, mounts, slices and scopes come into being by themselves.
#[must_use]
pub fn unit_names(value: &str) -> Vec<String> {
    let names = value
        .split_ascii_whitespace()
        .map(|name| name.trim_matches('"'));
    names.filter_map(known_name).collect()
}

fn known_name(name: &str) -> Option<String> {
    const FILES: [&str; 5] = [".service", ".socket", ".target", ".timer", ".path"];
    if !FILES.iter().any(|suffix| name.ends_with(suffix)) {
        return None;
    }
    let name = match (name.split_once('@'), name.rfind('.')) {
        (Some((prefix, rest)), Some(dot)) if rest.contains('%') => {
            format!("{prefix}@{}", name.get(dot..)?)
        }
        _ => name.to_owned(),
    };
    (!name.contains('%')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{Image, link};

    #[test]
    fn units_are_merged_with_every_folder_that_counts() {
        let image = Image::new(&[
            (
                "usr/lib/systemd/system/a-b.service",
                "[Service]\nUser=one\nExecStart=/x\n",
            ),
            (
                "usr/lib/systemd/system/a-.service.d/10.conf",
                "[Service]\nExecStart=\nExecStart=/y\n",
            ),
            (
                "usr/lib/systemd/system/service.d/20.conf",
                "[Service]\nUser=two\n",
            ),
            (
                "usr/lib/systemd/system/other.service.d/30.conf",
                "[Unit]\nWants=c.service\n",
            ),
            (
                "usr/share/factory/etc/systemd/system/service.d/20.conf",
                "[Service]\nUser=three\n",
            ),
            ("usr/lib/systemd/system/t@.service", "[Service]\n"),
        ])
        .with("usr/lib/systemd/system/other.service", link("a-b.service"))
        .with("usr/lib/systemd/system/m.service", link("/dev/null"))
        .with(
            "usr/share/factory/etc/systemd/system/x.target.wants/t@1.service",
            link("/usr/lib/systemd/system/t@.service"),
        );
        let subject = image.subject();
        let units = Units::of(&subject, Scope::System).unwrap();
        let unit = units.get("other.service").unwrap();
        assert_eq!(unit.name, "a-b.service");
        assert_eq!(unit.last("Service", "User").unwrap().value, "three");
        let programs: Vec<_> = unit
            .list("Service", "ExecStart")
            .iter()
            .map(|line| line.place())
            .collect();
        assert_eq!(programs, ["line 3, `ExecStart=/y`,"]);
        assert_eq!(unit.all("Unit", "Wants").len(), 1);
        assert_eq!(units.get("t@1.service").unwrap().name, "t@.service");
        assert!(units.get("m.service").unwrap().masked);
        assert!(units.get("n.service").is_none());
        assert_eq!(
            (units.links[0].by.as_str(), units.links[0].required),
            ("x.target", false)
        );
    }

    #[test]
    fn names_that_nobody_knows_before_are_left_out() {
        assert_eq!(
            unit_names("a.service b@%i.service %i.mount x@1.socket %p.service -.slice"),
            ["a.service", "b@.service", "x@1.socket"]
        );
    }
}
