//! The `[Install]` section of unit files, and the links that enabling makes (systemd.unit(5)).

use std::collections::BTreeMap;

use anyhow::Result;

use crate::failure::{Failure, Kind as FailureKind};
use crate::tree::{Kind, Tree, TreePath};

use super::{edit, unit_syntax};

/// Which manager's units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// PID 1.
    System,
    /// The users' managers.
    User,
}

impl Scope {
    /// The folder's name below `systemd/`.
    #[must_use]
    pub const fn folder(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
        }
    }
}

/// What `[Install]` says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Install {
    /// `Alias=`.
    pub alias: Vec<String>,
    /// `Also=`.
    pub also: Vec<String>,
    /// `DefaultInstance=`.
    pub default_instance: Option<String>,
    /// Links by folder suffix (`.wants`, `.requires`, `.upholds`).
    pub wanted_by: BTreeMap<&'static str, Vec<String>>,
}

impl Install {
    /// Whether enabling the unit would do anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.alias.is_empty() && self.also.is_empty() && self.wanted_by.is_empty()
    }

    /// Adds what one unit file or drop-in says; an empty value resets a list.
    pub fn read(&mut self, text: &str) {
        for setting in unit_syntax::settings(text) {
            if setting.section != "Install" {
                continue;
            }
            let value = setting.value.as_str();
            match setting.key.as_str() {
                "Alias" => extend(&mut self.alias, value),
                "Also" => extend(&mut self.also, value),
                "DefaultInstance" => {
                    self.default_instance = Some(value.to_owned()).filter(|v| !v.is_empty());
                }
                "WantedBy" => self.link(".wants", value),
                "RequiredBy" => self.link(".requires", value),
                "UpheldBy" => self.link(".upholds", value),
                _ => {}
            }
        }
    }

    fn link(&mut self, suffix: &'static str, value: &str) {
        let list = self.wanted_by.entry(suffix).or_default();
        extend(list, value);
        if list.is_empty() {
            self.wanted_by.remove(suffix);
        }
    }
}

fn extend(list: &mut Vec<String>, value: &str) {
    if value.is_empty() {
        list.clear();
    }
    list.extend(value.split_ascii_whitespace().map(String::from));
}

/// The parts of a unit's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitName<'a> {
    /// Before the first `@`, or before the suffix.
    pub prefix: &'a str,
    /// Between `@` and the suffix; `Some("")` for a template.
    pub instance: Option<&'a str>,
    /// The type with its dot.
    pub suffix: &'a str,
}

const TYPES: [&str; 11] = [
    ".service",
    ".socket",
    ".target",
    ".device",
    ".mount",
    ".automount",
    ".swap",
    ".timer",
    ".path",
    ".slice",
    ".scope",
];

impl<'a> UnitName<'a> {
    /// Splits `name`; `None` when it is not a unit's name.
    #[must_use]
    pub fn parse(name: &'a str) -> Option<Self> {
        let suffix = TYPES.into_iter().find(|s| name.ends_with(s))?;
        let stem = name.strip_suffix(suffix)?;
        let (prefix, instance) = match stem.split_once('@') {
            Some((prefix, instance)) => (prefix, Some(instance)),
            None => (stem, None),
        };
        let legal = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        (!prefix.is_empty() && name.len() <= 255 && stem.chars().all(legal)).then_some(Self {
            prefix,
            instance,
            suffix: &name[name.len() - suffix.len()..],
        })
    }

    /// Whether this is `name@.type`.
    #[must_use]
    pub fn is_template(&self) -> bool {
        self.instance == Some("")
    }

    /// `name@.type` of an instance.
    #[must_use]
    pub fn template(&self) -> String {
        format!("{}@{}", self.prefix, self.suffix)
    }

    fn with_instance(&self, instance: &str) -> String {
        format!("{}@{instance}{}", self.prefix, self.suffix)
    }
}

/// A unit file of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitFile {
    /// Where it lies.
    pub path: TreePath,
    /// The name that it is a file of: after aliases are followed.
    pub name: String,
    /// `[Install]` of it and its drop-ins.
    pub install: Install,
    /// A link to `/dev/null`.
    pub masked: bool,
}

/// The folders of unit files, the winning one first.
#[must_use]
pub fn folders(scope: Scope) -> [String; 2] {
    ["etc", "usr/lib"].map(|base| format!("{base}/systemd/{}", scope.folder()))
}

