use super::*;
use crate::tree::{Content, Meta, Node, Origin, TreePath};

fn path(text: &str) -> TreePath {
    TreePath::parse(text).unwrap()
}

pub(super) fn profile(extra: &str) -> Profile {
    serde_yaml::from_str(&format!(
        "name: t\nos: {{id: hull, name: Hull OS, version: 1.2.3, channel: beta}}\nkernel: {{package: k}}\n{extra}"
    ))
    .unwrap()
}

fn packages() -> Tree {
    let mut tree = Tree::new();
    let unit = "[Install]\nWantedBy=multi-user.target\n";
    for (package, at, text) in [
        ("systemd", "usr/lib/systemd/system/app.service", unit),
        (
            "systemd",
            "usr/lib/systemd/system-generators/systemd-debug-generator",
            "x",
        ),
        (
            "systemd",
            "usr/lib/tmpfiles.d/debian.conf",
            "L+ /etc/vconsole.conf - - - - x\n",
        ),
        (
            "passwd",
            "usr/lib/sysusers.d/basic.conf",
            "g shadow 42\nu root 0 - /root /bin/bash\nu! app -\n",
        ),
        ("app", "etc/app.conf", "packaged"),
        ("app", "var/lib/app/seed.db", "x"),
        ("kernel", "boot/vmlinuz-6", "MZ"),
    ] {
        let node = Node {
            meta: Meta::root(0o644),
            kind: Kind::File {
                content: text.into(),
                link: None,
            },
            origin: Origin::Package(package.into()),
        };
        tree.insert(path(at), node);
    }
    let firstboot = Node {
        meta: Meta::root(0o777),
        kind: Kind::Symlink(b"../systemd-firstboot.service".to_vec()),
        origin: Origin::Package("systemd".into()),
    };
    tree.insert(
        path("usr/lib/systemd/system/sysinit.target.wants/systemd-firstboot.service"),
        firstboot,
    );
    tree
}

fn run(extra: &str, overlay: &[(&str, &str)]) -> Result<(Tree, PolicyReport)> {
    run_with(extra, overlay, b"")
}

fn run_with(
    extra: &str,
    overlay: &[(&str, &str)],
    update_keys: &[u8],
) -> Result<(Tree, PolicyReport)> {
    let mut tree = packages();
    let overlay: Vec<_> = overlay
        .iter()
        .map(|(at, text)| OverlayEntry {
            path: path(at),
            meta: Meta::root(0o644),
            kind: Kind::File {
                content: Content::from(*text),
                link: None,
            },
            source: "files".into(),
        })
        .collect();
    let report = apply(
        &mut tree,
        &PolicyInput {
            update: UpdateInput {
                more_keys: update_keys,
                ..UpdateInput::default()
            },
            profile: &profile(extra),
            stamp: Stamp::from_seconds(86400 * 20000),
            overlay: &overlay,
            locked_ids: &BTreeMap::from([("group locked".into(), 555)]),
        },
    )?;
    Ok((tree, report))
}

fn text(tree: &Tree, at: &str) -> String {
    edit::text(tree, &path(at))
        .unwrap()
        .unwrap_or_else(|| panic!("{at} is missing"))
}

#[test]
fn only_usr_is_left_and_etc_is_in_the_factory() {
    let (tree, report) = run("", &[]).unwrap();
    let tops: Vec<_> = tree
        .children(&TreePath::root())
        .map(|(p, _)| p.to_string())
        .collect();
    assert_eq!(tops, ["/usr"]);
    assert_eq!(text(&tree, "usr/share/factory/etc/app.conf"), "packaged");
    assert_eq!(
        text(&tree, "usr/share/factory/etc/machine-id"),
        "uninitialized\n"
    );
    assert!(report.outside.get(&path("boot/vmlinuz-6")).is_some());
    assert!(
        report
            .notes
            .iter()
            .any(|n| n.starts_with("/var/lib/app/seed.db of app")),
        "{:?}",
        report.notes
    );
    assert!(!report.notes.iter().any(|n| n.contains("vmlinuz")));
}

