//! Layers held against the table of keys, and the merged tree turned into the schema's types.

use serde_json::{Map, Number, Value as Json};

use super::board::table::BOARD;
use super::source::Problem;
use super::table::{BUDGET, PROFILE, Record, Shape};
use super::yaml::{Entry, Node, Value};
use super::{board, checks};
use crate::words::nearest;

static BOARD_SHAPE: &Shape = &Shape::Record(&BOARD);
static BUDGETS_SHAPE: &Shape = &Shape::List(&Shape::Record(&BUDGET));

/// Holds one layer against the table: known keys, right types, possible values. Nothing is required
/// of a layer as a whole, but entries of lists are complete.
pub fn check_layer(node: &Node, problems: &mut Vec<Problem>) {
    check_record(node, &PROFILE, "", problems);
}

/// Keys that the merged tree lacks.
pub fn check_complete(root: &Node, problems: &mut Vec<Problem>) {
    let development = root.get("development").is_some_and(Node::is_true);
    for (path, record) in [("", &PROFILE)].into_iter().chain(sections(&PROFILE)) {
        let node = if path.is_empty() {
            Some(root)
        } else {
            root.get(path)
        };
        for key in record.required {
            if (development && path == "os" && *key == "version")
                || node.and_then(|n| n.get(key)).is_some()
            {
                continue;
            }
            let full = join(path, key);
            let problem = Problem::at(
                &first_line(node.unwrap_or(root)),
                format!("`{full}` is missing"),
            )
            .label("needed in this profile or one that it extends");
            problems.push(match full.as_str() {
                "os.version" => problem.hint(
                    "add `os: {version: 1.0.0}`, or pass `--set os.version=1.0.0`; only \
                     development profiles have a default",
                ),
                "os.id" => problem.hint("add `os: {id: myos}`: it names files, labels and updates"),
                "kernel.package" => problem.hint(
                    "extend a base such as `container-host`, or add \
                     `kernel: {package: \"linux-image-cloud-{arch}\"}`",
                ),
                _ => problem,
            });
        }
    }
}

/// The records directly below the root.
fn sections(root: &'static Record) -> impl Iterator<Item = (&'static str, &'static Record)> {
    root.fields.iter().filter_map(|field| match field.shape {
        Shape::Record(record) => Some((field.key, record)),
        _ => None,
    })
}

fn first_line(node: &Node) -> super::source::Origin {
    let mut origin = node.origin.clone();
    if let Some(entry) = node.entries().first() {
        origin = entry.key_origin.clone();
    }
    origin
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.into()
    } else {
        format!("{path}.{key}")
    }
}

pub(super) fn check_record(
    node: &Node,
    record: &'static Record,
    path: &str,
    problems: &mut Vec<Problem>,
) {
    let Value::Map(entries) = &node.value else {
        if !matches!(node.value, Value::Null) {
            problems.push(wrong_type(node, path, "a mapping (`key: value`)"));
        }
        return;
    };
    for entry in entries {
        let full = join(path, &entry.key);
        if let Some(field) = record.field(&entry.key) {
            check(&entry.node, &field.shape, &full, problems);
        } else if let Some(field) = entry
            .key
            .strip_prefix('-')
            .and_then(|taken| record.field(taken))
        {
            check_removal(entry, &field.shape, &full, problems);
        } else {
            problems.push(unknown_key(entry, record, path));
        }
    }
}

fn unknown_key(entry: &Entry, record: &'static Record, path: &str) -> Problem {
    let whose = if path.is_empty() {
        "a profile".to_string()
    } else {
        format!("`{path}`")
    };
    let problem = Problem::at(
        &entry.key_origin,
        format!("`{}` is not a key of {whose}", entry.key),
    )
    .label("unknown key");
    let (sign, wrong) = entry
        .key
        .strip_prefix('-')
        .map_or(("", entry.key.as_str()), |rest| ("-", rest));
    let keys = record.fields.iter().map(|field| field.key);
    if let Some(near) = nearest(wrong, keys.clone()) {
        return problem.hint(format!("did you mean `{sign}{near}`?"));
    }
    let mut elsewhere = Vec::new();
    for (section, inner) in [("", &PROFILE)].into_iter().chain(sections(&PROFILE)) {
        if section != path && inner.field(wrong).is_some() {
            elsewhere.push(join(section, wrong));
        }
    }
    if let Some(place) = elsewhere.first() {
        return problem.hint(format!("did you mean `{place}`?"));
    }
    let keys: Vec<_> = keys.map(|key| format!("`{key}`")).collect();
    problem.hint(format!("the keys of {whose} are {}", keys.join(", ")))
}

