//! A board without a profile: listed, looked at, and its pins renewed in its own text.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use super::load::{check, find, split};
use super::table::BOARD;
use super::{Artefact, Board};
use crate::failure::{Failure, Kind};
use crate::profile::embedded;
use crate::profile::source::{Base, Problem, Source, failure};
use crate::profile::table::Shape;
use crate::profile::typing;
use crate::profile::yaml::{Node, Value, parse};

static SHAPE: Shape = Shape::Record(&BOARD);

/// The names of the built-in boards.
pub fn built_in() -> impl Iterator<Item = &'static str> {
    embedded::BOARDS.iter().map(|(name, _)| *name)
}

/// A board and the text that it was read from.
#[derive(Debug, Clone)]
pub struct BoardFile {
    /// What it says.
    pub board: Board,
    source: Arc<Source>,
    tree: Node,
    profile: Option<Node>,
}

impl BoardFile {
    /// Reads the board called `reference`: the name of a built-in one, or a path.
    ///
    /// # Errors
    /// There is none, or it is not a board.
    pub fn open(reference: &str) -> Result<Self> {
        match find(reference, Some(Path::new("")))? {
            Ok(source) => Self::read(source),
            Err(hints) => {
                let none = Failure::new(Kind::Usage, format!("there is no board `{reference}`"));
                Err(hints.into_iter().fold(none, Failure::hint).into())
            }
        }
    }

    fn read(source: Arc<Source>) -> Result<Self> {
        let refused = |problems: &[Problem]| failure(problems);
        let mut tree = parse(&source, 0).map_err(|problem| refused(&[*problem]))?;
        let mut problems = Vec::new();
        let profile = split(&mut tree, &mut problems);
        check(&tree, &mut problems);
        if !problems.is_empty() {
            return Err(refused(&problems).into());
        }
        let json = typing::to_json(&tree, &SHAPE).map_err(|problem| refused(&[*problem]))?;
        let board = serde_json::from_value(json)
            .map_err(|error| Failure::new(Kind::Bug, format!("typing a checked board: {error}")))?;
        Ok(Self {
            board,
            source,
            tree,
            profile,
        })
    }

    /// Its file; nothing for a built-in one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        (self.source.base != Base::Embedded).then_some(&*self.source.name)
    }

    /// What it sets in a profile: paths of keys with their values.
    #[must_use]
    pub fn settings(&self) -> Vec<(String, String)> {
        let mut out = Vec::new();
        if let Some(profile) = &self.profile {
            leaves(profile, String::new(), &mut out);
        }
        out
    }

    /// Its text with the pins of its artefacts as in `pins`, which has one for each. Only values change:
    /// comments, order and layout stay.
    ///
    /// # Errors
    /// A value that is not written out where it stands.
    pub fn with_pins(&self, pins: &[Artefact]) -> Result<String> {
        let mut edits = Vec::new();
        let list = self.tree.get("artefacts");
        let nodes = list.map_or(&[][..], Node::items);
        for (node, pin) in nodes.iter().zip(pins) {
            let values = [
                ("version", Some(pin.version.clone())),
                ("path", Some(pin.path.clone())),
                ("size", Some(pin.size.to_string())),
                ("sha256", Some(pin.sha256.to_string())),
                ("snapshot", pin.snapshot.clone()),
            ];
            for (key, value) in values {
                if let (Some(old), Some(value)) = (node.get(key), value)
                    && old.text() != Some(value.as_str())
                {
                    edits.push((old.origin.span.clone(), quoted_as(old, &value)?));
                }
            }
        }
        edits.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
        let mut text = self.source.text.clone();
        for (span, value) in edits {
            text.replace_range(span, &value);
        }
        let again = Self::read(Arc::new(Source {
            name: self.source.name.clone(),
            text: text.clone(),
            base: self.source.base.clone(),
        }))?;
        if again.board.artefacts != pins {
            return Err(Failure::new(
                Kind::Bug,
                format!(
                    "renewing {} did not give what was meant",
                    self.source.name.display()
                ),
            )
            .into());
        }
        Ok(text)
    }

    /// Files inside the program that the board lays over images, below `profiles/`: whoever takes a
    /// built-in board out of the program needs them beside it.
    #[must_use]
    pub fn built_in_files(&self) -> Vec<(String, &'static [u8])> {
        if self.path().is_some() {
            return Vec::new();
        }
        let overlay = self
            .profile
            .as_ref()
            .and_then(|p| p.at(&["root", "overlay"]));
        let folders = overlay
            .map_or(&[][..], Node::items)
            .iter()
            .filter_map(Node::text);
        let mut out = Vec::new();
        for folder in folders {
            let inside = format!("{}/", folder.trim_end_matches('/'));
            for &(path, bytes) in embedded::FILES {
                let path = format!("files/{path}");
                if path.starts_with(&inside) {
                    out.push((path, bytes));
                }
            }
        }
        out
    }
}

