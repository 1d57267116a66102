mod peers;

use std::io::Write;

use tempfile::NamedTempFile;

use super::*;

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn from_file(text: &str) -> Result<Settings, ConfigError> {
    load(Some(file(text).path()), [], &[])
}

/// The line and the rest of an error in a file.
fn file_error(text: &str) -> (usize, String) {
    let error = from_file(text).unwrap_err();
    let Origin::File(_, line) = error.origin else {
        panic!("{error}")
    };
    (line, format!("{}: {}", error.key, error.problem))
}

fn from_environment(name: &str, value: &str) -> Result<Settings, ConfigError> {
    load(None, [(name.to_owned(), value.to_owned())], &[])
}

fn flag(key: &'static str, value: &str) -> Flag {
    Flag {
        name: "--flag",
        key,
        value: value.to_owned(),
    }
}

#[test]
fn each_layer_overrides_the_ones_before() {
    let file = file("[node]\nport = 1\nany_port = 2\npeer_port = 3\nthreads = 4\n");
    let environment = [
        ("QUORATE_NODE__ANY_PORT".to_owned(), "12".to_owned()),
        ("QUORATE_NODE__PEER_PORT".to_owned(), "13".to_owned()),
        ("QUORATES".to_owned(), "not ours".to_owned()),
    ];
    let flags = [flag("node.peer_port", "23")];
    let node = load(Some(file.path()), environment, &flags).unwrap().node;
    let ports = [node.port, node.any_port, node.peer_port, node.admin_port];
    assert_eq!((ports, node.threads), ([1, 12, 23, 9121], 4));
}

