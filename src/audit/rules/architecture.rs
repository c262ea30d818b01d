//! Programs for other machines.

use anyhow::Result;
use object::elf::EM_BPF;

use super::Rule;
use crate::audit::files::{Fact, Files};
use crate::audit::{Finding, Subject};

pub(super) const RULE: Rule = Rule {
    name: "architecture",
    about: "An ELF file that can be run or loaded is for another machine than the image, or is damaged. \
            Firmware in `/usr/lib/firmware`, kernel modules and BPF objects are for others to judge.",
    check,
};

fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let own = subject.profile.arch.traits().elf_machine;
    let mut found = Vec::new();
    for (path, fact) in Files::of(subject)?.iter() {
        let (what, message) = match fact {
            Fact::Elf(elf) if elf.machine != own => {
                (elf.machine.to_string(), is_for(elf.machine, "64-bit"))
            }
            Fact::Foreign(it) => {
                let bits = if it.is_64_bit { "64-bit" } else { "32-bit" };
                (it.machine.to_string(), is_for(it.machine, bits))
            }
            Fact::Broken(error) => (
                "damaged".to_owned(),
                format!("is a damaged ELF file: {error}"),
            ),
            _ => continue,
        };
        let is_bpf = matches!(fact, Fact::Elf(elf) if elf.machine == EM_BPF);
        if let Some(node) = subject.tree.get(path).filter(|_| !is_bpf) {
            found.push(Finding::new(RULE.name, (path, node), what, message));
        }
    }
    Ok(found)
}

fn is_for(machine: u16, bits: &str) -> String {
    let name = match machine {
        3 => "i386",
        40 => "Arm",
        62 => "x86_64",
        183 => "arm64",
        243 => "RISC-V",
        _ => return format!("is a {bits} program for ELF machine {machine}"),
    };
    format!("is a {bits} program for {name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{Elf, Image, file};

    #[test]
    fn programs_are_for_this_machine() {
        let elf = |machine| Elf::program().machine(machine).file();
        let mut narrow = b"\x7fELF\x01\x01\x01".to_vec();
        narrow.resize(18, 0);
        narrow.extend([3, 0, 1, 0]);
        let image = Image::new(&[])
            .with("usr/bin/good", elf(62))
            .with("usr/bin/arm", elf(183))
            .with("usr/lib/firmware/dsp", elf(183))
            .with("usr/lib/filter.bpf", elf(EM_BPF))
            .with("usr/bin/narrow", file(0o755, narrow))
            .with("usr/bin/cut", file(0o755, b"\x7fELF\x02\x01\x01".repeat(4)));
        assert_eq!(
            image.findings(&RULE),
            [
                "/usr/bin/arm: 183",
                "/usr/bin/cut: damaged",
                "/usr/bin/narrow: 3"
            ]
        );
    }
}
