//! Documents of `docs/` that follow from what the program knows, held against it by tests.

/// Panics unless `docs/NAME` is `wanted`, and leaves the fresh text to be copied over it.
pub fn assert_committed(name: &str, wanted: &str) {
    let path = format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"));
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    if committed != wanted {
        let fresh = std::env::temp_dir().join(format!("hullwright-{name}"));
        std::fs::write(&fresh, wanted).unwrap();
        panic!("docs/{name} is stale; the new text is {}", fresh.display());
    }
}
