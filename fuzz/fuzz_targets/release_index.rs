//! Channel indices.
#![no_main]

use hullwright::release::{Index, signed};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(index) = Index::parse(data) {
        let text = index.to_text().expect("what was read can be written");
        let again = Index::parse(text.as_bytes());
        assert_eq!(again.expect("what we write, we read"), index);
        for arch in index.arches() {
            let sums = signed::sums(&index, arch);
            let again = hullwright::release::sums::Sums::parse(sums.to_text().as_bytes());
            assert_eq!(again.expect("an index names only files that sums can have"), sums);
        }
    }
});
