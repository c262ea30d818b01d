//! What goes to stdout and stderr: words for people, JSON Lines for machines.

use std::io::Write as _;

use serde_json::{Map, Value, json};

use crate::audit::Failed;
use crate::failure::{self, Failure, Kind};

/// Version of the JSON Lines; every line carries it.
pub const JSON_VERSION: u32 = 1;

/// Writes one event line to stdout.
pub fn event(name: &str, fields: Value) {
    let mut line = Map::new();
    line.insert("v".into(), JSON_VERSION.into());
    line.insert("event".into(), name.into());
    if let Value::Object(fields) = fields {
        line.extend(fields);
    }
    line_out(&Value::Object(line).to_string());
}

/// Writes the `result` of a command that does one thing for each of several: they are the list `name`,
/// and if there is only one its fields stand in the event itself, too.
pub fn results(name: &str, each: Vec<Value>) {
    let mut fields = match &each[..] {
        [Value::Object(only)] => only.clone(),
        _ => Map::new(),
    };
    fields.insert(name.into(), each.into());
    event("result", fields.into());
}

/// Writes a line to stdout; a reader that has gone away is no error worth words.
pub fn line_out(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Renders an error for people on stderr, and as the last event with `json`; returns its kind.
pub fn error(error: &anyhow::Error, json: bool) -> Kind {
    let kind = failure::kind_of(error);
    let failure = failure::failure_of(error);
    // Contexts lead to the failure; below it is nothing that a person needs.
    let mut chain: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if chain.last() != Some(&text) {
            chain.push(text);
        }
        if cause.downcast_ref::<Failure>().is_some() {
            break;
        }
    }
    let message = chain.join(": ");
    let mut text = format!("error: {message}\n");
    text.push_str(&failure.map(Failure::details).unwrap_or_default());
    if kind == Kind::Bug {
        text.push_str("This is a defect in hullwright; please report it with the lines above.\n");
    }
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
    if json {
        let audited = error
            .chain()
            .find_map(|cause| cause.downcast_ref::<Failed>());
        for finding in audited.map_or(&[][..], |failed| &failed.findings) {
            event("finding", finding.clone());
        }
        let mut fields = json!({"kind": kind.name(), "message": message});
        if let Value::Object(fields) = &mut fields {
            fields.extend(place_and_hints(failure));
            let others = failure.map_or(&[][..], |f| &f.others);
            if !others.is_empty() {
                let others: Vec<Value> = others.iter().map(problem).collect();
                fields.insert("others".into(), others.into());
            }
        }
        event("error", fields);
    }
    kind
}

fn problem(failure: &Failure) -> Value {
    let mut fields = Map::new();
    fields.insert("message".into(), failure.message.clone().into());
    fields.extend(place_and_hints(Some(failure)));
    fields.into()
}

fn place_and_hints(failure: Option<&Failure>) -> Map<String, Value> {
    let place = failure.and_then(|f| f.place.as_ref());
    let file = place.map(|p| p.file.to_string_lossy().into_owned());
    [
        ("file", Value::from(file)),
        ("line", place.and_then(|p| p.line).into()),
        ("column", place.and_then(|p| p.column).into()),
        (
            "hints",
            failure.map(|f| f.hints.clone()).unwrap_or_default().into(),
        ),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into_iter()
    .collect()
}
