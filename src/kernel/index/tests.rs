use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn built(entries: &[(&str, &str, u32)]) -> Vec<u8> {
    let mut builder = Builder::new();
    for (key, text, priority) in entries {
        builder
            .insert(key.as_bytes(), text.as_bytes(), *priority)
            .unwrap();
    }
    builder.finish().unwrap()
}

#[test]
fn an_empty_index_is_a_header() {
    assert_eq!(built(&[]), b"\xb0\x07\xf4\x57\0\x02\0\x01\0\0\0\x0c");
}

#[test]
fn a_lone_key_hangs_below_a_root_without_prefix() {
    let wanted =
        b"\xb0\x07\xf4\x57\0\x02\0\x01\x20\0\0\x0caa\xc0\0\0\x12bc\0\0\0\0\x01\0\0\0\x07v\0";
    assert_eq!(built(&[("abc", "v", 7)]), wanted);
}

#[test]
fn values_go_by_priority_and_the_last_of_equals_comes_first() {
    let bytes = built(&[("k", "c", 5), ("k", "a", 1), ("k", "b", 5)]);
    let values = Index::parse(&bytes).unwrap().get(b"k").unwrap();
    let texts: Vec<_> = values.iter().map(|v| v.text.as_slice()).collect();
    assert_eq!(texts, [b"a", b"b", b"c"]);
}

#[test]
fn what_cannot_be_stored_is_refused() {
    for (key, text) in [("a\u{e4}", ""), ("a\0b", ""), ("a", "\u{e4}")] {
        assert!(
            Builder::new()
                .insert(key.as_bytes(), text.as_bytes(), 0)
                .is_err()
        );
    }
    assert!(Builder::new().insert(&[b'a'; 5000], b"", 0).is_err());
}

#[test]
fn nodes_that_point_at_themselves_are_an_error() {
    let mut bytes = built(&[("aa", "", 0), ("ab", "", 0)]);
    let root = [bytes[8], bytes[9], bytes[10], bytes[11]];
    bytes[14..18].copy_from_slice(&root);
    let index = Index::parse(&bytes).unwrap();
    assert!(index.entries().is_err());
    assert_eq!(index.get(b"aaab").unwrap(), []);
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        entries in proptest::collection::btree_map("[a-c:*_-]{0,6}", ("[a-z]{0,5}", 0u32..9), 0..40),
    ) {
        let mut builder = Builder::new();
        for (key, (text, priority)) in &entries {
            builder.insert(key.as_bytes(), text.as_bytes(), *priority).unwrap();
        }
        let bytes = builder.finish().unwrap();
        let index = Index::parse(&bytes).unwrap();
        let wanted: BTreeMap<Vec<u8>, Vec<Value>> = entries
            .iter()
            .map(|(key, (text, priority))| {
                let text = text.as_bytes().to_vec();
                (key.clone().into_bytes(), vec![Value { priority: *priority, text }])
            })
            .collect();
        for (key, values) in &wanted {
            prop_assert_eq!(&index.get(key).unwrap(), values);
        }
        prop_assert_eq!(index.get(b"no such key").unwrap(), vec![]);
        prop_assert_eq!(index.entries().unwrap(), wanted.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn damaged_files_never_panic(
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut bytes = built(&[("abc", "v", 7), ("abd", "w", 1), ("x", "", 0), ("ab", "q", 2)]);
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        if let Ok(index) = Index::parse(&bytes) {
            let _ = index.entries();
            let _ = index.get(b"abc");
        }
    }
}
