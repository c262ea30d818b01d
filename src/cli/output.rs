//! What goes to stdout and stderr: words for people, JSON Lines for machines.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::failure::{self, Kind};

/// Version of the JSON Lines; every line carries it.
pub const JSON_VERSION: u32 = 1;

/// Writes one event line to stdout.
pub fn event(name: &str, fields: Value) {
    let mut line = serde_json::Map::new();
    line.insert("v".into(), JSON_VERSION.into());
    line.insert("event".into(), name.into());
    if let Value::Object(fields) = fields {
        line.extend(fields);
    }
    line_out(&Value::Object(line).to_string());
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
        if cause.downcast_ref::<failure::Failure>().is_some() {
            break;
        }
    }
    let message = chain.join(": ");
    let mut text = format!("error: {message}\n");
    if let Some(snippet) = failure.and_then(|f| f.snippet.as_deref()) {
        text.push_str(snippet.trim_end_matches('\n'));
        text.push('\n');
    }
    let hints = failure.map(|f| f.hints.clone()).unwrap_or_default();
    for hint in &hints {
        text.push_str(&format!("hint: {hint}\n"));
    }
    if kind == Kind::Bug {
        text.push_str("This is a defect in hullwright; please report it with the lines above.\n");
    }
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
    if json {
        let place = failure.and_then(|f| f.place.as_ref());
        event(
            "error",
            json!({
                "kind": kind.name(),
                "message": message,
                "file": place.map(|p| p.file.to_string_lossy()),
                "line": place.and_then(|p| p.line),
                "column": place.and_then(|p| p.column),
                "hints": hints,
            }),
        );
    }
    kind
}

/// Bytes for people: three significant digits, powers of 1024.
#[must_use]
pub fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 100.0 { 0 } else { 1 };
    format!("{value:.digits$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_few_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (135_286_784, "129 MiB"),
            (8 << 30, "8.0 GiB"),
        ] {
            assert_eq!(human_size(bytes), text);
        }
    }
}
