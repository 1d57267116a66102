//! A cluster on this machine, as `quorate dev` runs it.

use std::net::SocketAddr;
use std::path::Path;

use tempfile::TempDir;

use crate::harness::{Process, eventually, folder, is_ready, quorate};

/// Where one of its nodes is reached.
#[derive(Clone, Copy, Debug)]
pub struct LocalNode {
    /// Where cluster-aware clients connect.
    pub cluster_port: SocketAddr,
    /// Where plain clients connect.
    pub any_port: SocketAddr,
    /// Where it is watched.
    pub admin_port: SocketAddr,
    /// Its process id.
    pub process: i32,
}

/// The cluster; all of it ends with this value.
#[derive(Debug)]
pub struct LocalCluster {
    /// Its nodes.
    pub nodes: Vec<LocalNode>,
    /// The process that runs them.
    pub dev: Process,
    folder: TempDir,
}

impl LocalCluster {
    /// Starts so many nodes, on ports that are free, and waits until they are ready.
    ///
    /// # Panics
    /// If they are not ready in time.
    #[must_use]
    pub fn start(nodes: usize) -> LocalCluster {
        LocalCluster::launch(nodes, folder(), None)
    }

    /// The same with a configuration. `FOLDER` in it becomes the folder of the test.
    ///
    /// # Panics
    /// If they are not ready in time.
    #[must_use]
    pub fn start_with(nodes: usize, configuration: &str) -> LocalCluster {
        let folder = folder();
        let text = configuration.replace("FOLDER", &folder.path().to_string_lossy());
        let path = folder.path().join("quorate.toml");
        std::fs::write(&path, text).expect("the test's folder can be written");
        LocalCluster::launch(nodes, folder, Some(&path))
    }

    fn launch(nodes: usize, folder: TempDir, configuration: Option<&Path>) -> LocalCluster {
        let mut command = quorate();
        command
            .args([
                "dev",
                "--port",
                "0",
                "--nodes",
                &nodes.to_string(),
                "--data",
            ])
            .arg(folder.path().join("data"));
        if let Some(path) = configuration {
            command.arg("--config").arg(path);
        }
        let mut dev = Process::start("dev", &mut command, folder.path());
        let end = dev.line_after("Ctrl-C stops");
        assert_eq!(end, " all nodes.");
        let nodes = listed(&dev.stdout());
        for node in &nodes {
            eventually("a node of the cluster is ready", || {
                is_ready(node.admin_port)
            });
        }
        LocalCluster { nodes, dev, folder }
    }

    /// The folder of the test, with the data of node N in `data/N`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// The rows of the table that `dev` prints: number, four addresses, process.
fn listed(stdout: &str) -> Vec<LocalNode> {
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[_, cluster, any, _, admin, process] = words.as_slice() else {
            return None;
        };
        Some(LocalNode {
            cluster_port: cluster.parse().ok()?,
            any_port: any.parse().ok()?,
            admin_port: admin.parse().ok()?,
            process: process.parse().ok()?,
        })
    };
    stdout.lines().filter_map(row).collect()
}
