//! Initrds: cpio archives, plain or in zstd frames.
#![no_main]

use hullwright::initrd;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut bytes = 0_usize;
    let _ = initrd::list(data, |entry| {
        bytes = bytes.saturating_add(entry.data.len());
        Ok(())
    });
});
