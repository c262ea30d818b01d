//! The built-in profiles, each with a workload of its own. The container image comes with the system
//! (`containers`), so that no registry is asked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::support::{build, good, hullwright, shown, tool};
use crate::{assert_healthy, console_log, container, field, guest, script_only, slots, state};

/// Writes a profile that extends `base`, with the test's container image, `files` in its overlay and
/// `more` keys.
fn profile(state: &Path, base: &str, files: &[(&str, &str)], more: &str) -> PathBuf {
    let archive = container::oci_image("amd64");
    let sha256: String = Sha256::digest(&archive)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    fs::write(state.join("busybox.tar"), archive).unwrap();
    for (path, text) in files {
        let path = state.join("files").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    fs::create_dir_all(state.join("files/usr")).unwrap();
    let path = state.join("node.yaml");
    let text = format!(
        "extends: {base}\nname: node\nos: {{version: 1.0.0}}\n\
         containers: [{{archive: busybox.tar, sha256: {sha256}}}]\n{more}\n"
    );
    fs::write(&path, text).unwrap();
    path
}

/// What a node says of its state, in lines for `assert_healthy`, without what needs SSH's keys.
const STATE: &str = state!();

/// Builds the profile and asks its first boot.
fn first_boot(state: &Path, profile: &Path, script: &str) -> String {
    let out = state.join("out");
    build(state, profile, &out, &[]);
    let output = guest(
        state,
        &out.join("disk.raw"),
        &format!("{STATE}\n{script}"),
        b"",
    );
    println!("{output}");
    assert_healthy(&output, "1.0.0");
    output
}

#[test]
fn docker_runs_containers_of_the_image_and_connects_them() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path();
    let profile = profile(
        state,
        "[docker, dev]",
        &[],
        "root: {overlay: [files]}\nhealth: {units: [hullwright-containers.service]}",
    );
    let output = first_boot(
        state,
        &profile,
        r#"
docker run --rm localhost/busybox:test sh -c 'echo HELLO-FROM-CONTAINER; id -u'
docker network create probe >/dev/null
docker run --detach --name web --network probe --publish 8080:80 localhost/busybox:test \
    sh -c 'echo hello-from-web > /tmp/index.html; exec httpd -f -p 80 -h /tmp' >/dev/null
sleep 2
echo "by_name=$(docker run --rm --network probe localhost/busybox:test wget -q -O - http://web/index.html)"
exec 3<>/dev/tcp/127.0.0.1/8080
printf 'GET /index.html HTTP/1.0\r\n\r\n' >&3
echo "by_port=$(tail -n 1 <&3)"
echo "driver=$(docker info --format '{{.Driver}} {{.CgroupDriver}} {{.CgroupVersion}}')"
"#,
    );
    assert!(output.contains("HELLO-FROM-CONTAINER"), "{output}");
    assert_eq!(field(&output, "by_name"), "hello-from-web", "{output}");
    assert_eq!(field(&output, "by_port"), "hello-from-web", "{output}");
    assert_eq!(field(&output, "driver"), "overlay2 systemd 2", "{output}");
}

