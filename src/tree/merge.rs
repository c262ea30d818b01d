//! Merges packages into one tree.
//!
//! Every path collects the entries that packages ship there; then each is decided on its own, so
//! that the order of the packages does not matter. One entry is simply taken. Directories merge.
//! Equal symbolic links are one. Everything else needs a `Replaces` (Debian Policy 7.6.1) that
//! leaves a single package in possession, or it is an error: what dpkg would refuse to unpack is
//! refused here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rayon::prelude::*;

use super::replaces::replaces;
use super::{Content, Kind, LinkGroup, Meta, Node, Origin, Tree, TreePath, parent_of, usr_merge};
use crate::failure::{Failure, Kind as FailureKind};
use crate::package::{Entry, EntryKind, PackageObject};
use crate::resolve::version;

/// At most so many conflicts are written out.
const SHOWN: usize = 20;

/// An entry with its package.
#[derive(Clone, Copy)]
struct Shipped<'a> {
    package: &'a Package<'a>,
    entry: &'a Entry,
}

struct Package<'a> {
    origin: Arc<str>,
    object: &'a PackageObject,
    /// For telling inodes of different packages apart.
    number: usize,
}

impl<'a> Shipped<'a> {
    fn name(&self) -> &str {
        &self.package.object.control.name
    }

    fn is_dir(&self) -> bool {
        matches!(self.entry.kind, EntryKind::Dir)
    }

    /// Path that the inode was first shipped under.
    fn inode(&self) -> &'a TreePath {
        match &self.entry.kind {
            EntryKind::HardLink(first) => first,
            _ => &self.entry.path,
        }
    }
}

