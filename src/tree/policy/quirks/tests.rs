use super::*;
use crate::tree::{Meta, Node};

const FACTS: Facts<'static> = Facts {
    development: false,
    serial: "ttyS0",
    triplet: "x86_64-linux-gnu",
};

fn tree(files: &[(&str, &str)]) -> Tree {
    let mut tree = Tree::new();
    for (at, text) in files {
        tree.insert(
            path(at).unwrap(),
            Node {
                meta: Meta::root(0o644),
                kind: Kind::File {
                    content: (*text).into(),
                    link: None,
                },
                origin: Origin::Package("pkg".into()),
            },
        );
    }
    tree
}

fn quirk(actions: &str) -> Vec<Quirk> {
    parse(
        "t.yaml",
        &format!("- name: t\n  why: w\n  package: pkg\n  actions:\n{actions}\n"),
    )
    .unwrap()
}

fn applied(tree: &mut Tree, actions: &str) -> Result<()> {
    apply(tree, &quirk(actions), FACTS)
}

#[test]
fn every_built_in_quirk_parses_and_every_file_that_it_names_exists() {
    for (file, text) in data::QUIRKS {
        for quirk in parse(file, text).unwrap() {
            assert!(!quirk.actions.is_empty(), "{}", quirk.name);
            for action in &quirk.actions {
                if let Action::Write(a) = action {
                    assert!(a.content.is_some() != a.file.is_some(), "{}", quirk.name);
                    if let Some(file) = &a.file {
                        assert!(data::FILES.iter().any(|(f, _)| f == file), "{file}");
                    }
                }
            }
        }
    }
}

#[test]
fn actions_do_what_they_say() {
    let files = [
        ("etc/nsswitch.conf", "hosts: files\n"),
        ("etc/a", "one\ntwo\n"),
        ("usr/share/c/1.crt", "A\n\n"),
        ("usr/share/c/2.crt", "B"),
        ("usr/bin/mawk", ""),
    ];
    for (action, at, expected) in [
        (
            "    - write: {path: /etc/x, content: \"on {serial}\"}",
            "etc/x",
            "on ttyS0",
        ),
        (
            "    - copy: {from: /etc/a, to: /usr/b}",
            "usr/b",
            "one\ntwo\n",
        ),
        (
            "    - append: {path: /etc/a, line: three}",
            "etc/a",
            "one\ntwo\nthree\n",
        ),
        (
            "    - delete-lines: {path: /etc/a, line: wo}",
            "etc/a",
            "one\n",
        ),
        (
            "    - nsswitch: {database: hosts, services: dns}",
            "etc/nsswitch.conf",
            "hosts:          dns\n",
        ),
        (
            "    - concatenate: {from: /usr/share/c/*.crt, to: /etc/all, at_least: 2}",
            "etc/all",
            "A\nB\n",
        ),
    ] {
        let mut tree = tree(&files);
        applied(&mut tree, action).unwrap();
        assert_eq!(
            text(&tree, &path(at).unwrap()).unwrap().unwrap(),
            expected,
            "{action}"
        );
    }
    let mut tree = tree(&files);
    applied(&mut tree, "    - symlink: {path: /usr/bin/awk, target: mawk, must_exist: true}\n    - mkdir: {path: /etc/d, mode: \"0700\"}\n    - remove: {path: /etc/a}").unwrap();
    assert!(tree.resolve(&path("usr/bin/awk").unwrap()).is_some());
    assert_eq!(tree.get(&path("etc/d").unwrap()).unwrap().meta.mode, 0o700);
    assert!(!exists(&tree, "etc/a"));
}

#[test]
fn what_no_longer_fits_is_an_error_that_names_the_quirk_unless_it_is_optional() {
    for action in [
        "copy: {from: /no, to: /x",
        "remove: {path: /no",
        "append: {path: /no, line: x",
        "delete-lines: {path: /etc/a, line: zzz",
        "symlink: {path: /x, target: /no, must_exist: true",
        "mask: {unit: no.service",
        "unwant: {unit: no.service",
    ] {
        let mut tree = tree(&[("etc/a", "one\n")]);
        let error = applied(&mut tree, &format!("    - {action}}}")).unwrap_err();
        let message = crate::failure::failure_of(&error).unwrap().to_string();
        assert!(message.contains("quirk `t` no longer fits"), "{message}");
        applied(&mut tree, &format!("    - {action}, optional: true}}")).unwrap();
    }
}

#[test]
fn unknown_keys_and_actions_are_errors() {
    for text in [
        "- {name: a, why: b, actions: [], pakage: x}",
        "- {name: a, why: b, actions: [{run: {command: sh}}]}",
        "- {name: a, why: b, actions: [{remove: {path: /x, opt: true}}]}",
    ] {
        assert!(parse("t.yaml", text).is_err(), "{text}");
    }
}

#[test]
fn quirks_apply_by_package_and_kind_of_image() {
    let tree = tree(&[("etc/a", "")]);
    let all = parse(
        "t.yaml",
        "- {name: always, why: w, actions: []}\n\
         - {name: here, why: w, package: pkg, actions: []}\n\
         - {name: absent, why: w, package: other, actions: []}\n\
         - {name: instead, why: w, unless_package: other, actions: []}\n\
         - {name: not-instead, why: w, unless_package: pkg, actions: []}\n\
         - {name: dev, why: w, when: development, actions: []}\n\
         - {name: prod, why: w, when: production, actions: []}\n",
    )
    .unwrap();
    for (development, expected) in [
        (false, ["always", "here", "instead", "prod"]),
        (true, ["always", "here", "instead", "dev"]),
    ] {
        let facts = Facts {
            development,
            ..FACTS
        };
        let names: Vec<_> = select(all.clone(), &tree, facts)
            .into_iter()
            .map(|q| q.name)
            .collect();
        assert_eq!(names, expected);
    }
}
