//! What people read when a profile is wrong.

use super::{Folder, LEAST, error_of};
use crate::profile::parse_bytes;

#[test]
fn arguments_that_are_wrong_say_how_to_write_them() {
    let folder = Folder::new(&[("a.yaml", LEAST)]);
    let mut text = String::new();
    for set in [
        "os.version",
        "os.versoin=1",
        "disk.esp=1",
        "os..x=1",
        "extends=qemu",
        "os=[",
        "kernel.initrd_modules=[a b]",
        "signer=hsm",
        "signer=pkcs11:token=x",
        "sign=never",
    ] {
        text.push_str(&folder.error("a.yaml", &[set]));
        text.push_str("\n----\n");
    }
    insta::assert_snapshot!(text, @r#"
command line:1:1: `--set` takes `PATH=VALUE`, and this has no `=`
 --> command line:1:1
  |
1 | os.version
  | ^^^^^^^^^^
hint: write it as `--set os.version=1.4.2`
----
command line:1:4: `versoin` is not a key of `os`
 --> command line:1:4
  |
1 | os.versoin=1
  |    ^^^^^^^ unknown key
hint: did you mean `version`?
----
command line:1:10: `disk.esp` is `1`; expected a size above zero in whole MiB
 --> command line:1:10
  |
1 | disk.esp=1
  |          ^
----
command line:1:1: `--set` takes `PATH=VALUE` with keys between dots
 --> command line:1:1
  |
1 | os..x=1
  | ^^^^^^^
hint: write it as `--set os.version=1.4.2`
----
command line:1:1: `extends` can't be set from the command line
 --> command line:1:1
  |
1 | extends=qemu
  | ^^^^^^^^^^^^
hint: write it as `--set os.version=1.4.2`
----
command line:1:4: this is not YAML: unclosed bracket '['
 --> command line:1:4
  |
1 | os=[
  |    ^
----
command line:1:24: `kernel.initrd_modules[0]` is `a b`; expected a module's name without `.ko`
 --> command line:1:24
  |
1 | kernel.initrd_modules=[a b]
  |                        ^^^
----
command line:1:8: `signer` is `hsm`; expected `file`, `command:PROGRAM [ARG…]` or a URI that begins with `pkcs11:`
 --> command line:1:8
  |
1 | signer=hsm
  |        ^^^
----
command line:1:8: `signer` is `pkcs11:token=x`; expected the module to load in the PKCS #11 URI: `?module-path=/usr/lib/….so`
 --> command line:1:8
  |
1 | signer=pkcs11:token=x
  |        ^^^^^^^^^^^^^^
----
command line:1:6: `sign` is `never`; expected one of `now`, `later`
 --> command line:1:6
  |
1 | sign=never
  |      ^^^^^
----
"#);
}

#[test]
fn a_circle_is_shown() {
    let folder = Folder::new(&[
        ("a.yaml", "extends: b\n"),
        ("b.yaml", "extends: [c]\n"),
        ("c.yaml", "extends:\n  - a\n"),
    ]);
    let error = folder.error("a.yaml", &[]);
    insta::assert_snapshot!(error, @r#"
c.yaml:2:5: profiles extend each other in a circle: a.yaml → b.yaml → c.yaml → a.yaml
 --> c.yaml:2:5
  |
2 |   - a
  |     ^ closes the circle
"#);
}

#[test]
fn development_can_not_be_unset() {
    let folder = Folder::new(&[
        ("a.yaml", "extends: qemu\ndevelopment: false\n"),
        ("b.yaml", "extends: qemu\n"),
    ]);
    insta::assert_snapshot!(folder.error("a.yaml", &[]), @r#"
a.yaml:2:14: `development` can't be unset; <built-in>/dev.yaml:10 has set it
 --> a.yaml:2:14
  |
2 | development: false
  |              ^^^^^
hint: extend a base that is not for development, such as `container-host`
"#);
    let error = folder.error("b.yaml", &["development=false"]);
    assert!(error.contains("`development` can't be unset"), "{error}");
}

#[test]
fn mistakes_are_shown_where_they_are_and_several_at_once() {
    let error = error_of(
        "os:\n  id: Hull_Wright\n  name: A\n  version: v1\npackges:\n  include: [bash]\nroot:\n  include: [x]\n  \
         units: {enable: [ssh, sshd.service], disable: foo}\ndevelopment: yes\narch: amd64\n",
    );
    insta::assert_snapshot!(error, @r#"
profile.yaml:2:7: `os.id` is `Hull_Wright`; expected 1 to 10 lower-case letters, digits and `-`
 --> profile.yaml:2:7
  |
2 |   id: Hull_Wright
  |       ^^^^^^^^^^^
error: profile.yaml:4:12: `os.version` is `v1`; expected a digit and then up to 19 letters, digits, `.`, `~` or `-` (`_` and `+` separate fields of file names)
 --> profile.yaml:4:12
  |
4 |   version: v1
  |            ^^
error: profile.yaml:5:1: `packges` is not a key of a profile
 --> profile.yaml:5:1
  |
5 | packges:
  | ^^^^^^^ unknown key
  hint: did you mean `packages`?
error: profile.yaml:8:3: `include` is not a key of `root`
 --> profile.yaml:8:3
  |
8 |   include: [x]
  |   ^^^^^^^ unknown key
  hint: did you mean `packages.include`?
error: profile.yaml:9:20: `root.units.enable[0]` is `ssh`; expected a unit with its type, such as `ssh.service`
 --> profile.yaml:9:20
  |
9 |   units: {enable: [ssh, sshd.service], disable: foo}
  |                    ^^^
error: profile.yaml:9:49: `root.units.disable` is `foo`; expected a list (`[a, b]`, or lines with `- `)
 --> profile.yaml:9:49
  |
9 |   units: {enable: [ssh, sshd.service], disable: foo}
  |                                                 ^^^ expected a list (`[a, b]`, or lines with `- `)
error: profile.yaml:10:14: `development` is `yes`; expected `true` or `false`
  --> profile.yaml:10:14
   |
10 | development: yes
   |              ^^^
  hint: write `true`
error: profile.yaml:11:7: `arch` is `amd64`; expected one of `x86_64`, `arm64`
  --> profile.yaml:11:7
   |
11 | arch: amd64
   |       ^^^^^
  hint: did you mean `x86_64`?
"#);
}

#[test]
fn each_mistake_has_its_message() {
    let cases = [
        "a: b: c\n",
        "os:\n\tid: a\n",
        "os: {id: a}\nos: {id: b}\n",
        "- a\n",
        "os: !!str x\n",
        "a: *nothing\n",
        "---\na: 1\n---\nb: 2\n",
        "\u{0}",
        "os: {id: a, name: A, version: 1, -id: [x]}\n",
        "packages: {-include: [bash]}\n",
        "root: {users: [{uid: 5}]}\n",
        "root: {users: [{name: joe, password_hash: secret}]}\n",
        "root: {users: [{name: joe, ssh_authorized_keys: [\"ssh-rsa AAAA\"]}]}\n",
        "kernel: {cmdline: [init=/bin/sh]}\n",
        "disk: {esp: 100 MB, usr: 0.5 MiB}\n",
        "root: {compression: {chunk: 5000}}\n",
        "description: true\n",
        "root: {tmpfiles: [\"q\"]}\n",
        "os: {channel: [a]}\n",
        "archives: [{name: debian}]\n",
        "update: {url: \"ftp://x\", delay: soon}\n",
        "update: {interval: often, windows: [{start: daily}]}\n",
        "os: {id: a, name: A, version: 1}\nkernel: {package: xx}\nname: a\nupdate: {reboot: window}\n",
    ];
    let mut text = String::new();
    for case in cases {
        text.push_str(&error_of(case));
        text.push_str("\n----\n");
    }
    insta::assert_snapshot!(text, @r#"
profile.yaml:1:5: this is not YAML: mapping values are not allowed in this context
 --> profile.yaml:1:5
  |
1 | a: b: c
  |     ^
----
profile.yaml:2:2: this is not YAML: tabs disallowed within this context (block indentation)
 --> profile.yaml:2:2
  |
2 |     id: a
  |     ^
hint: YAML is indented with spaces; this line begins with a tab
----
profile.yaml:2:1: `os` stands here a second time; the first is on line 1
 --> profile.yaml:2:1
  |
2 | os: {id: b}
  | ^^ repeated key
----
profile.yaml:1:1: the profile is a list; expected a mapping (`key: value`)
 --> profile.yaml:1:1
  |
1 | - a
  | ^ expected a mapping (`key: value`)
----
profile.yaml:1:11: YAML tags (`!…`) are not used in profiles; the schema knows each type
 --> profile.yaml:1:11
  |
1 | os: !!str x
  |           ^
----
profile.yaml:1:4: this is not YAML: while parsing node, found unknown anchor
 --> profile.yaml:1:4
  |
1 | a: *nothing
  |    ^
----
profile.yaml:3:1: a second document starts here; a profile is one YAML document
 --> profile.yaml:3:1
  |
3 | ---
  | ^^^
----
profile.yaml:1:1: this is not YAML: unexpected character: `\u{0}'
 --> profile.yaml:1:1
  |
1 | ␀
  | ^
----
profile.yaml:1:34: `os.-id`: `-` takes entries out of a list, but `id` is no list
 --> profile.yaml:1:34
  |
1 | os: {id: a, name: A, version: 1, -id: [x]}
  |                                  ^^^
hint: write the key without `-` to replace an inherited value
----
profile.yaml:1:23: `bash` can't be taken away: no inherited `include` has it
 --> profile.yaml:1:23
  |
1 | packages: {-include: [bash]}
  |                       ^^^^ nothing to take away
----
profile.yaml:1:17: `root.users[0]` has no `name`
 --> profile.yaml:1:17
  |
1 | root: {users: [{uid: 5}]}
  |                 ^^^ add `name:` to this entry
----
profile.yaml:1:43: `root.users[0].password_hash` is not a crypt(5) hash such as `mkpasswd -m yescrypt` prints (`$y$…` or `$6$…`), never the password itself
----
profile.yaml:1:50: `root.users[0].ssh_authorized_keys[0]` is `ssh-rsa AAAA`; expected a public key whose base64 part matches its type; it may have been cut off
 --> profile.yaml:1:50
  |
1 | root: {users: [{name: joe, ssh_authorized_keys: ["ssh-rsa AAAA"]}]}
  |                                                  ^^^^^^^^^^^^^^
----
profile.yaml:1:20: `kernel.cmdline[0]` is `init=/bin/sh`; expected no `init=`: systemd is the only init of these images
 --> profile.yaml:1:20
  |
1 | kernel: {cmdline: [init=/bin/sh]}
  |                    ^^^^^^^^^^^^
----
profile.yaml:1:13: `disk.esp` is `100 MB`; expected a size such as `512 MiB`, `1.5 GiB` or a number of bytes; write `100 MiB`
 --> profile.yaml:1:13
  |
1 | disk: {esp: 100 MB, usr: 0.5 MiB}
  |             ^^^^^^
error: profile.yaml:1:26: `disk.usr` is `0.5 MiB`; expected a size above zero in whole MiB
 --> profile.yaml:1:26
  |
1 | disk: {esp: 100 MB, usr: 0.5 MiB}
  |                          ^^^^^^^
----
profile.yaml:1:29: `root.compression.chunk` is `5000`; expected a power of two from 4 KiB to 1 MiB
 --> profile.yaml:1:29
  |
1 | root: {compression: {chunk: 5000}}
  |                             ^^^^
----
profile.yaml:1:14: `description` is `true`; expected a text
 --> profile.yaml:1:14
  |
1 | description: true
  |              ^^^^
hint: write "true" in quotes if that is the text
----
profile.yaml:1:19: `root.tmpfiles[0]` is `q`; expected a line of tmpfiles.d(5) whose second field is an absolute path
 --> profile.yaml:1:19
  |
1 | root: {tmpfiles: ["q"]}
  |                   ^^^
----
profile.yaml:1:15: `os.channel` is a list; expected a text
 --> profile.yaml:1:15
  |
1 | os: {channel: [a]}
  |               ^ expected a text
----
profile.yaml:1:13: `archives[0]` has no `suites`
 --> profile.yaml:1:13
  |
1 | archives: [{name: debian}]
  |             ^^^^ add `suites:` to this entry
----
profile.yaml:1:15: `update.url` is `ftp://x`; expected a URL that begins with `https://` or `http://`, without `?` and `#`
 --> profile.yaml:1:15
  |
1 | update: {url: "ftp://x", delay: soon}
  |               ^^^^^^^^^
error: profile.yaml:1:33: `update.delay` is `soon`; expected a time span such as `90s`, `30min`, `2h` or `1h 30min`
 --> profile.yaml:1:33
  |
1 | update: {url: "ftp://x", delay: soon}
  |                                 ^^^^
----
profile.yaml:1:20: `update.interval` is `often`; expected a calendar expression of systemd.time(7), such as `hourly`, `daily`, `Sun 02:00`, `Mon..Fri 03:30` or `*-*-01 04:00:00`
 --> profile.yaml:1:20
  |
1 | update: {interval: often, windows: [{start: daily}]}
  |                    ^^^^^
error: profile.yaml:1:38: `update.windows[0]` has no `duration`
 --> profile.yaml:1:38
  |
1 | update: {interval: often, windows: [{start: daily}]}
  |                                      ^^^^^ add `duration:` to this entry
----
profile.yaml:4:18: `update.reboot` is `window`, and `update.windows` is empty
 --> profile.yaml:4:18
  |
4 | update: {reboot: window}
  |                  ^^^^^^
hint: add one: `windows: [{start: "Sun 02:00", duration: 2h}]`
----
"#);
}

#[test]
fn rules_between_values_are_kept() {
    let cases = [
        "root: {users: [{name: root, password_hash: \"\"}]}\n",
        "root: {users: [{name: joe, password_hash: \"\"}]}\n",
        "root: {users: [{name: joe, uid: 0}]}\n",
        "root: {users: [{name: joe, uid: 5}, {name: joe, uid: 5}]}\n",
        "root: {units: {enable: [debug-shell.service, a.service], mask: [a.service]}}\n",
        "packages: {include: [bash/secruity, vim], exclude: [vim]}\narchives: [{name: security, suites: [x]}]\n",
        "root: {compression: {codec: lz4hc, level: 13}}\n",
        "root: {compression: {codec: none, packing: image}}\n",
        "disk: {size: 4 GiB}\n",
        "disk: {esp: 8 MiB}\n",
    ];
    let mut text = String::new();
    for case in cases {
        text.push_str(&error_of(&format!("{LEAST}{case}")));
        text.push_str("\n----\n");
    }
    text.push_str(&error_of(
        "os: {id: a, name: A, version: 1}\nkernel: {package: xx, cmdline: [systemd.debug-shell=1, lockdown=none]}\n",
    ));
    insta::assert_snapshot!(text, @r#"
profile.yaml:3:44: `root` would need no password; only development profiles may have that
 --> profile.yaml:3:44
  |
3 | root: {users: [{name: root, password_hash: ""}]}
  |                                            ^^
hint: leave `password_hash` out to lock the account, and use `ssh_authorized_keys`
----
profile.yaml:3:43: `joe` would need no password; only development profiles may have that
 --> profile.yaml:3:43
  |
3 | root: {users: [{name: joe, password_hash: ""}]}
  |                                           ^^
hint: leave `password_hash` out to lock the account, and use `ssh_authorized_keys`
----
profile.yaml:3:33: the uid 0 belongs to `root` and to nobody else
 --> profile.yaml:3:33
  |
3 | root: {users: [{name: joe, uid: 0}]}
  |                                 ^
----
profile.yaml:3:44: `root.users` has two entries with the name `joe`; the other is at profile.yaml:3
 --> profile.yaml:3:44
  |
3 | root: {users: [{name: joe, uid: 5}, {name: joe, uid: 5}]}
  |                                            ^^^
  hint: lists append; take the inherited one away with `-users: [NAME]`
error: profile.yaml:3:54: `root.users` has two entries with the uid `5`; the other is at profile.yaml:3
 --> profile.yaml:3:54
  |
3 | root: {users: [{name: joe, uid: 5}, {name: joe, uid: 5}]}
  |                                                      ^
  hint: lists append; take the inherited one away with `-users: [NAME]`
----
profile.yaml:3:25: `debug-shell.service` opens a root shell; only development profiles may enable it
 --> profile.yaml:3:25
  |
3 | root: {units: {enable: [debug-shell.service, a.service], mask: [a.service]}}
  |                         ^^^^^^^^^^^^^^^^^^^
  hint: extend `dev` in a profile that is for development only
error: profile.yaml:3:65: `a.service` is masked here and enabled at profile.yaml:3
 --> profile.yaml:3:65
  |
3 | root: {units: {enable: [debug-shell.service, a.service], mask: [a.service]}}
  |                                                                 ^^^^^^^^^
----
profile.yaml:3:22: `bash/secruity` names the archive `secruity`, which this profile does not have
 --> profile.yaml:3:22
  |
3 | packages: {include: [bash/secruity, vim], exclude: [vim]}
  |                      ^^^^^^^^^^^^^
  hint: did you mean `security`?
error: profile.yaml:3:53: `vim` is excluded here and asked for at profile.yaml:3
 --> profile.yaml:3:53
  |
3 | packages: {include: [bash/secruity, vim], exclude: [vim]}
  |                                                     ^^^
  hint: take it out of the list with `-include: [vim]`
----
profile.yaml:3:43: lz4hc has the levels 1 to 12, not 13
 --> profile.yaml:3:43
  |
3 | root: {compression: {codec: lz4hc, level: 13}}
  |                                           ^^
----
profile.yaml:3:44: `root.compression.packing` is for files that are compressed, and `root.compression.codec` is `none`
 --> profile.yaml:3:44
  |
3 | root: {compression: {codec: none, packing: image}}
  |                                            ^^^^^
hint: set `packing: none`, or a codec
----
profile.yaml:3:14: a disk of 4 GiB is too small: ESP 1 GiB, two slots of 1536 MiB + 32 MiB + 1 MiB, slack 1 GiB and 2 MiB for the partition tables need 5188 MiB
 --> profile.yaml:3:14
  |
3 | disk: {size: 4 GiB}
  |              ^^^^^
hint: make the disk larger, or `size: auto`, or the partitions smaller
----
profile.yaml:3:13: the ESP has 8 MiB; FAT32 with two UKIs needs at least 64 MiB
 --> profile.yaml:3:13
  |
3 | disk: {esp: 8 MiB}
  |             ^^^^^
----
profile.yaml:2:33: `systemd.debug-shell=1` opens a way in; only development profiles may have it
 --> profile.yaml:2:33
  |
2 | kernel: {package: xx, cmdline: [systemd.debug-shell=1, lockdown=none]}
  |                                 ^^^^^^^^^^^^^^^^^^^^^
  hint: extend `dev` in a profile that is for development only
error: profile.yaml:2:56: `lockdown=none` undoes the kernel's lockdown; only development profiles may have it
 --> profile.yaml:2:56
  |
2 | kernel: {package: xx, cmdline: [systemd.debug-shell=1, lockdown=none]}
  |                                                        ^^^^^^^^^^^^^
  hint: extend `dev` in a profile that is for development only
"#);
    let development = format!(
        "{LEAST}development: true\nroot: {{users: [{{name: root, password_hash: \"\"}}]}}\n"
    );
    parse_bytes(development.as_bytes()).unwrap();
}

#[test]
fn what_may_be_a_password_is_not_repeated() {
    let error = error_of("root: {users: [{name: joe, password_hash: hunter2}]}\n");
    assert!(!error.contains("hunter2"), "{error}");
}
