//! Runs of programs, and what they took.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use wait4::Wait4 as _;

/// After a run of this length a case is slow: three runs of it are enough.
const SLOW: Duration = Duration::from_secs(30);
/// Runs of a slow case.
const SLOW_RUNS: usize = 3;
/// Bytes of a failed program's messages that are shown.
const SHOWN: usize = 2000;

/// What one run took.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Seconds by the clock.
    pub wall: f64,
    /// Processor seconds, of the program and all its descendants; of no process where the work is
    /// the kernel's.
    pub cpu: Option<f64>,
    /// Largest resident memory of any one process among them, in bytes.
    pub memory: Option<u64>,
    /// Bytes of what it made.
    pub size: Option<u64>,
}

/// What a program that ran well took and said.
pub struct Run {
    /// What it took.
    pub sample: Sample,
    /// Its standard output.
    pub output: String,
}

/// Runs `command` to its end. Its messages go to the file `log`.
pub fn run(command: &mut Command, log: &Path) -> Result<Run> {
    let file = File::create(log).with_context(|| format!("writing {}", log.display()))?;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(file);
    let begun = Instant::now();
    let mut child = command
        .spawn()
        .with_context(|| format!("starting {command:?}"))?;
    let mut output = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        let mut bytes = Vec::new();
        stdout
            .read_to_end(&mut bytes)
            .context("reading from a program")?;
        output = String::from_utf8_lossy(&bytes).into_owned();
    }
    let ended = child
        .wait4()
        .with_context(|| format!("waiting for {command:?}"))?;
    let wall = begun.elapsed().as_secs_f64();
    if !ended.status.success() {
        let said = std::fs::read(log).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let last = said.lines().rfind(|line| !line.trim().is_empty());
        bail!(
            "{} ended with {}: {}\n{command:?}\n{}{}",
            name_of(command),
            ended.status,
            last.unwrap_or("it says nothing"),
            end_of(&said),
            end_of(&output)
        );
    }
    let usage = ended.rusage;
    Ok(Run {
        sample: Sample {
            wall,
            cpu: Some((usage.utime + usage.stime).as_secs_f64()),
            memory: Some(usage.maxrss),
            size: None,
        },
        output,
    })
}

/// The program that `command` is about: the first word that is no loader's.
fn name_of(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .collect();
    let word = match words.as_slice() {
        [_, option, _, program, ..] if *option == "--library-path" => *program,
        [program, ..] => *program,
        [] => return String::new(),
    };
    let name = Path::new(word).file_name().unwrap_or(word);
    name.to_string_lossy().into_owned()
}

/// The last of what a program said.
fn end_of(text: &str) -> &str {
    &text[text.floor_char_boundary(text.len().saturating_sub(SHOWN))..]
}

/// Something that is measured several times, in turns with its rivals.
pub struct Case<'a> {
    /// What it is called in the table.
    pub name: String,
    run: Box<dyn FnMut() -> Result<Sample> + 'a>,
}

impl<'a> Case<'a> {
    /// A case that `run` runs once.
    pub fn new(name: impl Into<String>, run: impl FnMut() -> Result<Sample> + 'a) -> Self {
        Self {
            name: name.into(),
            run: Box::new(run),
        }
    }
}

/// A case with its samples.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// What its runs took.
    pub samples: Vec<Sample>,
    /// Why there are no more of them.
    pub failure: Option<String>,
}

impl Row {
    /// Lowest, middle and highest of a figure, where every run has it.
    fn spread(&self, figure: impl Fn(&Sample) -> Option<f64>) -> Option<(f64, f64, f64)> {
        let mut all = self
            .samples
            .iter()
            .map(figure)
            .collect::<Option<Vec<f64>>>()?;
        all.sort_by(f64::total_cmp);
        let middle = (all.get((all.len().checked_sub(1)?) / 2)? + all.get(all.len() / 2)?) / 2.0;
        Some((*all.first()?, middle, *all.last()?))
    }

    /// Wall seconds.
    pub fn wall(&self) -> Option<(f64, f64, f64)> {
        self.spread(|sample| Some(sample.wall))
    }

