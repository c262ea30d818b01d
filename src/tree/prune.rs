//! Leaves out of the tree what the profile's `root.prune` names.
//!
//! A rule speaks about every path it matches and about everything below; for each path the last
//! rule that speaks about it decides: a plain rule prunes, one with a leading `!` keeps. One with a
//! package in front (`gpg:/usr/bin/gpgconf`) speaks about files of that package only. A directory goes
//! when nothing is left in it and either a rule prunes it or pruning has emptied it; one that packages
//! ship empty stays, unless a rule prunes it.

use std::collections::BTreeSet;

use super::glob::{Glob, GlobError};
use super::{Kind, LinkGroup, Origin, Tree, TreePath, usr_merge};
use crate::failure::{Failure, Kind as FailureKind};

/// What pruning did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// Nodes that are gone, directories included.
    pub removed: usize,
    /// Content that is gone, in bytes; an inode counts when its last name goes.
    pub bytes: u64,
    /// For each rule, as written, how many paths it has decided on.
    pub rules: Vec<(String, usize)>,
    /// Rules that match nothing, as written.
    pub unmatched: Vec<String>,
}

/// One rule: `[!][PACKAGE:]/PATTERN`.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) keep: bool,
    /// The only package whose files it speaks about.
    package: Option<String>,
    glob: Glob,
}

impl Rule {
    pub(super) fn new(text: &str) -> anyhow::Result<Self> {
        let (keep, rest) = text
            .strip_prefix('!')
            .map_or((false, text), |rest| (true, rest));
        let (package, pattern) = match rest.split_once(":/") {
            Some((package, _)) if !package.contains('/') => {
                (Some(package.to_owned()), &rest[package.len() + 1..])
            }
            _ => (None, rest),
        };
        let wrong = |error: GlobError| {
            Failure::new(
                FailureKind::Usage,
                format!("root.prune: `{text}` is not a path pattern: {error}"),
            )
            .hint("patterns are written from the image's root, such as `/usr/share/man/**`")
        };
        let glob = Glob::new(pattern).map_err(wrong)?;
        // Whoever writes `/lib/x` means what lies in `/usr/lib/x`.
        let aliased = glob
            .top()
            .is_some_and(|top| usr_merge::ALIASES.iter().any(|a| a.as_bytes() == top));
        let glob = if aliased { glob.below("usr") } else { glob };
        Ok(Self {
            keep,
            package,
            glob,
        })
    }

    /// Whether it speaks about files of `origin` at all.
    fn is_about(&self, origin: &Origin) -> bool {
        match (&self.package, origin) {
            (None, _) => true,
            (Some(package), Origin::Package(name)) => **name == **package,
            (Some(_), _) => false,
        }
    }

    /// Whether it matches the path of these components itself.
    pub(super) fn matches(&self, components: &[&[u8]]) -> bool {
        self.glob.matches_components(components)
    }
}

/// The rules that speak about a directory, and so about what lies in it.
struct Frame {
    depth: usize,
    /// The last one for all packages.
    general: Option<usize>,
    /// Those for single packages.
    limited: Vec<usize>,
    /// Those, by their numbers, whose patterns may match something in it.
    reaching: Vec<usize>,
}

/// Removes what `rules` name.
///
/// # Errors
/// A rule that is no pattern.
pub fn prune(tree: &mut Tree, rules: &[String]) -> anyhow::Result<PruneReport> {
    let compiled = rules
        .iter()
        .map(|text| Rule::new(text))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut decided = vec![0_usize; rules.len()];
    let mut matched = vec![false; rules.len()];
    let mut doomed = BTreeSet::new();
    let mut frames: Vec<Frame> = Vec::new();
    let all: Vec<usize> = (0..compiled.len()).collect();
    let mut components: Vec<&[u8]> = Vec::new();
    for (path, node) in tree.iter() {
        components.clear();
        components.extend(path.components());
        let depth = components.len();
        while frames.last().is_some_and(|frame| frame.depth >= depth) {
            frames.pop();
        }
        let (mut general, mut limited, reaching) = match frames.last() {
            Some(frame) => (frame.general, frame.limited.clone(), &frame.reaching),
            None => (None, Vec::new(), &all),
        };
        for &number in reaching {
            let Some(rule) = compiled.get(number) else {
                continue;
            };
            let about = rule.is_about(&node.origin);
            let later = if rule.package.is_some() {
                about || node.is_dir()
            } else {
                general.is_none_or(|general| number > general)
            };
            // Every rule is tried until it matches, because one that never does is reported.
            let untold = about && !matched.get(number).copied().unwrap_or(true);
            if (later || untold) && rule.matches(&components) {
                if about && let Some(slot) = matched.get_mut(number) {
                    *slot = true;
                }
                if rule.package.is_some() {
                    limited.push(number);
                } else if later {
                    general = Some(number);
                }
            }
        }
        // Of all that speak about the path the last one decides.
        let speaking = limited.iter().copied().filter(|&number| {
            let rule = compiled.get(number);
            rule.is_some_and(|rule| rule.is_about(&node.origin))
        });
        let decider = speaking.chain(general).max();
        if node.is_dir() {
            let reaches = |number: &usize| {
                let rule = compiled.get(*number);
                rule.is_some_and(|rule| rule.glob.reaches_below(&components))
            };
            let reaching = reaching.iter().copied().filter(reaches).collect();
            frames.push(Frame {
                depth,
                general,
                limited,
                reaching,
            });
        }
        let Some(number) = decider else { continue };
        if let Some(count) = decided.get_mut(number) {
            *count += 1;
        }
        // What a package's own rule finds below a directory of another, it has matched.
        if let Some(slot) = matched.get_mut(number) {
            *slot = true;
        }
        if compiled.get(number).is_some_and(|rule| !rule.keep) && !path.is_root() {
            doomed.insert(path.clone());
        }
    }
    let (removed, bytes) = remove(tree, &doomed);
    let report = PruneReport {
        removed,
        bytes,
        rules: rules.iter().cloned().zip(decided).collect(),
        unmatched: rules
            .iter()
            .zip(&matched)
            .filter(|(_, matched)| !**matched)
            .map(|(text, _)| text.clone())
            .collect(),
    };
    for rule in &report.unmatched {
        tracing::debug!("root.prune: `{rule}` matches nothing");
    }
    Ok(report)
}

