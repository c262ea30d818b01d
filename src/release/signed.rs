//! The small files of a channel. All of them follow from its index, so that they can't disagree.

use std::collections::BTreeMap;

use super::index::Index;
use super::names::CHANNEL;
use super::sums::Sums;
use crate::arch::Arch;
use crate::digest::Sha256;

/// `channel.txt`, which nodes read to notice a replayed older state: systemd-sysupdate knows no
/// index.
#[must_use]
pub fn channel_text(index: &Index, arch: Arch) -> String {
    let (channel, serial) = (&index.channel, index.serial);
    format!("channel={channel}\narch={arch}\nserial={serial}\n")
}

/// `SHA256SUMS` of an architecture's folder.
#[must_use]
pub fn sums(index: &Index, arch: Arch) -> Sums {
    let channel = Sha256::of(channel_text(index, arch).as_bytes());
    let mut sums = BTreeMap::from([(CHANNEL.to_owned(), channel)]);
    let files = index.present(arch);
    sums.extend(files.map(|file| (file.name.clone(), file.sha256)));
    Sums(sums)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::index::tests::index;

    #[test]
    fn the_sums_have_every_file_that_is_there() {
        let index = index();
        assert_eq!(
            channel_text(&index, Arch::X86_64),
            "channel=stable\narch=x86_64\nserial=7\n"
        );
        let sums = sums(&index, Arch::X86_64).0;
        assert!(sums.contains_key("channel.txt"));
        assert!(sums.contains_key("os_1.0~rc1.efi"));
        assert!(!sums.contains_key("os_1.0.efi"), "yanked");
        assert!(sums.contains_key("os_1.0.lock"));
        assert_eq!(sums.len(), 1 + 3 * 16 + 10);
    }
}
