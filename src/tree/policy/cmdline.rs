//! The kernel's command line.

use crate::digest::Sha256;
use crate::profile::Profile;

/// Switches of every image that is not for development.
const PRODUCTION: [&str; 3] = [
    // Credentials from SMBIOS, fw_cfg and the ESP configure users, units and keys: whoever controls
    // the hypervisor or the ESP would control the system.
    "systemd.import_credentials=no",
    // Both follow from enabled Secure Boot on Debian's kernels; here they hold on others too, and
    // where somebody has switched Secure Boot off.
    "module.sig_enforce=1",
    "lockdown=integrity",
];

/// The command line of an image: `usrhash=`, which finds both partitions of `/usr`, what the policy
/// demands, and the profile's words.
#[must_use]
pub fn cmdline(profile: &Profile, root_hash: &Sha256) -> String {
    let serial = profile.arch.traits().serial;
    let mut words = vec![format!("usrhash={root_hash}")];
    if !profile.development {
        words.extend(PRODUCTION.map(str::to_owned));
    }
    let own = profile.kernel.cmdline.iter();
    words.extend(own.map(|word| word.replace("{serial}", serial)));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::words::refusal;

    fn line(text: &str) -> String {
        let profile = crate::profile::parse_bytes(
            format!("os: {{id: a, name: A, version: 1}}\n{text}").as_bytes(),
        )
        .unwrap();
        let line = cmdline(&profile, &Sha256([0xab; 32]));
        let start = format!("usrhash={}", "ab".repeat(32));
        line.strip_prefix(&start).unwrap().to_owned()
    }

    #[test]
    fn the_profiles_words_come_behind_the_policys() {
        let text = "kernel: {package: xx, cmdline: [rw, \"console={serial},115200\"]}\n";
        assert_eq!(
            line(text),
            " systemd.import_credentials=no module.sig_enforce=1 lockdown=integrity rw \
             console=ttyS0,115200"
        );
        assert_eq!(
            line(&format!("development: true\narch: arm64\n{text}")),
            " rw console=ttyAMA0,115200"
        );
    }

    #[test]
    fn the_policys_own_words_undo_nothing() {
        for word in &PRODUCTION[1..] {
            assert_eq!(refusal(word), None, "{word}");
        }
    }
}