    /// Processor seconds.
    pub fn cpu(&self) -> Option<(f64, f64, f64)> {
        self.spread(|sample| sample.cpu)
    }

    /// The most memory that any run took.
    pub fn memory(&self) -> Option<u64> {
        self.samples.iter().filter_map(|sample| sample.memory).max()
    }

    /// Bytes of what it makes.
    pub fn size(&self) -> Option<f64> {
        let (_, middle, _) = self.spread(|sample| sample.size.map(|size| size as f64))?;
        Some(middle)
    }
}

/// Runs all cases `runs` times, each once in every round, so that whatever else the machine does
/// meets them alike. One that fails is left out of later rounds and does not keep the others.
pub fn in_turns(group: &str, mut cases: Vec<Case<'_>>, runs: usize) -> Vec<Row> {
    let mut rows: Vec<Row> = cases
        .iter()
        .map(|case| Row {
            name: case.name.clone(),
            ..Row::default()
        })
        .collect();
    for round in 0..runs {
        for (case, row) in cases.iter_mut().zip(&mut rows) {
            let slow = row
                .samples
                .first()
                .is_some_and(|first| first.wall > SLOW.as_secs_f64());
            if row.failure.is_some() || (slow && round >= SLOW_RUNS) {
                continue;
            }
            // What the case before has written is not for this one to wait for.
            let _ = Command::new("sync").status();
            match (case.run)() {
                Ok(sample) => {
                    eprintln!(
                        "{group} · {} · {}/{runs}: {:.2} s",
                        case.name,
                        round + 1,
                        sample.wall
                    );
                    row.samples.push(sample);
                }
                Err(error) => {
                    eprintln!("FAILED {group} · {}: {error:#}", case.name);
                    let text = format!("{error:#}");
                    row.failure = Some(text.lines().next().unwrap_or_default().to_owned());
                }
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(wall: f64) -> Sample {
        Sample {
            wall,
            ..Sample::default()
        }
    }

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        for (walls, wanted) in [
            (vec![3.0, 1.0, 2.0], Some((1.0, 2.0, 3.0))),
            (vec![4.0, 1.0, 2.0, 3.0], Some((1.0, 2.5, 4.0))),
            (vec![], None),
        ] {
            let row = Row {
                samples: walls.into_iter().map(sample).collect(),
                ..Row::default()
            };
            assert_eq!(row.wall(), wanted);
        }
    }

    #[test]
    fn cases_take_turns_and_a_failed_one_leaves_the_others_alone() {
        let order = std::cell::RefCell::new(String::new());
        let case = |name: &'static str, good: bool| {
            let order = &order;
            Case::new(name, move || {
                order.borrow_mut().push_str(name);
                if good { Ok(sample(0.1)) } else { bail!("no") }
            })
        };
        let rows = in_turns(
            "test",
            vec![case("a", true), case("b", false), case("c", true)],
            3,
        );
        assert_eq!(order.take(), "abcacac");
        assert_eq!(rows[0].samples.len(), 3);
        assert_eq!(rows[1].failure.as_deref(), Some("no"));
    }

    #[test]
    fn slow_cases_run_three_times() {
        let rows = in_turns("test", vec![Case::new("slow", || Ok(sample(31.0)))], 7);
        assert_eq!(rows[0].samples.len(), SLOW_RUNS);
    }

    #[test]
    fn a_program_is_measured_with_its_children_and_its_failure_is_told() {
        let log = std::env::temp_dir().join(format!("xtask-measure-{}", std::process::id()));
        let script = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
        let run = run(
            Command::new("sh").args(["-c", &format!("sh -c '{script}'; echo said")]),
            &log,
        );
        let run = run.expect("a shell runs");
        assert_eq!(run.output, "said\n");
        assert!(run.sample.cpu.is_some_and(|cpu| cpu > 0.01));
        assert!(run.sample.memory.is_some_and(|memory| memory > 100_000));
        let error = super::run(
            Command::new("sh").args(["-c", "echo why >&2; exit 3"]),
            &log,
        );
        let text = error.err().map(|error| error.to_string());
        assert!(text.is_some_and(|text| text.contains("why") && text.contains('3')));
        let _ = std::fs::remove_file(&log);
    }
}
