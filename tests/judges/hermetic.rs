//! A build needs the program, a profile, a lock and the locked inputs. Nothing else: no rights, no
//! network, no other program, no other file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::compare::assert_same_output;
use crate::fixture::{Fixture, fixture, give, timed};
use crate::support::{good, repository, shown, tool};

/// Whom the build runs as.
const NOBODY: u32 = 65534;

/// Calls that start programs or processes, or change what a process sees.
const CALLS: &str =
    "execve,execveat,mount,move_mount,open_tree,fsopen,unshare,setns,clone,clone3,fork,vfork";

/// A root directory with the program and its inputs in it.
fn empty_root(fixture: &Fixture) -> PathBuf {
    let root = fixture.root.join("chroot");
    fs::create_dir(&root).unwrap();
    let program = repository().join(format!("target/dist/hullwright-{}", std::env::consts::ARCH));
    if program.exists() {
        println!("           the static program in an empty chroot");
        fs::copy(&program, root.join("hullwright")).unwrap();
    } else {
        println!(
            "           no {}: the debug program and its libraries",
            program.display()
        );
        let program = Path::new(env!("CARGO_BIN_EXE_hullwright"));
        fs::copy(program, root.join("hullwright")).unwrap();
        for word in good(tool("ldd").arg(program)).split_whitespace() {
            if let Some(inside) = word.strip_prefix('/') {
                let to = root.join(inside);
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::copy(word, to).unwrap();
            }
        }
    }
    for (from, to) in [(&fixture.inputs, "inputs"), (&fixture.keys, "keys")] {
        good(tool("cp").arg("-r").arg(from).arg(root.join(to)));
    }
    let work = root.join("work");
    fs::create_dir(&work).unwrap();
    fs::copy(&fixture.lock, root.join("qemu.x86_64.lock")).unwrap();
    give(&work, NOBODY);
    give(&root.join("keys"), NOBODY);
    root
}

/// The lines of /proc/PID/status of the program, once strace has seen it start.
fn status(child: &mut Child, trace: &Path) -> String {
    loop {
        let seen = fs::read_to_string(trace).unwrap_or_default();
        let pid = seen
            .lines()
            .find(|line| line.contains("execve(\"/hullwright\""))
            .and_then(|line| line.split_whitespace().next());
        if let Some(pid) = pid
            && let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status"))
            && status.starts_with("Name:\thullwright")
        {
            return status;
        }
        if child.try_wait().unwrap().is_some() {
            panic!("ended before it was seen to run");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_build_needs_no_rights_no_network_and_no_other_program() {
    let fixture = fixture();
    let root = empty_root(fixture);
    let trace = fixture.root.join("trace");
    let user = format!("{NOBODY}:{NOBODY}");
    // In a chroot the kernel refuses new user namespaces, see clone(2) under EPERM. Three capabilities
    // stay in the bounding set, because chroot(1) needs them; with no_new_privs nothing can regain them.
    let mut command = tool("unshare");
    command
        .args(["--net", "strace", "-f", "--seccomp-bpf", "-e"])
        .arg(format!("trace={CALLS}"))
        .arg("-o")
        .arg(&trace)
        .args(["setpriv", "--inh-caps=-all", "--no-new-privs"])
        .arg("--bounding-set=-all,+sys_chroot,+setuid,+setgid")
        .args(["chroot", "--userspec", &user, "--groups", ""])
        .arg(&root)
        .args(["/hullwright", "build", "qemu", "--locked", "--offline"])
        .args(["--from", "/inputs", "--keys", "/keys", "-o", "/work/out"])
        .env_clear()
        .env(
            "PATH",
            std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin",
        )
        .env("HULLWRIGHT_CACHE", "/work/cache")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    timed("in a chroot, traced", || {
        let mut child = command.spawn().unwrap();
        let status = status(&mut child, &trace);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", shown(&output));
        for line in [
            "CapInh:\t0000000000000000",
            "CapPrm:\t0000000000000000",
            "CapEff:\t0000000000000000",
            "CapAmb:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Uid:\t65534\t65534\t65534\t65534",
        ] {
            assert!(status.contains(line), "{line}:\n{status}");
        }
    });

    let text = fs::read_to_string(&trace).unwrap();
    let start = text.find("execve(\"/hullwright\"").unwrap();
    let (mut threads, mut seen) = (0, 0);
    for line in text[start..].lines().skip(1) {
        let call = line.split_once(' ').map_or(line, |(_, call)| call.trim());
        if call.starts_with("+++ exited") || call.starts_with("<... clone") {
            continue;
        }
        seen += 1;
        assert!(
            call.starts_with("clone") && call.contains("CLONE_THREAD"),
            "the build called {call}"
        );
        threads += 1;
    }
    assert!(threads > 0 && seen == threads, "{text}");
    println!("           {threads} threads, no process, no mount");
    assert_same_output(&fixture.out, &root.join("work/out"));
    fs::remove_dir_all(root).unwrap();
}
