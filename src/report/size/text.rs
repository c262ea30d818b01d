//! Sizes as a table for people.

use super::tree::Row;
use super::{Form, Sizes};
use crate::report::human_size;

/// Width of a column of sizes.
const COLUMN: usize = 10;

/// What the bytes of `usr.erofs` are, with the sum.
#[must_use]
pub fn forms(sizes: &Sizes) -> String {
    let mut out = String::new();
    let forms = sizes.forms();
    let forms = forms.iter().map(|(form, bytes)| (form.name(), *bytes));
    let rest = sizes
        .rest
        .iter()
        .map(|part| (part.name.as_str(), part.bytes));
    for (name, bytes) in forms.chain(rest) {
        if bytes > 0 || name == Form::Data.name() {
            out.push_str(&format!("{bytes:>15}  {name}\n"));
        }
    }
    out.push_str(&format!("{:>15}  usr.erofs\n", sizes.usr));
    out
}

/// `rows` down to `depth` levels, each with its bytes in the artefact and before compression.
#[must_use]
pub fn rows(rows: &[Row], depth: usize) -> String {
    let mut out = format!("{:>COLUMN$} {:>COLUMN$}\n", "stored", "installed");
    for row in rows {
        add(row, 0, depth, &mut out);
    }
    out
}

fn add(row: &Row, level: usize, depth: usize, out: &mut String) {
    let installed = match row.installed {
        0 => String::new(),
        bytes => human_size(bytes),
    };
    let name = format!("{}{}", "  ".repeat(level), row.name);
    let line = format!(
        "{:>COLUMN$} {installed:>COLUMN$}  {name:<36} {}",
        human_size(row.stored),
        row.why
    );
    out.push_str(line.trim_end());
    out.push('\n');
    if level < depth {
        for child in &row.children {
            add(child, level + 1, depth, out);
        }
    }
}