#[test]
fn values_are_read_in_every_layer() {
    let text = "[memory]\nmaxmemory = \"64MiB\"\npolicy = \"allkeys-lru\"\n\
                [timings]\nlease = \"2s\"\nsilence = \"3s\"\n[cluster]\nseeds = [\"a\", \"b:7\"]\n";
    let settings = from_file(text).unwrap();
    assert_eq!(settings.memory.maxmemory.0, 64 << 20);
    assert_eq!(settings.memory.policy, EvictionPolicy::AllkeysLru);
    assert_eq!(settings.timings.lease.as_millis(), 2_000);
    assert_eq!(settings.cluster.seeds.addresses(), ["a:16379", "b:7"]);

    let seeds = from_environment("QUORATE_CLUSTER__SEEDS", "a, b:7")
        .unwrap()
        .cluster
        .seeds;
    assert_eq!(seeds.addresses(), ["a:16379", "b:7"]);
    let off = from_environment("QUORATE_NODE__PROTECTED_MODE", "false").unwrap();
    assert!(!off.node.protected_mode);
    let pass = from_environment("QUORATE_NODE__REQUIREPASS", "123").unwrap();
    assert_eq!(pass.node.requirepass.as_deref(), Some("123"));
    let url = from_environment("QUORATE_STORE__MAIN__URL", "sqlite://x.db").unwrap();
    assert_eq!(url.store["main"].url, "sqlite://x.db");
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_right_one() {
    let expect = |text, line, message: &str| {
        assert_eq!(file_error(text), (line, message.to_owned()));
    };
    expect(
        "[node]\nport = 1\n\n[limits]\nmaxclient = 5\n",
        5,
        "limits.maxclient: there is no such setting; did you mean limits.maxclients?",
    );
    expect(
        "[limit]\n",
        1,
        "limit: there is no such setting; did you mean limits?",
    );
    // At home in another table.
    expect(
        "[node]\nmaxmemory = \"1GiB\"\n",
        2,
        "node.maxmemory: there is no such setting; did you mean memory.maxmemory?",
    );
    expect(
        "zzz = 1\n",
        1,
        "zzz: there is no such setting; there are balance, cluster, failover, gossip, keyspace, \
         limits, log, memory, metadata, node, packed, peers, store, timings",
    );
    expect(
        "[store.main]\nurl = \"sqlite://x\"\nmax_connection = 3\n",
        3,
        "store.main.max_connection: there is no such setting; \
         did you mean store.main.max_connections?",
    );
    expect(
        "[[keyspace]]\nname = \"a\"\nmatch = \"a*\"\n[keyspace.write_back]\nbtach = 1\n",
        5,
        "keyspace[0].write_back.btach: there is no such setting; \
         did you mean keyspace.write_back.batch?",
    );
    expect(
        "node.port.x = 1\n",
        1,
        "node.port.x: node.port is a value, not a table",
    );
}

#[test]
fn a_wrong_value_is_named_with_its_line() {
    let expect = |text, line, message: &str| {
        assert_eq!(file_error(text), (line, message.to_owned()));
    };
    expect(
        "[node]\nport = 70000\n",
        2,
        "node.port: must be a whole number from 0 to 65535, not 70000",
    );
    expect(
        "[node]\nbind = \"here\"\n",
        2,
        "node.bind: invalid IP address syntax",
    );
    expect(
        "[memory]\npolicy = \"allkeys-lro\"\n",
        2,
        "memory.policy: unknown word \"allkeys-lro\", expected one of: noeviction, allkeys-lru, \
         allkeys-lfu, allkeys-fifo, allkeys-random, volatile-lru, volatile-lfu, volatile-fifo, \
         volatile-random, volatile-ttl; did you mean \"allkeys-lru\"?",
    );
    expect(
        "[memory]\nmaxmemory_clients = \"101%\"\n",
        2,
        "memory.maxmemory_clients: a share is written like \"5%\", up to 100%, not \"101%\"",
    );
    expect(
        "[memory]\nmaxmemory_samples = 0\n",
        2,
        "memory.maxmemory_samples: must be from 1 to 64, not 0",
    );
    expect(
        "[cluster]\non_loss = \"waits\"\n",
        2,
        "cluster.on_loss: unknown word \"waits\", expected one of: accept, wait; did you mean \
         \"wait\"?",
    );
    expect(
        "[[keyspace]]\nname = \"a\"\nmatch = \"a*\"\nmode = \"write-thru\"\n",
        4,
        "keyspace[0].mode: unknown word \"write-thru\", expected one of: write-through, \
         write-back, write-around, read-only, cache; did you mean \"write-through\"?",
    );
    expect(
        "[[keyspace]]\nname = \"a\"\n",
        1,
        "keyspace[0].match: is missing",
    );
    assert_eq!(file_error("[node]\nport = \n").0, 2);
    let (line, span) = file_error("[timings]\nlease = \"soon\"\n");
    assert!(line == 2 && span.contains("\"500ms\""), "{span}");
}

#[test]
fn rules_between_settings_are_checked() {
    let expect = |text, line, part: &str| {
        let (found, message) = file_error(text);
        assert!(
            found == line && message.contains(part),
            "{found}: {message}"
        );
    };
    expect(
        "[node]\nport = 7\nany_port = 7\n",
        3,
        "node.any_port: is 7, as node.port is",
    );
    expect(
        "[timings]\nlease = \"200ms\"\n",
        2,
        "at least three times timings.heartbeat",
    );
    expect(
        "[cluster]\nreplication_factor = 2\nwrite_quorum = 3\n",
        3,
        "cannot be 3 of 2",
    );
    expect(
        "[cluster]\nsecret = \"short\"\n",
        2,
        "16 to 1024 bytes, this one 5",
    );
    expect(
        "[cluster]\nsecret_file = \"/nowhere/secret\"\n",
        2,
        "/nowhere/secret cannot be read",
    );
    expect(
        "[limits]\nmaxclients = 0\n",
        2,
        "must be from 1 to 1000000, not 0",
    );
    expect(
        "[timings]\ndatabase_retry_max = \"100ms\"\n",
        2,
        "must be from 250ms to 1h, not 100ms",
    );
    expect(
        "[store.main]\nurl = \"sqlite://x\"\nopen_timeout = \"0\"\n",
        3,
        "store.main.open_timeout: must be from 10ms to 10m, not 0ms",
    );
    expect(
        "[[keyspace]]\nname = \"a\"\nmatch = \"a*\"\n\n\
         [[keyspace]]\nname = \"b\"\nmatch = \"a*\"\n",
        7,
        "matches the same keys",
    );
}

/// Keyspaces are the same at all nodes, whatever memory each has.
#[test]
fn a_keyspace_does_not_depend_on_the_memory() {
    let keyspace = |maxmemory: &str| {
        let text = format!(
            "[memory]\nmaxmemory = {maxmemory:?}\n[store.s]\nurl = \"sqlite://x\"\n[[keyspace]]\n\
             name = \"a\"\nmatch = \"a*\"\nmode = \"write-back\"\nstore = \"s\"\n"
        );
        from_file(&text).unwrap().keyspace
    };
    assert_eq!(keyspace("64MiB"), keyspace("4GiB"));
}

#[test]
fn the_environment_and_flags_are_named_as_they_were_written() {
    let error = |name, value| from_environment(name, value).unwrap_err().to_string();
    assert_eq!(
        error("QUORATE_LIMITS__MAXCLIENT", "1"),
        "environment variable QUORATE_LIMITS__MAXCLIENT: there is no such setting; \
         did you mean QUORATE_LIMITS__MAXCLIENTS?"
    );
    assert!(error("QUORATE_PORT", "1").ends_with("did you mean QUORATE_NODE__PORT?"));
    assert!(error("QUORATE_PORT", "tcp://10.0.0.1:6379").contains("enableServiceLinks"));
    assert!(error("QUORATE_KEYSPACE__0__MODE", "cache").contains("in the file alone"));
    let wrong = error("QUORATE_NODE__PORT", "many");
    assert!(
        wrong.starts_with("environment variable QUORATE_NODE__PORT: node.port: "),
        "{wrong}"
    );

    let wrong = load(None, [], &[flag("memory.maxmemory", "lots")])
        .unwrap_err()
        .to_string();
    assert!(
        wrong.starts_with("flag --flag: memory.maxmemory: a size is"),
        "{wrong}"
    );
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = load(Some(Path::new("/nowhere/quorate.toml")), [], &[])
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("/nowhere/quorate.toml: cannot be read: "),
        "{error}"
    );
}

