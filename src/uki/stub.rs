//! systemd's UKI stub without the one thing in it that nobody signs: text from SMBIOS.
//!
//! Under enabled Secure Boot the stub takes its command line from the signed `.cmdline` and ignores
//! what the boot loader passes, but still appends the OEM string (SMBIOS type 11)
//! `io.systemd.stub.kernel-cmdline-extra=…` (systemd 257, `src/boot/stub.c`,
//! `cmdline_append_and_measure_smbios`). Whoever sets a virtual machine's SMBIOS would so add
//! `init=`, `systemd.unit=` or a switch that turns a protection off.
//!
//! Two things are replaced, each with as many bytes:
//!
//! - The anchors by which `find_smbios_configuration_table` (`src/boot/smbios.c`) knows a table that
//!   the firmware has registered. Firmware writes the anchors of the specification (SMBIOS 3.7,
//!   sections 5.2.1 and 5.2.2) over whatever strings the hypervisor gave it, so no table is found and
//!   no string is ever read. This is the lock: the anchors are constants on every architecture, while
//!   the GUIDs of the tables are operands scattered over instructions.
//! - The string's name, should a later stub find its table in another way. Alone that would be
//!   obscurity, since SMBIOS may hold any name. It must not become NULs: an empty name is a prefix of
//!   every string.
//!
//! What else asks SMBIOS in the stub does without it: `in_hypervisor` asks CPUID first on x86 and
//! decides only about time stamps in variables for systemd-analyze; `.hwids` sections, which choose a
//! device tree by SMBIOS names, are in none of our UKIs, and `.dtbauto` chooses by `compatible`.

use super::read::{Pe, PeError};

/// Bytes that are replaced.
struct Patch {
    what: &'static str,
    from: &'static [u8],
    to: &'static [u8],
}

const PATCHES: [Patch; 3] = [
    Patch {
        what: "the anchor of the SMBIOS 3 entry point",
        from: b"_SM3_\0",
        to: b"-off-\0",
    },
    Patch {
        what: "the anchor of the SMBIOS 2 entry point",
        from: b"_SM_\0",
        to: b"-no-\0",
    },
    Patch {
        what: "the name of the SMBIOS string with command line words",
        from: b"io.systemd.stub.kernel-cmdline-extra\0",
        to: b"hullwright/no-command-line-by-SMBIOS\0",
    },
];

/// Where the constants are.
const SECTION: &[u8] = b".rodata";

/// Why a stub can't be hardened.
#[derive(Debug, thiserror::Error)]
pub enum StubError {
    /// It is no PE image.
    #[error(transparent)]
    Pe(#[from] PeError),
    /// A patch fits nowhere, or in several places.
    #[error("{what} occurs {found} times in the stub's .rodata instead of once")]
    Found {
        /// What was looked for.
        what: &'static str,
        /// How often it was found.
        found: usize,
    },
}

/// The stub `data`, changed so that it takes no words from SMBIOS.
///
/// # Errors
/// Something is not found exactly once: this stub is not one that anybody has looked at.
pub fn harden(data: &[u8]) -> Result<Vec<u8>, StubError> {
    let pe = Pe::parse(data)?;
    let mut out = data.to_vec();
    let section = pe
        .sections()
        .iter()
        .find(|section| section.name() == SECTION);
    let (start, content) = section.map_or((0, &[][..]), |section| {
        (section.raw_pointer as usize, pe.content(section))
    });
    for patch in &PATCHES {
        let mut places = content
            .windows(patch.from.len())
            .enumerate()
            .filter(|(_, bytes)| *bytes == patch.from)
            .map(|(at, _)| at);
        let (first, others) = (places.next(), places.count());
        match first {
            Some(at) if others == 0 => {
                let at = start + at;
                if let Some(slot) = out.get_mut(at..at + patch.to.len()) {
                    slot.copy_from_slice(patch.to);
                }
            }
            _ => {
                return Err(StubError::Found {
                    what: patch.what,
                    found: usize::from(first.is_some()) + others,
                });
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::write::tests::image;
    use super::*;

    const RODATA: &[u8] = b"..\0_SM3_\0_SM_\0../src\0io.systemd.stub.kernel-cmdline-extra\0..";

    fn stub(rodata: &[u8]) -> Vec<u8> {
        image(0x8664, 0x0160, &[(".text", b"_SM_\0"), (".rodata", rodata)])
    }

    #[test]
    fn patches_change_no_length_and_leave_no_empty_name() {
        for patch in &PATCHES {
            assert_eq!(patch.from.len(), patch.to.len(), "{}", patch.what);
            let text = patch.to.strip_suffix(b"\0").unwrap();
            assert!(!text.is_empty() && !text.contains(&0), "{}", patch.what);
            assert_ne!(patch.from, patch.to);
        }
    }

    #[test]
    fn a_hardened_stub_knows_no_table_and_no_name_of_smbios() {
        let before = stub(RODATA);
        let after = harden(&before).unwrap();
        assert_eq!(after.len(), before.len());
        let text = Pe::parse(&after)
            .unwrap()
            .section(".rodata")
            .unwrap()
            .to_vec();
        let wanted = b"..\0-off-\0-no-\0../src\0hullwright/no-command-line-by-SMBIOS\0..";
        assert_eq!(text, wanted);
        let changed = before.iter().zip(&after).filter(|(a, b)| a != b).count();
        assert!(changed <= 5 + 4 + 36, "{changed} bytes changed");
    }

    #[test]
    fn a_stub_that_nobody_has_looked_at_is_refused() {
        let twice = [RODATA, b"_SM_\0"].concat();
        let without = RODATA[..20].to_vec();
        for (rodata, times) in [(&twice[..], 2), (&without, 0), (b"", 0)] {
            match harden(&stub(rodata)) {
                Err(StubError::Found { found, .. }) => assert_eq!(found, times),
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(harden(b"MZ"), Err(StubError::Pe(_))));
        // Once hardened, there is nothing left to find.
        assert!(harden(&harden(&stub(RODATA)).unwrap()).is_err());
    }
}
