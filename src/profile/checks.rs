//! What a single value of a profile may look like. Each check says what it expected.

use crate::audit::RULES;
use crate::base64;
use crate::kernel::firmware;
use crate::kernel::select::Entry;
use crate::tree::glob::Glob;
use crate::tree::parts;
use crate::words::nearest;

/// The outcome of a check: nothing, or what was expected.
pub type Check = fn(&str) -> Result<(), String>;

fn expect(good: bool, expected: &str) -> Result<(), String> {
    if good { Ok(()) } else { Err(expected.into()) }
}

fn all(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    text.bytes().all(allowed)
}

fn lower_or_digit(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

/// No control characters, so that it fits on one line of any file.
fn one_line(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// A profile's name.
pub fn name(text: &str) -> Result<(), String> {
    expect(
        (1..=64).contains(&text.len())
            && text.bytes().next().is_some_and(lower_or_digit)
            && all(text, |b| lower_or_digit(b) || b == b'-'),
        "lower-case letters, digits and `-`, beginning with a letter or digit",
    )
}

/// Free text on one line.
pub fn line(text: &str) -> Result<(), String> {
    expect(
        text.len() <= 1000 && one_line(text),
        "one line of text without control characters",
    )
}

/// `os.id`: it becomes part of file names and GPT labels (36 characters).
pub fn os_id(text: &str) -> Result<(), String> {
    expect(
        (1..=10).contains(&text.len()) && all(text, |b| lower_or_digit(b) || b == b'-'),
        "1 to 10 lower-case letters, digits and `-`",
    )
}

/// `os.name`: written into os-release between double quotes.
pub fn os_name(text: &str) -> Result<(), String> {
    expect(
        (1..=64).contains(&text.chars().count())
            && one_line(text)
            && !text.contains(['"', '\\', '$', '`']),
        "1 to 64 characters on one line, without `\"`, `\\`, `$` or a backquote",
    )
}

/// `os.version`: `_` and `+` separate fields of file names.
pub fn os_version(text: &str) -> Result<(), String> {
    expect(
        (1..=20).contains(&text.len())
            && text.bytes().next().is_some_and(|b| b.is_ascii_digit())
            && all(text, |b| b.is_ascii_alphanumeric() || b".~-".contains(&b)),
        "a digit and then up to 19 letters, digits, `.`, `~` or `-` (`_` and `+` separate fields of file names)",
    )
}

/// `os.channel`.
pub fn channel(text: &str) -> Result<(), String> {
    expect(
        (1..=32).contains(&text.len())
            && text.bytes().next().is_some_and(lower_or_digit)
            && all(text, |b| lower_or_digit(b) || b".-".contains(&b)),
        "up to 32 lower-case letters, digits, `.` and `-`",
    )
}

/// An archive's name.
pub fn archive_name(text: &str) -> Result<(), String> {
    expect(
        (1..=40).contains(&text.len())
            && text.bytes().next().is_some_and(lower_or_digit)
            && all(text, |b| lower_or_digit(b) || b".-".contains(&b)),
        "up to 40 lower-case letters, digits, `.` and `-`",
    )
}

/// An archive's URL.
pub fn url(text: &str) -> Result<(), String> {
    let host = ["https://", "http://", "file://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    expect(
        host.is_some_and(|rest| !rest.is_empty())
            && all(text, |b| b.is_ascii_graphic() && b != b'"'),
        "a URL that begins with `https://`, `http://` or `file://`",
    )
}

/// Base URL of a release tree: nodes have nothing but HTTP.
pub fn update_url(text: &str) -> Result<(), String> {
    let host = ["https://", "http://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    expect(
        host.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
            && text.len() <= 1000
            && !text.contains(['?', '#'])
            && all(text, |b| b.is_ascii_graphic() && !b"\"'\\`$".contains(&b)),
        "a URL that begins with `https://` or `http://`, without `?` and `#`",
    )
}

/// A time span (systemd.time(7)): numbers with units, and not zero.
pub fn duration(text: &str) -> Result<(), String> {
    const UNITS: [&str; 18] = [
        "s", "sec", "second", "seconds", "m", "min", "minute", "minutes", "h", "hr", "hour",
        "hours", "d", "day", "days", "w", "week", "weeks",
    ];
    const EXPECTED: &str = "a time span such as `90s`, `30min`, `2h` or `1h 30min`";
    let mut rest = text;
    let mut whole = 0_u64;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, behind) = rest.split_at(digits);
        let letters = behind.len()
            - behind
                .trim_start_matches(|c: char| c.is_ascii_lowercase())
                .len();
        let (unit, behind) = behind.split_at(letters);
        let number: u32 = number.parse().map_err(|_| EXPECTED.to_owned())?;
        if !UNITS.contains(&unit) {
            return Err(EXPECTED.into());
        }
        whole += u64::from(number);
        rest = behind.strip_prefix(' ').unwrap_or(behind);
    }
    expect(
        whole > 0 && text.len() <= 40 && !text.ends_with(' '),
        EXPECTED,
    )
}

