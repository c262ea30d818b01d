//! Packages indices, and the relations and versions in them.
#![no_main]

use hullwright::archive::packages;
use hullwright::resolve::{relation, version};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = packages::parse(data, "amd64");
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = relation::parse(text, "amd64");
        if let Some((a, b)) = text.split_once('\n') {
            assert_eq!(version::compare(a, b), version::compare(b, a).reverse());
        }
    }
});