fn check_removal(entry: &Entry, shape: &Shape, full: &str, problems: &mut Vec<Problem>) {
    if !shape.is_collection() {
        problems.push(
            Problem::at(
                &entry.key_origin,
                format!(
                    "`{full}`: `-` takes entries out of a list, but `{}` is no list",
                    entry.key.trim_start_matches('-')
                ),
            )
            .hint("write the key without `-` to replace an inherited value"),
        );
        return;
    }
    match &entry.node.value {
        Value::Null => {}
        Value::List(items) => {
            for item in items {
                if item.text().is_none() {
                    problems.push(
                        wrong_type(item, full, "the text or name of an entry")
                            .hint("mappings are taken away by their `name` (or `path`)"),
                    );
                }
            }
        }
        _ => problems.push(wrong_type(
            &entry.node,
            full,
            "a list of what to take away (`[a, b]`)",
        )),
    }
}

fn wrong_type(node: &Node, path: &str, expected: &str) -> Problem {
    let where_ = if path.is_empty() {
        "the profile".to_string()
    } else {
        format!("`{path}`")
    };
    let found = match &node.value {
        Value::Scalar { text, .. } => format!("`{}`", shortened(text)),
        _ => node.what().to_string(),
    };
    Problem::at(
        &node.origin,
        format!("{where_} is {found}; expected {expected}"),
    )
    .label(format!("expected {expected}"))
}

fn bad_value(node: &Node, path: &str, text: &str, expected: &str) -> Problem {
    // What stands there may be a password.
    if path.ends_with("password_hash") {
        let mut problem = Problem::at(&node.origin, format!("`{path}` is not {expected}"));
        problem.secret = true;
        return problem;
    }
    Problem::at(
        &node.origin,
        format!("`{path}` is `{}`; expected {expected}", shortened(text)),
    )
}

/// At most one screen line of outside text, without control characters.
fn shortened(text: &str) -> String {
    let mut out: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    if text.chars().nth(80).is_some() {
        out.push('…');
    }
    out
}

fn check(node: &Node, shape: &'static Shape, path: &str, problems: &mut Vec<Problem>) {
    match shape {
        Shape::Record(record) => check_record(node, record, path, problems),
        Shape::List(of) => match &node.value {
            Value::Null => {}
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    check_item(item, of, &format!("{path}[{index}]"), problems);
                }
            }
            _ => problems.push(wrong_type(
                node,
                path,
                "a list (`[a, b]`, or lines with `- `)",
            )),
        },
        Shape::TextMap { key, value } => match &node.value {
            Value::Null => {}
            Value::Map(entries) => {
                for entry in entries {
                    let full = join(path, &entry.key);
                    if let Err(expected) = key(&entry.key) {
                        problems.push(Problem::at(
                            &entry.key_origin,
                            format!(
                                "`{}` in `{path}`: expected {expected}",
                                shortened(&entry.key)
                            ),
                        ));
                    }
                    check_text(&entry.node, *value, &full, problems);
                }
            }
            _ => problems.push(wrong_type(node, path, "a mapping (`key: value`)")),
        },
        Shape::Texts(of) => match &node.value {
            Value::Null => {}
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    check_text(item, *of, &format!("{path}[{index}]"), problems);
                }
            }
            _ => check_text(node, *of, path, problems),
        },
        Shape::Extends => match &node.value {
            Value::Null => {}
            Value::List(items) => {
                for item in items {
                    check_text(item, checks::path, path, problems);
                }
            }
            _ => check_text(node, checks::path, path, problems),
        },
        Shape::Board => board::load::check(node, problems),
        Shape::Budgets if matches!(node.value, Value::List(_)) => {
            check(node, BUDGETS_SHAPE, path, problems);
        }
        // What is left of it where the mapping around it was no board.
        Shape::BoardProfile => {}
        _ if matches!(node.value, Value::Null) => {}
        Shape::Text(of) => check_text(node, *of, path, problems),
        _ => {
            if let Err(problem) = scalar(node, shape, path) {
                problems.push(*problem);
            }
        }
    }
}

/// Entries of lists are never absent and, where they are mappings, complete.
fn check_item(item: &Node, of: &'static Shape, path: &str, problems: &mut Vec<Problem>) {
    if matches!(item.value, Value::Null) {
        problems.push(wrong_type(item, path, &of.name()));
        return;
    }
    let before = problems.len();
    check(item, of, path, problems);
    if let Shape::Record(record) = of
        && problems.len() == before
    {
        for key in record.required {
            let given = item.get(key);
            if given.is_none_or(|n| matches!(n.value, Value::Null)) {
                problems.push(
                    Problem::at(&first_line(item), format!("`{path}` has no `{key}`"))
                        .label(format!("add `{key}:` to this entry")),
                );
            }
        }
    }
}

fn check_text(node: &Node, of: checks::Check, path: &str, problems: &mut Vec<Problem>) {
    match &node.value {
        Value::Scalar { text, plain } => {
            if *plain && matches!(text.as_str(), "true" | "false") {
                problems.push(
                    Problem::at(
                        &node.origin,
                        format!("`{path}` is `{text}`; expected a text"),
                    )
                    .hint(format!("write \"{text}\" in quotes if that is the text")),
                );
            } else if let Err(expected) = of(text) {
                problems.push(bad_value(node, path, text, &expected));
            }
        }
        _ => problems.push(wrong_type(node, path, "a text")),
    }
}