/// The first path of `tree` that `rule` matches.
///
/// # Errors
/// A rule that is no pattern.
pub fn first_match<'a>(tree: &'a Tree, rule: &str) -> anyhow::Result<Option<&'a TreePath>> {
    let rule = Rule::new(rule)?;
    let matched = tree.iter().find(|(path, node)| {
        rule.is_about(&node.origin) && rule.matches(&path.components().collect::<Vec<_>>())
    });
    Ok(matched.map(|(path, _)| path))
}

/// Removes the files of `doomed`, and the directories that this empties; returns how many nodes went.
pub fn leave_out(tree: &mut Tree, doomed: &BTreeSet<TreePath>) -> usize {
    remove(tree, doomed).0
}

/// Removes the files of `doomed`, then the directories that this leaves to be removed.
fn remove(tree: &mut Tree, doomed: &BTreeSet<TreePath>) -> (usize, u64) {
    let before = tree.len();
    // From the end, so that what lies in a directory is settled before the directory is.
    let mut occupied: BTreeSet<TreePath> = BTreeSet::new();
    let mut emptied: BTreeSet<TreePath> = BTreeSet::new();
    let mut gone = Vec::new();
    for (path, node) in tree.nodes.iter().rev() {
        let goes = if node.is_dir() {
            !occupied.contains(path) && (doomed.contains(path) || emptied.contains(path))
        } else {
            doomed.contains(path)
        };
        let goes = goes && !path.is_root();
        if let Some(parent) = path.parent() {
            if goes {
                emptied.insert(parent);
            } else {
                occupied.insert(parent);
            }
        }
        if goes {
            gone.push(path.clone());
        }
    }
    let mut bytes = 0;
    let mut links: Vec<(LinkGroup, u64)> = Vec::new();
    for path in gone {
        let Some(node) = tree.nodes.remove(&path) else {
            continue;
        };
        if let Kind::File { content, link } = node.kind {
            match link {
                None => bytes += content.len(),
                Some(group) => links.push((group, content.len())),
            }
        }
    }
    let left = settle_links(tree);
    links.sort_unstable();
    links.dedup();
    bytes += links
        .iter()
        .filter(|(group, _)| !left.contains(group))
        .map(|(_, size)| size)
        .sum::<u64>();
    (before - tree.len(), bytes)
}