/// A calendar expression (systemd.time(7)): a word for it, or weekdays, date and time.
pub fn calendar(text: &str) -> Result<(), String> {
    const EXPECTED: &str = "a calendar expression of systemd.time(7), such as `hourly`, `daily`, `Sun 02:00`, \
         `Mon..Fri 03:30` or `*-*-01 04:00:00`";
    const WORDS: [&str; 9] = [
        "minutely",
        "hourly",
        "daily",
        "monthly",
        "weekly",
        "yearly",
        "annually",
        "quarterly",
        "semiannually",
    ];
    const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    if text.len() > 100 || !all(text, |b| (b' '..=b'~').contains(&b)) {
        return Err(EXPECTED.into());
    }
    let day = |word: &str| {
        let word = word.to_ascii_lowercase();
        DAYS.iter().any(|day| *day == word)
            || ["day", "sday", "nesday", "rsday", "urday"]
                .iter()
                .any(|end| {
                    word.strip_suffix(end)
                        .is_some_and(|stem| DAYS.contains(&stem))
                })
    };
    let weekdays = |word: &str| word.split(',').all(|part| part.splitn(2, "..").all(day));
    // Numbers, lists, ranges and steps.
    let numbers = |word: &str, more: &[u8]| {
        word.bytes().any(|b| b.is_ascii_digit() || b == b'*')
            && all(word, |b| {
                b.is_ascii_digit() || b"*,./".contains(&b) || more.contains(&b)
            })
    };
    let date = |word: &str| {
        matches!(word.matches(['-', '~']).count(), 1 | 2)
            && word.split(['-', '~']).all(|part| numbers(part, &[]))
    };
    let time = |word: &str| {
        matches!(word.matches(':').count(), 1 | 2) && word.split(':').all(|part| numbers(part, &[]))
    };
    let zone = |word: &str| {
        word.bytes().next().is_some_and(|b| b.is_ascii_uppercase())
            && all(word, |b| b.is_ascii_alphanumeric() || b"/_+-".contains(&b))
    };
    let mut words: Vec<&str> = text.split(' ').collect();
    if words.len() > 1
        && words
            .last()
            .is_some_and(|last| zone(last) && !weekdays(last))
    {
        words.pop();
    }
    let good = match words[..] {
        [one] => WORDS.contains(&one) || weekdays(one) || date(one) || time(one),
        [a, b] => (weekdays(a) && (date(b) || time(b))) || (date(a) && time(b)),
        [a, b, c] => weekdays(a) && date(b) && time(c),
        _ => false,
    };
    expect(good, EXPECTED)
}

/// A template of a snapshot service.
pub fn snapshot(text: &str) -> Result<(), String> {
    url(text)?;
    expect(
        text.contains("{timestamp}") && text.contains("{path}"),
        "a URL with `{timestamp}` and `{path}` in it",
    )
}

/// A suite or component.
pub fn suite(text: &str) -> Result<(), String> {
    expect(
        (1..=100).contains(&text.len())
            && text
                .bytes()
                .next()
                .is_some_and(|b| b.is_ascii_alphanumeric())
            && all(text, |b| b.is_ascii_alphanumeric() || b"./_-".contains(&b))
            && !text.split('/').any(|part| matches!(part, "" | "." | "..")),
        "a name such as `trixie-updates`",
    )
}

/// A keyring: a built-in name or a file.
pub fn keyring(text: &str) -> Result<(), String> {
    path(text)
}

/// Who signs.
pub fn signer(text: &str) -> Result<(), String> {
    text.parse::<crate::sign::Choice>().map(|_| ())
}

/// A key's fingerprint.
pub fn fingerprint(text: &str) -> Result<(), String> {
    expect(
        text.len() == 40 && all(text, |b| b.is_ascii_hexdigit()),
        "40 hexadecimal digits without spaces",
    )
}

fn is_package_name(text: &str) -> bool {
    (2..=128).contains(&text.len())
        && text.bytes().next().is_some_and(lower_or_digit)
        && all(text, |b| lower_or_digit(b) || b"+.-".contains(&b))
}