#[test]
fn only_development_images_have_ways_in() {
    let generator = path("usr/lib/systemd/system-generators/systemd-debug-generator");
    let shadow = "usr/share/factory/etc/shadow";
    let login = path("usr/lib/systemd/system/serial-getty@.service.d/10-hullwright-autologin.conf");

    let (tree, _) = run("", &[]).unwrap();
    assert!(text(&tree, shadow).starts_with("root:!*:20000:"));
    assert!(tree.get(&generator).is_none() && tree.get(&login).is_none());
    assert!(!text(&tree, "usr/lib/os-release").contains("VARIANT"));

    let (tree, _) = run("development: true\n", &[]).unwrap();
    assert!(text(&tree, shadow).starts_with("root::20000:"));
    assert!(tree.get(&generator).is_some() && tree.get(&login).is_some());
    assert!(text(&tree, "usr/lib/os-release").contains("VARIANT_ID=development\n"));
    assert!(text(&tree, "usr/share/factory/etc/issue").contains("DEVELOPMENT"));
}

#[test]
fn the_channel_leaves_no_trace() {
    let (tree, _) = run("", &[]).unwrap();
    for (at, node) in tree.iter() {
        if let Some(content) = node.content() {
            let bytes = content.read().unwrap();
            assert!(!bytes.windows(4).any(|w| w == b"beta"), "{at}");
        }
    }
}

#[test]
fn accounts_have_fixed_numbers_and_are_locked() {
    let (tree, report) = run(
        "root:\n  groups: [{name: locked}]\n  users:\n    - {name: ann, uid: 1500, groups: [locked], ssh_authorized_keys: [ssh-ed25519 A]}\n    - {name: bob, password_hash: $y$x}\n",
        &[],
    )
    .unwrap();
    let shadow = path("usr/share/factory/etc/shadow");
    let meta = &tree.get(&shadow).unwrap().meta;
    assert_eq!((meta.mode, meta.uid, meta.gid), (0o640, 0, 42));
    let lines = text(&tree, "usr/share/factory/etc/shadow");
    for line in [
        "ann:!*:20000::::::",
        "bob:$y$x:20000::::::",
        "app:!*:20000:::::1:",
    ] {
        assert!(lines.lines().any(|l| l == line), "{line} in {lines}");
    }
    assert!(text(&tree, "usr/share/factory/etc/group").contains("locked:x:555:ann\n"));
    assert_eq!(report.ids["user ann"], 1500);
    assert_eq!(report.ids["group ann"], 1500);
    assert!((600..=799).contains(&report.ids["user app"]));
    let sysusers = text(&tree, "usr/lib/sysusers.d/00-hullwright-ids.conf");
    assert!(
        sysusers.contains("u ann 1500:1500 - /home/ann /bin/bash\n"),
        "{sysusers}"
    );
    assert_eq!(
        text(&tree, "usr/share/hullwright/authorized_keys/ann"),
        "ssh-ed25519 A\n"
    );
    assert!(report.notes.iter().any(|n| n.contains("no sshd")));
}

#[test]
fn overlays_are_seen_by_policies_and_win_over_them() {
    let (tree, report) = run(
        "root:\n  units: {enable: [mine.service]}\n",
        &[
            (
                "usr/lib/systemd/system/mine.service",
                "[Install]\nWantedBy=multi-user.target\n",
            ),
            ("usr/lib/sysusers.d/mine.conf", "u mine 950\n"),
            ("etc/hosts", "mine"),
        ],
    )
    .unwrap();
    assert_eq!(report.enabled_units, ["mine.service"]);
    assert_eq!(report.ids["user mine"], 950);
    assert_eq!(text(&tree, "usr/share/factory/etc/hosts"), "mine");
    let link = path("usr/share/factory/etc/systemd/system/multi-user.target.wants/mine.service");
    assert!(tree.get(&link).is_some());
}

