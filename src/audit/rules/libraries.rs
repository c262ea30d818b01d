//! Shared libraries that programs are linked with.

use anyhow::Result;

use super::Rule;
use crate::audit::files::Files;
use crate::audit::linking::Linking;
use crate::audit::{Finding, Subject};

pub(super) const RULE: Rule = Rule {
    name: "libraries",
    about: "A program or library needs a shared library, or the loader itself, that the image does not \
            have where ld.so(8) looks for it: it does not start.",
    check,
};

fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for ((by, name), absent) in &Linking::of(subject)?.absent {
        let Some(node) = subject.tree.get(by) else {
            continue;
        };
        let mut message = match &absent.wrong {
            None => format!("needs the library `{name}`, which the image does not have"),
            Some(path) => {
                format!("needs the library `{name}`, and {path} is none for this machine")
            }
        };
        if let Some(program) = &absent.program {
            message += &format!(", when {program} loads it");
        }
        found.push(
            Finding::new(RULE.name, (by, node), name, message)
                .hint("add the package that ships it to packages.include, or prune what needs it"),
        );
    }
    let machine = subject.profile.arch.traits().elf_machine;
    for (path, elf) in Files::of(subject)?.elves() {
        let Some(interpreter) = &elf.interpreter else {
            continue;
        };
        if elf.machine == machine
            && subject.find(interpreter).is_none()
            && let Some(node) = subject.tree.get(path)
        {
            let message = format!("is started by `{interpreter}`, which the image does not have");
            found.push(Finding::new(RULE.name, (path, node), interpreter, message));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{Elf, Image, link};

    #[test]
    fn programs_start() {
        let image = Image::new(&[])
            .with("usr/bin/good", Elf::program().needs("liba.so.1").file())
            .with(
                "usr/bin/bad",
                Elf::program().needs("libgone.so").needs("liba.so.1").file(),
            )
            .with(
                "usr/lib/x86_64-linux-gnu/liba.so.1",
                Elf::library("liba.so.1").file(),
            );
        let loader = "/lib64/ld-linux-x86-64.so.2";
        assert_eq!(
            image.findings(&RULE),
            [
                format!("/usr/bin/bad: {loader}"),
                "/usr/bin/bad: libgone.so".to_owned(),
                format!("/usr/bin/good: {loader}"),
            ]
        );
        let image = image
            .with("usr/lib64/ld-linux-x86-64.so.2", link("../lib/ld.so"))
            .with("usr/lib/ld.so", Elf::library("ld.so").file());
        assert_eq!(image.findings(&RULE), ["/usr/bin/bad: libgone.so"]);
    }

    #[test]
    fn the_message_says_in_which_program() {
        let image = Image::new(&[])
            .with(
                "usr/bin/tool",
                Elf::program().runpath("$ORIGIN").needs("liba.so").file(),
            )
            .with(
                "usr/bin/liba.so",
                Elf::library("liba.so").needs("libb.so").file(),
            );
        let found = check(&image.subject()).unwrap();
        assert_eq!(
            found[0].message,
            "needs the library `libb.so`, which the image does not have, when /usr/bin/tool loads it"
        );
    }
}