/// A package's name (Debian policy 5.6.1).
pub fn package_name(text: &str) -> Result<(), String> {
    expect(
        is_package_name(text),
        "a package's name: lower-case letters, digits, `+`, `-` and `.`",
    )
}

/// `name`, `name=version` or `name/archive`.
pub fn package(text: &str) -> Result<(), String> {
    let good = if let Some((name, version)) = text.split_once('=') {
        is_package_name(name)
            && (1..=200).contains(&version.len())
            && all(version, |b| {
                b.is_ascii_alphanumeric() || b".+-~:".contains(&b)
            })
    } else if let Some((name, archive)) = text.split_once('/') {
        is_package_name(name) && archive_name(archive).is_ok()
    } else {
        is_package_name(text)
    };
    expect(good, "`name`, `name=version` or `name/archive`")
}

/// `kernel.package`: a package's name in which `{arch}` may stand.
pub fn kernel_package(text: &str) -> Result<(), String> {
    expect(
        is_package_name(&text.replace("{arch}", "x")),
        "a package's name such as `linux-image-cloud-{arch}`",
    )
}

/// A shell glob over package names.
pub fn package_glob(text: &str) -> Result<(), String> {
    expect(
        !text.is_empty()
            && text.len() <= 128
            && all(text, |b| lower_or_digit(b) || b"+.-*?[]!".contains(&b))
            && brackets_close(text),
        "a package's name, in which `*`, `?` and `[…]` match",
    )
}

fn brackets_close(text: &str) -> bool {
    let mut open = false;
    for b in text.bytes() {
        match b {
            b'[' if open => return false,
            b'[' => open = true,
            b']' => open = false,
            _ => {}
        }
    }
    !open
}

/// The name of a part of packages.
pub fn part(text: &str) -> Result<(), String> {
    let parts = parts::all().map_err(|error| format!("{error:#}"))?;
    let names = || parts.iter().map(|part| part.name.as_str());
    if names().any(|name| name == text) {
        return Ok(());
    }
    let meant = nearest(text, names()).map_or_else(String::new, |near| format!("`{near}`, or "));
    let all: Vec<_> = names().map(|name| format!("`{name}`")).collect();
    Err(format!("{meant}one of {}", all.join(", ")))
}

/// The name of one of the audit's rules.
pub fn audit_rule(text: &str) -> Result<(), String> {
    let names = || RULES.iter().map(|rule| rule.name);
    if names().any(|name| name == text) {
        return Ok(());
    }
    let meant = nearest(text, names()).map_or_else(String::new, |near| format!("`{near}`, or "));
    Err(format!(
        "{meant}one of the rules that `hullwright audit --rules` lists"
    ))
}

/// A path of the image, or a glob of paths.
pub fn image_glob(text: &str) -> Result<(), String> {
    expect(text.len() < 4096 && one_line(text), "a path on one line")?;
    Glob::new(text).map(drop).map_err(|error| {
        format!("a path from the image's root, or a glob such as `/usr/lib/foo/*`: {error}")
    })
}

/// What a finding of the audit says is missing or wrong.
pub fn finding(text: &str) -> Result<(), String> {
    expect(
        !text.is_empty() && text.len() < 4096 && one_line(text),
        "what the finding names, on one line",
    )
}

/// Why something is allowed.
pub fn reason(text: &str) -> Result<(), String> {
    expect(
        text.trim().chars().any(char::is_alphabetic) && text.len() <= 1000 && one_line(text),
        "the reason in words, on one line",
    )
}

/// A prune rule.
pub fn prune(text: &str) -> Result<(), String> {
    let rule = text.strip_prefix('!').unwrap_or(text);
    let path = match rule.split_once(":/") {
        Some((package, _)) if !package.contains('/') => {
            package_name(package).map_err(|expected| format!("{expected}, then `:/…`"))?;
            &rule[package.len() + 1..]
        }
        _ => rule,
    };
    if !path.starts_with('/') {
        return Err(
            "a path from the image's root, such as `/usr/share/man/**` (or `!/…` to keep)".into(),
        );
    }
    if path.split('/').any(|part| part == "..") {
        return Err("a path without `..`".into());
    }
    if path.trim_matches(['/', '*']).is_empty() {
        return Err("a path that does not match the whole image".into());
    }
    expect(
        path.len() < 4096 && one_line(path) && brackets_close(path),
        "a glob whose brackets close",
    )
}

/// A path of the machine, relative to the file that writes it.
pub fn path(text: &str) -> Result<(), String> {
    expect(
        (1..4096).contains(&text.len()) && one_line(text),
        "a path relative to this file",
    )
}

