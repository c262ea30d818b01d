//! The whole `--help` tree, so that every change of an argument shows.

use crate::home::Home;

fn names(command: &clap::Command, above: &[String], out: &mut Vec<Vec<String>>) {
    for sub in command.get_subcommands().filter(|c| c.get_name() != "help") {
        let mut path = above.to_vec();
        path.push(sub.get_name().to_owned());
        out.push(path.clone());
        names(sub, &path, out);
    }
}

#[test]
fn help_of_every_subcommand() {
    let home = Home::new();
    let mut all = vec![Vec::new()];
    names(&hullwright::cli::command(), &[], &mut all);
    assert!(all.len() > 14, "{all:?}");
    let mut text = String::new();
    for path in all {
        let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
        arguments.push("--help");
        let ran = home.run(&arguments);
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{arguments:?}");
        text.push_str(&format!(
            "$ hullwright {}\n{}\n",
            arguments.join(" "),
            ran.stdout
        ));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn misuse_is_told_with_the_nearest_word() {
    let home = Home::new();
    for (arguments, words) in [
        (&["biuld", "qemu"][..], "build"),
        (&["build"], "PROFILE"),
        (&["build", "qemu", "--lokced"], "--locked"),
        (&["build", "a", "b", "-o", "out"], "--output"),
        (&["check", "qemu", "--arch", "sparc"], "x86_64"),
        (&["build", "qemu", "--stamp", "noon"], "noon"),
    ] {
        let ran = home.run(arguments);
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{ran}");
        ran.judge_error();
        assert!(ran.stderr.contains(words), "{ran}");
        let mut json = arguments.to_vec();
        json.push("--json");
        let ran = home.run(&json);
        assert_eq!(ran.status, 2);
        assert_eq!(ran.last()["kind"], "usage");
        assert!(ran.last().to_string().contains(words), "{ran}");
    }
}

#[test]
fn completions_know_the_subcommands() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = home.good(&["completions", shell]);
        assert!(script.contains("allow-expired"), "{shell}");
    }
}