#[test]
fn a_quadlet_of_the_image_comes_up_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path();
    let quadlet = "[Unit]\n\
        Requires=hullwright-containers.service\n\
        After=hullwright-containers.service\n\
        [Container]\n\
        Image=localhost/busybox:test\n\
        Pull=never\n\
        Network=probe.network\n\
        PublishPort=8080:80\n\
        Exec=/bin/sh -c 'echo hello-from-web > /tmp/index.html; exec httpd -f -p 80 -h /tmp'\n\
        [Install]\n\
        WantedBy=multi-user.target\n";
    let profile = profile(
        state,
        "[podman, dev]",
        &[
            ("usr/share/containers/systemd/web.container", quadlet),
            ("usr/share/containers/systemd/probe.network", "[Network]\n"),
        ],
        "root: {overlay: [files]}\nhealth: {units: [web.service]}",
    );
    let output = first_boot(
        state,
        &profile,
        r#"
echo "web=$(systemctl is-active web.service)"
podman run --rm localhost/busybox:test sh -c 'echo HELLO-FROM-CONTAINER; id -u'
echo "by_name=$(podman run --rm --network systemd-probe localhost/busybox:test wget -q -O - http://systemd-web/index.html)"
exec 3<>/dev/tcp/127.0.0.1/8080
printf 'GET /index.html HTTP/1.0\r\n\r\n' >&3
echo "by_port=$(tail -n 1 <&3)"
echo "runtime=$(podman info --format '{{.Host.OCIRuntime.Name}} {{.Host.NetworkBackend}}')"
"#,
    );
    assert_eq!(field(&output, "web"), "active", "{output}");
    assert!(output.contains("HELLO-FROM-CONTAINER"), "{output}");
    assert_eq!(field(&output, "by_name"), "hello-from-web", "{output}");
    assert_eq!(field(&output, "by_port"), "hello-from-web", "{output}");
    assert_eq!(field(&output, "runtime"), "crun netavark", "{output}");
}

#[test]
fn jeos_filters_packets_and_keeps_its_journal() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path();
    let path = state.join("node.yaml");
    fs::write(
        &path,
        "extends: [jeos, dev]\nname: node\nos: {version: 1.0.0}\nhealth: {units: [nftables.service]}\n",
    )
    .unwrap();
    let script = r#"
echo "table=$(nft list tables)"
echo "journal=$(ls -d /var/log/journal/* | wc -l)"
echo "boots=$(journalctl --list-boots --no-pager | grep -cE '^ *-?[0-9]')"
for tool in curl ping nano rsync; do "$tool" --version >/dev/null 2>&1 || ping -V >/dev/null && echo "has_$tool=yes"; done
echo "runtimes=$(ls /usr/bin/ctr /usr/bin/podman /usr/bin/docker 2>/dev/null | wc -l)"
"#;
    let output = first_boot(
        state,
        &path,
        &format!("{script}\n{}", script_only::script()),
    );
    script_only::assert_done(&output);
    assert_eq!(field(&output, "table"), "table inet filter", "{output}");
    assert_eq!(field(&output, "journal"), "1", "{output}");
    for tool in ["curl", "ping", "nano", "rsync"] {
        assert_eq!(field(&output, &format!("has_{tool}")), "yes", "{output}");
    }
    assert_eq!(field(&output, "runtimes"), "0", "{output}");
    let disk = state.join("out/disk.raw");
    let again = guest(state, &disk, &format!("{STATE}\n{script}"), b"");
    assert_healthy(&again, "1.0.0");
    assert_eq!(field(&again, "boots"), "2", "{again}");
}

