//! From `board: NAME` to the board's keys in the profile's tree, and a layer below the profile.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;

use super::table::BOARD;
use crate::arch::Arch;
use crate::profile::load::{is_path, read_bounded, text_of, tidy};
use crate::profile::source::{Base, Origin, Problem, Source};
use crate::profile::yaml::{Entry, MOST_BYTES, Node, Value, parse};
use crate::profile::{embedded, typing};
use crate::words::nearest;

/// Keys of a profile that are not a board's to set: who the system is, and whose.
const NOT_THE_BOARDS: [&str; 12] = [
    "name",
    "description",
    "extends",
    "board",
    "development",
    "os",
    "arch",
    "update",
    "keys",
    "signer",
    "sign",
    "-archives",
];

/// Replaces `board: NAME` in `layer` by what the board says, and returns the layer that goes below.
///
/// # Errors
/// A file that can't be read.
pub fn expand(
    layer: &mut Node,
    folder: Option<&Path>,
    problems: &mut Vec<Problem>,
) -> Result<Option<Node>> {
    let Value::Map(entries) = &mut layer.value else {
        return Ok(None);
    };
    let Some(entry) = entries.iter_mut().find(|entry| entry.key == "board") else {
        return Ok(None);
    };
    if let Some(reference) = entry.node.text() {
        match find(reference, folder)? {
            Ok(source) => match parse(&source, 0) {
                Ok(board) => entry.node = board,
                Err(problem) => {
                    problems.push(*problem);
                    return Ok(None);
                }
            },
            Err(hints) => {
                let mut problem = Problem::at(
                    &entry.node.origin,
                    format!("there is no board `{reference}`"),
                );
                problem.hints = hints;
                problems.push(problem);
                return Ok(None);
            }
        }
    }
    Ok(split(&mut entry.node, problems))
}

/// Takes `profile` out of a board and makes a layer of it, with the board's architecture.
pub(super) fn split(board: &mut Node, problems: &mut Vec<Problem>) -> Option<Node> {
    // One that is not known is a problem of the board's own key, once.
    let arch = board.get("arch").cloned();
    let arch = arch.filter(|node| node.text().is_some_and(|text| text.parse::<Arch>().is_ok()));
    let origin = board.origin.clone();
    let Value::Map(entries) = &mut board.value else {
        return None;
    };
    let at = entries.iter().position(|entry| entry.key == "profile");
    let mut layer = match at.map(|at| entries.remove(at).node) {
        Some(node) if !matches!(node.value, Value::Null) => node,
        _ => Node {
            value: Value::Map(Vec::new()),
            origin,
        },
    };
    let Value::Map(keys) = &mut layer.value else {
        problems.push(
            Problem::at(
                &layer.origin,
                format!("`board.profile` is {}; expected a mapping", layer.what()),
            )
            .label("keys of a profile go here"),
        );
        return None;
    };
    for entry in keys.iter() {
        let key = entry.key.as_str();
        if NOT_THE_BOARDS.contains(&key) {
            let problem = Problem::at(
                &entry.key_origin,
                format!("`{key}` is not a board's to set; it belongs into the profile"),
            );
            problems.push(match key {
                "arch" => problem.hint("`arch` stands beside `profile`, as a key of the board"),
                _ => problem,
            });
        }
    }
    if let Some(node) = arch {
        let entry = Entry {
            key: "arch".into(),
            key_origin: node.origin.clone(),
            node,
        };
        keys.insert(0, entry);
    }
    Some(layer)
}

/// The text of a board, or hints why there is none.
pub(super) fn find(
    reference: &str,
    folder: Option<&Path>,
) -> Result<Result<Arc<Source>, Vec<String>>> {
    if is_path(reference) {
        let Some(folder) = folder else {
            return Ok(Err(vec!["built-in profiles name built-in boards".into()]));
        };
        let path = tidy(&folder.join(reference));
        if !path.is_file() {
            return Ok(Err(vec![format!("{} is not a file", path.display())]));
        }
        return Ok(Ok(Arc::new(Source {
            text: text_of(read_bounded(&path, MOST_BYTES)?, &path)?,
            base: Base::Folder(path.parent().unwrap_or(Path::new("")).to_path_buf()),
            name: path,
        })));
    }
    if let Some(text) = embedded::board(reference) {
        return Ok(Ok(Arc::new(Source {
            name: PathBuf::from(format!("<built-in>/boards/{reference}.yaml")),
            text: text.into(),
            base: Base::Embedded,
        })));
    }
    let names = || embedded::BOARDS.iter().map(|(name, _)| *name);
    let mut hints = Vec::new();
    if let Some(near) = nearest(reference, names()) {
        hints.push(format!("did you mean `{near}`?"));
    }
    let list: Vec<_> = names().map(|name| format!("`{name}`")).collect();
    hints.push(format!(
        "the built-in boards are {}; a path has a `/` or ends in `.yaml`",
        list.join(", ")
    ));
    Ok(Err(hints))
}

/// Holds a board in a profile against its table. A name is all that is left of one that could not be
/// read, which is a problem of its own.
pub fn check(node: &Node, problems: &mut Vec<Problem>) {
    if node.text().is_some() || matches!(node.value, Value::Null) {
        return;
    }
    let before = problems.len();
    typing::check_record(node, &BOARD, "board", problems);
    if problems.len() > before {
        return;
    }
    for key in BOARD.required {
        if node.get(key).is_none() {
            let origin = node
                .entries()
                .first()
                .map_or_else(|| node.origin.clone(), |entry| entry.key_origin.clone());
            problems.push(
                Problem::at(&origin, format!("`board.{key}` is missing"))
                    .label("needed in every board"),
            );
        }
    }
}

/// Where a key of the board was written, or the whole board.
pub fn place<'a>(tree: &'a Node, key: &str) -> &'a Origin {
    let board = tree.get("board");
    board
        .and_then(|board| board.get(key))
        .or(board)
        .map_or(&tree.origin, |node| &node.origin)
}
