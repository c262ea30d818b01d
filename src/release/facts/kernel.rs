//! The kernel's configuration as its package ships it (Kconfig's `.config`).

use std::collections::BTreeMap;

/// Options by name without `CONFIG_`. `# CONFIG_X is not set` and no line at all are the same: a
/// Kconfig writes no line for an option whose dependencies are not met.
#[must_use]
pub fn options(config: &[u8]) -> BTreeMap<&str, &str> {
    config
        .split(|byte| *byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
        .filter_map(|line| line.trim_end().strip_prefix("CONFIG_"))
        .filter_map(|line| line.split_once('='))
        .filter(|(_, value)| *value != "n")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_are_not_set_are_absent() {
        let found = options(
            b"#\n# Linux\n#\nCONFIG_A=y\nCONFIG_B=m\r\n# CONFIG_C is not set\nCONFIG_D=n\n\
              CONFIG_E=\"a=b\"\nnonsense\n\xff\nCONFIG_F=0x10",
        );
        let expected = [("A", "y"), ("B", "m"), ("E", "\"a=b\""), ("F", "0x10")];
        assert_eq!(found, expected.into());
    }
}
