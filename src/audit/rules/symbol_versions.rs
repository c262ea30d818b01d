//! Versions of symbols.

use anyhow::Result;

use super::Rule;
use crate::audit::files::{Fact, Files};
use crate::audit::linking::Linking;
use crate::audit::{Finding, Subject};

pub(super) const RULE: Rule = Rule {
    name: "symbol-versions",
    about: "A program wants symbols of a version that its library does not have, as one of a newer suite \
            does: ld.so refuses to start it.",
    check,
};

fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let files = Files::of(subject)?;
    let linking = Linking::of(subject)?;
    let mut found = Vec::new();
    for ((by, library), providers) in &linking.found {
        let (Some(Fact::Elf(elf)), Some(node)) = (files.get(by), subject.tree.get(by)) else {
            continue;
        };
        for provider in providers {
            // ld.so takes a library without any versions for one that has all of them.
            let Some(Fact::Elf(offered)) = files.get(provider).filter(|fact| has_versions(fact))
            else {
                continue;
            };
            let wanted = elf.wants.iter();
            let wanted = wanted.filter(|wanted| wanted.library == *library && !wanted.weak);
            for wanted in wanted.filter(|wanted| !offered.offers.contains(&wanted.version)) {
                let version = &wanted.version;
                let message =
                    format!("wants the version `{version}` of {provider}, which does not have it");
                found.push(
                    Finding::new(RULE.name, (by, node), version, message)
                        .hint("take both packages from one suite"),
                );
            }
        }
    }
    Ok(found)
}

const fn has_versions(fact: &Fact) -> bool {
    matches!(fact, Fact::Elf(elf) if !elf.offers.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{Elf, Image};

    #[test]
    fn versions_are_those_of_the_library() {
        let tool = Elf::program()
            .needs("libc.so.6")
            .needs("libplain.so")
            .wants("libc.so.6", "C_2.0", false)
            .wants("libc.so.6", "C_3.0", false)
            .wants("libc.so.6", "C_4.0", true)
            .wants("libplain.so", "P_1", false);
        let libc = Elf::library("libc.so.6").offers("C_1.0").offers("C_2.0");
        let image = Image::new(&[])
            .with("usr/bin/tool", tool.file())
            .with("usr/lib/libc.so.6", libc.file())
            .with("usr/lib/libplain.so", Elf::library("libplain.so").file());
        assert_eq!(image.findings(&RULE), ["/usr/bin/tool: C_3.0"]);
        let image = image.with("usr/lib/libc.so.6", libc.offers("C_3.0").file());
        assert_eq!(image.findings(&RULE), [""; 0]);
    }
}
