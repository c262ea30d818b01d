//! Lines of sysusers.d(5).

use std::collections::BTreeMap;

use crate::failure::{Failure, Kind};
use crate::profile::Profile;

use super::words;

/// The number field of a `u` or `g` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Id {
    /// `-`: from the table.
    Any,
    /// A number.
    Number(u32),
    /// A path whose owner it is.
    OwnerOf(String),
}

/// The group part of a `u` line's number field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrimaryGroup {
    /// One of the user's name and number.
    Own,
    /// An existing group by number.
    Number(u32),
    /// An existing group by name.
    Name(String),
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// `u` and `u!`.
    User {
        /// Login name.
        name: String,
        /// Number.
        id: Id,
        /// Primary group.
        group: PrimaryGroup,
        /// GECOS.
        gecos: String,
        /// Home; empty: the default.
        home: String,
        /// Shell; empty: the default.
        shell: String,
        /// `u!`: the account is expired, not only without a password.
        locked: bool,
    },
    /// `g`.
    Group {
        /// Name.
        name: String,
        /// Number.
        id: Id,
    },
    /// `m`.
    Member {
        /// User.
        user: String,
        /// Group.
        group: String,
    },
    /// `r`: a range for numbers that are handed out at run time; the image hands out none.
    Range(u32, u32),
}

/// Values of the specifiers that a build knows (`%o`, `%A` …), by letter.
pub type Specifiers = BTreeMap<char, String>;

/// The specifiers of an image.
#[must_use]
pub fn specifiers(profile: &Profile) -> Specifiers {
    let os = &profile.os;
    Specifiers::from([
        ('a', profile.arch.traits().systemd.to_owned()),
        ('o', os.id.clone()),
        ('w', os.version.clone()),
        ('A', os.version.clone()),
        ('M', os.id.clone()),
        ('T', "/tmp".to_owned()),
        ('V', "/var/tmp".to_owned()),
    ])
}

/// A name that useradd(8), systemd and every tool between accept.
#[must_use]
pub fn valid_name(name: &str) -> bool {
    let mut chars = name.chars();
    name.len() <= 31
        && chars
            .next()
            .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// Parses one file; blank lines and comments are skipped.
///
/// # Errors
/// A malformed line, with its place.
pub fn parse(file: &str, text: &str, specifiers: &Specifiers) -> anyhow::Result<Vec<Line>> {
    let mut out = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let parsed = parse_line(line, specifiers).map_err(|message| {
            Failure::new(Kind::Audit, format!("`{line}`: {message}"))
                .at(file, Some(number), None)
                .hint("see sysusers.d(5) for the fields: type, name, number, comment, home, shell")
        })?;
        out.push(parsed);
    }
    Ok(out)
}

fn parse_line(line: &str, specifiers: &Specifiers) -> Result<Line, String> {
    let words = words::split(line).ok_or("a quote is not closed")?;
    if words.len() > 6 {
        return Err(format!(
            "{} fields where at most 6 are allowed",
            words.len()
        ));
    }
    let field = |i: usize| -> Result<String, String> {
        let word = words.get(i).map_or("", String::as_str);
        let word = if word == "-" { "" } else { word };
        expand(word, specifiers)
    };
    let kind = words.first().map_or("", String::as_str);
    let (name, id) = (field(1)?, field(2)?);
    let no_more = |from: usize| -> Result<(), String> {
        match (from..6).find(|&i| words.get(i).is_some_and(|w| w != "-" && !w.is_empty())) {
            Some(i) => Err(format!("`{kind}` lines have no field {}", i + 1)),
            None => Ok(()),
        }
    };
    let checked = |name: String| -> Result<String, String> {
        if valid_name(&name) {
            Ok(name)
        } else {
            Err(format!("`{name}` is not a valid name"))
        }
    };
    match kind {
        "u" | "u!" => {
            let (id, group) = user_ids(&id)?;
            let gecos = field(3)?;
            if gecos.contains([':', '\n']) {
                return Err("the comment contains a colon or a line break".into());
            }
            let (home, shell) = (field(4)?, field(5)?);
            for value in [&home, &shell] {
                if !(value.is_empty() || value.starts_with('/')) || value.contains([':', '\n']) {
                    return Err(format!("`{value}` is not an absolute path"));
                }
            }
            Ok(Line::User {
                name: checked(name)?,
                id,
                group,
                gecos,
                home,
                shell,
                locked: kind == "u!",
            })
        }
        "g" => {
            no_more(3)?;
            Ok(Line::Group {
                name: checked(name)?,
                id: single_id(&id)?,
            })
        }
        "m" => {
            no_more(3)?;
            Ok(Line::Member {
                user: checked(name)?,
                group: checked(id)?,
            })
        }
        "r" => {
            no_more(3)?;
            if !name.is_empty() {
                return Err("`r` lines have `-` for a name".into());
            }
            let (low, high) = id.split_once('-').unwrap_or((&id, &id));
            let (low, high) = (decimal(low)?, decimal(high)?);
            if low > high {
                return Err(format!("the range {low}-{high} is empty"));
            }
            Ok(Line::Range(low, high))
        }
        other => Err(format!(
            "`{other}` is not a type; expected u, u!, g, m or r"
        )),
    }
}

