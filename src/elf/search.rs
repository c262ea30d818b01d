//! Where the dynamic linker looks for libraries (ld.so(8)).

use crate::arch::Arch;

/// The directories that ld.so of Debian searches last, without any configuration. `/lib` is `/usr/lib`.
#[must_use]
pub fn last_directories(arch: Arch) -> [String; 2] {
    [
        format!("/usr/lib/{}", arch.traits().triplet),
        "/usr/lib".to_owned(),
    ]
}

/// The directories of a search path for the file at the absolute `path`: dynamic string tokens are
/// replaced. What climbs (`$ORIGIN/../lib`) still does.
#[must_use]
pub fn directories(list: &[String], path: &str, arch: Arch) -> Vec<String> {
    let origin = path.rsplit_once('/').map_or("", |(dir, _)| dir);
    let lib = format!("lib/{}", arch.traits().triplet);
    let platform = match arch {
        Arch::X86_64 => "x86_64",
        Arch::Arm64 => "aarch64",
    };
    let tokens = [("ORIGIN", origin), ("LIB", &lib), ("PLATFORM", platform)];
    let expand = |dir: &String| {
        tokens.iter().fold(dir.clone(), |dir, (token, value)| {
            dir.replace(&format!("${{{token}}}"), value)
                .replace(&format!("${token}"), value)
        })
    };
    list.iter().map(expand).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_stand_for_the_place_of_the_file() {
        let list = ["$ORIGIN/../lib", "/opt/${LIB}", "${PLATFORM}"].map(String::from);
        assert_eq!(
            directories(&list, "/usr/lib/tool/bin/tool", Arch::Arm64),
            [
                "/usr/lib/tool/bin/../lib",
                "/opt/lib/aarch64-linux-gnu",
                "aarch64"
            ]
        );
    }
}
