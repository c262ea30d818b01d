//! Holds the licence of every locked crate against the list of `deny.toml`.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::steps::cargo;

/// Fails if a crate's licence can't be met by the list, or the list has more than it needs.
pub fn run() -> Result<()> {
    let deny = fs::read_to_string("deny.toml").context("reading deny.toml")?;
    let allowed = allowed(&deny)?;
    let out = cargo(&["metadata", "--format-version", "1", "--locked"])
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("starting cargo metadata")?;
    if !out.status.success() {
        bail!("cargo metadata ended with {}", out.status);
    }
    let crates = crates(&out.stdout)?;
    let findings = findings(&crates, &allowed);
    if findings.is_empty() {
        println!("{} crates, {} licences", crates.len(), allowed.len());
        return Ok(());
    }
    bail!("{}", findings.join("\n"));
}

/// A crate and its licence expression.
type Crate = (String, Option<String>);

fn crates(metadata: &[u8]) -> Result<Vec<Crate>> {
    let metadata: serde_json::Value =
        serde_json::from_slice(metadata).context("reading cargo metadata")?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata lists no packages")?;
    Ok(packages
        .iter()
        .map(|package| {
            let text = |key: &str| package[key].as_str().unwrap_or_default();
            (
                format!("{} {}", text("name"), text("version")),
                package["license"].as_str().map(str::to_owned),
            )
        })
        .collect())
}

fn findings(crates: &[Crate], allowed: &BTreeSet<String>) -> Vec<String> {
    let mut out = Vec::new();
    let mut good = Vec::new();
    for (name, licence) in crates {
        let Some(licence) = licence else {
            out.push(format!("{name} names no licence"));
            continue;
        };
        match satisfied(licence, allowed) {
            Ok(true) => good.push(licence.as_str()),
            Ok(false) => out.push(format!("{name}: deny.toml does not allow {licence}")),
            Err(error) => out.push(format!("{name}: {error:#}")),
        }
    }
    for licence in allowed {
        let mut rest = allowed.clone();
        rest.remove(licence);
        if good
            .iter()
            .all(|expression| satisfied(expression, &rest).unwrap_or(false))
        {
            out.push(format!(
                "deny.toml allows {licence}, which no crate can't do without"
            ));
        }
    }
    out
}

/// The strings of `allow` in the table `[licenses]`.
fn allowed(deny: &str) -> Result<BTreeSet<String>> {
    let list = deny
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .skip_while(|line| *line != "[licenses]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .skip_while(|line| !line.starts_with("allow"))
        .collect::<Vec<_>>()
        .join(" ");
    let list = list
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
        .map(|(list, _)| list)
        .context("deny.toml has no allow = […] under [licenses]")?;
    Ok(list
        .split(',')
        .map(|word| word.trim().trim_matches('"').to_owned())
        .filter(|word| !word.is_empty())
        .collect())
}

/// Whether an SPDX expression (SPDX 2.3, annex D) can be met with `allowed`. Crates from before
/// cargo asked for SPDX have `/` for OR.
fn satisfied(expression: &str, allowed: &BTreeSet<String>) -> Result<bool> {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let value = any(&words, &mut at, allowed)?;
    match words.get(at) {
        None => Ok(value),
        Some(word) => bail!("`{word}` is not expected in the licence `{expression}`"),
    }
}

/// `a OR b`: binds weaker than AND.
fn any(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> Result<bool> {
    let mut value = all(words, at, allowed)?;
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        value |= all(words, at, allowed)?;
    }
    Ok(value)
}

/// `a AND b`.
fn all(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> Result<bool> {
    let mut value = one(words, at, allowed)?;
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        value &= one(words, at, allowed)?;
    }
    Ok(value)
}

/// A licence, one with an exception (which counts as a licence of its own), or parentheses.
fn one(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> Result<bool> {
    let word = *words.get(*at).context("the licence ends too early")?;
    *at += 1;
    match word {
        "(" => {
            let value = any(words, at, allowed)?;
            if words.get(*at) != Some(&")") {
                bail!("the licence lacks a closing parenthesis");
            }
            *at += 1;
            Ok(value)
        }
        ")" | "AND" | "OR" | "WITH" => bail!("`{word}` stands where a licence is expected"),
        licence if words.get(*at) == Some(&"WITH") => {
            let exception = words
                .get(*at + 1)
                .context("WITH is not followed by an exception")?;
            *at += 2;
            Ok(allowed.contains(&format!("{licence} WITH {exception}")))
        }
        licence => Ok(allowed.contains(licence)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(words: &[&str]) -> BTreeSet<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn expressions_are_met_as_spdx_defines() {
        let allowed = set(&["MIT", "ISC", "Unicode-3.0"]);
        for (expression, wanted) in [
            ("MIT", true),
            ("GPL-3.0-only", false),
            ("MIT OR GPL-3.0-only", true),
            ("GPL-3.0-only/MIT", true),
            ("MIT AND GPL-3.0-only", false),
            ("MIT AND ISC", true),
            ("GPL-3.0-only OR MIT AND ISC", true),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("(MIT OR Apache-2.0) AND NCSA", false),
            ("MIT WITH some-exception", false),
            ("MIT WITH some-exception OR MIT", true),
        ] {
            assert_eq!(
                satisfied(expression, &allowed).unwrap(),
                wanted,
                "{expression}"
            );
        }
    }

    #[test]
    fn what_is_no_expression_is_an_error() {
        for expression in [
            "", "MIT MIT", "(MIT", "MIT)", "OR MIT", "MIT AND", "MIT WITH",
        ] {
            assert!(
                satisfied(expression, &set(&["MIT"])).is_err(),
                "{expression}"
            );
        }
    }

    #[test]
    fn the_list_is_read_from_its_own_table() {
        let deny = "[sources]\nallow = [\"no\"]\n[licenses]\nversion = 2\nallow = [\n  \"MIT\", # why\n  \"ISC\",\n]\n[bans]\nallow = [\"neither\"]\n";
        assert_eq!(allowed(deny).unwrap(), set(&["ISC", "MIT"]));
        assert!(allowed("[bans]\nallow = [\"MIT\"]\n").is_err());
    }

    #[test]
    fn findings_name_crates_and_what_is_allowed_for_nothing() {
        let crates = [
            ("good 1.0.0".to_owned(), Some("MIT".to_owned())),
            ("bad 1.0.0".to_owned(), Some("GPL-3.0-only".to_owned())),
            ("odd 1.0.0".to_owned(), None),
        ];
        assert_eq!(
            findings(&crates, &set(&["ISC", "MIT"])),
            [
                "bad 1.0.0: deny.toml does not allow GPL-3.0-only",
                "odd 1.0.0 names no licence",
                "deny.toml allows ISC, which no crate can't do without",
            ]
        );
    }
}
