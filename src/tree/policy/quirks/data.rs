//! The embedded files.

macro_rules! embed {
    ($dir:literal: $($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../profiles/", $dir, "/", $name)))),*]
    };
}

/// Quirks by file name; later files see what earlier ones wrote.
pub const QUIRKS: &[(&str, &str)] = embed!("quirks":
    "base.yaml",
    "alternatives.yaml",
    "systemd.yaml",
    "hardening.yaml",
    "development.yaml",
    "ca-certificates.yaml",
    "openssh.yaml",
    "dbus.yaml",
    "containers.yaml",
    "iwd.yaml",
);

/// Files that `write` names.
pub const FILES: &[(&str, &str)] = embed!("units":
    "repart.d/50-root.conf",
    "network/99-hullwright-dhcp.network",
    "tmpfiles.d/hullwright.conf",
    "user-preset/00-hullwright.preset",
    "sshd-keygen.service.d/20-hullwright-host-keys.conf",
    "sshd_config.d/10-hullwright.conf",
    "serial-getty.d/autologin.conf",
);
