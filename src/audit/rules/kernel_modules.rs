//! Kernel modules and what they need.

use std::collections::BTreeSet;

use anyhow::Result;

use super::Rule;
use crate::audit::modules::{self, Modules};
use crate::audit::{Finding, Subject, config};
use crate::kernel::modules::directory;
use crate::kernel::underscored;

pub(super) const RULE: Rule = Rule {
    name: "kernel-modules",
    about: "A kernel module needs another one that the image does not have, `modules.dep` names a file that \
            isn't there, or `modules-load.d` names a module that this kernel has not: it is not loaded.",
    check,
};

fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let modules = Modules::of(subject)?;
    if modules.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for module in modules.iter() {
        for name in module.depends.iter().filter(|name| !modules.has(name)) {
            let message = format!("needs the module `{name}`, which the image does not have");
            found.extend(modules::finding(RULE.name, subject, module, name, message));
        }
    }
    found.extend(index(subject)?);
    // Names may be those of aliases.
    let aliases = aliases(subject)?;
    for list in modules::lists(subject)? {
        for (number, name) in modules::listed(&list.text) {
            if !modules.has(name) && !aliases.contains(&underscored(name)) {
                let message = format!(
                    "line {number} loads the module `{name}`, which the image does not have"
                );
                found.push(Finding::new(
                    RULE.name,
                    (&list.path, list.node),
                    name,
                    message,
                ));
            }
        }
    }
    Ok(found)
}

/// What `modules.dep` names.
fn index(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let at = directory(subject.modules.version())?;
    let Some(file) = config::text(subject, &format!("{at}/modules.dep"))? else {
        return Ok(Vec::new());
    };
    let names = file
        .text
        .split([':', ' ', '\n'])
        .filter(|name| !name.is_empty());
    let names: BTreeSet<&str> = names.collect();
    let gone = names.into_iter().filter(|name| {
        let path = at.join(name).ok();
        path.is_none_or(|path| subject.tree.get(&path).is_none())
    });
    let finding = |name: &str| {
        let message = format!("names `{name}`, which the image does not have");
        Finding::new(RULE.name, (&file.path, file.node), name, message)
    };
    Ok(gone.map(finding).collect())
}

fn aliases(subject: &Subject<'_>) -> Result<BTreeSet<String>> {
    let at = directory(subject.modules.version())?;
    let mut out = BTreeSet::new();
    if let Some(file) = config::text(subject, &format!("{at}/modules.alias"))? {
        let lines = file
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("alias "));
        let names = lines.filter_map(|line| line.split(' ').next());
        out.extend(
            names
                .filter(|name| !name.contains(['*', ':']))
                .map(String::from),
        );
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::Image;

    #[test]
    fn what_the_index_and_the_lists_name_is_there() {
        let dir = "usr/lib/modules/6.12.0-test";
        let image = Image::new(&[
            (
                &format!("{dir}/modules.dep"),
                "kernel/tun.ko: kernel/gone.ko\n",
            ),
            (&format!("{dir}/modules.alias"), "alias net_pf_10 tun\n"),
            (&format!("{dir}/modules.builtin"), "kernel/fs/ext4.ko\n"),
            (
                "usr/lib/modules-load.d/a.conf",
                "# tun0\ntun\next4\nnet-pf-10\nwireguard\n",
            ),
        ])
        .with(
            &format!("{dir}/kernel/tun.ko"),
            crate::audit::testing::module(),
        );
        assert_eq!(
            image.findings(&RULE),
            [
                "/usr/lib/modules-load.d/a.conf: wireguard",
                "/usr/lib/modules/6.12.0-test/kernel/tun.ko: udp_tunnel",
                "/usr/lib/modules/6.12.0-test/modules.dep: kernel/gone.ko",
            ]
        );
    }
}