/// Merges `objects`. Paths under `/bin`, `/lib` and so on move below `/usr`.
///
/// The result depends on the set of packages only, not on their order.
///
/// # Errors
/// Conflicting files, and paths below something that is not a directory, as a [`Failure`] that
/// names the packages and the paths.
pub fn merge(objects: &[Arc<PackageObject>]) -> anyhow::Result<Tree> {
    let packages = sorted(objects)?;
    let mut problems = Vec::new();
    let mut shipped: Vec<(TreePath, Shipped<'_>)> = Vec::new();
    for package in &packages {
        for entry in &package.object.entries {
            let one = Shipped { package, entry };
            match destination(entry) {
                Ok(path) => shipped.push((path, one)),
                Err(problem) => problems.push(format!("{} ships {problem}", one.name())),
            }
        }
    }
    // Stable: who ships the same path stays in the order of the packages.
    shipped.par_sort_by(|(a, _), (b, _)| a.cmp(b));

    let mut chosen: Vec<(&TreePath, Shipped<'_>)> = Vec::with_capacity(shipped.len());
    for same in shipped.chunk_by(|(a, _), (b, _)| a == b) {
        match same {
            [] => {}
            [(path, only)] => chosen.push((path, *only)),
            [(path, _), ..] => {
                let candidates: Vec<_> = same.iter().map(|(_, one)| *one).collect();
                match choose(path, &candidates) {
                    Ok(winner) => chosen.push((path, winner)),
                    Err(problem) => problems.push(problem),
                }
            }
        }
    }

    let contents = contents(&packages);
    let links = link_groups(&chosen, &contents);
    let mut grown = Grown::new();
    for (path, shipped) in chosen {
        let key = (shipped.package.number, shipped.inode());
        let Some(node) = node(shipped, &contents, links.get(&key).copied()) else {
            anyhow::bail!("{path} is a hard link to nothing in {}", shipped.name());
        };
        if let Err((at, owner)) = grown.push(path, node) {
            problems.push(format!(
                "{path} of {} lies below {at} of {owner}, which is not a directory",
                shipped.name()
            ));
        }
    }
    let mut tree = grown.finish();
    if !problems.is_empty() {
        return Err(failure(problems).into());
    }
    usr_merge::complete(&mut tree);
    Ok(tree)
}

fn failure(problems: Vec<String>) -> Failure {
    let mut message = if let [one] = problems.as_slice() {
        one.clone()
    } else {
        format!("the packages conflict in {} places:", problems.len())
    };
    if problems.len() > 1 {
        for problem in problems.iter().take(SHOWN) {
            message.push_str("\n  ");
            message.push_str(problem);
        }
        if problems.len() > SHOWN {
            message.push_str(&format!("\n  and {} more", problems.len() - SHOWN));
        }
    }
    Failure::new(FailureKind::Unsatisfiable, message)
        .hint("leave one of the packages out, or take versions that are made for each other")
}

/// The packages by name, `base-files` first: it owns the directories of the FHS.
fn sorted(objects: &[Arc<PackageObject>]) -> anyhow::Result<Vec<Package<'_>>> {
    let mut list: Vec<&PackageObject> = objects.iter().map(AsRef::as_ref).collect();
    list.sort_by(|a, b| {
        let key = |o: &PackageObject| (o.control.name != "base-files", o.control.name.clone());
        key(a)
            .cmp(&key(b))
            .then_with(|| version::compare(&a.control.version, &b.control.version))
            .then_with(|| a.deb.cmp(&b.deb))
    });
    for pair in list.windows(2) {
        if let [a, b] = pair
            && a.control.name == b.control.name
        {
            return Err(Failure::new(
                FailureKind::Unsatisfiable,
                format!(
                    "package {} is there twice, in the versions {} and {}",
                    a.control.name, a.control.version, b.control.version
                ),
            )
            .into());
        }
    }
    Ok(list
        .into_iter()
        .enumerate()
        .map(|(number, object)| Package {
            origin: object.control.name.as_str().into(),
            object,
            number,
        })
        .collect())
}

/// Where an entry goes. An alias that is shipped as a link stays, if it leads where it must.
fn destination(entry: &Entry) -> Result<TreePath, String> {
    if usr_merge::is_alias_path(&entry.path)
        && let EntryKind::Symlink(target) = &entry.kind
    {
        let wanted = usr_merge::physical(&entry.path);
        let leads = target.strip_prefix(b"/").unwrap_or(target);
        if wanted.is_ok_and(|w| w.as_bytes() == leads) {
            return Ok(entry.path.clone());
        }
        return Err(format!(
            "{} as a link to `{}`; in a merged /usr it must lead to `usr{}`",
            entry.path,
            String::from_utf8_lossy(target),
            entry.path
        ));
    }
    usr_merge::physical(&entry.path).map_err(|error| error.to_string())
}

fn choose<'a>(path: &TreePath, candidates: &[Shipped<'a>]) -> Result<Shipped<'a>, String> {
    let Some((first, others)) = candidates.split_first() else {
        return Err(format!("{path} is shipped by nobody"));
    };
    if others.is_empty() {
        return Ok(*first);
    }
    if candidates.iter().all(Shipped::is_dir) {
        return Ok(choose_dir(path, candidates).unwrap_or(*first));
    }
    let same_link = |other: &Shipped<'_>| match (&first.entry.kind, &other.entry.kind) {
        (EntryKind::Symlink(a), EntryKind::Symlink(b)) => a == b,
        _ => false,
    };
    if others.iter().all(same_link) {
        return Ok(*first);
    }
    // One package with two entries: one under the alias, one under /usr. Nothing can decide.
    let control = |s: &Shipped<'a>| &s.package.object.control;
    let takes = |a: &Shipped<'a>, b: &Shipped<'a>| {
        a.package.number != b.package.number && replaces(control(a), control(b))
    };
    // Two packages that replace each other decide nothing: dpkg goes by the order of unpacking.
    let left: Vec<_> = candidates
        .iter()
        .filter(|c| !candidates.iter().any(|o| takes(o, c) && !takes(c, o)))
        .collect();
    match left.as_slice() {
        [winner] => Ok(**winner),
        _ => Err(conflict(path, candidates)),
    }
}