#[test]
fn what_an_image_must_not_or_cannot_hold_is_refused() {
    for (extra, overlay, expected) in [
        ("", ("etc/ssh/ssh_host_ed25519_key", "x"), "SSH host key"),
        ("", ("etc/machine-id", "0123"), "identity"),
        ("", ("opt/tool", "x"), "below /usr and /etc only"),
        ("root: {timezone: Mars/Base}\n", ("etc/x", ""), "Mars/Base"),
        (
            "root: {users: [{name: a, groups: [nope]}]}\n",
            ("etc/x", ""),
            "`nope`",
        ),
        (
            "root: {users: [{name: a, uid: 0}]}\n",
            ("etc/x", ""),
            "both have the number 0",
        ),
        ("root: {users: [{name: 'a:b'}]}\n", ("etc/x", ""), "`a:b`"),
        ("root: {tmpfiles: [nonsense]}\n", ("etc/x", ""), "tmpfiles"),
    ] {
        let error = run(extra, &[overlay]).map(|_| ()).unwrap_err();
        let message = crate::failure::failure_of(&error).unwrap().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

const SYSUPDATE: &str = "usr/lib/systemd/systemd-sysupdate";
const TOOLS: [(&str, &str); 4] = [
    (SYSUPDATE, "x"),
    ("usr/lib/systemd/systemd-pull", "x"),
    ("usr/bin/gpg", "x"),
    ("usr/bin/bootctl", "x"),
];
const UPDATE: &str = "update:\n  url: https://updates.example.org/os/\n  interval: Sun 02:00\n  \
                      delay: 30min\n  reboot: window\n  windows:\n  \
                      - {start: 'Sat 03:00', duration: 2h}\n  - {start: daily, duration: 30min}\n";

#[test]
fn updates_are_in_every_image_that_can_have_them_and_run_where_there_is_a_server() {
    let enabled = |report: &PolicyReport| -> Vec<String> {
        let all = report.enabled_units.iter();
        all.filter(|name| name.contains("update"))
            .cloned()
            .collect()
    };
    let (tree, report) = run("", &[]).unwrap();
    assert!(!edit::exists(&tree, "usr/bin/hullwright-update"));
    assert_eq!(enabled(&report), [""; 0]);

    let (tree, report) = run("boot: {tries: 5}\n", &TOOLS).unwrap();
    assert_eq!(enabled(&report), ["hullwright-update-setup.service"]);
    let conf = text(&tree, "usr/lib/hullwright/update.conf");
    assert!(
        conf.ends_with("arch=x86_64\ntries=5\nurl=\nreboot=off\n"),
        "{conf}"
    );
    assert_eq!(text(&tree, "usr/lib/systemd/import-pubring.gpg"), "");

    let (tree, report) = run_with(UPDATE, &TOOLS, b"keys").unwrap();
    assert_eq!(
        enabled(&report),
        [
            "hullwright-update-loader.service",
            "hullwright-update-setup.service",
            "hullwright-update-window-1.timer",
            "hullwright-update-window-2.timer",
            "hullwright-update.timer",
        ]
    );
    assert_eq!(text(&tree, "usr/lib/systemd/import-pubring.gpg"), "keys");
    let timer = text(&tree, "usr/lib/systemd/system/hullwright-update.timer");
    assert!(
        timer.contains("OnCalendar=Sun 02:00\nRandomizedDelaySec=30min\n"),
        "{timer}"
    );
    let window = text(
        &tree,
        "usr/lib/systemd/system/hullwright-update-window-2.timer",
    );
    assert!(
        window.contains("OnCalendar=daily\nRandomizedDelaySec=30min\n"),
        "{window}"
    );
    for (path, node) in tree.iter() {
        let Some(content) = node
            .content()
            .filter(|_| path.to_string().contains("update"))
        else {
            continue;
        };
        let text = String::from_utf8(content.read().unwrap().into_owned()).unwrap();
        let open = ["@INTERVAL@", "@DELAY@", "@START@", "@DURATION@", "@NUMBER@"];
        assert!(!open.iter().any(|word| text.contains(word)), "{path}");
    }
}

#[test]
fn what_a_profile_switches_off_of_updates_stays_off() {
    let off = format!("{UPDATE}root:\n  units: {{disable: [hullwright-update.timer]}}\n");
    let (_, report) = run_with(&off, &TOOLS, b"keys").unwrap();
    let timer = "hullwright-update.timer".to_owned();
    assert!(!report.enabled_units.contains(&timer));
}

#[test]
fn a_server_needs_what_verifies_and_installs() {
    let message = |tools: &[(&str, &str)], keys: &[u8]| {
        run_with(UPDATE, tools, keys).unwrap_err().to_string()
    };
    assert!(message(&TOOLS, b"").contains("no key that releases could be verified with"));
    for (at, _) in TOOLS {
        let others: Vec<_> = TOOLS
            .into_iter()
            .filter(|(other, _)| *other != at)
            .collect();
        assert!(message(&others, b"keys").contains(at), "{at}");
    }
}
