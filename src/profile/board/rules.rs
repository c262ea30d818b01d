//! Rules between the values of a board.

use std::collections::BTreeMap;

use super::load::place;
use super::{Board, KERNEL};
use crate::profile::Profile;
use crate::profile::source::{Origin, Problem};
use crate::profile::yaml::Node;
use crate::words::nearest;

/// Folders of the EFI system partition that are hullwright's, in lower case; and U-Boot's variables,
/// which change in the field.
const OWN: [&str; 6] = [
    "efi/linux",
    "efi/boot",
    "efi/systemd",
    "loader",
    "hullwright",
    "ubootefi.var",
];

/// Everything that single values can't show.
pub fn check(profile: &Profile, tree: &Node, problems: &mut Vec<Problem>) {
    let Some(board) = &profile.board else {
        return;
    };
    if profile.arch != board.arch {
        let (name, arch) = (&board.name, board.arch);
        let origin = tree.get("arch").map_or(&tree.origin, |node| &node.origin);
        problems.push(
            Problem::at(
                origin,
                format!(
                    "the board `{name}` is {arch}, and the image is to be {}",
                    profile.arch
                ),
            )
            .label(format!("the board's is at {}", place(tree, "arch").short()))
            .hint("leave `arch` and `--arch` out: a board brings its own"),
        );
    }
    artefacts(board, tree, problems);
    files(board, tree, problems);
    for (index, dtb) in board.devicetrees.iter().enumerate() {
        let node = item(tree, &["board", "devicetrees"], index);
        source(
            board,
            node,
            tree,
            Some(&dtb.from),
            Some(&dtb.path),
            problems,
        );
    }
}

fn item<'a>(tree: &'a Node, path: &[&str], index: usize) -> Option<&'a Node> {
    tree.at(path).and_then(|list| list.items().get(index))
}

fn origin<'a>(node: Option<&'a Node>, key: &str, tree: &'a Node) -> &'a Origin {
    node.map_or(&tree.origin, |node| {
        node.get(key).map_or(&node.origin, |value| &value.origin)
    })
}

fn artefacts(board: &Board, tree: &Node, problems: &mut Vec<Problem>) {
    let mut seen = BTreeMap::new();
    for (index, artefact) in board.artefacts.iter().enumerate() {
        let node = item(tree, &["board", "artefacts"], index);
        let at = origin(node, "name", tree);
        if artefact.name == KERNEL {
            problems.push(
                Problem::at(at, "an artefact can't be called `kernel`")
                    .hint("`from: kernel` means the image's own kernel package"),
            );
        }
        if let Some(first) = seen.insert(&artefact.name, at) {
            problems.push(Problem::at(
                at,
                format!(
                    "two artefacts are called `{}`; the other is at {}",
                    artefact.name,
                    first.short()
                ),
            ));
        }
    }
}

fn files(board: &Board, tree: &Node, problems: &mut Vec<Problem>) {
    // FAT ignores case.
    let mut seen: BTreeMap<String, &Origin> = BTreeMap::new();
    for (index, file) in board.esp.files.iter().enumerate() {
        let node = item(tree, &["board", "esp", "files"], index);
        let at = origin(node, "to", tree);
        let lower = file.to.to_lowercase();
        if let Some(own) = OWN.iter().find(|own| overlaps(&lower, own)) {
            problems.push(
                Problem::at(
                    at,
                    format!(
                        "`{}` would lie in `{own}`, which is hullwright's own",
                        file.to
                    ),
                )
                .hint("boot loader, UKIs and their settings are written for every image"),
            );
        }
        if let Some((other, first)) = seen.iter().find(|(other, _)| overlaps(&lower, other)) {
            problems.push(Problem::at(
                at,
                format!(
                    "`{}` collides with `{other}` at {}; FAT ignores case, and a file is no folder",
                    file.to,
                    first.short()
                ),
            ));
        }
        seen.insert(lower, at);
        let path = file.path.as_deref();
        match (&file.from, &file.text) {
            (Some(from), None) => source(board, node, tree, Some(from), path, problems),
            (None, Some(_)) if path.is_none() => {}
            (None, Some(_)) => problems.push(Problem::at(
                origin(node, "path", tree),
                format!("`{}` has `text`, so there is no `path` to take", file.to),
            )),
            (Some(_), Some(_)) => problems.push(
                Problem::at(
                    origin(node, "text", tree),
                    format!("`{}` has both `from` and `text`", file.to),
                )
                .hint("one of them is the content"),
            ),
            (None, None) => problems.push(
                Problem::at(at, format!("`{}` has no content", file.to))
                    .hint("add `from: ARTEFACT` and `path:`, or `text:`"),
            ),
        }
    }
}

/// Whether two paths are one, or one lies below the other.
fn overlaps(a: &str, b: &str) -> bool {
    let below = |inner: &str, outer: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    below(a, b) || below(b, a)
}

fn source(
    board: &Board,
    node: Option<&Node>,
    tree: &Node,
    from: Option<&str>,
    path: Option<&str>,
    problems: &mut Vec<Problem>,
) {
    let Some(from) = from else { return };
    let artefact = board.artefacts.iter().find(|a| a.name == from);
    if artefact.is_none() && from != KERNEL {
        let names = || {
            let known = board.artefacts.iter().map(|a| a.name.as_str());
            known.chain([KERNEL])
        };
        let at = origin(node, "from", tree);
        let problem = Problem::at(at, format!("the board has no artefact `{from}`"));
        problems.push(match nearest(from, names()) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => {
                let list: Vec<_> = names().map(|name| format!("`{name}`")).collect();
                problem.hint(format!("it has {}", list.join(", ")))
            }
        });
        return;
    }
    let has_files = artefact.is_none_or(super::Artefact::is_deb);
    match (has_files, path) {
        (true, None) => problems.push(
            Problem::at(
                origin(node, "from", tree),
                format!("which file of `{from}` is not said"),
            )
            .hint("add `path:`"),
        ),
        (false, Some(_)) => problems.push(
            Problem::at(
                origin(node, "path", tree),
                format!("`{from}` is one file, not a package with files"),
            )
            .hint("leave `path` out"),
        ),
        _ => {}
    }
}
