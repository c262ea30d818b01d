//! The lines of a profile that ask for something.

use super::load::Loaded;
use super::source::Base;
use super::yaml::Node;

/// A line of the profile that asks for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The key (`packages.include`).
    pub key: &'static str,
    /// What stands there.
    pub value: String,
    /// `FILE:LINE`.
    pub place: String,
}

impl Line {
    fn of(key: &'static str, node: &Node) -> Option<Self> {
        Some(Self {
            key,
            value: node.text()?.to_owned(),
            place: node.origin.short(),
        })
    }
}

impl Loaded {
    /// The line that asks for the package `name`; none where it asks by another name, or for a local
    /// file.
    #[must_use]
    pub fn line_of_package(&self, name: &str) -> Option<Line> {
        let arch = self.profile.arch.traits().debian;
        let names = |node: &Node| {
            let text = node.text().unwrap_or_default().replace("{arch}", arch);
            text.split(['=', '/']).next() == Some(name)
        };
        let entry = self
            .list(&["packages", "include"])
            .iter()
            .find(|node| names(node));
        if let Some(node) = entry {
            return Line::of("packages.include", node);
        }
        let kernel = self.tree.at(&["kernel", "package"]);
        Line::of("kernel.package", kernel.filter(|node| names(node))?)
    }

    /// The line that names the local package at `path`.
    #[must_use]
    pub fn line_of_file(&self, path: &str) -> Option<Line> {
        let mut files = self.list(&["packages", "files"]).iter();
        let node = files.find_map(|item| item.get("path").filter(|p| p.text() == Some(path)))?;
        Line::of("packages.files", node)
    }

    /// The line that names the overlay `path`, the last one if there are several.
    #[must_use]
    pub fn line_of_overlay(&self, path: &str) -> Option<Line> {
        let entries = self.list(&["root", "overlay"]);
        let node = entries.iter().rfind(|node| node.text() == Some(path))?;
        Line::of("root.overlay", node)
    }

    /// The entries of the list `kernel.modules` or `kernel.firmware`.
    #[must_use]
    pub fn lines_of(&self, key: &'static str) -> Vec<Line> {
        let path: Vec<&str> = key.split('.').collect();
        let entries = self.list(&path).iter();
        entries.filter_map(|node| Line::of(key, node)).collect()
    }

    /// The line that limits the size of the image.
    #[must_use]
    pub fn line_of_budget(&self) -> Option<Line> {
        let node = self.tree.get("budget")?;
        let limit = match self.profile.limit_at()?.1 {
            Some(index) => node.items().get(index)?.get("limit")?,
            None => node,
        };
        Line::of("budget", limit)
    }

    /// The entry `index` of `allow`, and whether a file of the user has it rather than a built-in profile.
    #[must_use]
    pub fn line_of_allow(&self, index: usize) -> Option<(Line, bool)> {
        let entry = self.list(&["allow"]).get(index)?;
        let path = entry.get("path")?;
        let own = path.origin.source.base != Base::Embedded;
        Some((Line::of("allow", path)?, own))
    }

    /// The entry `index` of `root.prune`.
    #[must_use]
    pub fn line_of_prune(&self, index: usize) -> Option<Line> {
        Line::of("root.prune", self.list(&["root", "prune"]).get(index)?)
    }

    /// The entry `index` of `root.initrd_only`.
    #[must_use]
    pub fn line_of_initrd_only(&self, index: usize) -> Option<Line> {
        let node = self.list(&["root", "initrd_only"]).get(index)?;
        Line::of("root.initrd_only", node)
    }

    /// The line that drops the part `name`.
    #[must_use]
    pub fn line_of_part(&self, name: &str) -> Option<Line> {
        let entries = self.list(&["root", "parts", "drop"]);
        let node = entries.iter().rfind(|node| node.text() == Some(name))?;
        Line::of("root.parts.drop", node)
    }
}
