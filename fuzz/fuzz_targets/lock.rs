//! Lock files.
#![no_main]

use std::path::Path;

use hullwright::resolve::Lock;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // Nobody guesses a SHA-256: close the text with the right one as well.
    const TRAILER: &str = "# SHA-256 of the lines above: ";
    let body = text.rfind(TRAILER).map_or(text, |at| &text[..at]);
    let sum = hullwright::digest::Sha256::of(body.as_bytes());
    for text in [text, &format!("{body}{TRAILER}{sum}\n")] {
        if let Ok(lock) = Lock::parse(text, Path::new("a.lock")) {
            let again = Lock::parse(&lock.to_text(), Path::new("a.lock"));
            assert_eq!(again.expect("what we write, we read"), lock);
        }
    }
});