fn decimal(text: &str) -> Result<u32, String> {
    // 65535 and 4294967295 are -1 in one of the kernel's interfaces.
    match text.parse::<u32>() {
        Ok(65535 | u32::MAX) | Err(_) => Err(format!("`{text}` is not a user or group number")),
        Ok(id) if text.bytes().all(|b| b.is_ascii_digit()) => Ok(id),
        Ok(_) => Err(format!("`{text}` is not a user or group number")),
    }
}

fn single_id(text: &str) -> Result<Id, String> {
    Ok(match text {
        "" | "-" => Id::Any,
        path if path.starts_with('/') => Id::OwnerOf(path.into()),
        number => Id::Number(decimal(number)?),
    })
}

fn user_ids(text: &str) -> Result<(Id, PrimaryGroup), String> {
    if text.starts_with('/') {
        return Ok((Id::OwnerOf(text.into()), PrimaryGroup::Own));
    }
    let Some((uid, group)) = text.split_once(':') else {
        return Ok((single_id(text)?, PrimaryGroup::Own));
    };
    let group = match decimal(group) {
        Ok(gid) => PrimaryGroup::Number(gid),
        Err(_) if valid_name(group) => PrimaryGroup::Name(group.into()),
        Err(_) => {
            return Err(format!(
                "`{group}` is neither a group's number nor its name"
            ));
        }
    };
    Ok((single_id(uid)?, group))
}

fn expand(text: &str, specifiers: &Specifiers) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('%') => out.push('%'),
            Some(letter) => out.push_str(
                specifiers
                    .get(&letter)
                    .ok_or_else(|| format!("`%{letter}` is not known when an image is built"))?,
            ),
            None => return Err("a lone `%` at the end; write `%%`".into()),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Result<Line, String> {
        parse_line(line, &Specifiers::from([('o', "hull".to_owned())]))
    }

    fn user(name: &str, id: Id, group: PrimaryGroup, rest: [&str; 3], locked: bool) -> Line {
        Line::User {
            name: name.into(),
            id,
            group,
            gecos: rest[0].into(),
            home: rest[1].into(),
            shell: rest[2].into(),
            locked,
        }
    }

    #[test]
    fn lines_of_debian_parse() {
        use PrimaryGroup::{Name, Number, Own};
        for (line, expected) in [
            (
                "u root 0 - /root /bin/bash",
                user(
                    "root",
                    Id::Number(0),
                    Own,
                    ["", "/root", "/bin/bash"],
                    false,
                ),
            ),
            (
                "u sync 4:65534 - /bin /bin/sync",
                user(
                    "sync",
                    Id::Number(4),
                    Number(65534),
                    ["", "/bin", "/bin/sync"],
                    false,
                ),
            ),
            (
                "u sshd -:nogroup \"sshd user\" /run/sshd",
                user(
                    "sshd",
                    Id::Any,
                    Name("nogroup".into()),
                    ["sshd user", "/run/sshd", ""],
                    false,
                ),
            ),
            (
                "u! x-%o - \"A %% B\"",
                user("x-hull", Id::Any, Own, ["A % B", "", ""], true),
            ),
            (
                "u p /usr/bin/p",
                user(
                    "p",
                    Id::OwnerOf("/usr/bin/p".into()),
                    Own,
                    ["", "", ""],
                    false,
                ),
            ),
            (
                "g input -",
                Line::Group {
                    name: "input".into(),
                    id: Id::Any,
                },
            ),
            (
                "g adm 4 -",
                Line::Group {
                    name: "adm".into(),
                    id: Id::Number(4),
                },
            ),
            (
                "m a b",
                Line::Member {
                    user: "a".into(),
                    group: "b".into(),
                },
            ),
            ("r - 500-900", Line::Range(500, 900)),
            ("r - 7", Line::Range(7, 7)),
        ] {
            assert_eq!(one(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn malformed_lines_are_refused_with_the_reason() {
        for (line, reason) in [
            ("x a 1", "not a type"),
            ("u 0bad -", "not a valid name"),
            ("u a 65535", "not a user or group number"),
            ("u a +5", "not a user or group number"),
            ("u a 1:b/c", "neither"),
            ("u a - \"x:y\"", "colon"),
            ("u a - - run", "not an absolute path"),
            ("g a 1 comment", "no field 4"),
            ("m a", "not a valid name"),
            ("r - 9-3", "empty"),
            ("u a-%m -", "`%m`"),
            ("u a \"", "quote"),
            ("u a - b c d e", "7 fields"),
        ] {
            let message = one(line).unwrap_err();
            assert!(message.contains(reason), "{line}: {message}");
        }
    }

    #[test]
    fn a_bad_line_names_its_file_and_line() {
        let failure = parse(
            "/usr/lib/sysusers.d/a.conf",
            "# c\n\nq x\n",
            &Specifiers::new(),
        )
        .unwrap_err()
        .to_string();
        assert!(
            failure.starts_with("/usr/lib/sysusers.d/a.conf:3: "),
            "{failure}"
        );
    }

    proptest::proptest! {
        #[test]
        fn no_line_panics(line in "[ugmr!]{0,2} ?[ -~]{0,60}") {
            let _ = one(&line);
        }
    }
}
