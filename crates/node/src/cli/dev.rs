//! `quorate dev`: a cluster on this machine, one child process a node.

mod children;
mod screen;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, value_parser};
use node::config;

use super::ports::{NODES_MAX, Ports};
use super::signals::Signals;
use super::{Failure, environment};
use children::{Children, Event, Plan};

/// Run a cluster on this machine, to try it and to develop against it
///
/// Each node is a child process. Node 1 has PORT as its cluster port, PORT + 100 as its any port,
/// PORT + 10000 for its peers and PORT + 2100 for metrics and health; the next nodes count up from
/// there. Ctrl-C stops all of them.
#[derive(Args)]
pub(super) struct Arguments {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u16).range(1..=NODES_MAX))]
    nodes: u16,
    /// The first node's cluster port; 0 picks free ports
    #[arg(long, default_value_t = 7001)]
    port: u16,
    /// Where node N keeps its data and its log: DIR/N
    #[arg(long, value_name = "DIR", default_value = "./data")]
    data: PathBuf,
    /// The configuration of every node; without it, one example keyspace for each way of writing to
    /// a database, on DIR/quorate.db
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Starts the nodes, says how to reach them, and stays until it is asked to stop.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    // What is wrong with it is said once, not by every node, and before anything is begun.
    let load = |config: Option<&Path>| config::load(config, environment(), &[]);
    load(arguments.config.as_deref())?;
    let ports = Ports::of_nodes(arguments.nodes, arguments.port)?;
    let failed =
        |path: &Path, error| Failure::Run(format!("{} cannot be written: {error}", path.display()));
    fs::create_dir_all(&arguments.data).map_err(|error| failed(&arguments.data, error))?;
    let config = match &arguments.config {
        Some(path) => path.clone(),
        None => write_example(&arguments.data).map_err(|(path, error)| failed(&path, error))?,
    };
    let settings = load(Some(&config))?;

    let plans: Vec<Plan> = (1..=arguments.nodes)
        .map(|number| Plan::new(number, &ports, &config, &arguments.data))
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Run(format!("no runtime: {error}")))?;
    // On this thread and no other: a child dies with the thread that started it.
    let stop_timeout = settings.timings.stop_timeout.0;
    runtime.block_on(attend(plans, stop_timeout, arguments))
}

async fn attend(
    plans: Vec<Plan>,
    stop_timeout: Duration,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let mut signals = Signals::take()?;
    let mut children = Children::start(plans, stop_timeout)?;
    let mut starting = usize::from(arguments.nodes);
    let mut living = starting;
    while living > 0 {
        let event = tokio::select! {
            () = signals.stop() => break,
            event = children.next() => event,
        };
        let was_starting = starting > 0;
        match event {
            Event::Serves => starting -= 1,
            Event::Ended { index, how } => {
                living -= 1;
                starting -= usize::from(!children.has_served(index));
                screen::ended(children.plan(index), children.process(index), &how);
            }
        }
        if was_starting && starting == 0 && living > 0 {
            screen::started(&children, arguments);
        }
    }
    if living == 0 {
        return Err(Failure::Run("no node is left".to_owned()));
    }
    screen::stopping(living);
    tokio::select! {
        () = children.stop() => {}
        () = signals.stop() => {}
    }
    children.kill().await;
    Ok(())
}

/// A configuration with a keyspace for each way of writing to a database.
fn write_example(data: &Path) -> Result<PathBuf, (PathBuf, std::io::Error)> {
    let path = data.join("dev.toml");
    let write = || {
        // Absolute, so that a node that is started from elsewhere uses the same file.
        let database = fs::canonicalize(data)?.join("quorate.db");
        let url = toml_text(&format!("sqlite://{}", database.display()));
        fs::write(&path, format!("{EXAMPLE}\n[store.main]\nurl = {url}\n"))
    };
    match write() {
        Ok(()) => Ok(path),
        Err(error) => Err((path, error)),
    }
}

/// JSON's texts are TOML's as well.
fn toml_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

const EXAMPLE: &str = "\
# Written by `quorate dev` at each start. To change it, name a copy of it with --config.

# A write is in the database when it is acknowledged.
[[keyspace]]
name = \"wt\"
match = \"wt:*\"
mode = \"write-through\"
store = \"main\"

# A write is on enough nodes when it is acknowledged, and in the database a moment later.
[[keyspace]]
name = \"wb\"
match = \"wb:*\"
mode = \"write-back\"
store = \"main\"

# A write goes to the database alone; the next read fetches it from there.
[[keyspace]]
name = \"wa\"
match = \"wa:*\"
mode = \"write-around\"
store = \"main\"
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_right() {
        let folder = tempfile::tempdir().unwrap();
        let path = write_example(folder.path()).unwrap();
        let settings = config::load(Some(&path), [], &[]).unwrap();
        let names: Vec<&str> = settings
            .keyspace
            .iter()
            .map(|one| one.name.as_str())
            .collect();
        assert_eq!(names, ["wt", "wb", "wa"]);
        assert!(settings.store["main"].url.ends_with("/quorate.db"));
    }
}
