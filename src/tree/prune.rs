//! Leaves out of the tree what the profile's `root.prune` names.
//!
//! A rule speaks about every path it matches and about everything below; for each path the last
//! rule that speaks about it decides: a plain rule prunes, one with a leading `!` keeps. A
//! directory goes when nothing is left in it and either a rule prunes it or pruning has emptied it;
//! one that packages ship empty stays, unless a rule prunes it.

use std::collections::BTreeSet;

use super::glob::{Glob, GlobError};
use super::{Kind, LinkGroup, Tree, TreePath, usr_merge};
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

struct Rule {
    keep: bool,
    glob: Glob,
}

fn compile(text: &str) -> anyhow::Result<Rule> {
    let (keep, pattern) = text
        .strip_prefix('!')
        .map_or((false, text), |pattern| (true, pattern));
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
    Ok(Rule { keep, glob })
}

/// What a path inherits from the directory it lies in.
struct Frame {
    depth: usize,
    /// The last rule that speaks about the directory.
    rule: Option<usize>,
}

/// Removes what `rules` name.
///
/// # Errors
/// A rule that is no pattern.
pub fn prune(tree: &mut Tree, rules: &[String]) -> anyhow::Result<PruneReport> {
    let compiled = rules
        .iter()
        .map(|text| compile(text))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut decided = vec![0_usize; rules.len()];
    let mut matched = vec![false; rules.len()];
    let mut doomed = BTreeSet::new();
    let mut frames: Vec<Frame> = Vec::new();
    for (path, node) in tree.iter() {
        let components: Vec<&[u8]> = path.components().collect();
        let depth = components.len();
        while frames.last().is_some_and(|frame| frame.depth >= depth) {
            frames.pop();
        }
        // The last rule decides, so that its matches are looked for from the end; but every rule
        // is tried, because one that never matches is reported.
        let mut rule = frames.last().and_then(|frame| frame.rule);
        for (number, candidate) in compiled.iter().enumerate() {
            let later = rule.is_none_or(|r| number > r);
            if (later || !matched.get(number).copied().unwrap_or(true))
                && candidate.glob.matches_components(&components)
            {
                if let Some(slot) = matched.get_mut(number) {
                    *slot = true;
                }
                if later {
                    rule = Some(number);
                }
            }
        }
        if node.is_dir() {
            frames.push(Frame { depth, rule });
        }
        let Some(number) = rule else { continue };
        if let Some(count) = decided.get_mut(number) {
            *count += 1;
        }
        if compiled.get(number).is_some_and(|r| !r.keep) && !path.is_root() {
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
    fn bad_rules_are_errors_of_the_profile() {
        let error = prune(&mut Tree::new(), &["usr/x".into()]).unwrap_err();
        assert_eq!(crate::failure::kind_of(&error), FailureKind::Usage);
        assert!(error.to_string().contains("`usr/x`"), "{error}");
    }
}