/// The value of a scalar that is not plain text.
fn scalar(node: &Node, shape: &'static Shape, path: &str) -> Result<Json, Box<Problem>> {
    let Value::Scalar { text, plain } = &node.value else {
        return Err(Box::new(wrong_type(node, path, &shape.name())));
    };
    let bad = |expected: &str| Box::new(bad_value(node, path, text, expected));
    match shape {
        Shape::Bool => match (text.as_str(), plain) {
            ("true", true) => Ok(Json::Bool(true)),
            ("false", true) => Ok(Json::Bool(false)),
            ("yes" | "on" | "Yes" | "True" | "TRUE", _) | ("true", false) => Err(Box::new(
                bad_value(node, path, text, "`true` or `false`").hint("write `true`"),
            )),
            ("no" | "off" | "No" | "False" | "FALSE", _) | ("false", false) => Err(Box::new(
                bad_value(node, path, text, "`true` or `false`").hint("write `false`"),
            )),
            _ => Err(bad("`true` or `false`")),
        },
        Shape::Integer { least, most } => text
            .parse::<i64>()
            .ok()
            .filter(|number| (*least..=*most).contains(number) && *plain)
            .map(|number| Json::Number(Number::from(number)))
            .ok_or_else(|| bad(&format!("a whole number from {least} to {most}"))),
        Shape::Size => size(text).map_err(|e| bad(&e)),
        Shape::SizeOrZero if text == "0" => Ok(Json::Number(0.into())),
        Shape::SizeOrZero => size(text).map_err(|e| bad(&format!("0, or {e}"))),
        Shape::DiskSize if text == "auto" => Ok(Json::String(text.clone())),
        Shape::DiskSize => size(text).map_err(|e| bad(&format!("`auto`, or {e}"))),
        Shape::Budget | Shape::Budgets => checks::budget(text)
            .map(|bytes| Json::Number(bytes.into()))
            .map_err(|e| bad(&e)),
        Shape::ChunkSize => {
            let bytes = checks::bytes(text).map_err(|e| bad(&e))?;
            if bytes.is_power_of_two() && (4096..=1 << 20).contains(&bytes) {
                Ok(Json::Number(bytes.into()))
            } else {
                Err(bad("a power of two from 4 KiB to 1 MiB"))
            }
        }
        Shape::Choice(words) => {
            if words.contains(&text.as_str()) {
                return Ok(Json::String(text.clone()));
            }
            let problem = bad_value(node, path, text, &format!("one of {}", shape.name()));
            // The names of other tools for the same machines.
            let meant = match text.as_str() {
                "amd64" | "x86-64" | "x64" => Some("x86_64"),
                "aarch64" => Some("arm64"),
                other => nearest(other, words.iter().copied()),
            };
            Err(Box::new(match meant.filter(|m| words.contains(m)) {
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None => problem,
            }))
        }
        Shape::Sha256 => {
            if text.parse::<crate::digest::Sha256>().is_ok() {
                Ok(Json::String(text.to_ascii_lowercase()))
            } else {
                Err(bad("64 hexadecimal digits"))
            }
        }
        _ => Ok(Json::String(text.clone())),
    }
}

fn size(text: &str) -> Result<Json, String> {
    let bytes = checks::bytes(text)?;
    if bytes == 0 || !bytes.is_multiple_of(1 << 20) {
        return Err("a size above zero in whole MiB".into());
    }
    Ok(Json::Number(bytes.into()))
}

/// A checked tree as JSON, from which serde makes the schema's types. Absent values stay absent.
pub fn to_json(node: &Node, shape: &'static Shape) -> Result<Json, Box<Problem>> {
    Ok(match shape {
        Shape::Record(record) => {
            let mut map = Map::new();
            for entry in node.entries() {
                if let Some(field) = record.field(&entry.key)
                    && !matches!(field.shape, Shape::Extends)
                    && !matches!(entry.node.value, Value::Null)
                {
                    map.insert(entry.key.clone(), to_json(&entry.node, &field.shape)?);
                }
            }
            Json::Object(map)
        }
        Shape::Board => match &node.value {
            Value::Map(_) => to_json(node, BOARD_SHAPE)?,
            _ => Json::Null,
        },
        Shape::BoardProfile => Json::Null,
        Shape::Budgets if matches!(node.value, Value::List(_)) => to_json(node, BUDGETS_SHAPE)?,
        Shape::List(of) => Json::Array(
            node.items()
                .iter()
                .map(|item| to_json(item, of))
                .collect::<Result<_, _>>()?,
        ),
        Shape::Texts(_) => Json::Array(
            node.items()
                .iter()
                .map(|item| Json::String(item.text().unwrap_or_default().into()))
                .collect(),
        ),
        Shape::TextMap { .. } => {
            let mut map = Map::new();
            for entry in node.entries() {
                map.insert(
                    entry.key.clone(),
                    Json::String(entry.node.text().unwrap_or_default().into()),
                );
            }
            Json::Object(map)
        }
        _ => scalar(node, shape, "")?,
    })
}
