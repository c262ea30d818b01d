//! repart.d definitions that keep the slack free.
//!
//! A gap in the table looks like free space to systemd-repart, which would put root right behind the
//! last partition. Only a definition can claim the gap, as padding behind an existing partition.
//! Existing partitions are matched to definitions by type, each in its order, so the last partition
//! is the second of its type and needs a definition for the first beside it. Neither may have
//! `Weight=0`: systemd 257 then aborts on an assertion.

use crate::profile::schema::Disk;

/// Names, for `/usr/lib/repart.d`, and contents. They sort before root's definition. Empty where the
/// profile wants no slack.
#[must_use]
pub fn slack_definitions(disk: &Disk) -> Vec<(&'static str, String)> {
    if disk.slack.0 == 0 {
        return Vec::new();
    }
    let align = |size: u64| size.div_ceil(super::layout::ALIGNMENT) * super::layout::ALIGNMENT;
    // The limit keeps the partition from growing into its own padding.
    let partition = format!(
        "[Partition]\nType=usr-verity-sig\nSizeMaxBytes={}\n",
        align(disk.signature.0)
    );
    let padded = format!("{partition}PaddingMinBytes={}\n", align(disk.slack.0));
    vec![
        ("10-usr-verity-sig-a.conf", partition),
        ("20-usr-verity-sig-b.conf", padded),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::schema::ByteSize;

    #[test]
    fn the_second_signature_partition_is_followed_by_the_slack() {
        let mut disk = Disk::default();
        let definitions = slack_definitions(&disk);
        assert_eq!(
            definitions[0].1,
            "[Partition]\nType=usr-verity-sig\nSizeMaxBytes=1048576\n"
        );
        assert_eq!(
            definitions[1].1,
            "[Partition]\nType=usr-verity-sig\nSizeMaxBytes=1048576\nPaddingMinBytes=1073741824\n"
        );
        disk.slack = ByteSize(0);
        assert!(slack_definitions(&disk).is_empty());
    }
}
