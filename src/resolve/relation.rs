//! Relation fields: `a (>= 1) [amd64] <!nocheck> | b:any, c`, Debian Policy 7.1.

use super::version::Operator;

/// One alternative of a clause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term<'a> {
    /// Package name, real or virtual.
    pub name: &'a str,
    /// Architecture qualifier: `any`, `native` or an architecture.
    pub qualifier: Option<&'a str>,
    /// Version wanted.
    pub version: Option<(Operator, &'a str)>,
}

/// Alternatives, any one of which will do, in the archive's order of preference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause<'a> {
    /// As written.
    pub text: &'a str,
    /// The alternatives that apply to the architecture.
    pub terms: Vec<Term<'a>>,
}

/// A relation field that does not follow the grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{part}` is not a relation: {reason}")]
pub struct RelationError {
    /// The offending part.
    pub part: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl RelationError {
    fn new(part: &str, reason: &'static str) -> Self {
        Self {
            part: part.chars().take(120).collect(),
            reason,
        }
    }
}

/// Parses a field for Debian architecture `arch`. Clauses of which no alternative applies to `arch`
/// are left out, and so are empty ones (a trailing comma is common).
pub fn parse<'a>(field: &'a str, arch: &str) -> Result<Vec<Clause<'a>>, RelationError> {
    let mut clauses = Vec::new();
    for text in field.split(',').map(str::trim) {
        if text.is_empty() {
            continue;
        }
        let mut terms = Vec::with_capacity(1);
        for part in text.split('|') {
            terms.extend(term(part.trim(), arch)?);
        }
        if !terms.is_empty() {
            clauses.push(Clause { text, terms });
        }
    }
    Ok(clauses)
}

/// One alternative; `None` when its restrictions rule it out.
fn term<'a>(text: &'a str, arch: &str) -> Result<Option<Term<'a>>, RelationError> {
    let error = |reason| RelationError::new(text, reason);
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || "+-._".contains(c)))
        .unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(error("a package name starts with a letter or digit"));
    }
    let mut qualifier = None;
    if let Some(after) = rest.strip_prefix(':') {
        let end = after
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
            .unwrap_or(after.len());
        let (word, after) = after.split_at(end);
        if word.is_empty() {
            return Err(error("an architecture must follow the colon"));
        }
        qualifier = Some(word);
        rest = after;
    }
    let mut version = None;
    let mut applies = true;
    let mut profiles: Option<bool> = None;
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            break;
        } else if let Some(after) = rest.strip_prefix('(') {
            let (inside, after) = after
                .split_once(')')
                .ok_or_else(|| error("a parenthesis is not closed"))?;
            if version.is_some() {
                return Err(error("it has two versions"));
            }
            version = Some(wanted(inside.trim()).ok_or_else(|| {
                error("a version is written as (<<, <=, =, >= or >>, then the version)")
            })?);
            rest = after;
        } else if let Some(after) = rest.strip_prefix('[') {
            let (inside, after) = after
                .split_once(']')
                .ok_or_else(|| error("a bracket is not closed"))?;
            applies &= restricted_to(inside, arch);
            rest = after;
        } else if let Some(after) = rest.strip_prefix('<') {
            let (inside, after) = after
                .split_once('>')
                .ok_or_else(|| error("an angle bracket is not closed"))?;
            // No build profile is active: a list holds when all of its words are negated.
            let holds = inside.split_whitespace().all(|word| word.starts_with('!'));
            profiles = Some(profiles.unwrap_or(false) || holds);
            rest = after;
        } else {
            return Err(error("unexpected text after the name"));
        }
    }
    Ok((applies && profiles.unwrap_or(true)).then_some(Term {
        name,
        qualifier,
        version,
    }))
}

/// `>= 1.2`. The old forms `<` and `>` mean "or equal" (deb-control(5)).
fn wanted(text: &str) -> Option<(Operator, &str)> {
    let (operator, rest) = [
        ("<<", Operator::Earlier),
        ("<=", Operator::EarlierOrEqual),
        (">=", Operator::LaterOrEqual),
        (">>", Operator::Later),
        ("=", Operator::Equal),
        ("<", Operator::EarlierOrEqual),
        (">", Operator::LaterOrEqual),
    ]
    .iter()
    .find_map(|(sign, operator)| Some((*operator, text.strip_prefix(sign)?)))?;
    let version = rest.trim();
    let valid = |c: char| c.is_ascii_alphanumeric() || ".+-:~".contains(c);
    (!version.is_empty() && version.chars().all(valid)).then_some((operator, version))
}

/// `[amd64 linux-any]` or `[!i386]`.
fn restricted_to(list: &str, arch: &str) -> bool {
    let matches = |word: &str| {
        word == arch || matches!(word, "any" | "linux-any") || {
            word.strip_prefix("any-").is_some_and(|cpu| cpu == arch)
        }
    };
    let mut positive = false;
    let mut found = false;
    for word in list.split_whitespace() {
        match word.strip_prefix('!') {
            Some(word) if matches(word) => return false,
            Some(_) => {}
            None => {
                positive = true;
                found |= matches(word);
            }
        }
    }
    found || !positive
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(field: &str) -> Vec<Vec<String>> {
        let show = |t: &Term<'_>| {
            let mut text = t.name.to_owned();
            if let Some(q) = t.qualifier {
                text += &format!(":{q}");
            }
            if let Some((op, v)) = t.version {
                text += &format!(" {} {v}", op.text());
            }
            text
        };
        parse(field, "amd64")
            .unwrap()
            .iter()
            .map(|c| c.terms.iter().map(show).collect())
            .collect()
    }

    #[test]
    fn every_form_of_a_relation_is_understood() {
        for (field, expected) in [
            ("", vec![]),
            ("a", vec![vec!["a"]]),
            ("a, b ,", vec![vec!["a"], vec!["b"]]),
            ("a|b | c", vec![vec!["a", "b", "c"]]),
            ("a (>= 1:2.0-1~x)", vec![vec!["a >= 1:2.0-1~x"]]),
            ("a(<<2)", vec![vec!["a << 2"]]),
            ("a (< 2), b (> 1)", vec![vec!["a <= 2"], vec!["b >= 1"]]),
            ("perl:any (>= 5)", vec![vec!["perl:any >= 5"]]),
            ("a [amd64], b [i386], c [!amd64]", vec![vec!["a"]]),
            ("a [linux-any] | b [!linux-any]", vec![vec!["a"]]),
            ("a <!nocheck>, b <stage1>", vec![vec!["a"]]),
            ("a <stage1> <!cross>", vec![vec!["a"]]),
            (
                "libstdc++6 (= 14.2.0-19)",
                vec![vec!["libstdc++6 = 14.2.0-19"]],
            ),
        ] {
            assert_eq!(names(field), expected, "{field}");
        }
    }

    #[test]
    fn a_malformed_relation_is_a_typed_error() {
        for field in [
            "a (>= 1",
            "a (1)",
            "a (>=)",
            "-x",
            "a b",
            "a:",
            "a [x",
            "a <x",
            "a |",
            "a (= 1) (= 2)",
        ] {
            assert!(parse(field, "amd64").is_err(), "{field}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(field in "[a-z0-9 ,|()<>=:.\\[\\]!~é-]{0,40}") {
            let _ = parse(&field, "amd64");
        }
    }
}
