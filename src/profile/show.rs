//! The merged profile as people and hashes see it.

use serde_json::Value as Json;

use super::board::table::BOARD;
use super::checks::bytes_shown;
use super::load::{Loaded, ROOT_SHAPE};
use super::table::{BUDGET, Shape};
use super::yaml::{Node, Value};
use crate::digest::Sha256;

/// The origin of values that nobody wrote.
const DEFAULT: &str = "built-in default";

/// A value of the merged profile and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafOrigin {
    /// Dotted path (`packages.include[3]`).
    pub path: String,
    /// The value as YAML.
    pub value: String,
    /// `FILE:LINE`, `command line` or `built-in default`.
    pub origin: String,
}

impl Loaded {
    /// How the user names the profile in a command, with the architecture where that is not the
    /// profile's own.
    #[must_use]
    pub fn named(&self) -> String {
        match self.tree.get("arch") {
            Some(node) if node.origin.is_argument() => {
                format!("{} --arch {}", self.reference, self.profile.arch)
            }
            _ => self.reference.clone(),
        }
    }

    /// Every single value with its origin, in the order of the schema.
    #[must_use]
    pub fn origins(&self) -> Vec<LeafOrigin> {
        let mut leaves = Vec::new();
        let json = self.json();
        walk(
            &json,
            Some(&self.tree),
            ROOT_SHAPE,
            String::new(),
            &mut leaves,
        );
        leaves
    }

    /// The merged profile as YAML that loads to the same profile; with origins as comments.
    #[must_use]
    pub fn merged_yaml(&self, with_origins: bool) -> String {
        let mut out = String::new();
        let json = self.json();
        write(
            &json,
            Some(&self.tree),
            ROOT_SHAPE,
            0,
            with_origins,
            &mut out,
        );
        out
    }

    /// The merged profile as a release publishes it: all that decides the image's bytes, and not who
    /// signs and with what on which machine, nor how large it may be.
    #[must_use]
    pub fn published_yaml(&self) -> String {
        let mut json = self.json();
        if let Some(keys) = json.as_object_mut() {
            keys.retain(|key, _| !matches!(key.as_str(), "keys" | "signer" | "sign" | "budget"));
        }
        let mut out = String::new();
        write(&json, Some(&self.tree), ROOT_SHAPE, 0, false, &mut out);
        out
    }

    /// The files the profile is made of, bases first, as messages name them.
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        self.layers
            .iter()
            .map(|source| source.name.display().to_string())
            .collect()
    }

    /// Hash of everything the merged profile says about `/usr` and what boots it. Contents of files
    /// that it names are not part; nor are who signs and when, the budget, what the audit lets pass, and
    /// the channel, so that a release is promoted as it is.
    #[must_use]
    pub fn hash(&self) -> Sha256 {
        let mut json = self.json();
        if let Some(keys) = json.as_object_mut() {
            let others = ["signer", "sign", "budget", "allow"];
            keys.retain(|key, _| !others.contains(&key.as_str()));
            if let Some(os) = keys.get_mut("os").and_then(Json::as_object_mut) {
                os.remove("channel");
            }
        }
        Sha256::of(json.to_string().as_bytes())
    }

    /// Everything that the merged profile says, as text: what two equal builds have in common.
    #[must_use]
    pub fn whole(&self) -> String {
        format!("{} {}", self.stem, self.json())
    }

    /// The typed profile as JSON, keys in the order of the schema.
    fn json(&self) -> Json {
        // Serialising plain structs to a value has no way to fail.
        serde_json::to_value(&self.profile).unwrap_or_default()
    }
}