#[test]
fn a_secret_is_read_from_its_file() {
    let secret = file("a secret of some length\n");
    let path = secret.path().to_str().unwrap();
    let settings = load(None, [], &[flag("cluster.secret_file", path)]).unwrap();
    assert_eq!(
        settings.cluster.secret.as_deref(),
        Some("a secret of some length")
    );
}

/// `deploy/quorate.toml` with what it has commented out; prose stays a comment.
fn reference() -> String {
    let text = include_str!("../../../../deploy/quorate.toml");
    let setting = |line: &str| !line.starts_with("# ") && line.starts_with('#') && line.len() > 1;
    text.lines()
        .map(|line| if setting(line) { &line[1..] } else { line })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_reference_file_has_every_setting_and_no_other() {
    let text = reference();
    let document = Document::parse(text.as_str()).unwrap();
    let tables = [
        "node",
        "cluster",
        "timings",
        "limits",
        "memory",
        "packed",
        "peers",
        "gossip",
        "balance",
        "metadata",
        "failover",
        "log",
        "store",
        "store.NAME",
    ];
    let mut described: Vec<String> = keys::written(&document)
        .into_iter()
        .map(|written| {
            written
                .key
                .replace("[0]", "")
                .replace("store.main", "store.NAME")
        })
        .filter(|key| !tables.contains(&key.as_str()))
        .filter(|key| {
            !["keyspace", "keyspace.write_back", "keyspace.mapping"].contains(&key.as_str())
        })
        .collect();
    let mut known = keys::all(&keys::template());
    described.sort();
    known.sort();
    assert_eq!(described, known);
}

#[test]
fn the_reference_file_has_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/quorate.toml");
    assert_eq!(load(Some(&path), [], &[]).unwrap(), Settings::default());

    // What is commented out can be set as it stands there, and the defaults among it are right.
    let text = reference().replace("\nsecret_file = ", "\n#secret_file = ");
    let settings =
        from_file(&text.replace("bootstrap_expect = 3", "bootstrap_expect = 5")).unwrap();
    assert_eq!(settings.cluster.bootstrap_expect, Some(5));
    let template = keys::template();
    let mut store = serde_json::to_value(&settings.store["main"]).unwrap();
    let mut keyspace = serde_json::to_value(&settings.keyspace[0]).unwrap();
    for key in ["url", "take_over"] {
        store[key] = template["store"]["NAME"][key].clone();
    }
    for key in ["name", "match", "mode", "store"] {
        keyspace[key] = template["keyspace"][0][key].clone();
    }
    assert_eq!(store, template["store"]["NAME"]);
    assert_eq!(keyspace, template["keyspace"][0]);
}

#[test]
fn the_reference_file_says_something_of_every_setting() {
    let text = reference();
    let mut before = "";
    for line in text.lines() {
        if line.contains(" = ") && !line.starts_with('#') {
            assert!(
                before.starts_with("# ") && before.ends_with('.'),
                "nothing is said of {line}"
            );
        }
        assert!(line.chars().count() <= 100, "{line}");
        before = line;
    }
}
