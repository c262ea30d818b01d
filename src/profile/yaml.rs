//! YAML text to a tree of values that know where they were written.
//!
//! Scalars stay text until the schema types them, so that `version: 1.10` is never read as a number
//! and `no` never as a truth value. The parser's events are used directly because typed
//! deserialisation would lose the places of keys. Size, depth and the number of values (also those
//! that aliases repeat) are bounded.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_yaml::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::source::{Origin, Problem, Source};

/// The largest profile in bytes.
pub const MOST_BYTES: usize = 1 << 20;
/// The deepest nesting.
pub const MOST_DEPTH: usize = 32;
/// The most keys of one mapping.
pub const MOST_KEYS: usize = 2000;
/// The most values of one file after aliases were expanded.
pub const MOST_VALUES: usize = 100_000;

/// A value and its place.
#[derive(Debug, Clone)]
pub struct Node {
    /// What.
    pub value: Value,
    /// Where.
    pub origin: Origin,
}

/// A YAML value whose scalars are not typed yet.
#[derive(Debug, Clone)]
pub enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// A scalar; `plain` when written without quotes.
    Scalar {
        /// Without quotes and escapes.
        text: String,
        /// Whether it had no quotes.
        plain: bool,
    },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order of the file.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Key.
    pub key: String,
    /// Place of the key.
    pub key_origin: Origin,
    /// Value.
    pub node: Node,
}

impl Node {
    /// The value of `key`, if this is a mapping that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|e| e.key == key).map(|e| &e.node),
            _ => None,
        }
    }

    /// The value at a path of keys.
    #[must_use]
    pub fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// The text of a scalar.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The elements of a list; nothing for anything else.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The entries of a mapping; nothing for anything else.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Whether a truth value is written here and true.
    #[must_use]
    pub fn is_true(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if text == "true")
    }

    /// What this is, for messages.
    #[must_use]
    pub const fn what(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// Parses the part of a source from byte `offset` on. An empty document is an empty mapping.
///
/// # Errors
/// The first thing that is not one bounded YAML document without tags and repeated keys.
pub fn parse(source: &Arc<Source>, offset: usize) -> Result<Node, Box<Problem>> {
    let text = source.text.get(offset..).unwrap_or_default();
    if text.len() > MOST_BYTES {
        return Err(Box::new(Problem::of(format!(
            "{} has {} bytes; a profile has at most {MOST_BYTES}",
            source.name.display(),
            text.len()
        ))));
    }
    Builder {
        source,
        offset,
        stack: Vec::new(),
        anchors: BTreeMap::new(),
        root: None,
        budget: MOST_VALUES,
    }
    .run(text)
    .map_err(Box::new)
}

/// A collection whose end has not been read.
struct Open {
    node: Node,
    anchor: usize,
    key: Option<(String, Origin)>,
}

struct Builder<'a> {
    source: &'a Arc<Source>,
    offset: usize,
    stack: Vec<Open>,
    anchors: BTreeMap<usize, (Node, usize)>,
    root: Option<Node>,
    budget: usize,
}