fn conflict(path: &TreePath, candidates: &[Shipped<'_>]) -> String {
    let described: Vec<_> = candidates
        .iter()
        .map(|c| {
            let what = match &c.entry.kind {
                EntryKind::Dir => "a directory".into(),
                EntryKind::File(_) | EntryKind::HardLink(_) => "a file".into(),
                EntryKind::Symlink(t) => format!("a link to `{}`", String::from_utf8_lossy(t)),
                EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. } => "a device".into(),
                EntryKind::Fifo => "a fifo".into(),
            };
            let control = &c.package.object.control;
            format!("{} {} ({what})", control.name, control.version)
        })
        .collect();
    format!(
        "{path} is shipped by {}, and no `Replaces` says whose it is",
        described.join(" and by ")
    )
}

/// Whose directory it is: the first that ships it with other than plain permissions (an owner
/// restricts or opens it on purpose, a plug-in merely needs it to be there), else the first.
fn choose_dir<'a>(path: &TreePath, candidates: &[Shipped<'a>]) -> Option<Shipped<'a>> {
    let plain = Meta::root(0o755);
    let special = |c: &&Shipped<'a>| c.entry.meta != plain;
    let winner = candidates.iter().find(special).or(candidates.first())?;
    for other in candidates.iter().filter(special) {
        if other.entry.meta != winner.entry.meta {
            tracing::warn!(
                "{path}: {} and {} ship this directory with different owners or modes; that of {} \
                 is taken",
                winner.name(),
                other.name(),
                winner.name()
            );
        }
    }
    Some(*winner)
}

/// Package and first name.
type InodeKey<'a> = (usize, &'a TreePath);

/// Numbers for the inodes that more than one chosen path leads to, in path order.
fn link_groups<'a>(
    chosen: &[(&TreePath, Shipped<'a>)],
    contents: &Contents<'a>,
) -> BTreeMap<InodeKey<'a>, LinkGroup> {
    let mut names: BTreeMap<InodeKey<'_>, (usize, u64)> = BTreeMap::new();
    let mut next = 0;
    for (_, shipped) in chosen {
        let key = (shipped.package.number, shipped.inode());
        let is_file = matches!(
            shipped.entry.kind,
            EntryKind::File(_) | EntryKind::HardLink(_)
        );
        if !is_file || !contents.contains_key(&key) {
            continue;
        }
        let count = names.entry(key).or_insert((0, 0));
        count.0 += 1;
        if count.0 == 2 {
            count.1 = next;
            next += 1;
        }
    }
    names
        .into_iter()
        .filter(|(_, (count, _))| *count > 1)
        .map(|(key, (_, number))| (key, LinkGroup(number)))
        .collect()
}

type Contents<'a> = BTreeMap<InodeKey<'a>, &'a Entry>;

