//! Firmware that modules ask for.

use anyhow::Result;

use super::Rule;
use crate::audit::modules::{self, Modules};
use crate::audit::{Finding, Subject};
use crate::kernel::firmware;

pub(super) const RULE: Rule = Rule {
    name: "firmware",
    about: "A kernel module that the image is made to load, at every boot, in the initrd or by name in \
            `kernel.modules`, asks for firmware, and the image has none of it. Which of several files a \
            driver asks for depends on the machine, so that one of them is enough.",
    check,
};

fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let modules = Modules::of(subject)?;
    let mut found = Vec::new();
    for name in modules::chosen(subject)? {
        let Some(module) = modules.get(&name) else {
            continue;
        };
        let has = |file: &String| firmware::is_there(subject.tree, subject.modules.version(), file);
        let Some(first) = module.firmware.first() else {
            continue;
        };
        if module.firmware.iter().any(has) {
            continue;
        }
        let others = match module.firmware.len() - 1 {
            0 => String::new(),
            1 => " or another file".to_owned(),
            more => format!(" or one of {more} other files"),
        };
        let message =
            format!("asks for the firmware `{first}`{others}, and the image has none of it");
        let finding = modules::finding(RULE.name, subject, module, first, message);
        found.extend(finding.map(|finding| {
            finding.hint("add the package with the firmware to packages.include, and its component to the archive")
        }));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{Image, module};

    #[test]
    fn a_module_that_is_loaded_has_one_of_its_files() {
        let image = |list: &str| {
            Image::new(&[("usr/lib/modules-load.d/a.conf", list)])
                .with("usr/lib/modules/6.12.0-test/kernel/tun.ko", module())
        };
        let found = ["/usr/lib/modules/6.12.0-test/kernel/tun.ko: tun/one.bin"];
        assert_eq!(image("tun\n").findings(&RULE), found);
        assert_eq!(image("").findings(&RULE), [""; 0]);
        let mut named = image("");
        named.profile.kernel.modules = vec!["tun".into()];
        assert_eq!(named.findings(&RULE), found);
        let firmware = crate::audit::testing::file(0o644, "x");
        let there = image("tun\n").with("usr/lib/firmware/tun/two.bin.xz", firmware);
        assert_eq!(there.findings(&RULE), [""; 0]);
    }
}
