//! The built-in profiles lack nothing, and allow nothing that nobody finds.

use std::fs;

use serde_json::Value;

use crate::fixture::fixture;
use crate::support::{good, shipped, shown};

const PROFILES: [(&str, &str); 9] = [
    ("container-host", "x86_64"),
    ("container-host", "arm64"),
    ("docker", "x86_64"),
    ("podman", "x86_64"),
    ("minimal", "x86_64"),
    ("minimal", "arm64"),
    ("jeos", "x86_64"),
    ("qemu", "x86_64"),
    ("rpi4", "arm64"),
];

#[test]
fn the_built_in_profiles_have_no_findings_but_those_that_they_allow() {
    let of = fixture();
    for (profile, arch) in PROFILES {
        let mut command = shipped(&of.root);
        command.args(["audit", profile, "--arch", arch, "--json"]);
        command.args(["--set", "os.version=1.0.0"]);
        let text = good(&mut command);
        let result: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(result["event"], "result", "{profile} for {arch}: {result}");
        let own = format!("<built-in>/{profile}.yaml:");
        let unused = result["unused"].as_array().unwrap();
        let stale = |entry: &Value| entry["place"].as_str().unwrap().starts_with(&own);
        assert!(!unused.iter().any(stale), "{profile} for {arch}: {result}");
    }
}

/// The answer from the cache warns as the one that was worked out.
#[test]
fn what_a_profile_says_in_vain_is_told_every_time() {
    let dir = tempfile::tempdir_in(&fixture().root).unwrap();
    let text = concat!(
        "extends: qemu\n",
        "root: {prune: [/usr/share/no-such-folder, /usr/lib/hullwright/health]}\n"
    );
    fs::write(dir.path().join("vain.yaml"), text).unwrap();
    for time in ["first", "second"] {
        let output = shipped(dir.path())
            .args(["audit", "vain.yaml", "--set", "os.version=1.0.0"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", shown(&output));
        let said = String::from_utf8_lossy(&output.stderr);
        for expected in [
            "vain.yaml:2: root.prune: `/usr/share/no-such-folder` matches nothing",
            "vain.yaml:2: root.prune: `/usr/lib/hullwright/health` matches nothing of the packages; \
             /usr/lib/hullwright/health is put in after they are pruned",
        ] {
            assert!(said.contains(expected), "{time}: {}", shown(&output));
        }
    }
}
