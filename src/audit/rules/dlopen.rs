//! Shared libraries that programs open by themselves, and say so.

use anyhow::Result;

use super::Rule;
use crate::audit::linking::Linking;
use crate::audit::{Finding, Subject};
use crate::elf::Priority;

pub(super) const RULE: Rule = Rule {
    name: "dlopen",
    about: "A program's `.note.dlopen` \
            (<https://uapi-group.org/specifications/specs/elf_dlopen_metadata/>) requires or recommends a \
            library that the image does not have: the feature fails when it is asked for.",
    check,
};

fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for (path, note) in &Linking::of(subject)?.unopened {
        let word = match note.priority {
            Priority::Required => "requires",
            Priority::Recommended => "recommends",
            Priority::Suggested => continue,
        };
        let Some(node) = subject.tree.get(path) else {
            continue;
        };
        let names = note.soname.join("` or `");
        let purpose = match (note.feature.as_str(), note.description.as_str()) {
            ("", "") => String::new(),
            (feature, "") => format!(" for `{feature}`"),
            ("", description) => format!(" ({description})"),
            (feature, description) => format!(" for `{feature}` ({description})"),
        };
        let message =
            format!("{word} the library `{names}`{purpose}, which the image does not have");
        let what = note.soname.first().map_or("", String::as_str);
        found.push(
            Finding::new(RULE.name, (path, node), what, message)
                .hint("add the package that ships it to packages.include"),
        );
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{Elf, Image};

    #[test]
    fn one_of_the_names_is_there() {
        let tool = Elf::program()
            .runpath("$ORIGIN/lib")
            .opens(r#"[{"soname":["libnew.so.2","libold.so.1"],"priority":"required"}]"#)
            .opens(r#"[{"soname":["libbad.so.2","libbad.so.1"],"feature":"bad","priority":"required"}]"#)
            .opens(r#"[{"soname":["libnice.so"],"description":"Nice to have"}]"#)
            .opens(r#"[{"soname":["liboften.so"],"priority":"suggested"}]"#);
        let image = Image::new(&[]).with("usr/bin/tool", tool.file()).with(
            "usr/bin/lib/libold.so.1",
            Elf::library("libold.so.1").file(),
        );
        assert_eq!(
            image.findings(&RULE),
            ["/usr/bin/tool: libbad.so.2", "/usr/bin/tool: libnice.so"]
        );
        let found = check(&image.subject()).unwrap();
        let messages: Vec<_> = found.iter().map(|finding| &*finding.message).collect();
        assert_eq!(
            messages,
            [
                "requires the library `libbad.so.2` or `libbad.so.1` for `bad`, which the image does not have",
                "recommends the library `libnice.so` (Nice to have), which the image does not have",
            ]
        );
    }
}