/// An absolute path inside the image.
pub fn image_path(text: &str) -> Result<(), String> {
    expect(
        text.starts_with('/')
            && text.len() < 4096
            && one_line(text)
            && !text.contains(':')
            && !text.split('/').any(|part| part == ".."),
        "an absolute path without `..` and `:`",
    )
}

/// A kernel module.
pub fn module(text: &str) -> Result<(), String> {
    expect(
        (1..=64).contains(&text.len())
            && all(text, |b| b.is_ascii_alphanumeric() || b"_-".contains(&b)),
        "a module's name without `.ko`",
    )
}

/// An entry of `kernel.modules`.
pub fn modules(text: &str) -> Result<(), String> {
    Entry::parse(text)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// An entry of `kernel.firmware`.
pub fn firmware(text: &str) -> Result<(), String> {
    firmware::Entry::parse(text)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// A word of the kernel's command line.
pub fn cmdline(text: &str) -> Result<(), String> {
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) && !text.contains('"') {
        return Err(
            "one word; write each as an entry of its own, or quote a value with spaces (`a=\"b c\"`)"
                .into(),
        );
    }
    // systemd reads `-` as `_`, and in the initrd a word with `rd.` as one without.
    let key = text.split('=').next().unwrap_or(text).replace('-', "_");
    let key = key.strip_prefix("rd.").unwrap_or(&key);
    for (owned, why) in [
        ("usrhash", "hullwright writes it: it is the hash of /usr"),
        ("root", "root is found by its partition type"),
        ("rootfstype", "root is found by its partition type"),
        ("init", "systemd is the only init of these images"),
        ("rdinit", "systemd is the only init of these images"),
        ("initrd", "the initrd is part of the UKI"),
        ("mount.usr", "/usr is found by its hash"),
        ("mount.usrhash", "/usr is found by its hash"),
        ("roothash", "/usr is found by its hash"),
        ("systemd.verity", "verity can't be switched off"),
        ("systemd.verity_usr_data", "/usr is found by its hash"),
        ("systemd.verity_usr_hash", "/usr is found by its hash"),
        (
            "dm_verity.require_signatures",
            "boot.verity_signature says whether the kernel asks for one",
        ),
    ] {
        if key == owned {
            return Err(format!("no `{owned}=`: {why}"));
        }
    }
    if key == "systemd.verity_usr_options" && text.contains("root-hash-signature=") {
        return Err("no `root-hash-signature=`: boot.verity_signature adds it".into());
    }
    expect(
        !text.is_empty()
            && text.len() <= 1024
            && text.is_ascii()
            && one_line(text)
            && text.matches('"').count().is_multiple_of(2)
            && braces_known(text),
        "a word of printable ASCII; of `{…}` only `{serial}` is known",
    )
}

fn braces_known(text: &str) -> bool {
    !text.replace("{serial}", "").contains(['{', '}'])
}

/// A serial console's device.
pub fn serial(text: &str) -> Result<(), String> {
    expect(
        text.strip_prefix("tty").is_some_and(|rest| {
            (1..=20).contains(&rest.len()) && all(rest, |b| b.is_ascii_alphanumeric())
        }),
        "a serial console without `/dev/`, such as `ttyS1`",
    )
}

/// A version of what is taken by hash.
pub fn version(text: &str) -> Result<(), String> {
    expect(
        (1..=200).contains(&text.len())
            && all(text, |b| {
                b.is_ascii_alphanumeric() || b".+-~:_".contains(&b)
            }),
        "a version of letters, digits and `.+-~:_`",
    )
}

/// A path below a base URL.
pub fn pool_path(text: &str) -> Result<(), String> {
    expect(
        crate::archive::packages::safe_path(text) && one_line(text),
        "a path below the base URL, such as `pool/main/u/u-boot/u-boot-rpi_2025.01-3_arm64.deb`",
    )
}

/// A moment, as snapshot services write it.
pub fn snapshot_time(text: &str) -> Result<(), String> {
    let digits = |part: &str, len| part.len() == len && all(part, |b| b.is_ascii_digit());
    expect(
        text.strip_suffix('Z')
            .and_then(|rest| rest.split_once('T'))
            .is_some_and(|(day, time)| digits(day, 8) && digits(time, 6)),
        "a moment such as `20260912T075541Z`",
    )
}

/// A path below something, without `.` and `..`.
pub fn file_path(text: &str) -> Result<(), String> {
    expect(
        (1..4096).contains(&text.len())
            && one_line(text)
            && !text.split('/').any(|part| matches!(part, "" | "." | "..")),
        "a path without `/` in front, `.` and `..`, such as `usr/lib/u-boot/rpi_4/u-boot.bin`",
    )
}

/// A path on the EFI system partition.
pub fn esp_path(text: &str) -> Result<(), String> {
    if text.len() > 255 {
        return Err("a path of at most 255 bytes".into());
    }
    for part in text.split('/') {
        if let Some(problem) = crate::esp::name_problem(part) {
            return Err(format!(
                "a path on the EFI system partition, from its root and with `/`; of `{part}`: {problem}"
            ));
        }
    }
    Ok(())
}

/// A text of several lines.
pub fn document(text: &str) -> Result<(), String> {
    expect(
        text.len() <= 64 << 10
            && !text
                .chars()
                .any(|c| c.is_control() && c != '\n' && c != '\t'),
        "at most 64 KiB of text without control characters",
    )
}

/// A login or group name, as systemd-sysusers accepts strictly.
pub fn account(text: &str) -> Result<(), String> {
    expect(
        (1..=31).contains(&text.len())
            && text
                .bytes()
                .next()
                .is_some_and(|b| b.is_ascii_lowercase() || b == b'_')
            && all(text, |b| lower_or_digit(b) || b"_-".contains(&b)),
        "up to 31 lower-case letters, digits, `_` and `-`, beginning with a letter or `_`",
    )
}

/// GECOS.
pub fn gecos(text: &str) -> Result<(), String> {
    expect(
        text.len() <= 200 && one_line(text) && !text.contains(':'),
        "one line without `:`",
    )
}

/// A crypt(5) hash; the empty text (no password) is judged by a rule.
pub fn password_hash(text: &str) -> Result<(), String> {
    const HOW: &str = "a crypt(5) hash such as `mkpasswd -m yescrypt` prints (`$y$…` or `$6$…`), never the password itself";
    if text.is_empty() {
        return Ok(());
    }
    let mut fields = text.split('$');
    let (before, id) = (fields.next(), fields.next());
    let (least, known) = match id {
        Some("y" | "gy" | "7") => (40, true),
        Some("6") => (86, true),
        Some("5") => (43, true),
        Some("2b" | "2y") => (53, true),
        _ => (0, false),
    };
    let last = fields.next_back().map_or(0, str::len);
    let enough = last >= least.min(43);
    expect(
        before == Some("")
            && known
            && enough
            && text.len() <= 256
            && all(text, |b| {
                b.is_ascii_alphanumeric() || b"$./,=-".contains(&b)
            }),
        HOW,
    )
}

/// A line of authorized_keys without options.
pub fn ssh_key(text: &str) -> Result<(), String> {
    const TYPES: [&str; 7] = [
        "ssh-ed25519",
        "ssh-rsa",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    ];
    if text.contains("PRIVATE KEY") {
        return Err("a public key; this is a private one, which must never be in a profile".into());
    }
    let mut words = text.split(' ');
    let kind = words.next().unwrap_or_default();
    let blob = words.next().unwrap_or_default();
    if !TYPES.contains(&kind) {
        return Err(format!(
            "`TYPE BASE64 COMMENT`, where TYPE is one of {}",
            TYPES.join(", ")
        ));
    }
    // RFC 4253, 6.6: the blob begins with the length and text of the type.
    let good = base64::decode(blob).is_some_and(|bytes| {
        let length = (kind.len() as u32).to_be_bytes();
        bytes.len() > 4 + kind.len() + 16
            && bytes.starts_with(&length)
            && bytes[4..].starts_with(kind.as_bytes())
    });
    expect(
        good && one_line(text),
        "a public key whose base64 part matches its type; it may have been cut off",
    )
}

/// Types of systemd's units.
const UNIT_TYPES: [&str; 11] = [
    "service",
    "socket",
    "target",
    "timer",
    "path",
    "mount",
    "automount",
    "swap",
    "slice",
    "scope",
    "device",
];

/// A systemd unit.
pub fn unit(text: &str) -> Result<(), String> {
    let Some((stem, kind)) = text.rsplit_once('.') else {
        return Err(format!(
            "a unit with its type, such as `{}.service`",
            text.chars().take(40).collect::<String>()
        ));
    };
    expect(
        !stem.is_empty()
            && text.len() <= 255
            && all(stem, |b| {
                b.is_ascii_alphanumeric() || b":_.\\@-".contains(&b)
            })
            && UNIT_TYPES.contains(&kind),
        "a unit's name such as `ssh.service`, `getty@.service` or `fstrim.timer`",
    )
}

/// A unit's name, or a shell glob of names: it is quoted in a script, and read as a pattern there.
pub fn unit_glob(text: &str) -> Result<(), String> {
    expect(
        (1..=255).contains(&text.len())
            && all(text, |b| {
                b.is_ascii_alphanumeric() || b":_.@-*?".contains(&b)
            })
            && text
                .rsplit_once('.')
                .is_some_and(|(stem, kind)| !stem.is_empty() && UNIT_TYPES.contains(&kind)),
        "a unit's name such as `ssh.service`, or a glob of names such as `app-*.service`",
    )
}

/// A line of tmpfiles.d(5).
pub fn tmpfiles(text: &str) -> Result<(), String> {
    let mut fields = text.split_ascii_whitespace();
    let kind = fields.next().unwrap_or_default();
    let mut letters = kind.bytes();
    let known = letters
        .next()
        .is_some_and(|b| b"fwdDevqQpLcbCxXrRzZtThHaA".contains(&b))
        && letters.all(|b| b"+!-=~^?$".contains(&b));
    if !known {
        return Err(format!(
            "a line of tmpfiles.d(5): a type such as `d`, `f`, `L+` or `C`, then a path; `{}` is no type",
            kind.chars().take(40).collect::<String>()
        ));
    }
    let path = fields.next().unwrap_or_default().trim_matches('"');
    if !path.starts_with('/') && !path.starts_with('%') {
        return Err("a line of tmpfiles.d(5) whose second field is an absolute path".into());
    }
    expect(one_line(text), "one line for each entry")
}

/// A kernel parameter.
pub fn sysctl_key(text: &str) -> Result<(), String> {
    expect(
        text.contains(['.', '/'])
            && text.len() <= 255
            && all(text, |b| b.is_ascii_alphanumeric() || b"_-*./".contains(&b))
            && !text.split(['.', '/']).any(str::is_empty),
        "a parameter such as `net.ipv4.ip_forward`",
    )
}

/// The value of a kernel parameter.
pub fn sysctl_value(text: &str) -> Result<(), String> {
    expect(
        !text.trim().is_empty() && text.len() <= 1000 && one_line(text),
        "a value on one line",
    )
}

/// A locale.
pub fn locale(text: &str) -> Result<(), String> {
    expect(
        (1..=40).contains(&text.len())
            && all(text, |b| b.is_ascii_alphanumeric() || b"_.@-".contains(&b)),
        "a locale such as `C.UTF-8`",
    )
}

/// A time zone.
pub fn timezone(text: &str) -> Result<(), String> {
    expect(
        (1..=64).contains(&text.len())
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
            && all(text, |b| b.is_ascii_alphanumeric() || b"_+/-".contains(&b)),
        "a time zone such as `Etc/UTC` or `Europe/Berlin`",
    )
}

/// A host name.
pub fn hostname(text: &str) -> Result<(), String> {
    expect(
        (1..=64).contains(&text.len())
            && text.split('.').all(|label| {
                !label.is_empty()
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && all(label, |b| lower_or_digit(b) || b == b'-')
            }),
        "a host name of up to 64 lower-case letters, digits, `-` and `.`",
    )
}

/// A size as systemd writes it.
pub fn systemd_size(text: &str) -> Result<(), String> {
    let digits = text.trim_end_matches(['K', 'M', 'G', 'T']);
    expect(
        !digits.is_empty()
            && digits.len() <= 12
            && text.len() - digits.len() <= 1
            && all(digits, |b| b.is_ascii_digit()),
        "a size as systemd writes it, such as `256M`",
    )
}

/// A size in bytes: a number, or a number with a unit of powers of 1024.
pub fn bytes(text: &str) -> Result<u64, String> {
    const EXPECTED: &str = "a size such as `512 MiB`, `1.5 GiB` or a number of bytes";
    let text = text.trim();
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let shift = match unit.trim() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        other @ ("K" | "M" | "G" | "T" | "KB" | "MB" | "GB" | "TB" | "kB" | "k" | "kiB" | "mib"
        | "gib" | "kib") => {
            let first = other.chars().next().unwrap_or('M').to_ascii_uppercase();
            return Err(format!("{EXPECTED}; write `{number} {first}iB`"));
        }
        _ => return Err(EXPECTED.into()),
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || part.len() > 6 || (number.contains('.') && part.is_empty()) {
        return Err(EXPECTED.into());
    }
    let whole: u64 = whole.parse().map_err(|_| EXPECTED.to_string())?;
    let too_large = || "a size below 8 EiB".to_string();
    let mut size = u128::from(whole) << shift;
    if !part.is_empty() {
        let digits: u128 = part.parse().map_err(|_| EXPECTED.to_string())?;
        let scale = 10_u128.pow(u32::try_from(part.len()).unwrap_or(6));
        let scaled = digits << shift;
        if !scaled.is_multiple_of(scale) {
            return Err("a size that is a whole number of bytes".into());
        }
        size += scaled / scale;
    }
    u64::try_from(size)
        .ok()
        .filter(|size| *size < 1 << 63)
        .ok_or_else(too_large)
}

/// A limit for the size of an image: as [`bytes`], and in powers of 1000, in which images are compared.
pub fn budget(text: &str) -> Result<u64, String> {
    const EXPECTED: &str = "a size such as `90 MB`, `85 MiB` or a number of bytes";
    let trimmed = text.trim();
    let decimal = [("kB", 3), ("MB", 6), ("GB", 9)]
        .into_iter()
        .find_map(|(unit, digits)| Some((trimmed.strip_suffix(unit)?.trim_end(), digits)));
    let Some((number, digits)) = decimal else {
        return bytes(text)
            .map_err(|_| EXPECTED.to_owned())
            .and_then(above_zero);
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let all = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !all(whole) || !all(part) || part.len() > digits || number.ends_with('.')
    {
        return Err(EXPECTED.into());
    }
    format!("{whole}{part:0<digits$}")
        .parse::<u64>()
        .ok()
        .filter(|size| *size < 1 << 63)
        .ok_or_else(|| "a size below 8 EiB".to_owned())
        .and_then(above_zero)
}

fn above_zero(size: u64) -> Result<u64, String> {
    if size == 0 {
        return Err("a size above zero".into());
    }
    Ok(size)
}

/// `bytes` for people, exact.
#[must_use]
pub fn bytes_shown(bytes: u64) -> String {
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        let one = 1_u64 << shift;
        if bytes >= one && bytes.is_multiple_of(one) {
            return format!("{} {unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBHg7rTQ3Yzp9mFCzwAbEpLqPHLqSI8ZvxQh7DRBLwB1 me@host";

    #[test]
    fn each_check_accepts_the_good_and_refuses_the_bad() {
        let yescrypt = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7";
        let sha512 = "$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2/jctKu9YterLp8wwnSq.qc.eoxqOmSuNp2xS0ktL3nh/";
        type Row<'a> = (Check, &'a [&'a str], &'a [&'a str]);
        let table: &[Row<'_>] = &[
            (
                os_id,
                &["a", "hull-1", "0123456789"],
                &["", "A", "01234567890", "a_b"],
            ),
            (
                os_version,
                &["1", "1.4.2", "2026.11~rc1", "0.0.0-dev"],
                &["", "v1", "1_0", "1+0", "123456789012345678901"],
            ),
            (
                package,
                &["bash", "g++=4:1.2~x", "bash/security"],
                &["b", "Bash", "bash=", "a b"],
            ),
            (part, &["man", "docs"], &["", "mann", "Man", "man "]),
            (package_glob, &["linux-*", "lib[ab]?"], &["", "lib[a", "A"]),
            (
                prune,
                &[
                    "/usr/share/man/**",
                    "!/usr/share/man/man1",
                    "gpg:/usr/bin/gpgconf",
                    "!g++:/usr/**/x:/y",
                ],
                &[
                    "Gpg:/usr/bin/gpgconf",
                    "gpg:usr/bin",
                    "gpg:/",
                    "usr",
                    "/",
                    "/**",
                    "/a/../b",
                    "/a[b",
                ],
            ),
            (
                cmdline,
                &["rw", "console={serial},115200", "a=\"b c\""],
                &[
                    "",
                    "a b",
                    "usrhash=1",
                    "root=/dev/sda",
                    "init=/bin/sh",
                    "rd.systemd.verity=no",
                    "systemd.verity-usr-data=/dev/sda2",
                    "systemd.verity_usr_options=a,root-hash-signature=/x",
                    "dm_verity.require_signatures=0",
                    "a\nb",
                    "{disk}",
                    "a=\"b c",
                ],
            ),
            (
                password_hash,
                &["", yescrypt, sha512],
                &["secret", "$6$x", "$1$abc$defghijklmnopqrstuvwxy", "!"],
            ),
            (
                ssh_key,
                &[KEY],
                &[
                    "ssh-ed25519",
                    "ssh-ed25519 AAAA me",
                    "ssh-dss AAAA",
                    "-----BEGIN OPENSSH PRIVATE KEY-----",
                ],
            ),
            (
                fingerprint,
                &["4CB50190207B4758A3F73A796ED0E7B82643E131"],
                &["4CB5", "4CB5 0190"],
            ),
            (
                unit,
                &["ssh.service", "getty@.service", "a\\x2db.mount"],
                &["ssh", "ssh.exe", ".service", "a b.service"],
            ),
            (
                tmpfiles,
                &["d /root 0700 root root -", "L+ /x - - - - y", "f! %t/x"],
                &["", "m /x", "d x", "d"],
            ),
            (
                sysctl_key,
                &["net.ipv4.ip_forward", "net/ipv4/conf/*/rp_filter"],
                &["x", ".x", "a b.c"],
            ),
            (
                account,
                &["root", "_ssh", "a-b"],
                &["", "Root", "1a", "a.b"],
            ),
            (
                systemd_size,
                &["256M", "1G", "1048576"],
                &["", "M", "1 G", "1MM"],
            ),
            (hostname, &["a", "node-1.lab"], &["", "-a", "A", "a..b"]),
            (
                url,
                &["https://a/b"],
                &["a", "https://", "ftp://a", "https://a b"],
            ),
            (
                update_url,
                &["https://a/b", "http://10.0.2.2:8000"],
                &[
                    "a",
                    "https://",
                    "file:///a",
                    "https://a b",
                    "https:///a",
                    "https://a?b",
                    "http://$(x)",
                ],
            ),
            (
                duration,
                &["90s", "2h", "1h 30min", "1h30min", "7days"],
                &[
                    "",
                    "0s",
                    "5",
                    "1x",
                    "-1h",
                    "h",
                    "1h ",
                    "1 h",
                    "99999999999h",
                    "1h\n",
                ],
            ),
            (
                calendar,
                &[
                    "hourly",
                    "Sun 02:00",
                    "Mon..Fri 03:30",
                    "*-*-01 04:00:00",
                    "Sat,Sun *-*-* 0/4:00",
                    "*:0/15",
                    "2026-12-24",
                    "Sun *-*-1..7 02:00 Europe/Berlin",
                    "daily UTC",
                    "Wednesday 10:00",
                    "*-02~01",
                ],
                &[
                    "",
                    "often",
                    "25 o'clock",
                    "Sunn 02:00",
                    "02.00",
                    "Sun 02:00; reboot",
                    "Sun\n02:00",
                    "a b c d",
                    "Mon.Fri 02:00",
                ],
            ),
            (
                snapshot,
                &["https://a/{timestamp}/{path}"],
                &["https://a/{path}"],
            ),
            (
                suite,
                &["trixie", "trixie-security", "stable/updates"],
                &["", "a//b", "../x", "a b"],
            ),
        ];
        for (index, (check, good, bad)) in table.iter().enumerate() {
            for text in *good {
                assert_eq!(check(text), Ok(()), "row {index}: {text}");
            }
            for text in *bad {
                assert!(check(text).is_err(), "row {index}: {text}");
            }
        }
    }

    #[test]
    fn sizes_are_exact() {
        for (text, wanted) in [
            ("512 MiB", 512 << 20),
            ("1.5 GiB", 1536 << 20),
            ("1048576", 1 << 20),
            ("64KiB", 64 << 10),
            ("0.5 KiB", 512),
        ] {
            assert_eq!(bytes(text), Ok(wanted), "{text}");
            assert_eq!(bytes(&bytes_shown(wanted)), Ok(wanted));
        }
        for text in [
            "",
            "MiB",
            "1 MB",
            "1.3 B",
            "-1",
            "1e3",
            "99999999 TiB",
            "1.",
            ".5 GiB",
        ] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_budget_is_in_powers_of_1000_or_of_1024() {
        for (text, bytes) in [
            ("90MB", Ok(90_000_000)),
            ("90 MB", Ok(90_000_000)),
            ("1.5 GB", Ok(1_500_000_000)),
            ("0.25kB", Ok(250)),
            ("85 MiB", Ok(85 << 20)),
            ("123456", Ok(123_456)),
        ] {
            assert_eq!(budget(text), bytes, "{text}");
        }
        for bad in [
            "",
            "MB",
            "-1 MB",
            "1.MB",
            "1.2345678 MB",
            "0 MB",
            "0",
            "9 mb",
            "1e3MB",
            "99999999999 GB",
        ] {
            assert!(budget(bad).is_err(), "{bad}");
        }
        assert!(
            part("mann")
                .unwrap_err()
                .starts_with("`man`, or one of `docs`, ")
        );
    }
}
