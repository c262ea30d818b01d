//! Variable stores that Debian's firmware packages have made by running the firmware.

use std::fs;

use hullwright::varstore::VarStore;

#[test]
fn stores_that_firmware_has_written_are_read_and_written_again() {
    for file in [
        "/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd",
        "/usr/share/OVMF/OVMF_VARS_4M.ms.fd",
        "/usr/share/AAVMF/AAVMF_VARS.snakeoil.fd",
    ] {
        let store = VarStore::parse(fs::read(file).unwrap()).unwrap();
        for (name, attributes) in [
            ("PK", 0x27),
            ("KEK", 0x27),
            ("db", 0x27),
            ("dbx", 0x27),
            ("SecureBootEnable", 0x03),
        ] {
            let found: Vec<_> = store
                .variables()
                .iter()
                .filter(|variable| variable.name == name)
                .collect();
            assert_eq!(found.len(), 1, "{file}: {name}");
            assert_eq!(found[0].attributes, attributes, "{file}: {name}");
        }
        let again = VarStore::parse(store.to_bytes().unwrap()).unwrap();
        assert_eq!(again.variables(), store.variables(), "{file}");
    }
}