impl Builder<'_> {
    fn run(mut self, text: &str) -> Result<Node, Problem> {
        let options = serde_yaml::granit_parser::options! { emit_comments: false };
        let mut documents = 0;
        for next in Parser::new_from_str_with_options(text, options) {
            let (event, span) = next.map_err(|error| self.syntax(&error))?;
            let origin = self.origin(&span);
            match event {
                Event::DocumentStart(..) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(Problem::at(
                            &origin,
                            "a second document starts here; a profile is one YAML document",
                        ));
                    }
                }
                Event::Scalar(text, style, anchor, tag) => {
                    refuse_tag(tag.is_some(), &origin)?;
                    let plain = style == ScalarStyle::Plain;
                    let value = if plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL") {
                        Value::Null
                    } else {
                        Value::Scalar {
                            text: text.into_owned(),
                            plain,
                        }
                    };
                    self.leaf(Node { value, origin }, anchor)?;
                }
                Event::SequenceStart(_, anchor, tag) => {
                    refuse_tag(tag.is_some(), &origin)?;
                    self.open(Value::List(Vec::new()), origin, anchor)?;
                }
                Event::MappingStart(_, anchor, tag) => {
                    refuse_tag(tag.is_some(), &origin)?;
                    self.open(Value::Map(Vec::new()), origin, anchor)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.close()?,
                Event::Alias(id) => {
                    let Some((mut node, values)) = self.anchors.get(&id).cloned() else {
                        return Err(Problem::at(
                            &origin,
                            "this alias stands inside its own value",
                        ));
                    };
                    self.spend(values, &origin)?;
                    if self.stack.len() + depth(&node) > MOST_DEPTH {
                        return Err(too_deep(&origin));
                    }
                    node.origin = origin;
                    self.attach(node)?;
                }
                Event::UnresolvedAlias(_) => {
                    return Err(Problem::at(&origin, "this alias has no anchor"));
                }
                _ => {}
            }
        }
        let mut root = self.root.take().unwrap_or_else(|| Node {
            value: Value::Null,
            origin: Origin::new(self.source, self.offset..self.offset),
        });
        if matches!(root.value, Value::Null) && self.offset == 0 {
            root.value = Value::Map(Vec::new());
        }
        Ok(root)
    }

    fn origin(&self, span: &Span) -> Origin {
        let byte = |at: Option<usize>| self.offset + at.unwrap_or(0);
        let start = byte(span.start.byte_offset());
        let end = byte(span.end.byte_offset()).max(start);
        Origin::new(self.source, start..end)
    }

    fn syntax(&self, error: &ScanError) -> Problem {
        let at = self.offset + error.marker().byte_offset().unwrap_or(0);
        let problem = Problem::at(
            &Origin::new(self.source, at..at + 1),
            format!("this is not YAML: {}", error.info()),
        );
        let origin = problem.origin.clone();
        // A tab is the one mistake that can't be seen.
        let line_has_tab = origin.is_some_and(|o| {
            let from = o.source.text[..o.span.start]
                .rfind('\n')
                .map_or(0, |n| n + 1);
            o.source.text[from..]
                .lines()
                .next()
                .is_some_and(|line| line.trim_start_matches(' ').starts_with('\t'))
        });
        if line_has_tab {
            problem.hint("YAML is indented with spaces; this line begins with a tab")
        } else {
            problem
        }
    }

    fn spend(&mut self, values: usize, origin: &Origin) -> Result<(), Problem> {
        self.budget = self.budget.checked_sub(values).ok_or_else(|| {
            Problem::at(
                origin,
                format!("a profile has at most {MOST_VALUES} values, counting what aliases repeat"),
            )
        })?;
        Ok(())
    }

    fn leaf(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        self.spend(1, &node.origin)?;
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), 1));
        }
        self.attach(node)
    }

    fn open(&mut self, value: Value, origin: Origin, anchor: usize) -> Result<(), Problem> {
        self.spend(1, &origin)?;
        if self.stack.len() >= MOST_DEPTH {
            return Err(too_deep(&origin));
        }
        self.stack.push(Open {
            node: Node { value, origin },
            anchor,
            key: None,
        });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Problem> {
        let Some(open) = self.stack.pop() else {
            return Ok(());
        };
        if open.anchor != 0 {
            let values = count(&open.node);
            self.anchors
                .insert(open.anchor, (open.node.clone(), values));
        }
        self.attach(open.node)
    }

    fn attach(&mut self, node: Node) -> Result<(), Problem> {
        let Some(open) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.node.value {
            Value::List(items) => items.push(node),
            Value::Map(entries) => match open.key.take() {
                Some((key, key_origin)) => {
                    if let Some(first) = entries.iter().find(|e| e.key == key) {
                        return Err(Problem::at(
                            &key_origin,
                            format!(
                                "`{key}` stands here a second time; the first is on line {}",
                                first.key_origin.position().0
                            ),
                        )
                        .label("repeated key"));
                    }
                    if entries.len() >= MOST_KEYS {
                        return Err(Problem::at(
                            &key_origin,
                            format!("a mapping has at most {MOST_KEYS} keys"),
                        ));
                    }
                    entries.push(Entry {
                        key,
                        key_origin,
                        node,
                    });
                }
                None => match node.value {
                    Value::Scalar { text, .. } => open.key = Some((text, node.origin)),
                    _ => {
                        return Err(Problem::at(
                            &node.origin,
                            format!("a key is a word, but here it is {}", node.what()),
                        ));
                    }
                },
            },
            Value::Null | Value::Scalar { .. } => {}
        }
        Ok(())
    }
}

fn refuse_tag(tagged: bool, origin: &Origin) -> Result<(), Problem> {
    if tagged {
        return Err(Problem::at(
            origin,
            "YAML tags (`!…`) are not used in profiles; the schema knows each type",
        ));
    }
    Ok(())
}

fn too_deep(origin: &Origin) -> Problem {
    Problem::at(
        origin,
        format!("nested more than {MOST_DEPTH} levels deep; no profile needs that"),
    )
}

/// Values in a subtree; bounded by the budget that built it.
fn count(node: &Node) -> usize {
    1 + match &node.value {
        Value::List(items) => items.iter().map(count).sum(),
        Value::Map(entries) => entries.iter().map(|e| count(&e.node)).sum(),
        _ => 0,
    }
}

/// Levels of a subtree; bounded by [`MOST_DEPTH`].
fn depth(node: &Node) -> usize {
    1 + match &node.value {
        Value::List(items) => items.iter().map(depth).max().unwrap_or(0),
        Value::Map(entries) => entries.iter().map(|e| depth(&e.node)).max().unwrap_or(0),
        _ => return 0,
    }
}