fn child_shape(shape: &'static Shape, key: &str) -> Option<&'static Shape> {
    match shape {
        Shape::Record(record) => record.field(key).map(|field| &field.shape),
        Shape::Board => BOARD.field(key).map(|field| &field.shape),
        Shape::Budgets => BUDGET.field(key).map(|field| &field.shape),
        Shape::TextMap { .. } => Some(&TEXT),
        _ => None,
    }
}

static TEXT: Shape = Shape::Text(super::checks::line);

fn origin_of(node: Option<&Node>) -> String {
    node.filter(|n| !matches!(n.value, Value::Null))
        .map_or_else(|| DEFAULT.into(), |n| n.origin.short())
}

fn scalar(json: &Json, shape: &Shape) -> String {
    match (json, shape) {
        (
            Json::Number(n),
            Shape::Size
            | Shape::SizeOrZero
            | Shape::DiskSize
            | Shape::ChunkSize
            | Shape::Budget
            | Shape::Budgets,
        ) => n.as_u64().map_or_else(|| n.to_string(), bytes_shown),
        (Json::String(text), _) => quoted(text),
        (Json::Array(_), _) => "[]".into(),
        (Json::Object(_), _) => "{}".into(),
        _ => json.to_string(),
    }
}

/// A text as YAML: plain where no reader can mistake it, else in double quotes as JSON writes it.
fn quoted(text: &str) -> String {
    let plain = text
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric() || b"/.".contains(&b))
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b" /._+=:~$@-".contains(&b))
        && !text.contains(": ")
        && !text.ends_with([' ', ':'])
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        )
        && (text.bytes().any(|b| b.is_ascii_alphabetic() || b == b'/')
            && !text
                .bytes()
                .next()
                .is_some_and(|b| b.is_ascii_digit() || b == b'.'));
    if plain {
        text.into()
    } else {
        // JSON leaves DEL and the C1 controls as they are, which YAML forbids.
        let json = Json::String(text.into()).to_string();
        json.chars()
            .map(|c| {
                if c.is_control() {
                    format!("\\u{:04x}", u32::from(c))
                } else {
                    c.to_string()
                }
            })
            .collect()
    }
}

fn is_leaf(json: &Json) -> bool {
    match json {
        Json::Array(items) => items.is_empty(),
        Json::Object(map) => map.is_empty(),
        _ => true,
    }
}

fn walk(
    json: &Json,
    node: Option<&Node>,
    shape: &'static Shape,
    path: String,
    leaves: &mut Vec<LeafOrigin>,
) {
    if is_leaf(json) {
        leaves.push(LeafOrigin {
            path,
            value: scalar(json, shape),
            origin: origin_of(node),
        });
        return;
    }
    match json {
        Json::Object(map) => {
            for (key, value) in map {
                let full = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                let shape = child_shape(shape, key).unwrap_or(&TEXT);
                walk(value, node.and_then(|n| n.get(key)), shape, full, leaves);
            }
        }
        Json::Array(items) => {
            let shape = match shape {
                Shape::List(of) => of,
                Shape::Budgets => shape,
                _ => &TEXT,
            };
            for (index, value) in items.iter().enumerate() {
                let item = node.and_then(|n| n.items().get(index));
                walk(value, item, shape, format!("{path}[{index}]"), leaves);
            }
        }
        _ => {}
    }
}

fn line(out: &mut String, text: &str, origin: Option<String>) {
    match origin {
        Some(origin) => out.push_str(&format!("{text:<56} # {origin}\n")),
        None => {
            out.push_str(text);
            out.push('\n');
        }
    }
}

fn write(
    json: &Json,
    node: Option<&Node>,
    shape: &'static Shape,
    indent: usize,
    with_origins: bool,
    out: &mut String,
) {
    let pad = " ".repeat(indent);
    match json {
        Json::Object(map) => {
            for (key, value) in map {
                let shape = child_shape(shape, key).unwrap_or(&TEXT);
                let child = node.and_then(|n| n.get(key));
                if is_leaf(value) {
                    let origin = with_origins.then(|| origin_of(child));
                    line(
                        out,
                        &format!("{pad}{}: {}", quoted(key), scalar(value, shape)),
                        origin,
                    );
                } else {
                    out.push_str(&format!("{pad}{}:\n", quoted(key)));
                    write(value, child, shape, indent + 2, with_origins, out);
                }
            }
        }
        Json::Array(items) => {
            let shape = match shape {
                Shape::List(of) => of,
                Shape::Budgets => shape,
                _ => &TEXT,
            };
            for (index, value) in items.iter().enumerate() {
                let item = node.and_then(|n| n.items().get(index));
                if is_leaf(value) {
                    let origin = with_origins.then(|| origin_of(item));
                    line(out, &format!("{pad}- {}", scalar(value, shape)), origin);
                } else {
                    let mut entry = String::new();
                    write(value, item, shape, indent + 2, with_origins, &mut entry);
                    out.push_str(&format!("{pad}- {}", entry.trim_start()));
                }
            }
        }
        _ => {}
    }
}
