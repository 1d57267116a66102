//! The documentation is tested: what its sessions show is what happens. A session is a block marked
//! `console`: each `$ ` begins a command, what follows is its output, and a line `…` stands for
//! what is left out. `make transcripts` records them anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::local_cluster::LocalCluster;

/// Set, the sessions are written instead of compared.
const UPDATE: &str = "UPDATE_TRANSCRIPTS";
const LEFT_OUT: &str = "…";
/// The numbers that the documentation gives to the nodes' processes, from here on.
const FIRST_PROCESS: i32 = 30_721;

#[test]
fn the_sessions_in_the_documentation_are_what_happens() {
    let stage = Stage::set();
    let mut commands = 0;
    let mut different = Vec::new();
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        let played = replay(&text, &mut |command| {
            commands += 1;
            stage.run(command)
        });
        if std::env::var_os(UPDATE).is_some() {
            fs::write(&path, &played).unwrap();
        } else if played != text {
            let first = text.lines().zip(played.lines()).find(|(a, b)| a != b);
            different.push(format!("{}: {first:#?}", path.display()));
        }
    }
    assert!(commands > 0, "no session is found");
    assert!(
        different.is_empty(),
        "shown, and what happens; `make transcripts` writes it:\n{}",
        different.join("\n")
    );
}

/// The README and what lies in `docs/`.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut paths: Vec<PathBuf> = fs::read_dir(root.join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    paths.sort();
    paths.insert(0, root.join("README.md"));
    paths
}

/// The text with the output that each command of its sessions has now.
fn replay(text: &str, run: &mut dyn FnMut(&str) -> String) -> String {
    let mut played: Vec<String> = Vec::new();
    let mut lines = text.lines().peekable();
    let mut in_session = false;
    while let Some(line) = lines.next() {
        played.push(line.to_owned());
        if line.starts_with("```") {
            in_session = line == "```console";
        }
        let Some(command) = line.strip_prefix("$ ").filter(|_| in_session) else {
            continue;
        };
        let mut shown = Vec::new();
        while let Some(line) =
            lines.next_if(|line| !line.starts_with("$ ") && !line.starts_with("```"))
        {
            shown.push(line);
        }
        let output = run(command);
        let output: Vec<&str> = output.lines().collect();
        played.extend(abridged(&output, &shown).into_iter().map(str::to_owned));
    }
    played.join("\n") + "\n"
}

/// The output, with as much of it left out as was.
fn abridged<'a>(output: &[&'a str], shown: &[&str]) -> Vec<&'a str> {
    let Some(at) = shown.iter().position(|line| *line == LEFT_OUT) else {
        return output.to_vec();
    };
    let head = at.min(output.len());
    let tail = (shown.len() - at - 1).min(output.len() - head);
    let parts = [&output[..head], &[LEFT_OUT], &output[output.len() - tail..]];
    parts.concat()
}

/// The cluster of `make run`, on other ports.
struct Stage {
    cluster: LocalCluster,
    /// What is shown, and what it is here.
    names: Vec<(String, String)>,
}

impl Stage {
    fn set() -> Stage {
        let cluster = LocalCluster::start(3);
        let mut names = Vec::new();
        for (number, node) in (1..).zip(&cluster.nodes) {
            let peer_port = peer_port(&cluster.dev.stdout(), number);
            for (first, here) in [
                (7000, node.cluster_port.port()),
                (7100, node.any_port.port()),
                (17000, peer_port),
                (9100, node.admin_port.port()),
            ] {
                names.push((format!("{}", first + number), here.to_string()));
            }
            let process = FIRST_PROCESS + i32::from(number) - 1;
            names.push((process.to_string(), node.process.to_string()));
        }
        Stage { cluster, names }
    }

    fn run(&self, command: &str) -> String {
        if command == "make run" {
            return self.as_shown(&self.cluster.dev.stdout());
        }
        let words: Vec<String> = command.split(' ').map(|word| self.as_here(word)).collect();
        let has = ["redis-cli", "sqlite3"].contains(&words[0].as_str());
        assert!(has, "the stage has no {command:?}");
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(words.join(" "));
        let output = shell.current_dir(self.cluster.folder()).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        self.as_shown(&String::from_utf8_lossy(&said))
    }

    fn as_here(&self, word: &str) -> String {
        let found = self.names.iter().find(|(shown, _)| shown == word);
        found.map_or_else(|| word.to_owned(), |(_, here)| here.clone())
    }

    /// Columns stay where they are: what is shorter is followed by blanks.
    fn as_shown(&self, output: &str) -> String {
        let mut shown = String::new();
        for line in output.lines() {
            let mut line = line.to_owned();
            for (name, here) in &self.names {
                line = replaced(&line, here, &format!("{name:<0$}", here.len()));
            }
            shown += line.trim_end();
            shown.push('\n');
        }
        shown
    }
}

/// Replaces a number wherever it is not part of a longer one.
fn replaced(line: &str, from: &str, to: &str) -> String {
    let mut whole = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(from) {
        let (before, after) = (&rest[..at], &rest[at + from.len()..]);
        let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
        let longer = digit(before.chars().next_back()) || digit(after.chars().next());
        whole += before;
        whole += if longer { from } else { to };
        rest = after;
    }
    whole + rest
}

/// The peers' port of a node, from the table that `dev` prints.
fn peer_port(table: &str, number: u16) -> u16 {
    let number = number.to_string();
    table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|words| words.len() == 6 && words[0] == number)
        .and_then(|words| words[3].rsplit(':').next()?.parse().ok())
        .expect("dev prints a table of its nodes")
}

#[test]
fn what_is_left_out_stays_left_out() {
    let text = "```console\n$ count\n1\n…\n4\n$ say\nno\n```\n$ count\n";
    let mut run = |command: &str| {
        let output = if command == "count" {
            "1\n2\n3\n5\n"
        } else {
            "yes\n"
        };
        output.to_owned()
    };
    let expected = "```console\n$ count\n1\n…\n5\n$ say\nyes\n```\n$ count\n";
    assert_eq!(replay(text, &mut run), expected);
    assert_eq!(
        replaced("a:70 170 70", "70", "7"),
        "a:7 170 7",
        "no part of a longer number"
    );
}
