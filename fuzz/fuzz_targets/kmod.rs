//! Binary module indices.
#![no_main]

use hullwright::kernel::index::Index;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(index) = Index::parse(data) else {
        return;
    };
    let _ = index.get(b"a");
    if let Ok(entries) = index.entries() {
        for (key, values) in entries.iter().take(16) {
            if let Ok(found) = index.get(key) {
                assert_eq!(&found, values);
            }
        }
    }
});
