//! FAT32 volumes: every folder, every file.
#![no_main]

use std::io::Cursor;

use hullwright::esp::EspReader;

/// Folders that are opened: a loop among them is no error of the reader.
const FOLDERS: usize = 64;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(mut esp) = EspReader::open(Cursor::new(data), 0) else {
        return;
    };
    let mut todo = vec![String::new()];
    let mut opened = 0;
    while let Some(path) = todo.pop() {
        opened += 1;
        let Ok(entries) = esp.list(&path) else {
            continue;
        };
        for entry in entries.into_iter().take(FOLDERS) {
            let path = format!("{path}/{}", entry.name);
            if entry.is_dir {
                if todo.len() + opened < FOLDERS {
                    todo.push(path);
                }
            } else if let Ok(bytes) = esp.read(&path) {
                assert!(bytes.len() <= data.len().max(entry.len as usize));
            }
        }
    }
});
