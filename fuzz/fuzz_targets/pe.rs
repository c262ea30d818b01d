//! PE images: headers, sections, signatures, and a UKI made of them.
#![no_main]

use hullwright::sign::authenticode;
use hullwright::uki::{self, Pe, Section};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(pe) = Pe::parse(data) {
        for header in pe.sections() {
            let _ = pe.content(header);
        }
        let _ = (pe.machine(), pe.nx_compatible(), pe.alignments());
        let _ = (pe.size_of_headers(), pe.certificates());
    }
    let _ = authenticode::digest(data);
    let _ = authenticode::verify(data, &[]);
    let section = Section {
        name: ".cmdline",
        data: b"quiet",
    };
    if let Ok(image) = uki::assemble(data, &[section]) {
        let pe = Pe::parse(&image).expect("what we write, we read");
        let text = pe.section(".cmdline").expect("what we add is there");
        assert!(text.starts_with(b"quiet"));
    }
});
