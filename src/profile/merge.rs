//! Laying one profile over another: mappings merge deeply, scalars replace, lists append, and
//! `-key: [x]` takes entries away.
//!
//! The trees have passed [`super::typing::check_layer`], so types need no second look here.

use super::source::Problem;
use super::table::{PROFILE, Record, Shape};
use super::yaml::{Entry, Node, Value};
use crate::words::nearest;

/// Keys that belong to one file and are not inherited.
const OWN: [&str; 4] = ["name", "description", "extends", "budget"];

/// `base` with `over` laid over it.
pub fn merge(mut base: Node, over: Node, problems: &mut Vec<Problem>) -> Node {
    if let Value::Map(entries) = &mut base.value {
        entries.retain(|entry| !OWN.contains(&entry.key.as_str()));
    }
    forbid_unset(&base, &over, problems);
    merge_record(&mut base, over, &PROFILE, problems);
    base
}

/// `over` given as arguments: like [`merge`], but names stay.
pub fn merge_arguments(mut base: Node, over: Node, problems: &mut Vec<Problem>) -> Node {
    forbid_unset(&base, &over, problems);
    let origin = base.origin.clone();
    merge_record(&mut base, over, &PROFILE, problems);
    base.origin = origin;
    base
}

fn forbid_unset(base: &Node, over: &Node, problems: &mut Vec<Problem>) {
    if let Some(set) = base.get("development")
        && set.is_true()
        && let Some(now) = over.get("development")
        && !now.is_true()
    {
        problems.push(
            Problem::at(
                &now.origin,
                format!(
                    "`development` can't be unset; {} has set it",
                    set.origin.short()
                ),
            )
            .hint("extend a base that is not for development, such as `container-host`"),
        );
    }
}

fn merge_record(base: &mut Node, over: Node, record: &'static Record, problems: &mut Vec<Problem>) {
    let Value::Map(overs) = over.value else {
        return;
    };
    base.origin = over.origin;
    if !matches!(base.value, Value::Map(_)) {
        base.value = Value::Map(Vec::new());
    }
    let Value::Map(entries) = &mut base.value else {
        return;
    };
    // What is taken away was inherited: what the same mapping adds stays.
    let (removals, additions): (Vec<_>, Vec<_>) = overs
        .into_iter()
        .partition(|entry| record.field(&entry.key).is_none());
    for removal in removals {
        remove(entries, &removal, record, problems);
    }
    for entry in additions {
        let Some(field) = record.field(&entry.key) else {
            continue;
        };
        add(entries, entry, &field.shape, problems);
    }
}

fn add(entries: &mut Vec<Entry>, over: Entry, shape: &'static Shape, problems: &mut Vec<Problem>) {
    let found = entries.iter().position(|entry| entry.key == over.key);
    if matches!(over.node.value, Value::Null) {
        // Nothing said about a collection; a scalar goes back to its default.
        if let Some(at) = found
            && !matches!(
                shape,
                Shape::Record(_)
                    | Shape::List(_)
                    | Shape::Texts(_)
                    | Shape::TextMap { .. }
                    | Shape::Board
            )
        {
            entries.remove(at);
        }
        return;
    }
    let at = found.unwrap_or_else(|| {
        entries.push(Entry {
            key: over.key.clone(),
            key_origin: over.key_origin.clone(),
            node: Node {
                value: Value::Null,
                origin: over.node.origin.clone(),
            },
        });
        entries.len() - 1
    });
    let Some(base) = entries.get_mut(at) else {
        return;
    };
    base.key_origin = over.key_origin;
    match (shape, over.node.value) {
        (Shape::Record(record), value) => {
            let node = Node {
                value,
                origin: over.node.origin,
            };
            merge_record(&mut base.node, node, record, problems);
        }
        (Shape::List(_) | Shape::Texts(_), value) => {
            let items = match value {
                Value::List(items) => items,
                // A text that stands alone is a list of one.
                one => vec![Node {
                    value: one,
                    origin: over.node.origin.clone(),
                }],
            };
            base.node.origin = over.node.origin;
            match &mut base.node.value {
                Value::List(present) => present.extend(items),
                other => *other = Value::List(items),
            }
        }
        (Shape::TextMap { .. }, Value::Map(pairs)) => {
            base.node.origin = over.node.origin;
            if let Value::Map(present) = &mut base.node.value {
                for pair in pairs {
                    match present.iter_mut().find(|entry| entry.key == pair.key) {
                        Some(old) => *old = pair,
                        None => present.push(pair),
                    }
                }
            } else {
                base.node.value = Value::Map(pairs);
            }
        }
        (Shape::Board, value) if !matches!(base.node.value, Value::Null) => {
            let name = |node: &Node| {
                let name = node.get("name").and_then(Node::text);
                name.unwrap_or("?").to_owned()
            };
            let over = Node {
                value,
                origin: over.node.origin,
            };
            problems.push(
                Problem::at(
                    &base.key_origin,
                    format!(
                        "the board is `{}`, and a profile that this one extends has the board `{}`",
                        name(&over),
                        name(&base.node)
                    ),
                )
                .hint("an image is for one board; extend what has none, such as `container-host`"),
            );
        }
        (_, value) => {
            base.node = Node {
                value,
                origin: over.node.origin,
            };
        }
    }
}

/// The text by which an entry of a list is taken away.
fn identity<'a>(node: &'a Node, shape: &Shape) -> Option<&'a str> {
    match (shape, &node.value) {
        (Shape::Record(record), Value::Map(_)) => node.get(record.identity?)?.text(),
        (_, Value::Scalar { text, .. }) => Some(text),
        _ => None,
    }
}

/// Whether `entry` is meant by `wanted`: itself, or a package or command-line word of that name.
fn is_meant(key: &str, entry: &str, wanted: &str) -> bool {
    entry == wanted
        || entry.strip_prefix(wanted).is_some_and(|rest| match key {
            "include" => rest.starts_with(['=', '/']),
            "cmdline" => rest.starts_with('='),
            _ => false,
        })
}

fn remove(
    entries: &mut [Entry],
    removal: &Entry,
    record: &'static Record,
    problems: &mut Vec<Problem>,
) {
    let key = removal.key.trim_start_matches('-');
    let of = match record.field(key).map(|field| &field.shape) {
        Some(Shape::List(of)) => *of,
        Some(other) => other,
        None => return,
    };
    let mut target = entries.iter_mut().find(|entry| entry.key == key);
    for item in removal.node.items() {
        let Some(wanted) = item.text() else { continue };
        let mut gone = false;
        let mut present: Vec<&str> = Vec::new();
        match target.as_mut().map(|entry| &mut entry.node.value) {
            Some(Value::List(items)) => {
                let before = items.len();
                items.retain(|entry| {
                    !identity(entry, of).is_some_and(|text| is_meant(key, text, wanted))
                });
                gone = items.len() < before;
                present = items.iter().filter_map(|item| identity(item, of)).collect();
            }
            Some(Value::Map(pairs)) => {
                let before = pairs.len();
                pairs.retain(|entry| entry.key != wanted);
                gone = pairs.len() < before;
                present = pairs.iter().map(|entry| entry.key.as_str()).collect();
            }
            _ => {}
        }
        if gone {
            continue;
        }
        let problem = Problem::at(
            &item.origin,
            format!("`{wanted}` can't be taken away: no inherited `{key}` has it"),
        )
        .label("nothing to take away");
        problems.push(match nearest(wanted, present) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem,
        });
    }
}
