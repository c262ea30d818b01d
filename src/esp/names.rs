//! Short names (8.3), which every long name needs beside it.

use std::collections::BTreeSet;

/// A directory entry's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Eight and three bytes, padded with spaces.
    pub short: [u8; 11],
    /// Whether the name must be stored in full too.
    pub needs_long: bool,
}

/// Why a name can't be stored.
#[must_use]
pub fn problem(name: &str) -> Option<&'static str> {
    if name.is_empty() || name == "." || name == ".." {
        return Some("it is no file name");
    }
    if name.encode_utf16().count() > 255 {
        return Some("it has more than 255 characters");
    }
    if name
        .chars()
        .any(|c| c.is_control() || r#""*/:<>?\|"#.contains(c))
    {
        return Some("it has a character that FAT can't store");
    }
    if name.ends_with(['.', ' ']) {
        return Some("it ends with a dot or a space");
    }
    None
}

fn is_short_char(c: char) -> bool {
    c.is_ascii_uppercase() || c.is_ascii_digit() || "$%'-_@~`!(){}^#&".contains(c)
}

/// The names for `name` in a directory whose short names are in `taken`; adds the new one. Chosen by
/// the rules of the specification's section 7, so that the result depends on nothing but the order.
pub fn choose(name: &str, taken: &mut BTreeSet<[u8; 11]>) -> Names {
    let upper = name.to_ascii_uppercase();
    let (base, extension) = match upper.rsplit_once('.') {
        Some((base, extension)) if !base.is_empty() => (base, extension),
        _ => (upper.as_str(), ""),
    };
    let mut changed = false;
    let mut clean = |text: &str, len: usize| -> String {
        let mut out = String::new();
        for c in text.chars() {
            match c {
                ' ' | '.' => changed = true,
                c if is_short_char(c) => out.push(c),
                _ => {
                    changed = true;
                    out.push('_');
                }
            }
        }
        changed |= out.len() > len;
        out.truncate(len);
        out
    };
    let (base, extension) = (clean(base, 8), clean(extension, 3));
    let pack = |base: &str| {
        let mut short = [b' '; 11];
        for (to, from) in short[..8].iter_mut().zip(base.bytes()) {
            *to = from;
        }
        for (to, from) in short[8..].iter_mut().zip(extension.bytes()) {
            *to = from;
        }
        short
    };
    let plain = pack(&base);
    if !changed && !base.is_empty() && taken.insert(plain) {
        return Names {
            short: plain,
            needs_long: upper != name,
        };
    }
    // A directory of 65,536 entries can't use up seven digits.
    let mut short = plain;
    for number in 1..10_000_000_u32 {
        let tail = format!("~{number}");
        let head: String = base.chars().take(8 - tail.len()).collect();
        short = pack(&(head + &tail));
        if taken.insert(short) {
            break;
        }
    }
    Names {
        short,
        needs_long: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_follow_the_specification() {
        let mut taken = BTreeSet::new();
        for (name, short, needs_long) in [
            ("BOOTX64.EFI", "BOOTX64 EFI", false),
            ("Linux", "LINUX      ", true),
            ("LINUX", "LINUX~1    ", true),
            ("loader.conf", "LOADER~1CON", true),
            ("loader.config", "LOADER~2CON", true),
            ("os_1.0.0+3-0.efi", "OS_100~1EFI", true),
            ("a+b", "A_B~1      ", true),
            (".hidden", "HIDDEN~1   ", true),
            ("ü", "_~1        ", true),
            ("u-boot.bin", "U-BOOT  BIN", true),
        ] {
            let names = choose(name, &mut taken);
            assert_eq!(String::from_utf8_lossy(&names.short), short, "{name}");
            assert_eq!(names.needs_long, needs_long, "{name}");
        }
    }

    #[test]
    fn tails_grow_into_the_base() {
        let mut taken = BTreeSet::new();
        let names: Vec<_> = (0..12)
            .map(|i| choose(&format!("long name {i}.txt"), &mut taken).short)
            .collect();
        assert_eq!(&names[8], b"LONGNA~9TXT");
        assert_eq!(&names[9], b"LONGN~10TXT");
        assert_eq!(taken.len(), 12);
    }

    #[test]
    fn names_that_cannot_be_stored_are_refused() {
        for name in ["", ".", "..", "a:b", "a\nb", "a.", "a ", &"a".repeat(256)] {
            assert!(problem(name).is_some(), "{name}");
        }
        assert_eq!(problem("hullwright_1.0.0~rc.1+3-0.efi"), None);
    }
}