/// Finds the file of unit `name`, through aliases that packages ship as links; an instance is
/// looked up by its template too.
///
/// # Errors
/// Content that does not decompress.
pub fn find(tree: &Tree, scope: Scope, name: &str) -> Result<Option<UnitFile>> {
    let mut name = name.to_owned();
    for _ in 0..8 {
        let template = UnitName::parse(&name)
            .filter(|n| n.instance.is_some_and(|i| !i.is_empty()))
            .map(|n| n.template());
        let mut found = None;
        'search: for candidate in [Some(&name), template.as_ref()].into_iter().flatten() {
            for folder in folders(scope) {
                let at = edit::path(&format!("{folder}/{candidate}"))?;
                if let Some(node) = tree.get(&at) {
                    found = Some((at, candidate.clone(), node));
                    break 'search;
                }
            }
        }
        let Some((at, file_name, node)) = found else {
            return Ok(None);
        };
        let mut unit = UnitFile {
            path: at.clone(),
            name: file_name.clone(),
            install: Install::default(),
            masked: false,
        };
        match &node.kind {
            Kind::Symlink(target) if target == b"/dev/null" => {
                unit.masked = true;
                return Ok(Some(unit));
            }
            Kind::Symlink(target) => {
                let last = target.rsplit(|&b| b == b'/').next().unwrap_or_default();
                let last = String::from_utf8_lossy(last).into_owned();
                if last != file_name && UnitName::parse(&last).is_some() {
                    name = last;
                    continue;
                }
            }
            _ => {}
        }
        if let Some(text) = edit::text(tree, &at)? {
            unit.install.read(&text);
        }
        for base in ["usr/lib", "etc"] {
            let dir = format!("{base}/systemd/{}/{file_name}.d", scope.folder());
            for dropin in edit::files_in(tree, &dir, ".conf")? {
                if let Some(text) = edit::text(tree, &dropin)? {
                    unit.install.read(&text);
                }
            }
        }
        return Ok(Some(unit));
    }
    Ok(None)
}

/// A link to make below `/etc/systemd/SCOPE`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// Relative to the folder.
    pub name: String,
    /// Absolute path of the unit file.
    pub target: String,
}

/// The links that enabling `unit` under `name` (the file's own, or an instance of a template) makes.
///
/// # Errors
/// A value in `[Install]` that systemd would refuse.
pub fn links(unit: &UnitFile, name: &str, arch: &str) -> Result<Vec<Link>> {
    let parsed = UnitName::parse(name).ok_or_else(|| bad(unit, name, "is not a unit's name"))?;
    // What `%i` and the link's name are made of: the instance given, else the default one.
    let instance = match parsed.instance {
        Some("") => unit.install.default_instance.as_deref(),
        other => other,
    };
    let effective = match (parsed.is_template(), instance) {
        (true, Some(instance)) => parsed.with_instance(instance),
        _ => name.to_owned(),
    };
    let target = format!("/{}", String::from_utf8_lossy(unit.path.as_bytes()));
    let expand = |text: &str| specifiers(text, &effective, &parsed, instance.unwrap_or(""), arch);
    let mut out = Vec::new();
    for alias in &unit.install.alias {
        let alias = expand(alias).ok_or_else(|| bad(unit, alias, "has an unknown specifier"))?;
        let same = UnitName::parse(&alias).is_some_and(|a| {
            a.suffix == parsed.suffix && (a.instance.is_none() || parsed.instance.is_some())
        });
        let folder = alias
            .split_once('/')
            .is_some_and(|(dir, unit)| dir.contains('.') && UnitName::parse(unit).is_some());
        if !same && !folder {
            return Err(bad(unit, &alias, "cannot be an alias of this unit").into());
        }
        if alias != unit.name {
            out.push(Link {
                name: alias,
                target: target.clone(),
            });
        }
    }
    for (suffix, list) in &unit.install.wanted_by {
        for by in list {
            let by = expand(by).ok_or_else(|| bad(unit, by, "has an unknown specifier"))?;
            let Some(wanting) = UnitName::parse(&by) else {
                return Err(bad(unit, &by, "is not a unit's name").into());
            };
            // A template without an instance can only be wanted by a template.
            if parsed.is_template() && instance.is_none() && !wanting.is_template() {
                return Err(bad(
                    unit,
                    &by,
                    "cannot want a template without an instance; enable `NAME@INSTANCE` instead",
                )
                .into());
            }
            out.push(Link {
                name: format!("{by}{suffix}/{effective}"),
                target: target.clone(),
            });
        }
    }
    Ok(out)
}