/// A unit for an image with `ctr` and nothing else; `service` are more lines of its `[Service]`.
fn ctr_unit(name: &str, service: &str, command: &str) -> String {
    format!(
        "[Unit]\n\
         Requires=hullwright-containers.service containerd.service\n\
         After=hullwright-containers.service containerd.service\n\
         [Service]\n\
         {service}\n\
         ExecStartPre=-/usr/bin/ctr task rm --force {name}\n\
         ExecStartPre=-/usr/bin/ctr container rm {name}\n\
         ExecStart=/usr/bin/ctr run --rm localhost/busybox:test {name} /bin/sh -c '{command}'\n\
         TimeoutStopSec=30\n\
         ExecStopPost=-/usr/bin/ctr task rm --force {name}\n\
         ExecStopPost=-/usr/bin/ctr container rm {name}\n\
         StandardOutput=journal+console\n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}

/// Boots the disk until the console has `marker`, and ends the machine as a power cut would; the console.
fn boot_until(state: &Path, disk: &Path, marker: &str) -> String {
    let log = console_log(disk);
    let _ = fs::remove_file(&log);
    let mut child = hullwright(state)
        .args(["run", "--persist", "--timeout", "1500", "--console"])
        .arg(&log)
        .arg(disk)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let console = loop {
        std::thread::sleep(Duration::from_secs(1));
        let console = fs::read(&log).unwrap_or_default();
        let console = String::from_utf8_lossy(&console).into_owned();
        if console.contains(marker) || child.try_wait().unwrap().is_some() {
            break console;
        }
    };
    // What was written last is on its way to the disk, on a loaded machine for longer.
    for _ in 0..3 {
        std::thread::sleep(Duration::from_secs(45));
        if on_esp(disk, "::hullwright/attempts") == [""; 0] {
            break;
        }
    }
    let _ = tool("kill").arg(child.id().to_string()).status();
    let _ = child.wait();
    assert!(console.contains(marker), "no `{marker}` in\n{console}");
    console
}

/// Names in a folder of the disk's ESP.
fn on_esp(disk: &Path, folder: &str) -> Vec<String> {
    let list = good(
        tool("mdir")
            .args(["-b", "-i"])
            .arg(slots::esp(disk))
            .arg(folder),
    );
    list.lines()
        .filter_map(|line| line.rsplit('/').find(|name| !name.is_empty()))
        .map(str::to_owned)
        .collect()
}

/// Nothing can be asked. That containers ran is on the console, and a boot is good only when the units that
/// ran them are.
#[test]
fn minimal_runs_containers_without_a_shell_and_keeps_count_of_its_boots() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path();
    let once = ctr_unit(
        "once",
        "Type=oneshot\nRemainAfterExit=yes",
        "echo HELLO-FROM-CONTAINER; id -u",
    );
    let lasting = ctr_unit("lasting", "Restart=on-failure", "exec sleep 100000");
    let profile = profile(
        state,
        "minimal",
        &[
            ("usr/lib/systemd/system/once.service", &once),
            ("usr/lib/systemd/system/lasting.service", &lasting),
        ],
        "root: {overlay: [files], units: {enable: [once.service, lasting.service]}}\n\
         health: {units: [once.service, lasting.service]}\n\
         kernel: {cmdline: [systemd.journald.forward_to_console=1]}\n\
         budget: 85 MB",
    );
    let out = state.join("out");
    build(state, profile, &out, &["--allow-expired"]);
    let mut inspect = hullwright(state);
    inspect.arg("inspect").arg(&out).args(["ls", "-r", "/usr"]);
    let names = good(&mut inspect);
    for program in [
        "sh", "dash", "bash", "busybox", "sshd", "login", "dpkg", "apt",
    ] {
        let there = names
            .lines()
            .any(|line| line.ends_with(&format!("bin/{program}")));
        assert!(!there, "{program} in\n{names}");
    }
    let log = state.join("test.log");
    let mut test = hullwright(state);
    let output = test
        .args(["test", "--console"])
        .arg(&log)
        .arg(&out)
        .output()
        .unwrap();
    let console = fs::read(&log).unwrap_or_default();
    let console = String::from_utf8_lossy(&console);
    assert!(output.status.success(), "{console}\n{}", shown(&output));

    let disk = out.join("disk.raw");
    let finished = "hullwright-boot-good.serv";
    let finished = format!("Finished \u{1b}[0;1;39m{finished}");
    let console = boot_until(state, &disk, &finished);
    for line in console.lines() {
        if line.contains("multi-user.target") || line.contains("Startup finished") {
            println!("{line}");
        }
    }
    assert!(console.contains("HELLO-FROM-CONTAINER"), "{console}");
    assert_eq!(on_esp(&disk, "::EFI/Linux"), ["minimal_1.0.0.efi"]);
    assert_eq!(on_esp(&disk, "::hullwright/attempts"), [""; 0]);
    // Now the initrd counts, and a good boot forgets it again.
    let console = boot_until(state, &disk, &finished);
    assert!(console.contains("trial no, attempt 1"), "{console}");
    assert!(console.contains("HELLO-FROM-CONTAINER"), "{console}");
    assert_eq!(on_esp(&disk, "::hullwright/attempts"), [""; 0], "{console}");
}
