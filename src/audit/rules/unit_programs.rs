//! Programs that units start.

use anyhow::Result;

use super::Rule;
use crate::audit::program::{self, Found};
use crate::audit::units::{Line, Unit, Units};
use crate::audit::{Finding, Subject};
use crate::tree::policy::install::Scope;
use crate::tree::policy::words;

pub(super) const RULE: Rule = Rule {
    name: "unit-programs",
    about: "A unit starts a program that the image does not have: the unit fails. A `-` before a \
            program forgives that, unless a service has no other program.",
    check,
};

/// Keys with command lines, by section.
const KEYS: [(&str, &str); 11] = [
    ("Service", "ExecCondition"),
    ("Service", "ExecStartPre"),
    (MAIN.0, MAIN.1),
    ("Service", "ExecStartPost"),
    ("Service", "ExecReload"),
    ("Service", "ExecStop"),
    ("Service", "ExecStopPost"),
    ("Socket", "ExecStartPre"),
    ("Socket", "ExecStartPost"),
    ("Socket", "ExecStopPre"),
    ("Socket", "ExecStopPost"),
];

/// What the service is there for.
const MAIN: (&str, &str) = ("Service", "ExecStart");

fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for scope in [Scope::System, Scope::User] {
        let units = Units::of(subject, scope)?;
        for unit in units.that_may_run(subject) {
            for (section, key) in KEYS {
                found.extend(missing(subject, unit, section, key));
            }
        }
    }
    Ok(found)
}

fn missing(subject: &Subject<'_>, unit: &Unit, section: &str, key: &str) -> Vec<Finding> {
    let lines = unit.list(section, key);
    let all: Vec<(&Line, Command)> = lines
        .into_iter()
        .flat_map(|line| {
            commands(&line.value)
                .into_iter()
                .map(move |one| (line, one))
        })
        .collect();
    let state = |command: &Command| program::find(subject, &command.program);
    let works = |found| matches!(found, Found::Yes | Found::Unknown);
    let none_left = (section, key) == MAIN && !all.iter().any(|(_, command)| works(state(command)));
    let faulty = all
        .iter()
        .filter(|(_, command)| !command.optional || none_left)
        .filter(|(_, command)| !unit.does_without(&command.program));
    faulty
        .filter_map(|(line, command)| {
            let complaint = state(command).complaint()?;
            let program = &command.program;
            let message = format!("starts `{program}`, {complaint}");
            line.finding(RULE.name, subject, program, message)
        })
        .collect()
}

/// One of the commands of a line.
struct Command {
    program: String,
    /// `-`: that it fails does not matter.
    optional: bool,
}

/// The commands of a value (systemd.service(5), "Command lines"). One that systemd can't split is not
/// judged here.
fn commands(value: &str) -> Vec<Command> {
    let words = words::split(value).unwrap_or_default();
    let firsts = words.split(|word| word == ";");
    firsts
        .filter_map(|words| words.first())
        .map(|word| {
            let program = word.trim_start_matches(['@', '-', ':', '+', '!', '|']);
            let prefixes = word.len() - program.len();
            Command {
                optional: word.bytes().take(prefixes).any(|byte| byte == b'-'),
                program: program.to_owned(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{Image, file};

    fn image(text: &str) -> Image {
        Image::new(&[
            ("usr/lib/systemd/system/a.service", text),
            ("usr/bin/data", "x"),
        ])
        .with("usr/bin/true", file(0o755, "x"))
    }

    #[test]
    fn every_way_to_start_a_program_is_seen() {
        let at = "/usr/lib/systemd/system/a.service";
        for (text, program) in [
            ("[Service]\nExecStart=/usr/bin/gone --x", "/usr/bin/gone"),
            ("[Service]\nExecStart=@!!/bin/gone gone", "/bin/gone"),
            ("[Service]\nExecStart=true\nExecReload=gone -HUP", "gone"),
            ("[Service]\nExecStart=/bin/true ; /bin/gone", "/bin/gone"),
            ("[Service]\nExecStart=/usr/bin/data", "/usr/bin/data"),
            ("[Service]\nExecStart=data", "data"),
            ("[Service]\nExecStart=-/sbin/gone", "/sbin/gone"),
            ("[Socket]\nExecStartPre=\"/bin/gone\" x", "/bin/gone"),
        ] {
            assert_eq!(
                image(text).findings(&RULE),
                [format!("{at}: {program}")],
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_there_or_forgiven_is_none() {
        for text in [
            "[Service]\nExecStart=/usr/bin/true -x\nExecStop=true",
            "[Service]\nExecStart=/bin/true\nExecStartPre=-/bin/gone",
            "[Service]\nExecStart=/bin/gone\nExecStart=\nExecStart=+-/bin/true",
            "[Service]\nExecStart=/opt/x/bin/gone",
            "[Service]\nExecStart=/usr/lib/%i/gone",
            "[Unit]\nConditionPathExists=/usr/bin/gone\n[Service]\nExecStart=/usr/bin/gone",
            "[Unit]\nConditionFileIsExecutable=/etc/rc.local\n[Service]\nExecStart=/etc/rc.local start",
            "[Unit]\nConditionPathExists=/etc/initrd-release\n[Service]\nExecStart=/usr/bin/gone",
        ] {
            assert_eq!(image(text).findings(&RULE), [""; 0], "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_value_panics(value in "[ -~]{0,40}") {
            let _ = commands(&value);
        }
    }
}
