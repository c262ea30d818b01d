//! Units of PID 1 that an image ships.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::tree::policy::install::UnitName;
use crate::tree::{Kind, Tree, TreePath};

/// Where they are.
const FOLDER: &str = "usr/lib/systemd/system";
/// What a masked unit links to.
const MASK: &[u8] = b"/dev/null";

/// A unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Name.
    pub name: String,
    /// Whether presets enabled it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub enabled: bool,
    /// Whether it is a link to `/dev/null`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub masked: bool,
    /// Hash of the file; of a link, hash of its target's text.
    pub sha256: Sha256,
}

/// The units of `tree`, of which presets enabled `enabled`; instances of templates among them.
///
/// # Errors
/// A file that does not decompress.
pub fn of(tree: &Tree, enabled: &[String]) -> Result<Vec<Unit>> {
    let folder = TreePath::parse(FOLDER)?;
    let enabled: BTreeSet<&str> = enabled.iter().map(String::as_str).collect();
    let mut out = Vec::new();
    for (path, node) in tree.children(&folder) {
        let name = String::from_utf8_lossy(path.name()).into_owned();
        if UnitName::parse(&name).is_none() {
            continue;
        }
        let (masked, sha256) = match &node.kind {
            Kind::File { content, .. } => {
                let content = content.read().with_context(|| format!("reading {path}"))?;
                (content.is_empty(), Sha256::of(&content))
            }
            Kind::Symlink(target) => (target == MASK, Sha256::of(target)),
            _ => continue,
        };
        out.push(Unit {
            enabled: enabled.contains(name.as_str()),
            name,
            masked,
            sha256,
        });
    }
    // An enabled instance has no file of its own; its template's stands for it.
    for name in enabled {
        if out.iter().any(|unit| unit.name == name) {
            continue;
        }
        let template = UnitName::parse(name).map(|unit| unit.template());
        if let Some(template) = out
            .iter()
            .find(|unit| Some(&unit.name) == template.as_ref())
        {
            out.push(Unit {
                name: name.to_owned(),
                enabled: true,
                masked: template.masked,
                sha256: template.sha256,
            });
        }
    }
    out.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Meta, Node, Origin};

    #[test]
    fn units_are_files_and_links_and_enabled_instances() {
        let mut tree = Tree::new();
        let mut put = |name: &str, kind: Kind| {
            let node = Node {
                meta: Meta::root(0o644),
                kind,
                origin: Origin::Package("p".into()),
            };
            tree.insert(TreePath::parse(format!("{FOLDER}/{name}")).unwrap(), node);
        };
        let file = |text: &str| Kind::File {
            content: text.into(),
            link: None,
        };
        put("a.service", file("[Service]\n"));
        put("b.socket", file("[Socket]\n"));
        put("getty@.service", file("[Service]\n"));
        put("c.timer", Kind::Symlink(MASK.to_vec()));
        put("alias.service", Kind::Symlink(b"a.service".to_vec()));
        put("a.service.d/more.conf", file("[Unit]\n"));
        put("README", file("words"));
        let enabled = ["a.service".to_owned(), "getty@tty1.service".into()];
        let units = of(&tree, &enabled).unwrap();
        let shown: Vec<_> = units
            .iter()
            .map(|unit| (unit.name.as_str(), unit.enabled, unit.masked))
            .collect();
        assert_eq!(
            shown,
            [
                ("a.service", true, false),
                ("alias.service", false, false),
                ("b.socket", false, false),
                ("c.timer", false, true),
                ("getty@.service", false, false),
                ("getty@tty1.service", true, false),
            ]
        );
        assert_eq!(units[0].sha256, Sha256::of(b"[Service]\n"));
        assert_eq!(units[4].sha256, units[5].sha256);
    }
}
