//! Judge: the kernels that Debian ships today, against the contract and against what we keep of their
//! configurations.

use serde_json::Value;

use crate::fixture::fixture;
use crate::support::{good, hullwright, repository};

/// Debian's kernels and the profiles that have them.
const KERNELS: [(&str, &[&str]); 3] = [
    (
        "amd64",
        &["qemu", "--set", "kernel.package=linux-image-{arch}"],
    ),
    ("cloud-amd64", &["qemu"]),
    ("arm64", &["rpi4", "--set", "os.version=1.0.0"]),
];

fn last_event(output: &str) -> Value {
    serde_json::from_str(output.lines().last().unwrap()).unwrap()
}

#[test]
fn todays_kernels_meet_the_contract_and_are_as_we_keep_them() {
    let root = fixture().root.join("kernels");
    std::fs::create_dir_all(&root).unwrap();
    for (name, profile) in KERNELS {
        let run = |words: &[&str]| {
            let mut command = hullwright(&root);
            last_event(&good(
                command
                    .arg("kernel")
                    .args(words)
                    .args(&profile[1..])
                    .arg("--json"),
            ))
        };
        let checked = run(&["check", profile[0]]);
        let version = checked["kernel"].as_str().unwrap();
        assert!(version.ends_with(&format!("-{name}")), "{version}");

        let kept = repository().join(format!("kernel-configs/debian/{name}.config"));
        let text = std::fs::read_to_string(&kept).unwrap();
        let release = version.trim_start_matches("kernel ");
        if !text.starts_with(&format!("# Linux {release}:")) {
            eprintln!("{name}: {release} is newer than what we keep");
            continue;
        }
        let difference = run(&["diff", profile[0], kept.to_str().unwrap()]);
        let changes = difference["changes"].as_array().unwrap();
        // The file has the options of the contract alone, and names none that is not set.
        assert!(changes.len() > 1000, "{name}: {}", changes.len());
        let wrong: Vec<_> = changes
            .iter()
            .filter(|change| change["after"] != "n" || asked(change["option"].as_str().unwrap()))
            .collect();
        assert!(wrong.is_empty(), "{name}: {wrong:?}");
    }
}

fn asked(option: &str) -> bool {
    hullwright::kernel::contract::TOPICS
        .iter()
        .any(|topic| topic.rules().iter().any(|rule| rule.option == option))
}
