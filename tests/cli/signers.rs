//! Signers that can't be: said before anything is fetched or built.

use crate::home::Home;

const GOOD: &str = "extends: container-host\nos: {id: edge, name: Edge, version: 1.4.2}\n";

#[test]
fn a_signer_that_is_not_there_ends_with_the_code_of_keys() {
    let home = Home::new();
    home.write("edge.yaml", GOOD);
    home.good(&["keys", "new", "keys", "--profile", "dev"]);
    let build = |signer: &str, status| {
        let arguments = [
            "build",
            "edge.yaml",
            "--keys",
            "keys",
            "--offline",
            "--signer",
            signer,
        ];
        home.bad(&arguments, status)
    };
    let error = build("pkcs11:token=x?module-path=/no/such/module.so", 8);
    assert!(
        error.contains("loading the PKCS #11 module /no/such/module.so"),
        "{error}"
    );
    let error = build(
        "pkcs11:token=x?module-path=/no/such.so&pin-source=file:/no/such/pin",
        8,
    );
    assert!(
        error.contains("reading the PIN") && error.contains("/no/such/pin"),
        "{error}"
    );
    std::fs::remove_file(home.path("keys/db.key")).unwrap();
    let error = build("file", 8);
    assert!(error.contains("db.key"), "{error}");

    for (signer, expected) in [
        ("hsm", "`command:PROGRAM [ARG…]`"),
        ("command:", "a program behind `command:`"),
        ("pkcs11:token=x", "the module to load"),
        ("pkcs11:tokn=x?module-path=/m", "no `tokn` in the path"),
    ] {
        let error = build(signer, 2);
        assert!(error.contains(expected), "{signer}: {error}");
    }
}

#[test]
fn a_profile_names_its_signer_with_line_and_column() {
    let home = Home::new();
    home.write(
        "edge.yaml",
        format!("{GOOD}signer: pkcs11:token=x\nsign: never\n"),
    );
    let error = home.bad(&["check", "edge.yaml"], 2);
    assert!(error.contains("edge.yaml:3:9: `signer` is"), "{error}");
    assert!(
        error.contains("edge.yaml:4:7: `sign` is `never`"),
        "{error}"
    );
    home.write(
        "edge.yaml",
        format!("{GOOD}signer: command:./kms\nsign: later\n"),
    );
    home.good(&["check", "edge.yaml"]);
}

#[test]
fn only_finished_images_are_signed() {
    let home = Home::new();
    home.good(&["keys", "new", "keys", "--profile", "dev"]);
    home.write("folder/letter", "dear");
    for image in ["folder", "folder/letter", "nowhere", "folder/disk.raw"] {
        let error = home.bad(&["sign", image, "--keys", "keys"], 2);
        assert!(
            error.contains("output directory of a build"),
            "{image}: {error}"
        );
    }
    assert_eq!(home.read("folder/letter"), "dear");
}
