//! What lies in `deploy/` would work: checked against the schemas of Kubernetes, and by the code
//! that reads the configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use node::config;
use serde_json::Value;

/// The oldest version that is looked after and the newest one.
const KUBERNETES: [&str; 2] = ["1.34", "1.37"];

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

fn manifests() -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(deploy().join("kubernetes"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
}

/// A program of the Python environment that `tests/install` makes.
fn python(program: &str, arguments: &[&str], paths: &[PathBuf]) -> Output {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(".venv/bin")
        .join(program);
    Command::new(&path)
        .args(arguments)
        .args(paths)
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}; tests/install makes it", path.display()))
}

#[test]
fn kubernetes_accepts_the_manifests() {
    for version in KUBERNETES {
        let output = python(
            "kubernetes-validate",
            &["--strict", "-k", version],
            &manifests(),
        );
        let said =
            String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{version}:\n{said}");
    }
}

#[test]
fn the_pods_start_with_settings_that_are_right() {
    let documents = manifest_documents();
    let find = |kind: &str| {
        documents
            .iter()
            .find(|document| document["kind"] == kind)
            .expect("it is there")
    };
    let pod = &find("StatefulSet")["spec"]["template"]["spec"];
    let variable = |entry: &Value| {
        let value = entry["value"].as_str().unwrap_or("a long password");
        let value = value
            .replace("$(POD_NAME)", "quorate-0")
            .replace("$(POD_NAMESPACE)", "cache");
        (entry["name"].as_str().unwrap().to_owned(), value)
    };
    let environment: Vec<(String, String)> = pod["containers"][0]["env"]
        .as_array()
        .unwrap()
        .iter()
        .map(variable)
        .collect();

    let folder = tests::harness::folder();
    let secret = folder.path().join("secret");
    fs::write(&secret, "0123456789abcdef").unwrap();
    let file = folder.path().join("quorate.toml");
    let text = find("ConfigMap")["data"]["quorate.toml"].as_str().unwrap();
    let text = text.replace("/etc/quorate/secret/cluster", secret.to_str().unwrap());
    fs::write(&file, text).unwrap();

    let settings = config::load(Some(&file), environment, &[]).unwrap();
    assert_eq!(
        settings.node.hostname.as_deref(),
        Some("quorate-0.quorate.cache.svc")
    );
    assert!(settings.node.requirepass.is_some() && settings.cluster.secret.is_some());
    let replicas = find("StatefulSet")["spec"]["replicas"].as_u64().unwrap();
    assert_eq!(
        settings.cluster.bootstrap_expect.map(u64::from),
        Some(replicas)
    );
    assert_eq!(settings.cluster.seeds.addresses().len() as u64, replicas);
    assert_eq!(pod["enableServiceLinks"], false);

    // The secret as it is committed does not start a node.
    let committed = find("Secret")["stringData"]["cluster"].as_str().unwrap();
    fs::write(&secret, committed).unwrap();
    let refused = config::load(Some(&file), [], &[]).unwrap_err().to_string();
    assert!(refused.contains("16 to 1024 bytes"), "{refused}");
}

/// The manifests' documents; the Python environment can read YAML.
fn manifest_documents() -> Vec<Value> {
    let script = "import json, sys, yaml\n\
                  all = [d for p in sys.argv[1:] for d in yaml.safe_load_all(open(p))]\n\
                  print(json.dumps(all))";
    let output = python("python", &["-c", script], &manifests());
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_container_is_built_with_the_toolchain_of_the_tree() {
    let read = |path: &str| fs::read_to_string(deploy().join(path)).unwrap();
    let toolchain = read("../rust-toolchain.toml");
    let version = toolchain
        .split("channel = \"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let container = read("Dockerfile");
    for line in [
        format!("FROM rust:{version}-"),
        format!("ENV RUSTUP_TOOLCHAIN={version}\n"),
    ] {
        assert!(
            container.contains(&line),
            "no {line:?} in deploy/Dockerfile"
        );
    }
}
