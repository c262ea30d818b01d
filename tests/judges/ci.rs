//! Runs the scripts of the workflows in `docs/ci` as a service would: as an ordinary user without any
//! capability, in a fresh checkout, with the web server's folder and the forge's repository nearby.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::fixture::{fixture, give};
use crate::support::{
    cache, exhaustive, good, hullwright, repository, shipped_program, shown, tool,
};

/// Whom jobs run as.
const NOBODY: u32 = 65534;
const PASSPHRASE: &str = "correct horse battery staple";
/// What a secret of GitHub may have.
const MOST_SECRET: u64 = 48 << 10;

const PROFILE: &str = "\
name: my-host
extends: container-host
os:
  id: my-host
  name: My Host
  version: 0.1.0
update:
  url: https://updates.example.com/my-host
";

fn workflow(name: &str) -> Value {
    let path = repository().join("docs/ci").join(name);
    let text = fs::read_to_string(&path).unwrap();
    let value: Value =
        serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(text.contains("# CHANGE"), "{name} says what to change");
    value
}

/// A forge and a web server, as far as a job sees them.
struct Forge {
    root: PathBuf,
    checkout: PathBuf,
    variables: BTreeMap<String, String>,
}

impl Forge {
    /// A repository with a profile and a lock at the tag v1.0.0, keys, and an empty web server.
    fn new(name: &str) -> Self {
        let root = fixture().root.join(name);
        for folder in ["bin", "www", "home", "temp", "work"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
        fs::copy(shipped_program(), root.join("bin/program")).unwrap();
        // A mirror may lag by weeks; that is not what is judged here.
        script(
            &root.join("bin/hullwright"),
            &format!(
                "if [ \"$1\" = lock ]; then set -- \"$@\" --allow-expired; fi\nexec {} \"$@\"\n",
                path("bin/program")
            ),
        );
        // The forge's own program: it says what it was asked for.
        script(&root.join("bin/gh"), "echo \"gh $*\"\n");

        let mut keys = hullwright(&root);
        keys.args(["keys", "new", "keys", "--profile", "release"]);
        good(keys.env("HULLWRIGHT_PASSPHRASE", PASSPHRASE));
        let pack = "tar -cz --exclude=owner keys | base64 -w0 > keys.txt";
        good(tool("bash").args(["-euc", pack]).current_dir(&root));
        let size = fs::metadata(root.join("keys.txt")).unwrap().len();
        assert!(size < MOST_SECRET, "{size}");

        let work = root.join("first");
        fs::create_dir(&work).unwrap();
        fs::write(work.join("my-host.yaml"), PROFILE).unwrap();
        let mut lock = hullwright(&work);
        good(lock.args(["lock", "my-host.yaml", "--allow-expired"]));
        let origin = path("origin.git");
        let make = format!(
            "git init -q -b main . && git add . && \
             git -c user.name=me -c user.email=me@example.com commit -q -m first && git tag v1.0.0 && \
             git clone -q --bare . {origin} && \
             git -C {origin} config receive.advertisePushOptions true && \
             git clone -q {origin} ../work/my-host"
        );
        good(tool("bash").args(["-euc", &make]).current_dir(&work));
        let checkout = root.join("work/my-host");
        good(tool("mkdir").arg("-p").arg(checkout.join(".cache")));
        let warm = checkout.join(".cache/hullwright");
        good(tool("cp").arg("-r").arg(cache()).arg(warm));
        fs::write(root.join("ssh.key"), "key").unwrap();
        give(&root, NOBODY);
        let variables = [
            ("HOME", path("home")),
            (
                "PATH",
                format!("{}:{}", path("bin"), std::env::var("PATH").unwrap()),
            ),
            ("RSYNC_TARGET", path("www")),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        Self {
            checkout,
            variables: variables.into(),
            root,
        }
    }

    fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    fn file(&self, name: &str) -> String {
        self.root.join(name).to_str().unwrap().to_owned()
    }

    /// Runs a script as a service does.
    fn run(&self, script: &str, variables: &BTreeMap<String, String>) -> Output {
        let ids = format!("--reuid={NOBODY}");
        let group = format!("--regid={NOBODY}");
        let mut command = tool("setpriv");
        command
            .args([&ids, &group, "--clear-groups", "--inh-caps=-all"])
            .args(["--bounding-set=-all", "--no-new-privs"])
            .args([
                "bash",
                "--noprofile",
                "--norc",
                "-eo",
                "pipefail",
                "-c",
                script,
            ])
            .current_dir(&self.checkout)
            .env_clear()
            .envs(&self.variables)
            .envs(variables);
        command.output().unwrap()
    }

    /// The branch that asks to be merged has a new lock.
    fn assert_lock_renewed(&self) {
        let mut log = tool("git");
        log.args([
            "-c",
            "safe.directory=*",
            "log",
            "-1",
            "--format=%s",
            "lock-refresh",
        ]);
        log.current_dir(self.root.join("origin.git"));
        assert_eq!(good(&mut log), "Renew the lock\n");
    }

    /// The tree that is published after `version` was cut.
    fn assert_published(&self, version: &str) {
        let folder = self.root.join("www/beta/x86_64");
        for name in ["efi", "manifest.json", "disk.raw.zst", "licences.txt"] {
            let file = folder.join(format!("my-host_{version}.{name}"));
            assert!(file.exists(), "{}", file.display());
        }
        let mut verify = hullwright(&self.root);
        verify.args(["release", "verify", "www", "--key", "keys/release.asc"]);
        good(&mut verify);
    }

    /// Commits a lock with an older version of a package than the archive has.
    fn make_the_lock_older(&self) {
        let edit = "sed -i '/^- name: zstd$/,/^  version/ s/^  version: .*/  version: \"0.1\"/' *.lock && \
                    head -n -1 my-host.x86_64.lock > new && \
                    printf '# SHA-256 of the lines above: %s\\n' \"$(sha256sum < new | cut -d' ' -f1)\" >> new && \
                    mv new my-host.x86_64.lock && \
                    git -c user.name=me -c user.email=me@example.com commit -qam older";
        let output = self.run(edit, &BTreeMap::new());
        assert!(output.status.success(), "{}", shown(&output));
    }
}

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn texts(value: &Value) -> BTreeMap<String, String> {
    let Some(map) = value.as_object() else {
        return BTreeMap::new();
    };
    map.iter()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
        .collect()
}

/// What GitHub's expressions of the workflow stand for.
fn evaluated(text: &str, forge: &Forge) -> String {
    let Some(expression) = text.strip_prefix("${{ ") else {
        return text.to_owned();
    };
    let (expression, rest) = expression.split_once(" }}").unwrap();
    let value = match expression {
        "github.workspace" => forge.checkout.to_str().unwrap().to_owned(),
        "github.token" => "token".into(),
        "secrets.RELEASE_KEYS" => fs::read_to_string(forge.file("keys.txt")).unwrap(),
        "secrets.HULLWRIGHT_PASSPHRASE" => PASSPHRASE.into(),
        "secrets.SSH_KEY" | "vars.SSH_KNOWN_HOSTS" => "a line".into(),
        "vars.RSYNC_TARGET" => forge.file("www"),
        other => panic!("what is {other}?"),
    };
    format!("{value}{rest}")
}

/// Runs the steps of a job of GitHub Actions; what the steps said.
fn github_job(workflow: &Value, job: &str, forge: &mut Forge) -> String {
    assert_eq!(workflow["defaults"]["run"]["shell"], "bash");
    let job = &workflow["jobs"][job];
    let options = job["container"]["options"].as_str().unwrap();
    assert!(options.contains("--cap-drop=ALL") && options.contains("--user"));
    for env in [&workflow["env"], &job["env"]] {
        for (name, value) in texts(env) {
            let value = evaluated(&value, forge);
            forge.set(&name, &value);
        }
    }
    for name in ["env", "summary"] {
        fs::write(forge.root.join(name), "").unwrap();
        give(&forge.root.join(name), NOBODY);
    }
    forge.set("RUNNER_TEMP", &forge.file("temp"));
    forge.set("GITHUB_WORKSPACE", forge.checkout.clone().to_str().unwrap());
    forge.set("GITHUB_ENV", &forge.file("env"));
    forge.set("GITHUB_STEP_SUMMARY", &forge.file("summary"));
    let mut said = String::new();
    for step in job["steps"].as_array().unwrap() {
        let Some(script) = step["run"].as_str() else {
            assert!(step["uses"].is_string());
            continue;
        };
        assert!(
            !script.contains("${{"),
            "expressions in scripts are run as code: {script}"
        );
        let own = texts(&step["env"]);
        let own = own
            .into_iter()
            .map(|(name, value)| (name, evaluated(&value, forge)));
        let output = forge.run(script, &own.collect());
        let name = step["name"].as_str().unwrap();
        assert!(output.status.success(), "{name}\n{}", shown(&output));
        said += &shown(&output);
        for line in fs::read_to_string(forge.root.join("env")).unwrap().lines() {
            let (name, value) = line.split_once('=').unwrap();
            forge.set(name, value);
        }
    }
    said
}

/// Runs a job of GitLab CI; what it said.
fn gitlab_job(workflow: &Value, job: &str, forge: &mut Forge) -> String {
    let project = forge.checkout.to_str().unwrap().to_owned();
    forge.set("CI_PROJECT_DIR", &project);
    for (name, value) in texts(&workflow["variables"]) {
        let value = value.replace("$CI_PROJECT_DIR", &project);
        assert!(!value.contains('$'), "{value}");
        forge.set(&name, &value);
    }
    let lines = |of: &Value, key: &str| -> String {
        let lines = of[key].as_array().map_or(&[][..], Vec::as_slice);
        let lines: Vec<_> = lines.iter().map(|line| line.as_str().unwrap()).collect();
        lines.join("\n")
    };
    let script = [
        lines(&workflow["default"], "before_script"),
        lines(&workflow[job], "script"),
    ];
    let output = forge.run(&script.join("\n"), &BTreeMap::new());
    assert!(output.status.success(), "{}", shown(&output));
    let after = forge.run(&lines(&workflow[job], "after_script"), &BTreeMap::new());
    assert!(after.status.success(), "{}", shown(&after));
    shown(&output) + &shown(&after)
}

#[test]
fn github_actions_cut_and_publish_a_release_and_renew_the_lock() {
    let workflow = workflow("github-actions.yml");
    // Both do the same; one of them in every run.
    if !exhaustive() {
        return;
    }
    let mut forge = Forge::new("github");
    forge.set("GITHUB_REF_NAME", "v1.0.0");
    let said = github_job(&workflow, "release", &mut forge);
    forge.assert_published("1.0.0");
    assert!(!said.contains(PASSPHRASE));
    assert!(
        !forge.root.join("temp/secret").exists(),
        "the keys are gone"
    );

    let said = github_job(&workflow, "lock", &mut forge);
    assert!(!said.contains("gh pr"), "nothing is newer: {said}");
    forge.make_the_lock_older();
    let said = github_job(&workflow, "lock", &mut forge);
    assert!(said.contains("gh pr create"), "{said}");
    forge.assert_lock_renewed();
}

#[test]
fn gitlab_ci_cuts_and_publishes_releases_and_renews_the_lock() {
    let workflow = workflow("gitlab-ci.yml");
    let mut forge = Forge::new("gitlab");
    for (name, file) in [
        ("RELEASE_KEYS", "keys.txt"),
        ("SSH_KEY", "ssh.key"),
        ("SSH_KNOWN_HOSTS", "ssh.key"),
    ] {
        let file = forge.file(file);
        forge.set(name, &file);
    }
    forge.set("HULLWRIGHT_PASSPHRASE", PASSPHRASE);
    forge.set("CI_COMMIT_TAG", "v1.0.0");
    gitlab_job(&workflow, "release", &mut forge);
    forge.assert_published("1.0.0");
    assert!(
        forge
            .checkout
            .join("release/my-host_1.0.0.packages.json")
            .exists()
    );
    assert!(
        !forge.checkout.join(".secret").exists(),
        "the keys are gone"
    );

    // The next tag, in the same tree.
    let commit = "sed -i 's/My Host/My Second Host/' my-host.yaml && \
                  git -c user.name=me -c user.email=me@example.com commit -qam second && sleep 1";
    assert!(forge.run(commit, &BTreeMap::new()).status.success());
    forge.set("CI_COMMIT_TAG", "v1.1.0");
    gitlab_job(&workflow, "release", &mut forge);
    forge.assert_published("1.0.0");
    forge.assert_published("1.1.0");
    let diff = forge.root.join("www/beta/x86_64/my-host_1.1.0.diff.md");
    assert!(
        fs::read_to_string(diff)
            .unwrap()
            .contains("Changes since 1.0.0")
    );

    // Pushing by URL is what needs the service: here it goes to a folder.
    let origin = forge.file("origin.git");
    let config = format!(
        "git config --global url.{origin}.insteadOf https://hullwright:token@gitlab.example.com/my/host.git"
    );
    assert!(forge.run(&config, &BTreeMap::new()).status.success());
    for (name, value) in [
        ("PUSH_TOKEN", "token"),
        ("CI_SERVER_HOST", "gitlab.example.com"),
        ("CI_PROJECT_PATH", "my/host"),
        ("CI_DEFAULT_BRANCH", "main"),
    ] {
        forge.set(name, value);
    }
    gitlab_job(&workflow, "lock", &mut forge);
    forge.make_the_lock_older();
    gitlab_job(&workflow, "lock", &mut forge);
    forge.assert_lock_renewed();
}