/// The first names of the inodes that hard links lead to.
fn contents<'a>(packages: &'a [Package<'a>]) -> Contents<'a> {
    let mut out = Contents::new();
    for package in packages {
        let entries = &package.object.entries;
        let targets: BTreeSet<&TreePath> = entries
            .iter()
            .filter_map(|entry| match &entry.kind {
                EntryKind::HardLink(first) => Some(first),
                _ => None,
            })
            .collect();
        if targets.is_empty() {
            continue;
        }
        for entry in entries {
            if targets.contains(&entry.path) {
                out.insert((package.number, &entry.path), entry);
            }
        }
    }
    out
}

fn node(shipped: Shipped<'_>, contents: &Contents<'_>, link: Option<LinkGroup>) -> Option<Node> {
    let entry = shipped.entry;
    let mut meta = &entry.meta;
    let file = |entry: &Entry| match &entry.kind {
        EntryKind::File(blob) => Some(Kind::File {
            content: Content::Blob(blob.clone()),
            link,
        }),
        _ => None,
    };
    let kind = match &entry.kind {
        EntryKind::Dir => Kind::Dir,
        EntryKind::File(_) => file(entry)?,
        EntryKind::HardLink(first) => {
            // All names of an inode have its metadata, whatever a link's own header says.
            let target = contents.get(&(shipped.package.number, first))?;
            meta = &target.meta;
            file(target)?
        }
        EntryKind::Symlink(target) => Kind::Symlink(target.clone()),
        &EntryKind::CharDevice { major, minor } => Kind::CharDevice { major, minor },
        &EntryKind::BlockDevice { major, minor } => Kind::BlockDevice { major, minor },
        EntryKind::Fifo => Kind::Fifo,
    };
    Some(Node {
        meta: meta.clone(),
        kind,
        origin: Origin::Package(shipped.package.origin.clone()),
    })
}

/// A tree whose nodes come in path order.
struct Grown {
    nodes: Vec<(TreePath, Node)>,
    /// Where the last node and what it lies in are among the nodes, the root first.
    line: Vec<usize>,
}

impl Grown {
    fn new() -> Self {
        Self {
            nodes: Tree::new().nodes.into_iter().collect(),
            line: vec![0],
        }
    }

    /// Adds the next node, with the parents that nobody ships. The error is the nearest ancestor and
    /// its owner, if that is not a directory.
    fn push(&mut self, path: &TreePath, node: Node) -> Result<(), (TreePath, String)> {
        if let (true, Some((_, root))) = (path.is_root(), self.nodes.first_mut()) {
            *root = node;
            return Ok(());
        }
        while self.line.len() > 1 && !self.last().is_some_and(|(at, _)| path.starts_with(at)) {
            self.line.pop();
        }
        let mut missing = Vec::new();
        if let Some((at, nearest)) = self.last() {
            if !nearest.is_dir() {
                return Err((at.clone(), owner(&nearest.origin)));
            }
            let mut parent = path.parent();
            while let Some(dir) = parent.filter(|dir| dir != at) {
                parent = dir.parent();
                missing.push((dir, parent_of(&node)));
            }
        }
        for (path, node) in missing.into_iter().rev().chain([(path.clone(), node)]) {
            self.line.push(self.nodes.len());
            self.nodes.push((path, node));
        }
        Ok(())
    }

    fn last(&self) -> Option<&(TreePath, Node)> {
        self.nodes.get(*self.line.last()?)
    }

    fn finish(self) -> Tree {
        Tree {
            nodes: self.nodes.into_iter().collect(),
        }
    }
}

fn owner(origin: &Origin) -> String {
    let (Origin::Package(name) | Origin::Overlay(name) | Origin::Generated(name)) = origin;
    name.to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::package::testing::{Item, dir, file, hardlink, item, object, symlink};

    type Spec<'a> = (&'a str, &'a str, &'a str, Vec<Item>);

    fn objects(packages: &[Spec<'_>]) -> Vec<Arc<PackageObject>> {
        packages
            .iter()
            .map(|(name, version, more, items)| object(name, version, more, items))
            .collect()
    }

    /// One line a path: type, mode, owner, content, link group, package.
    fn shown(tree: &Tree) -> Vec<String> {
        tree.iter()
            .map(|(path, node)| {
                let kind = match &node.kind {
                    Kind::Dir => "dir".into(),
                    Kind::File { content, link } => {
                        let bytes = content.read().unwrap();
                        let text = String::from_utf8_lossy(&bytes).into_owned();
                        link.map_or(text.clone(), |LinkGroup(n)| format!("{text}#{n}"))
                    }
                    Kind::Symlink(target) => format!("-> {}", String::from_utf8_lossy(target)),
                    other => format!("{other:?}"),
                };
                let Meta { mode, uid, gid, .. } = node.meta;
                format!(
                    "{path} {mode:o} {uid}:{gid} {kind} ({})",
                    owner(&node.origin)
                )
            })
            .collect()
    }

    fn error_of(packages: &[Spec<'_>]) -> String {
        let error = merge(&objects(packages)).unwrap_err();
        assert_eq!(
            crate::failure::kind_of(&error),
            FailureKind::Unsatisfiable,
            "{error:#}"
        );
        error.to_string()
    }

    fn link(name: &str, target: &str) -> Item {
        symlink(name, target).mode(0o777)
    }

    #[test]
    fn aliases_lead_below_usr_whoever_ships_them() {
        let packages = [
            (
                "base-files",
                "1",
                "",
                vec![dir("./"), link("./lib", "usr/lib")],
            ),
            (
                "old",
                "1",
                "",
                vec![
                    dir("./lib/"),
                    dir("./lib/x/"),
                    file("./lib/x/y", b"y"),
                    link("./bin/z", "y"),
                ],
            ),
            (
                "new",
                "1",
                "",
                vec![dir("./usr/"), dir("./usr/lib/"), file("./usr/lib/w", b"w")],
            ),
        ];
        assert_eq!(
            shown(&merge(&objects(&packages)).unwrap()),
            [
                "/ 755 0:0 dir (base-files)",
                "/bin 777 0:0 -> usr/bin (usr-merge)",
                "/lib 777 0:0 -> usr/lib (base-files)",
                "/usr 755 0:0 dir (new)",
                "/usr/bin 755 0:0 dir (old)",
                "/usr/bin/z 777 0:0 -> y (old)",
                "/usr/lib 755 0:0 dir (new)",
                "/usr/lib/w 644 0:0 w (new)",
                "/usr/lib/x 755 0:0 dir (old)",
                "/usr/lib/x/y 644 0:0 y (old)",
            ]
        );
        let error = error_of(&[("a", "1", "", vec![link("./lib", "opt/lib")])]);
        assert!(
            error.contains("a ships /lib as a link to `opt/lib`"),
            "{error}"
        );
        let both = vec![file("./lib/x", b"1"), file("./usr/lib/x", b"1")];
        assert!(
            error_of(&[("a", "1", "Replaces: a\n", both)]).contains("/usr/lib/x is shipped by a 1")
        );
    }

    #[test]
    fn a_file_that_two_packages_ship_needs_a_replaces() {
        let ship =
            |name, version, more, data: &[u8]| (name, version, more, vec![file("./usr/f", data)]);
        for (more_a, more_b, winner) in [
            ("Replaces: b\n", "", Some("a")),
            ("Replaces: x, b (<< 3)\n", "", Some("a")),
            ("", "Replaces: a (= 1)\n", Some("b")),
            ("", "", None),
            ("Replaces: b (<< 2)\n", "", None),
            ("Replaces: c\n", "", None),
            // dpkg would go by the order of unpacking.
            ("Replaces: b\n", "Replaces: a\n", None),
        ] {
            let packages = [ship("a", "1", more_a, b"A"), ship("b", "2", more_b, b"B")];
            if let Some(winner) = winner {
                let tree = merge(&objects(&packages)).unwrap();
                let node = tree.get(&TreePath::parse("usr/f").unwrap()).unwrap();
                assert_eq!(owner(&node.origin), winner, "{more_a} {more_b}");
            } else {
                let error = error_of(&packages);
                assert!(
                    error.contains("/usr/f is shipped by a 1 (a file) and by b 2 (a file)"),
                    "{error}"
                );
            }
        }
        let three = [
            ship("a", "1", "Replaces: b, c\n", b"A"),
            ship("b", "1", "Replaces: c\n", b"B"),
            ship("c", "1", "", b"C"),
        ];
        assert!(merge(&objects(&three)).is_ok());
    }

    #[test]
    fn links_that_agree_are_one_and_everything_else_is_a_conflict() {
        let same = [
            ("a", "1", "", vec![link("./usr/l", "x")]),
            ("b", "1", "", vec![link("./usr/l", "x")]),
        ];
        assert!(merge(&objects(&same)).is_ok());
        for (one, two, wanted) in [
            (link("./l", "x"), link("./l", "y"), "a link to `x`"),
            (dir("./l"), file("./l", b""), "a directory"),
            (dir("./l"), link("./l", "x"), "a directory"),
            (
                item(tar::EntryType::Fifo, "./l", "", b""),
                item(tar::EntryType::Fifo, "./l", "", b""),
                "a fifo",
            ),
        ] {
            let error = error_of(&[("a", "1", "", vec![one]), ("b", "1", "", vec![two])]);
            assert!(error.contains(wanted) && error.contains("b 1"), "{error}");
        }
        let error = error_of(&[
            ("a", "1", "", vec![link("./usr/l", "lib")]),
            ("b", "1", "", vec![file("./usr/l/x/y", b"")]),
        ]);
        assert!(
            error.contains("/usr/l/x/y of b lies below /usr/l of a"),
            "{error}"
        );
        let twice = [("a", "1", "", vec![]), ("a", "2", "", vec![])];
        assert!(error_of(&twice).contains("in the versions 1 and 2"));
    }

    #[test]
    fn all_conflicts_are_listed() {
        let files = || (0..25).map(|n| file(&format!("./f{n:02}"), b"")).collect();
        let error = error_of(&[("a", "1", "", files()), ("b", "1", "", files())]);
        assert!(error.contains("in 25 places"), "{error}");
        assert!(
            error.contains("/f00 is") && error.contains("and 5 more"),
            "{error}"
        );
    }

    #[test]
    fn a_directory_belongs_to_whom_restricts_or_opens_it() {
        let packages = [
            (
                "a",
                "1",
                "",
                vec![dir("./tmp"), dir("./log"), dir("./s").mode(0o750)],
            ),
            (
                "base-files",
                "1",
                "",
                vec![
                    dir("./tmp").mode(0o1777),
                    dir("./log"),
                    dir("./s").mode(0o700),
                ],
            ),
            ("z", "1", "", vec![dir("./log").mode(0o2750).owner(0, 4)]),
        ];
        assert_eq!(
            shown(&merge(&objects(&packages)).unwrap())[1..],
            [
                "/log 2750 0:4 dir (z)",
                "/s 700 0:0 dir (base-files)",
                "/tmp 1777 0:0 dir (base-files)",
            ]
        );
    }

    #[test]
    fn names_of_one_inode_share_group_and_metadata() {
        let packages = [
            (
                "a",
                "1",
                "",
                vec![
                    file("./lib/p", b"P").mode(0o4755).owner(0, 5),
                    hardlink("./usr/q", "./lib/p"),
                    file("./usr/r", b"R"),
                    hardlink("./usr/s", "./usr/r"),
                ],
            ),
            ("b", "1", "Replaces: a\n", vec![file("./usr/r", b"B")]),
        ];
        assert_eq!(
            shown(&merge(&objects(&packages)).unwrap())[1..],
            [
                "/lib 777 0:0 -> usr/lib (usr-merge)",
                "/usr 755 0:0 dir (a)",
                "/usr/lib 755 0:0 dir (a)",
                "/usr/lib/p 4755 0:5 P#0 (a)",
                "/usr/q 4755 0:5 P#0 (a)",
                "/usr/r 644 0:0 B (b)",
                // Its first name was taken over: what is left is an ordinary file.
                "/usr/s 644 0:0 R (a)",
            ]
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_order_of_packages_does_not_matter(
            seed in prop::collection::vec((0..6_usize, 0..8_usize, 0..4_u8), 1..24),
            shift in 0..6_usize,
        ) {
            let mut items = vec![Vec::new(); 6];
            let mut used = BTreeSet::new();
            for (package, name, kind) in seed {
                let path = format!("./d/n{name}");
                if used.insert((package, name)) {
                    items[package].push(match kind {
                        0 => dir(&path),
                        1 => dir(&path).mode(0o700 + package as u32),
                        2 => link(&path, "x"),
                        _ => file(&path, &[package as u8]),
                    });
                }
            }
            let specs: Vec<_> = ["a", "base-files", "c", "d", "e", "f"]
                .into_iter()
                .zip(items)
                .map(|(name, items)| (name, "1", "Replaces: f, c\n", items))
                .collect();
            let mut list = objects(&specs);
            let result = |list: &[Arc<PackageObject>]| {
                merge(list).map(|tree| shown(&tree)).map_err(|e| e.to_string())
            };
            let first = result(&list);
            list.reverse();
            list.rotate_left(shift);
            prop_assert_eq!(first, result(&list));
        }
    }
}
