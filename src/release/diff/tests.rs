use super::testing::{facts, file, package, privileged, unit};
use super::*;
use crate::release::facts::{EntryKind, Group, User};

/// A release after [`facts`] in which something of every kind changed.
fn next() -> Facts {
    let mut facts = facts();
    let summary = &mut facts.summary;
    summary.version = "1.1".into();
    summary.stamp += 1;
    summary.root_hash = Sha256::of(b"1.1");
    summary.kernel = "6.12.57".into();
    summary.cmdline = "usrhash=22 console=ttyS0 console=ttyS0 quiet lsm=bpf".into();
    summary.sizes.usr += 3 << 20;
    summary.sizes.initrd -= 512 << 10;
    summary.layout[1].size += 1 << 20;
    summary.packages = vec![
        package("libsystemd0", "257.9-1", "systemd"),
        package("newtool", "1.0", "newtool"),
        package("systemd", "257.9-1", "systemd"),
        package("tools", "1:9.0-1", "tools"),
    ];
    summary.packages[2].bytes += 5 << 20;
    summary.privileged = vec![
        privileged("/usr/bin/helper", "2755"),
        privileged("/usr/bin/su", "6755"),
    ];
    summary.units = vec![
        unit("a.service", false),
        unit("c.timer", true),
        unit("d.socket", false),
    ];
    let accounts = &mut summary.accounts;
    accounts.users.insert(
        "svc".into(),
        User {
            uid: 305,
            gid: 301,
            home: "/".into(),
            shell: "/bin/sh".into(),
        },
    );
    accounts.users.insert(
        "new".into(),
        User {
            uid: 306,
            gid: 306,
            home: "/".into(),
            shell: "/bin/sh".into(),
        },
    );
    accounts.groups.remove("kvm");
    accounts.groups.insert(
        "root".into(),
        Group {
            gid: 0,
            members: ["svc".to_owned()].into(),
        },
    );
    let mut su = file("/usr/bin/su", "su", "tools");
    su.mode = 0o6755;
    facts.files = vec![
        file("/usr/bin/helper", "helper", "tools"),
        su,
        file(
            "/usr/lib/modules/6.12.57/kernel/fs/erofs.ko.xz",
            "erofs",
            "linux",
        ),
        file(
            "/usr/lib/modules/6.12.57/kernel/net/new.ko.xz",
            "new",
            "linux",
        ),
        file(
            "/usr/lib/mine",
            "mine",
            crate::release::facts::files::PROFILE,
        ),
        file("/usr/share/factory/etc/issue", "os 1.1", "base-files"),
    ];
    facts.kernel_config = Some(b"CONFIG_A=y\nCONFIG_B=y\nCONFIG_D=m\n".to_vec());
    facts
}

#[test]
fn nothing_changed_is_an_empty_diff_and_a_short_page() {
    let diff = diff(&facts(), &facts());
    assert_eq!(diff.packages, PackageChanges::default());
    assert!(diff.files.is_empty() && diff.sizes.is_empty() && diff.layout.is_empty());
    assert!(!diff.moves_ids());
    insta::assert_snapshot!(diff.markdown());
}

#[test]
fn the_page_tells_every_kind_of_change() {
    insta::assert_snapshot!(diff(&facts(), &next()).markdown());
}

#[test]
fn the_way_back_swaps_what_came_and_what_went() {
    let (there, back) = (diff(&facts(), &next()), diff(&next(), &facts()));
    assert_eq!(there.packages.added, back.packages.removed);
    assert_eq!(there.packages.removed, back.packages.added);
    assert_eq!(
        there.packages.upgraded.len(),
        back.packages.downgraded.len()
    );
    assert_eq!(
        there.packages.downgraded.len(),
        back.packages.upgraded.len()
    );
    assert_eq!(there.files.added, back.files.removed);
    assert_eq!(there.files.changed, back.files.changed);
    assert_eq!(there.cmdline.added, back.cmdline.removed);
    assert_eq!(there.units.disabled, back.units.enabled);
    assert_eq!(there.users.added, back.users.removed);
    assert!(there.moves_ids() && back.moves_ids());
    assert_eq!(back.users.moved["svc"], (305, 301));
}

#[test]
fn json_reads_back() {
    let diff = diff(&facts(), &next());
    let text = serde_json::to_string(&diff).unwrap();
    assert_eq!(serde_json::from_str::<Diff>(&text).unwrap(), diff);
}

#[test]
fn epochs_decide_and_equal_versions_are_no_change() {
    let of = |version: &str| [package("x", version, "x")];
    let kind = |from, to| {
        let changes = packages::changes(&of(from), &of(to));
        (changes.upgraded.len(), changes.downgraded.len())
    };
    assert_eq!(kind("1.0", "1.1"), (1, 0));
    assert_eq!(kind("1:1.0", "2.0"), (0, 1));
    assert_eq!(kind("1.0~rc1", "1.0"), (1, 0));
    assert_eq!(kind("1.0", "1.0"), (0, 0));
}

#[test]
fn kernels_without_known_options_have_none_that_changed() {
    let mut unknown = facts();
    unknown.kernel_config = None;
    assert!(diff(&facts(), &unknown).kernel.options.is_empty());
    assert!(diff(&unknown, &facts()).kernel.options.is_empty());
}

#[test]
fn a_link_that_becomes_a_file_is_listed_and_a_folder_is_not_counted() {
    let (mut a, mut b) = (facts(), facts());
    let mut link = file("/usr/bin/x", "", "tools");
    link.kind = EntryKind::Symlink("y".into());
    link.mode = 0o777;
    a.files.push(link);
    b.files.push(file("/usr/bin/x", "", "tools"));
    let mut dir = file("/usr/lib/empty", "", "tools");
    dir.kind = EntryKind::Dir;
    b.files.push(dir);
    let files = diff(&a, &b).files;
    assert_eq!((files.added, files.removed, files.changed), (0, 0, 1));
    assert_eq!(files.permissions.len(), 1);
    assert_eq!(files.permissions[0].from, "l 0777 0:0");
}

#[test]
fn long_lists_end_with_a_count() {
    let mut many = facts();
    for n in 0..100 {
        many.summary
            .units
            .push(unit(&format!("x{n:03}.service"), true));
    }
    let page = diff(&facts(), &many).markdown();
    assert!(page.contains("`x029.service` and 70 more"), "{page}");
    assert!(!page.contains("x030"));
}
