//! `hullwright kernel`, on configurations of Debian's kernels.

use crate::home::Home;
use crate::support::repository;

/// What Debian's kernel `name` says of the contract's options.
fn debian(name: &str) -> String {
    let path = repository().join(format!("kernel-configs/debian/{name}.config"));
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn debians_kernels_are_good_and_what_they_lack_is_named() {
    let home = Home::new();
    for name in ["amd64", "cloud-amd64", "arm64", "cloud-arm64"] {
        home.write("config", debian(name));
        let ran = home.run(&["kernel", "check", "config"]);
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{name}");
        let missing = "0 required ones are missing";
        assert!(ran.stdout.contains(missing), "{}", ran.stdout);
        let lacking = "recommended, hardening: CONFIG_INIT_ON_FREE_DEFAULT_ON is n, wanted y: ";
        assert!(ran.stdout.contains(lacking), "{}", ran.stdout);
    }
}

#[test]
fn a_missing_option_is_a_finding_with_what_breaks() {
    let home = Home::new();
    home.write(
        "config",
        debian("cloud-amd64").replace("CONFIG_VETH=m\n", ""),
    );
    let ran = home.run(&["kernel", "check", "config"]);
    assert_eq!(ran.status, 5, "{}", ran.stderr);
    let line = "CONFIG_VETH is n, wanted y|m: Each container has one end of a pair of interfaces, \
                the bridge the other. (networks of containers; without: containers have no network, \
                or no ports to the outside)";
    assert!(ran.stderr.contains(line), "{}", ran.stderr);

    let ran = home.run(&["kernel", "check", "config", "--topic", "verity"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);

    let ran = home.run(&[
        "kernel",
        "check",
        "config",
        "--topic",
        "containers",
        "--json",
    ]);
    assert_eq!(ran.status, 5, "{}", ran.stderr);
    let lines: Vec<serde_json::Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["event"], "finding");
    assert_eq!(lines[0]["option"], "CONFIG_VETH");
    assert_eq!(lines[0]["level"], "required");
    assert_eq!(lines.last().unwrap()["kind"], "audit");
}

#[test]
fn two_kernels_are_told_apart() {
    let home = Home::new();
    home.write("a", debian("amd64"));
    home.write("b", debian("cloud-amd64"));
    let ran = home.run(&["kernel", "diff", "a", "b"]);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    let line = "CONFIG_BLK_DEV_NVME: m -> y (virt, cloud)\n";
    assert!(ran.stdout.contains(line), "{}", ran.stdout);
    assert!(!ran.stdout.contains("CONFIG_VETH"), "{}", ran.stdout);
    let ran = home.run(&["kernel", "diff", "a", "a"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (0, ""));
}

#[test]
fn what_is_no_configuration_and_no_topic_is_told() {
    let home = Home::new();
    home.write("config", "nothing");
    for (arguments, words) in [
        (
            &["kernel", "check", "config"][..],
            "no line begins with CONFIG_",
        ),
        (
            &["kernel", "check", "config", "--topic", "x"],
            "no line begins with CONFIG_",
        ),
        (&["kernel", "check", "absent/config"], "absent/config"),
    ] {
        let ran = home.run(arguments);
        assert_eq!(ran.status, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains(words), "{}", ran.stderr);
    }
    home.write("config", debian("amd64"));
    let ran = home.run(&["kernel", "check", "config", "--topic", "contaners"]);
    assert_eq!(ran.status, 2, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("there is no topic `contaners`"),
        "{}",
        ran.stderr
    );
}
