//! The profiles and overlay files inside the binary.
//!
//! A list in code rather than a directory walk at build time: a file that is forgotten here fails
//! the test below, and what the binary holds can be read in review.

/// A profile by name.
pub static PROFILES: &[(&str, &str)] = &[
    (
        "container-host",
        include_str!("../../profiles/container-host.yaml"),
    ),
    ("dev", include_str!("../../profiles/dev.yaml")),
    ("docker", include_str!("../../profiles/docker.yaml")),
    ("jeos", include_str!("../../profiles/jeos.yaml")),
    ("minimal", include_str!("../../profiles/minimal.yaml")),
    ("podman", include_str!("../../profiles/podman.yaml")),
    ("qemu", include_str!("../../profiles/qemu.yaml")),
    ("rpi4", include_str!("../../profiles/rpi4.yaml")),
    ("rpi4-wifi", include_str!("../../profiles/rpi4-wifi.yaml")),
];

/// A board by name.
pub static BOARDS: &[(&str, &str)] = &[(
    "raspberry-pi-4",
    include_str!("../../profiles/boards/raspberry-pi-4.yaml"),
)];

macro_rules! file {
    ($path:literal) => {
        (
            $path,
            include_bytes!(concat!("../../profiles/files/", $path)).as_slice(),
        )
    };
}

/// Files below `profiles/files/`, in order of their paths; none is executable.
pub static FILES: &[(&str, &[u8])] = &[
    file!("container-host/usr/lib/systemd/network/99-hullwright-dhcp.network"),
    file!("no-clock/usr/lib/clock-epoch"),
    file!("rpi4-wifi/usr/lib/systemd/network/98-hullwright-wifi.network"),
];

/// The text of an embedded profile.
#[must_use]
pub fn profile(name: &str) -> Option<&'static str> {
    PROFILES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, text)| *text)
}

/// The text of an embedded board.
#[must_use]
pub fn board(name: &str) -> Option<&'static str> {
    BOARDS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, text)| *text)
}

/// The names of the embedded profiles.
pub fn names() -> impl Iterator<Item = &'static str> {
    PROFILES.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn walk(dir: &Path, root: &Path, out: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, out);
            } else {
                out.push(path.strip_prefix(root).unwrap().to_str().unwrap().into());
            }
        }
    }

    #[test]
    fn everything_in_profiles_is_embedded() {
        let profiles = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles");
        let mut found: Vec<_> = std::fs::read_dir(&profiles)
            .unwrap()
            .filter_map(|entry| {
                let path = entry.unwrap().path();
                let stem = path.file_stem()?.to_str()?.to_string();
                // Other rooms keep tables in the folder; a profile says its name.
                let text = std::fs::read_to_string(&path).ok()?;
                text.lines()
                    .any(|line| line == format!("name: {stem}"))
                    .then_some(stem)
            })
            .collect();
        found.sort();
        assert_eq!(found, names().collect::<Vec<_>>());
        let mut boards = Vec::new();
        walk(
            &profiles.join("boards"),
            &profiles.join("boards"),
            &mut boards,
        );
        boards.sort();
        let known = BOARDS.iter().map(|(name, _)| format!("{name}.yaml"));
        assert_eq!(boards, known.collect::<Vec<_>>());
        let mut files = Vec::new();
        walk(&profiles.join("files"), &profiles.join("files"), &mut files);
        files.sort();
        assert_eq!(
            files,
            FILES.iter().map(|(path, _)| *path).collect::<Vec<_>>()
        );
    }
}
