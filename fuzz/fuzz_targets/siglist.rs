//! Signature lists, and the signed variables that carry them.
#![no_main]

use hullwright::sign::efi::auth::Authenticated;
use hullwright::sign::efi::{Variable, siglist};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let payload = match Authenticated::parse(data) {
        Ok(signed) => {
            assert!(signed.verify(Variable::Db, false, &[]).is_err());
            signed.payload
        }
        Err(_) => data,
    };
    if let Ok(entries) = siglist::read(payload) {
        let bytes = siglist::write(&entries).expect("what we read, we write");
        assert_eq!(siglist::read(&bytes).as_ref(), Ok(&entries));
    }
});
