//! The kernel's command line.

use crate::digest::Sha256;
use crate::initrd::root_hash_signature;
use crate::profile::Profile;
use crate::profile::schema::VeritySignature;

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
    let serial = profile.serial();
    let mut words = vec![format!("usrhash={root_hash}")];
    if !profile.development {
        words.extend(PRODUCTION.map(str::to_owned));
    }
    let own = profile.kernel.cmdline.iter();
    words.extend(own.map(|word| word.replace("{serial}", serial)));
    if profile.boot.verity_signature == VeritySignature::Require {
        require_signature(&mut words);
    }
    words.join(" ")
}

/// The options of the verity device of `/usr`, of which systemd takes the last word alone.
const OPTIONS: &str = "systemd.verity_usr_options";

/// Gives systemd-veritysetup the signature, and makes the kernel ask for one: without the module's
/// parameter it checks one that it is given, and takes a device without.
fn require_signature(words: &mut Vec<String>) {
    let mut options = Vec::new();
    words.retain(|word| {
        let Some((key, value)) = word.split_once('=') else {
            return true;
        };
        let ours = key.replace('-', "_") == OPTIONS;
        if ours {
            // The last one would win.
            options = vec![value.to_owned()];
        }
        !ours
    });
    options.push(format!(
        "root-hash-signature=/{}",
        root_hash_signature::PATH
    ));
    words.push(format!("{OPTIONS}={}", options.join(",")));
    words.push("dm_verity.require_signatures=1".into());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::cmdline::refusal;

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
    fn the_signature_joins_the_profiles_options() {
        let start =
            "boot: {verity_signature: require}\ndevelopment: true\nkernel: {package: xx, cmdline: ";
        let path = "root-hash-signature=/usr/lib/hullwright/usr.p7s";
        let end = "dm_verity.require_signatures=1";
        for (own, wanted) in [
            ("[]", format!(" systemd.verity_usr_options={path} {end}")),
            (
                "[systemd.verity_usr_options=panic-on-corruption, rw]",
                format!(" rw systemd.verity_usr_options=panic-on-corruption,{path} {end}"),
            ),
            (
                "[systemd.verity-usr-options=a, systemd.verity_usr_options=b]",
                format!(" systemd.verity_usr_options=b,{path} {end}"),
            ),
        ] {
            assert_eq!(line(&format!("{start}{own}}}\n")), wanted);
        }
    }

    #[test]
    fn the_policys_own_words_undo_nothing() {
        for word in &PRODUCTION[1..] {
            assert_eq!(refusal(word), None, "{word}");
        }
    }
}