fn bad(unit: &UnitFile, value: &str, why: &str) -> Failure {
    Failure::new(
        FailureKind::Audit,
        format!(
            "enabling `{}`: `{value}` in its [Install] section {why}",
            unit.name
        ),
    )
    .at(
        format!("/{}", String::from_utf8_lossy(unit.path.as_bytes())),
        None,
        None,
    )
}

/// The specifiers that systemd allows in `[Install]` and a build knows; `None` for others.
fn specifiers(
    text: &str,
    full: &str,
    name: &UnitName<'_>,
    instance: &str,
    arch: &str,
) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next()? {
            '%' => out.push('%'),
            'i' => out.push_str(instance),
            'j' => out.push_str(name.prefix.rsplit('-').next().unwrap_or("")),
            'n' => out.push_str(full),
            'N' => out.push_str(full.strip_suffix(name.suffix).unwrap_or(full)),
            'p' => out.push_str(name.prefix),
            'a' => out.push_str(arch),
            'u' => out.push_str("root"),
            'U' => out.push('0'),
            _ => return None,
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: &str, text: &str) -> UnitFile {
        let mut install = Install::default();
        install.read(text);
        UnitFile {
            path: TreePath::parse(format!("usr/lib/systemd/system/{name}")).unwrap(),
            name: name.into(),
            install,
            masked: false,
        }
    }

    #[test]
    fn enabling_makes_the_links_that_systemctl_makes() {
        for (file, name, text, expected) in [
            (
                "a.service",
                "a.service",
                "[Unit]\nWantedBy=no.target\n[Install]\nWantedBy=multi-user.target b.target\nAlias=x.service",
                vec![
                    "x.service",
                    "multi-user.target.wants/a.service",
                    "b.target.wants/a.service",
                ],
            ),
            (
                "g@.service",
                "g@.service",
                "[Install]\nWantedBy=getty.target\nDefaultInstance=tty1\n",
                vec!["getty.target.wants/g@tty1.service"],
            ),
            (
                "g@.service",
                "g@ttyS0.service",
                "[Install]\nWantedBy=getty.target dev-%i.device\nDefaultInstance=tty1\n",
                vec![
                    "getty.target.wants/g@ttyS0.service",
                    "dev-ttyS0.device.wants/g@ttyS0.service",
                ],
            ),
            (
                "r.service",
                "r.service",
                "[Install]\nRequiredBy=boot-complete.target\nUpheldBy=\\\n# comment\n u.service\nWantedBy=a.target\nWantedBy=\n",
                vec![
                    "boot-complete.target.requires/r.service",
                    "u.service.upholds/r.service",
                ],
            ),
            (
                "t.service",
                "t.service",
                "[Install]\nAlias=t.service %p-x.service\n",
                vec!["t-x.service"],
            ),
            (
                "t@.service",
                "t@.service",
                "[Install]\nWantedBy=w@.service\n",
                vec!["w@.service.wants/t@.service"],
            ),
        ] {
            let links = links(&unit(file, text), name, "x86-64").unwrap();
            let names: Vec<_> = links.iter().map(|l| l.name.as_str()).collect();
            assert_eq!(names, expected, "{name}");
            assert!(
                links
                    .iter()
                    .all(|l| l.target == format!("/usr/lib/systemd/system/{file}"))
            );
        }
    }

    #[test]
    fn what_systemd_refuses_is_refused() {
        for (name, text, reason) in [
            ("s@.service", "[Install]\nWantedBy=getty.target", "template"),
            ("a.service", "[Install]\nAlias=a.socket", "alias"),
            ("a.service", "[Install]\nWantedBy=nonsense", "not a unit"),
            ("a.service", "[Install]\nWantedBy=%H.target", "specifier"),
        ] {
            let message = links(&unit(name, text), name, "x86-64")
                .unwrap_err()
                .to_string();
            assert!(message.contains(reason), "{message}");
        }
    }

    #[test]
    fn unit_names_are_split() {
        for (name, expected) in [
            ("a.service", Some(("a", None, ".service"))),
            ("a@b@c.mount", Some(("a", Some("b@c"), ".mount"))),
            ("a@.service", Some(("a", Some(""), ".service"))),
            ("a", None),
            (".service", None),
            ("@x.service", None),
            ("a/b.service", None),
        ] {
            let parsed = UnitName::parse(name);
            assert_eq!(
                parsed.map(|n| (n.prefix, n.instance, n.suffix)),
                expected,
                "{name}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn no_unit_file_panics(text in "(\\[Install\\]\n)?[ -~\n\\\\]{0,80}", name in "[a-z@%.]{1,12}(.service)?") {
            let unit = unit("x.service", &text);
            let _ = links(&unit, &name, "x86-64");
        }
    }
}
