use proptest::prelude::*;
use uuid::Uuid;

use super::format::{
    ADDED, BEING_REPLACED, BOOT_SERVICE, NON_VOLATILE, VARIABLE_HEADER, VOLUME_HEADER, volume,
};
use super::*;
use crate::sign::Enrolment;
use crate::sign::efi::format::{
    CERT_TYPE_PKCS7, GLOBAL_VARIABLE as GLOBAL, IMAGE_SECURITY_DATABASE as IMAGE_SECURITY,
};

const FLASH: usize = 0xc_0000;
const FIRST: usize = 100;

fn empty() -> VarStore {
    VarStore::format_virt(&vec![0xff; FLASH]).unwrap()
}

fn named(name: &str, data: &[u8]) -> Variable {
    Variable::new(GLOBAL, name, NON_VOLATILE | BOOT_SERVICE, data)
}

fn signed(second: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xea, 0x07, 1, 2, 3, 4, second, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend_from_slice(&[24 + 5, 0, 0, 0, 0x00, 0x02, 0xf1, 0x0e]);
    bytes.extend_from_slice(&CERT_TYPE_PKCS7.to_bytes_le());
    bytes.extend_from_slice(&[0x77; 5]);
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn a_formatted_flash_has_the_headers_that_aavmf_writes() {
    let image = empty().to_bytes().unwrap();
    // From Debian's AAVMF_VARS.snakeoil.fd, whose flash has 64 MiB.
    let expected = [
        0x8d, 0x2b, 0xf1, 0xff, 0x96, 0x76, 0x8b, 0x4c, 0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f,
        0x50, 0, 0, 0x0c, 0, 0, 0, 0, 0, b'_', b'F', b'V', b'H', 0x36, 0x0e, 0, 0, 0x48, 0, 0xf8,
        0xf8, 0, 0, 0, 2, 0, 1, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x78, 0x2c, 0xf3, 0xaa,
        0x7b, 0x94, 0x9a, 0x43, 0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92, 0xb8, 0xff, 3, 0,
        0x5a, 0xfe, 0, 0, 0, 0, 0, 0,
    ];
    let debian = VarStore::format_virt(&vec![0; 64 << 20]).unwrap();
    let debian = debian.to_bytes().unwrap();
    assert_eq!(debian.len(), 64 << 20);
    assert_eq!(&debian[16..FIRST], &expected[..]);
    assert!(image[FIRST..].iter().all(|&byte| byte == 0xff));
    assert_eq!(VarStore::parse(image).unwrap().variables(), []);
    let used = VarStore::format_virt(&[&[1][..], &vec![0; FLASH]].concat());
    assert!(
        used.is_none(),
        "only flash that nobody wrote to is formatted"
    );
}

#[test]
fn variables_lie_at_multiples_of_four_and_come_back() {
    let mut store = empty();
    store.set(named("A", b"x"));
    store.set(named("Bc", b""));
    store.set(named("A", b"other"));
    let image = store.to_bytes().unwrap();
    let second = (FIRST + VARIABLE_HEADER + 4 + 5).next_multiple_of(4);
    assert_eq!(image[FIRST..FIRST + 4], [0xaa, 0x55, ADDED, 0]);
    assert_eq!(image[second..second + 4], [0xaa, 0x55, ADDED, 0]);
    assert_eq!(
        VarStore::parse(image.clone()).unwrap(),
        VarStore {
            image,
            ..store.clone()
        }
    );
    store.remove(GLOBAL, "A");
    store.remove(GLOBAL, "absent");
    assert_eq!(store.variables(), [named("Bc", b"")]);
}

#[test]
fn of_writes_that_were_interrupted_the_last_complete_one_is_in_force() {
    let mut store = empty();
    store.set(named("A", b"1"));
    store.set(named("B", b"2"));
    let mut image = store.to_bytes().unwrap();
    let second = FIRST + 68;
    // Both are called A now: the first is being replaced by the second.
    image[FIRST + 2] = BEING_REPLACED;
    image[second + 60] = b'A';
    let read = |image: &[u8]| {
        VarStore::parse(image.to_vec())
            .unwrap()
            .variables()
            .to_vec()
    };
    assert_eq!(read(&image), [named("A", b"2")]);
    // The second was never complete.
    image[second + 2] = 0x7f;
    assert_eq!(read(&image), [named("A", b"1")]);
    image[second + 36..second + 44].fill(0xff);
    assert_eq!(read(&image), [named("A", b"1")]);
    // Deleted.
    image[FIRST + 2] = 0x3c;
    assert_eq!(read(&image), []);
}

#[test]
fn what_is_wrong_with_a_store_is_said() {
    let good = {
        let mut store = empty();
        store.set(named("A", b"1"));
        store.to_bytes().unwrap()
    };
    let check = |change: &dyn Fn(&mut Vec<u8>), expected: VarStoreError| {
        let mut image = good.clone();
        change(&mut image);
        assert_eq!(VarStore::parse(image).unwrap_err(), expected);
    };
    let out = |what, at| VarStoreError::OutOfBounds { what, at };
    check(&|i| i.truncate(0), VarStoreError::NotAVolume);
    check(
        &|i| i[..4].copy_from_slice(b"QFI\xfb"),
        VarStoreError::Qcow2,
    );
    check(&|i| i[volume::SIGNATURE] = 0, VarStoreError::NotAVolume);
    check(&|i| i[volume::REVISION] = 3, VarStoreError::Checksum(0x100));
    check(&|i| i.truncate(FLASH - 1), out("the firmware volume", 0));
    check(
        &|i| i[volume::HEADER_LENGTH] = 0,
        out("the header of the firmware volume", 0),
    );
    check(&|i| i[VOLUME_HEADER] = 0, VarStoreError::NotAStore);
    check(&|i| i[VOLUME_HEADER + 20] = 0, VarStoreError::NotAStore);
    check(
        &|i| {
            i[VOLUME_HEADER..VOLUME_HEADER + 16]
                .copy_from_slice(&format::PLAIN_STORE.to_bytes_le());
        },
        VarStoreError::NotAuthenticated,
    );
    check(
        &|i| i[VOLUME_HEADER + 19] = 1,
        out("the variable store", VOLUME_HEADER),
    );
    check(&|i| i[FIRST + 43] = 1, out("the variable", FIRST));
    check(
        &|i| i[FIRST + 60 + 2] = 1,
        VarStoreError::Name { at: FIRST },
    );
}

#[test]
fn a_store_that_is_full_says_so() {
    let mut store = empty();
    store.set(named("A", &vec![0; 0x4_0000]));
    let error = store.to_bytes().unwrap_err();
    assert!(
        matches!(
            error,
            VarStoreError::Full {
                space: 0x3_ff9c,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn enrolling_replaces_the_keys_of_another_owner() {
    let mut store = empty();
    store.set(named("Kept", b"1"));
    store.set(named("PK", b"another owner's"));
    store.set(Variable::new(
        IMAGE_SECURITY,
        "dbx",
        0x27,
        b"another owner's",
    ));
    let payload = |tag| vec![tag; 40];
    let mut enrolment = Enrolment {
        pk: signed(1, &payload(1)),
        kek: signed(2, &payload(2)),
        db: signed(3, &payload(3)),
        dbx: None,
    };
    enrol(&mut store, &enrolment).unwrap();
    let seen: Vec<_> = store
        .variables()
        .iter()
        .map(|v| {
            (
                v.name.as_str(),
                v.attributes,
                v.timestamp[6],
                v.data.first().copied(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("Kept", 0x03, 0, Some(b'1')),
            ("PK", 0x27, 1, Some(1)),
            ("KEK", 0x27, 2, Some(2)),
            ("db", 0x27, 3, Some(3)),
            ("SecureBootEnable", 0x03, 0, Some(1)),
        ]
    );
    assert_eq!(store.get(GLOBAL, "PK").unwrap().data, payload(1));
    enrolment.dbx = Some(signed(4, &payload(4)));
    enrol(&mut store, &enrolment).unwrap();
    assert_eq!(store.get(IMAGE_SECURITY, "dbx").unwrap().data, payload(4));
}

#[test]
fn files_that_are_no_signed_variables_are_refused() {
    let good = signed(1, &[1; 40]);
    let attempt = |db: &[u8]| {
        let enrolment = Enrolment {
            pk: good.clone(),
            kek: good.clone(),
            db: db.to_vec(),
            dbx: None,
        };
        enrol(&mut empty(), &enrolment)
    };
    assert_eq!(attempt(&good), Ok(()));
    for length in [
        0,
        18,
        22,
        40,
        good.len() - 41,
        good.len() - 40,
        good.len() - 20,
    ] {
        let error = attempt(&good[..length]).unwrap_err();
        assert_eq!(error.name, "db", "{length}");
    }
}

fn any_variable() -> impl Strategy<Value = Variable> {
    let numbers = (
        any::<u128>(),
        any::<u32>(),
        any::<[u8; 16]>(),
        any::<u64>(),
        any::<u32>(),
    );
    let texts = (
        "[A-Za-z0-9é𝄞]{0,12}",
        prop::collection::vec(any::<u8>(), 0..300),
    );
    (numbers, texts).prop_map(
        |((vendor, attributes, timestamp, monotonic_count, public_key_index), (name, data))| {
            Variable {
                vendor: Uuid::from_u128(vendor),
                name,
                attributes,
                timestamp,
                monotonic_count,
                public_key_index,
                data,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_written_is_read_again(variables in prop::collection::vec(any_variable(), 0..20)) {
        let mut store = empty();
        for variable in variables {
            store.set(variable);
        }
        let image = store.to_bytes().unwrap();
        let again = VarStore::parse(image.clone()).unwrap();
        prop_assert_eq!(again.variables(), store.variables());
        prop_assert_eq!(again.to_bytes().unwrap(), image);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(
        flips in prop::collection::vec((0usize..600, any::<u8>()), 0..12),
        length in 0usize..FLASH,
        cut in any::<bool>(),
    ) {
        let mut store = empty();
        store.set(named("A", b"1"));
        store.set(named("B", &[7; 200]));
        let mut image = store.to_bytes().unwrap();
        for (at, byte) in flips {
            image[at] = byte;
        }
        if cut {
            image.truncate(length);
        }
        if let Ok(read) = VarStore::parse(image) {
            prop_assert!(read.to_bytes().is_ok());
        }
    }
}