/// Ends link groups of which a single name is left; returns the groups with any name left.
pub(super) fn settle_links(tree: &mut Tree) -> BTreeSet<LinkGroup> {
    let mut seen = BTreeSet::new();
    let mut shared = BTreeSet::new();
    for (_, node) in tree.iter() {
        if let Kind::File {
            link: Some(group), ..
        } = node.kind
            && !seen.insert(group)
        {
            shared.insert(group);
        }
    }
    for (_, node) in tree.iter_mut() {
        if let Kind::File { link, .. } = &mut node.kind {
            *link = link.filter(|group| shared.contains(group));
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Meta, Node, Origin};

    fn tree(paths: &[&str]) -> Tree {
        let mut tree = Tree::new();
        for (number, path) in paths.iter().enumerate() {
            let kind = if path.ends_with('/') {
                Kind::Dir
            } else {
                Kind::File {
                    content: "12345".into(),
                    link: path
                        .contains("link")
                        .then_some(LinkGroup(number as u64 / 100)),
                }
            };
            tree.insert(
                TreePath::parse(path).unwrap(),
                Node {
                    meta: Meta::root(0o644),
                    kind,
                    origin: Origin::Generated("test".into()),
                },
            );
        }
        tree
    }

    fn after(paths: &[&str], rules: &[&str]) -> (String, PruneReport) {
        let mut tree = tree(paths);
        let rules: Vec<_> = rules.iter().map(ToString::to_string).collect();
        let report = prune(&mut tree, &rules).unwrap();
        let left: Vec<_> = tree.iter().skip(1).map(|(p, _)| p.to_string()).collect();
        (left.join(" "), report)
    }

    #[test]
    fn the_last_rule_that_speaks_about_a_path_decides() {
        for (paths, rules, left) in [
            // Everything below goes, and then the directory itself.
            (&["man/1/a", "x"][..], &["/man/**"][..], "/x"),
            (&["man/1/a", "x"], &["/man"], "/x"),
            // Directories that packages ship empty stay, emptied ones go.
            (&["e/", "f/g"], &["/f/*"], "/e"),
            (&["e/"], &["/e"], ""),
            (&["e/"], &["/*/**"], "/e"),
            // Exceptions, and exceptions from exceptions.
            (
                &["doc/a/copyright", "doc/a/x", "doc/b/y"],
                &["/doc/**", "!/doc/*/copyright"],
                "/doc /doc/a /doc/a/copyright",
            ),
            (
                &["l/de/x", "l/en/x", "l/en/y"],
                &["/l/*", "!/l/en", "/l/en/y"],
                "/l /l/en /l/en/x",
            ),
            (&["l/en/x"], &["!/l/en", "/l/**"], ""),
            // Aliases of the merged /usr.
            (
                &["usr/lib/a/b", "usr/bin/c"],
                &["/lib/a"],
                "/usr /usr/bin /usr/bin/c",
            ),
        ] {
            assert_eq!(after(paths, rules).0, left, "{paths:?} {rules:?}");
        }
    }

    #[test]
    fn the_report_counts_inodes_once_and_names_rules_without_a_match() {
        let (left, report) = after(
            &["a/link1", "a/link2", "b/link3", "a/x"],
            &["/a/**", "/nothing/*", "/a/x", "/a"],
        );
        assert_eq!(left, "/b /b/link3");
        assert_eq!((report.removed, report.bytes), (4, 5));
        assert_eq!(report.unmatched, ["/nothing/*"]);
        assert_eq!(report.rules[3], ("/a".into(), 4));
        let (_, report) = after(&["a/link1", "a/link2", "b"], &["/a"]);
        assert_eq!(report.bytes, 5);
    }

    #[test]
    fn a_single_name_left_of_an_inode_is_no_link_any_more() {
        let mut tree = tree(&["a/link1", "b/link2"]);
        prune(&mut tree, &["/a".into()]).unwrap();
        let node = tree.get(&TreePath::parse("b/link2").unwrap()).unwrap();
        assert!(matches!(node.kind, Kind::File { link: None, .. }));
    }

    #[test]
    fn a_rule_with_a_package_is_about_its_files_alone() {
        let files = [
            ("usr/bin/tool", "one"),
            ("usr/share/a/x", "one"),
            ("usr/share/a/y", "two"),
            ("usr/share/b", "two"),
        ];
        let left = |rules: &[&str]| {
            let mut tree = Tree::new();
            for (path, package) in files {
                let node = Node {
                    meta: Meta::root(0o644),
                    kind: Kind::Fifo,
                    origin: Origin::Package(package.into()),
                };
                tree.insert(TreePath::parse(path).unwrap(), node);
            }
            let rules: Vec<_> = rules.iter().map(ToString::to_string).collect();
            let report = prune(&mut tree, &rules).unwrap();
            let files = tree.iter().filter(|(_, node)| !node.is_dir());
            let left: Vec<_> = files.map(|(path, _)| path.to_string()).collect();
            (left.join(" "), report.unmatched)
        };
        let none: Vec<String> = Vec::new();
        for (rules, expected, unmatched) in [
            (
                &["one:/usr/share/a/**"][..],
                "/usr/bin/tool /usr/share/a/y /usr/share/b",
                &none,
            ),
            // A directory is the first package's that ships it; the rule holds for what lies in it.
            (
                &["two:/usr/share/a"],
                "/usr/bin/tool /usr/share/a/x /usr/share/b",
                &none,
            ),
            (
                &["two:/bin/tool"],
                "/usr/bin/tool /usr/share/a/x /usr/share/a/y /usr/share/b",
                &vec!["two:/bin/tool".into()],
            ),
            (
                &["/usr/**", "!two:/usr/share/**"],
                "/usr/share/a/y /usr/share/b",
                &none,
            ),
            (
                &["!two:/usr/share/**", "/usr/share/b"],
                "/usr/bin/tool /usr/share/a/x /usr/share/a/y",
                &none,
            ),
        ] {
            let (files, untold) = left(rules);
            assert_eq!(files, expected, "{rules:?}");
            assert_eq!(untold, *unmatched, "{rules:?}");
        }
    }

    #[test]
    fn bad_rules_are_errors_of_the_profile() {
        let error = prune(&mut Tree::new(), &["usr/x".into()]).unwrap_err();
        assert_eq!(crate::failure::kind_of(&error), FailureKind::Usage);
        assert!(error.to_string().contains("`usr/x`"), "{error}");
    }
}
