use super::*;
use crate::arch::Arch;
use crate::digest::Sha256;
use crate::release::index::tests::{index, release};

const MIB: u64 = 1 << 20;

fn product() -> Product {
    index().products.swap_remove(0)
}

fn with(role: Role, size: u64) -> Release {
    let mut new = release("os", "2.0", 1_900_000_000);
    for file in &mut new.files {
        if file.role == role {
            file.size = size;
        }
    }
    new
}

#[test]
fn version_and_stamp_must_grow_past_yanked_ones_too() {
    let product = product();
    let last = 1_800_000_003;
    for (version, stamp, complaints) in [
        ("2.0", last + 1, 0),
        ("1.0-1", last + 1, 0),
        ("1.0", last + 1, 1),
        ("1.0~rc2", last + 1, 1),
        ("0.1", last, 2),
        ("2.0", last, 1),
    ] {
        let found = order(Some(&product), "stable", version, stamp);
        assert_eq!(found.len(), complaints, "{version} {stamp}");
        assert!(
            found
                .iter()
                .all(|f| f.kind == Kind::Usage && !f.hints.is_empty())
        );
    }
    assert!(order(None, "stable", "0.1", 0).is_empty());
}

#[test]
fn the_smallest_partition_of_any_release_is_the_measure() {
    let mut product = product();
    product.releases[0].layout.usr = 100 * MIB;
    for (role, size, refused) in [
        (Role::Usr, 80 * MIB, None),
        (
            Role::Usr,
            80 * MIB + 1,
            Some(
                "83886081 bytes, and 80 % of the 104857600 bytes that machines installed with version 0.9",
            ),
        ),
        (Role::Verity, 26 * MIB, Some("verity")),
        (Role::Signature, MIB, Some("signature")),
        (Role::Uki, 800 * MIB, None),
        (Role::Uki, 820 * MIB, Some("an ESP with three UKIs")),
        (Role::BootLoader, 280 * MIB, Some("an ESP with three UKIs")),
    ] {
        let found = fit(Some(&product), &with(role, size));
        match refused {
            None => assert!(found.is_empty(), "{found:?}"),
            Some(words) => {
                assert_eq!(found.len(), 1, "{role:?} {size}");
                assert_eq!(found[0].kind, Kind::DoesNotFit);
                assert!(found[0].message.contains(words), "{}", found[0].message);
            }
        }
    }
    assert!(fit(None, &with(Role::Uki, 272 * MIB)).is_empty());
    assert_eq!(
        fit(None, &with(Role::Uki, 274 * MIB)).len(),
        1,
        "of the first release, too"
    );
}

#[test]
fn growth_is_measured_by_what_a_node_downloads() {
    let last = release("os", "1.0", 1);
    for (role, size, percent, refused) in [
        (Role::Usr, 1400, 10, false),
        (Role::Usr, 1401, 10, true),
        (Role::Usr, 1401, 11, false),
        (Role::Usr, 1001, 0, true),
        (Role::Disk, 1 << 40, 0, false),
        (Role::Usr, 10, 0, false),
    ] {
        let found = growth(Some(&last), &with(role, size), percent);
        assert_eq!(found.is_some(), refused, "{role:?} {size} {percent}");
    }
    let message = growth(Some(&last), &with(Role::Usr, 1500), 10)
        .unwrap()
        .message;
    assert!(
        message.contains("12.5 % more than the 4000 bytes of 1.0"),
        "{message}"
    );
    assert!(growth(None, &last, 0).is_none());
}

fn lock(ids: &[(&str, u32)]) -> Lock {
    Lock {
        lock: 1,
        profile: "os".into(),
        arch: Arch::X86_64,
        profile_hash: Sha256::of(b""),
        tool: String::new(),
        codecs: BTreeMap::new(),
        stamp: crate::stamp::Stamp::from_seconds(1),
        allow_expired: false,
        suites: Vec::new(),
        artefacts: Vec::new(),
        packages: Vec::new(),
        files: BTreeMap::new(),
        ids: ids.iter().map(|(name, id)| ((*name).into(), *id)).collect(),
    }
}

#[test]
fn numbers_keep_their_names_and_names_their_numbers() {
    let last = lock(&[("user sshd", 101), ("group sshd", 101), ("user gone", 102)]);
    for (ids, message) in [
        (&[("user sshd", 101), ("user new", 103)][..], None),
        (
            &[("user sshd", 104)],
            Some("user sshd had number 101 in version 1.0, and has 104 now"),
        ),
        (
            &[("user new", 102)],
            Some("user new has number 102, which was that of user gone"),
        ),
        (&[("group new", 102)], None),
        (&[("user new", 101)], Some("user sshd")),
    ] {
        let found = ids_of(&last, ids);
        match message {
            None => assert!(found.is_empty(), "{found:?}"),
            Some(words) => assert!(found[0].message.contains(words), "{}", found[0].message),
        }
    }
}

fn ids_of(last: &Lock, now: &[(&str, u32)]) -> Vec<Failure> {
    ids(last, &lock(now), "1.0")
}

#[test]
fn a_version_has_the_same_bytes_everywhere() {
    let mut other = index();
    let new = release("os", "1.0~rc1", 1_800_000_002);
    let check = |other: &Index| elsewhere(std::slice::from_ref(other), "os", Arch::X86_64, &new);
    assert!(check(&other).is_empty());
    other.products[0].releases[1].files[0].sha256 = Sha256::of(b"other");
    let found = check(&other);
    assert!(
        found[0].hints[0].contains("release promote 1.0~rc1 --from stable"),
        "{found:?}"
    );
}

#[test]
fn all_refusals_are_told_at_once() {
    assert!(refuse(Vec::new()).is_ok());
    let found = order(Some(&product()), "stable", "0.1", 0);
    let error = refuse(found).unwrap_err();
    let failure = crate::failure::failure_of(&error).unwrap();
    assert_eq!(failure.others.len(), 1);
}