/// `value` in the quotes that `old` is written in.
fn quoted_as(old: &Node, value: &str) -> Result<String> {
    let written = old.origin.source.text.get(old.origin.span.clone());
    match (&old.value, written) {
        (Value::Scalar { text, plain: true }, Some(written)) if written == text => Ok(value.into()),
        (Value::Scalar { text, .. }, Some(written)) => {
            for quote in ['"', '\''] {
                if written == format!("{quote}{text}{quote}") {
                    return Ok(format!("{quote}{value}{quote}"));
                }
            }
            Err(elsewhere(old))
        }
        _ => Err(elsewhere(old)),
    }
}

fn elsewhere(node: &Node) -> anyhow::Error {
    let problem = Problem::at(
        &node.origin,
        "this value can't be changed in place: it is an alias, or spread over lines",
    );
    failure(&[problem.hint("write the value itself here")]).into()
}

fn leaves(node: &Node, path: String, out: &mut Vec<(String, String)>) {
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                let below = if path.is_empty() {
                    entry.key.clone()
                } else {
                    format!("{path}.{}", entry.key)
                };
                leaves(&entry.node, below, out);
            }
        }
        Value::List(items) if items.iter().all(|item| item.text().is_some()) => {
            let texts: Vec<_> = items.iter().filter_map(Node::text).collect();
            out.push((path, format!("[{}]", texts.join(", "))));
        }
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                leaves(item, format!("{path}.{index}"), out);
            }
        }
        Value::Scalar { text, .. } => out.push((path, text.clone())),
        Value::Null => out.push((path, "null".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Ours.\nname: mine   # a name\narch: arm64\nartefacts:\n  # Why it is old.\n  - {name: fw, version: '1.0', path: \"pool/fw_1.0_all.deb\", size: 10, sha256: 0000000000000000000000000000000000000000000000000000000000000000} # end\n  - name: boot\n    version: 2:1.0\n    path: pool/boot.deb\n    size: 7\n    sha256: 1111111111111111111111111111111111111111111111111111111111111111\n    snapshot: 20260912T075541Z\nprofile:\n  disk: {size: auto}\n";

    fn board(text: &str) -> Result<BoardFile> {
        BoardFile::read(Arc::new(Source {
            name: "mine.yaml".into(),
            text: text.into(),
            base: Base::Folder("".into()),
        }))
    }

    #[test]
    fn only_values_change() {
        let board = board(TEXT).unwrap();
        let mut pins = board.board.artefacts.clone();
        assert_eq!(board.with_pins(&pins).unwrap(), TEXT);
        pins[0].version = "1.1+ds-1".into();
        pins[0].path = "pool/fw_1.1+ds-1_all.deb".into();
        pins[1].size = 1234;
        pins[1].snapshot = Some("20270101T000000Z".into());
        let expected = TEXT
            .replace("'1.0'", "'1.1+ds-1'")
            .replace("fw_1.0_all", "fw_1.1+ds-1_all")
            .replace("size: 7", "size: 1234")
            .replace("20260912T075541Z", "20270101T000000Z");
        assert_eq!(board.with_pins(&pins).unwrap(), expected);
        assert_eq!(
            board.settings(),
            [
                ("arch".to_owned(), "arm64".to_owned()),
                ("disk.size".to_owned(), "auto".to_owned())
            ]
        );
    }

    #[test]
    fn a_value_that_stands_elsewhere_is_refused() {
        let text = TEXT
            .replace("version: '1.0'", "version: &v '1.0'")
            .replace("2:1.0", "*v");
        let board = board(&text).unwrap();
        let mut pins = board.board.artefacts.clone();
        pins[1].version = "2".into();
        let error = board.with_pins(&pins).unwrap_err().to_string();
        assert!(error.contains("can't be changed in place"), "{error}");
    }

    #[test]
    fn built_in_boards_can_be_read_and_taken_out() {
        for name in built_in() {
            let board = BoardFile::open(name).unwrap();
            assert_eq!((board.board.name.as_str(), board.path()), (name, None));
            let pins = board.board.artefacts.clone();
            assert_eq!(
                board.with_pins(&pins).unwrap(),
                embedded::board(name).unwrap()
            );
        }
        let files = BoardFile::open("raspberry-pi-4").unwrap().built_in_files();
        assert!(
            files
                .iter()
                .any(|(path, _)| path == "files/no-clock/usr/lib/clock-epoch")
        );
        assert!(BoardFile::open("raspberry-pi-5").is_err());
    }
}
