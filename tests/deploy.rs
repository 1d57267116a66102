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

    // Neither secret starts a node as it is committed.
    let committed = &find("Secret")["stringData"];
    let password = committed["password"].as_str().unwrap().to_owned();
    let password = ("QUORATE_NODE__REQUIREPASS".to_owned(), password);
    let refused = config::load(Some(&file), [password], &[]).unwrap_err();
    assert!(
        refused.to_string().contains("node.requirepass"),
        "{refused}"
    );
    fs::write(&secret, committed["cluster"].as_str().unwrap()).unwrap();
    let refused = config::load(Some(&file), [], &[]).unwrap_err().to_string();
    assert!(refused.contains("16 to 1024 bytes"), "{refused}");
}

/// None of it shows before there is a cluster to run it in.
#[test]
fn the_pods_find_each_other_and_what_they_need() {
    let documents = manifest_documents();
    let find = |kind: &str, name: &str| {
        let is_it = |it: &&Value| it["kind"] == kind && it["metadata"]["name"] == name;
        documents.iter().find(is_it).expect("it is there")
    };
    let text = find("ConfigMap", "quorate")["data"]["quorate.toml"]
        .as_str()
        .unwrap();
    let folder = tests::harness::folder();
    let secret = folder.path().join("secret");
    fs::write(&secret, "0123456789abcdef").unwrap();
    let mounted = "/etc/quorate/secret/cluster";
    assert!(text.contains(&format!("secret_file = \"{mounted}\"")));
    let file = folder.path().join("quorate.toml");
    fs::write(&file, text.replace(mounted, secret.to_str().unwrap())).unwrap();
    let settings = config::load(Some(&file), [], &[]).unwrap();

    let set = &find("StatefulSet", "quorate")["spec"];
    assert_eq!(set["podManagementPolicy"], "Parallel");
    assert_eq!(set["serviceName"], "quorate");
    let service = &find("Service", "quorate")["spec"];
    assert_eq!(service["publishNotReadyAddresses"], true);
    let node = &settings.node;
    let ports = [
        ("cluster", node.port),
        ("any", node.any_port),
        ("peers", node.peer_port),
        ("admin", node.admin_port),
    ];
    let container = &set["template"]["spec"]["containers"][0];
    for (name, port) in ports {
        for (list, field) in [
            (&container["ports"], "containerPort"),
            (&service["ports"], "port"),
        ] {
            let is_it = |it: &&Value| it["name"] == name;
            let found = list.as_array().unwrap().iter().find(is_it).expect(name);
            assert_eq!(found[field], port, "{name}");
        }
    }
    let mounts = container["volumeMounts"].as_array().unwrap();
    let mount = mounts.iter().find(|it| it["name"] == "secret").unwrap();
    let volumes = set["template"]["spec"]["volumes"].as_array().unwrap();
    let volume = volumes.iter().find(|it| it["name"] == "secret").unwrap();
    let item = &volume["secret"]["items"][0];
    let path = Path::new(mount["mountPath"].as_str().unwrap()).join(item["path"].as_str().unwrap());
    assert_eq!(path, Path::new(mounted));
    let kept = find("Secret", "quorate")["stringData"].as_object().unwrap();
    assert!(kept.contains_key(item["key"].as_str().unwrap()));

    // What one client or node can have a pod hold fits beside the data, several times.
    let memory = container["resources"]["limits"]["memory"].as_str().unwrap();
    assert_eq!(memory, "2Gi");
    let beside = (2_u64 << 30) - settings.memory.maxmemory.0;
    let (limits, peers) = (&settings.limits, &settings.peers);
    let one_client = limits.query_bytes_max.0 + limits.output_bytes_max.0;
    let one_node = limits.peer_queue_bytes_max.0 + peers.calls_queued_bytes_max.0;
    assert!(2 * one_client + 2 * one_node <= beside);
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
