//! What a wrong configuration gets: its key, where it stands, what would be right, exit code 2.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tests::harness::{folder, quorate};

/// What a command says on its way out; it must refuse its configuration.
fn refused(command: &mut Command) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    let said = String::from_utf8_lossy(&stderr).into_owned();
    assert_eq!(status.code(), Some(2), "{said}");
    said
}

/// What `quorate serve` says of a file with this text; the file is called FILE in it.
fn refused_file(text: &[u8]) -> String {
    let folder = folder();
    let path = folder.path().join("quorate.toml");
    fs::write(&path, text).unwrap();
    let said = refused(quorate().arg("serve").arg("--config").arg(&path));
    said.replace(path.to_str().unwrap(), "FILE")
}

/// Each file is refused with this line and no other.
fn expect(files: &[(&str, &str)]) {
    for (text, said) in files {
        assert_eq!(
            refused_file(text.as_bytes()),
            format!("quorate: FILE{said}\n")
        );
    }
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_right_one() {
    expect(&[
        (
            "[limits]\nmaxclient = 5\n",
            ":2: limits.maxclient: there is no such setting; did you mean limits.maxclients?",
        ),
        (
            "[node]\nport = 1\n\n[nods]\nport = 5\n",
            ":4: nods: there is no such setting; did you mean node?",
        ),
        (
            "port = 5\n",
            ":1: port: there is no such setting; did you mean node.port?",
        ),
        (
            "[log]\n\nlevel = \"info\"\n",
            ":3: log.level: there is no such setting; there are log.filter, log.format",
        ),
        (
            "[[keyspace]]\nname = \"a\"\nmatch = \"a:*\"\nmood = \"cache\"\n",
            ":4: keyspace[0].mood: there is no such setting; did you mean keyspace.mode?",
        ),
    ]);
}

#[test]
fn a_value_of_the_wrong_type_is_named() {
    expect(&[
        (
            "[node]\nport = \"many\"\n",
            ":2: node.port: must be a whole number, not \"many\"",
        ),
        (
            "[node]\nport = 70000\n",
            ":2: node.port: must be a whole number from 0 to 65535, not 70000",
        ),
        (
            "[node]\nprotected_mode = \"maybe\"\n",
            ":2: node.protected_mode: must be true or false, not \"maybe\"",
        ),
        (
            "[cluster]\nseeds = 5\n",
            ":2: cluster.seeds: must be a list of seeds, not 5",
        ),
        (
            "[cluster]\nseeds = [\"a b\"]\n",
            ":2: cluster.seeds: a seed is HOST or HOST:PORT, not \"a b\"",
        ),
        (
            "[timings]\nlease = \"5 parsecs\"\n",
            ":2: timings.lease: a span of time is written like \"500ms\", \"5s\" or \"1h\", \
             not \"5 parsecs\"",
        ),
        (
            "[memory]\nmaxmemory = \"lots\"\n",
            ":2: memory.maxmemory: a size is written like \"512\", \"64KiB\" or \"8MiB\", \
             not \"lots\"",
        ),
        (
            "[memory]\npolicy = \"allkeys-mru\"\n",
            ":2: memory.policy: unknown word \"allkeys-mru\", expected one of: noeviction, \
             allkeys-lru, allkeys-lfu, allkeys-fifo, allkeys-random, volatile-lru, volatile-lfu, \
             volatile-fifo, volatile-random, volatile-ttl; did you mean \"allkeys-lru\"?",
        ),
        ("store = []\n", ":1: store: must be a table, not a list"),
        (
            "[keyspace]\nname = \"a\"\n",
            ":1: keyspace: must be a list, not a table",
        ),
        ("[store.main]\n", ":1: store.main.url: is missing"),
    ]);
}

#[test]
fn a_value_out_of_its_range_is_named_with_the_range() {
    expect(&[
        (
            "[limits]\nmaxclients = 0\n",
            ":2: limits.maxclients: must be from 1 to 1000000, not 0",
        ),
        (
            "[limits]\nargument_bytes_max = \"1GiB\"\n",
            ":2: limits.argument_bytes_max: must be from 1KiB to 512MiB, not 1GiB",
        ),
        (
            "[failover]\nretry = \"0\"\n",
            ":2: failover.retry: must be from 10ms to 1m, not 0ms",
        ),
        (
            "[peers]\nmessage_bytes_max = \"64MiB\"\n",
            ":2: peers.message_bytes_max: must be from 513MiB to 4GiB, not 64MiB",
        ),
        (
            "[timings]\n\nlease = \"2m\"\n",
            ":3: timings.lease: must be from 10ms to 1m, not 2m",
        ),
        (
            "[cluster]\nread_quorum = 2\n",
            ":2: cluster.read_quorum: must be 1, not 2",
        ),
        (
            "[cluster]\nsecret = \"short\"\n",
            ":2: cluster.secret: a secret has 16 to 1024 bytes, this one 5",
        ),
    ]);
}

#[test]
fn values_that_contradict_each_other_are_named_both() {
    expect(&[
        (
            "[node]\nport = 7001\nadmin_port = 7001\n",
            ":3: node.admin_port: is 7001, as node.port is; each port needs its own",
        ),
        // The other port is a default: the line is that of the one which somebody has set.
        (
            "[node]\nport = 6380\n",
            ":2: node.any_port: is 6380, as node.port is; each port needs its own",
        ),
        (
            "[gossip]\nprobe_period = \"1s\"\n",
            ":2: gossip.suspicion: must be at least twice gossip.probe_period, which is 1s, \
             not 750ms",
        ),
        (
            "[timings]\nheartbeat = \"900ms\"\n",
            ":2: timings.lease: must be at least three times timings.heartbeat, which is 900ms, \
             not 1s",
        ),
        (
            "[timings]\nlease = \"1s\"\nsilence = \"500ms\"\n",
            ":3: timings.silence: must be at least timings.lease, which is 1s, not 500ms",
        ),
        (
            "[limits]\nquery_bytes_max = \"1MiB\"\n",
            ":2: limits.query_bytes_max: must be at least limits.argument_bytes_max, which is \
             512MiB, not 1MiB",
        ),
        (
            "[cluster]\nreplication_factor = 2\nwrite_quorum = 3\n",
            ":3: cluster.write_quorum: cannot be 3 of 2 copies (cluster.replication_factor)",
        ),
        // A node alone has one copy of everything: it must not promise two.
        (
            "[cluster]\nwrite_quorum = 2\n",
            ":2: cluster.write_quorum: cannot be 2 of 1 copies (cluster.replication_factor)",
        ),
        (
            "[cluster]\nsecret = \"long enough to be one\"\nsecret_file = \"secret\"\n",
            ":3: cluster.secret_file: cluster.secret is set too; one must go",
        ),
    ]);
}

#[test]
fn a_setting_of_a_keyspace_or_a_store_is_named() {
    let keyspace = |more: &str| {
        format!("[store.main]\nurl = \"sqlite://x\"\n[[keyspace]]\nname = \"a\"\n{more}")
    };
    let write_through = "match = \"a:*\"\nmode = \"write-through\"\n";
    for (more, said) in [
        (
            &*format!("{write_through}store = \"mian\"\n"),
            ":7: keyspace[0].store: there is no store \"mian\"; did you mean \"main\"?",
        ),
        (
            &format!("{write_through}store = \"other\"\n"),
            ":7: keyspace[0].store: there is no store \"other\"; there are: main",
        ),
        (
            write_through,
            ":6: keyspace[0].mode: \"write-through\" needs a store; there are: main",
        ),
        (
            &format!("{write_through}store = \"main\"\nack = \"primary\"\n"),
            ":8: keyspace[0].ack: \"primary\" is for mode = \"cache\" alone",
        ),
        (
            "store = \"main\"\nmatch = \"a:*\"\n",
            ":5: keyspace[0].store: mode = \"cache\" has no store; leave it out",
        ),
        (
            "match = \"a:\"\n",
            ":5: keyspace[0].match: must be a prefix and one \"*\", like \"user:*\", not \"a:\"",
        ),
        (
            "match = \"a:*\"\n[keyspace.write_back]\nbatch = 0\n",
            ":7: keyspace[0].write_back.batch: must be from 1 to 10000, not 0",
        ),
        (
            "match = \"a:*\"\n[[keyspace]]\nname = \"a\"\nmatch = \"b:*\"\n",
            ":7: keyspace[1].name: \"a\" is there twice; names are unique",
        ),
    ] {
        expect(&[(&keyspace(more), said)]);
    }
    expect(&[
        (
            "[store.main]\nmax_connections = 4\nurl = \"postgres://x\"\n",
            ":3: store.main.url: must begin with sqlite://, not \"postgres://x\"",
        ),
        (
            "[[keyspace]]\nname = \"A\"\nmatch = \"a:*\"\n",
            ":2: keyspace[0].name: a name is 1 to 128 of a-z, 0-9, \"_\" and \"-\", not \"A\"",
        ),
    ]);
}

#[test]
fn a_file_that_is_no_toml_is_named_with_the_line() {
    expect(&[
        (
            "[node]\nport = 5\nport = 6\n",
            ":3: duplicate key: port = 6",
        ),
        (
            "[node]\nport = 99999999999999999999999\n",
            ":2: integer number overflowed: port = 99999999999999999999999",
        ),
        (
            "# a node\n[node\nport = 5\n",
            ":2: unclosed table, expected `]`: [node",
        ),
    ]);
    let said = refused_file(b"[node]\nzone = \"\xff\xfe\"\n");
    assert!(
        said.starts_with("quorate: FILE: cannot be read: "),
        "{said}"
    );
    let deep = format!("x = {}", "[".repeat(100_000));
    let said = refused_file(deep.as_bytes());
    assert!(said.starts_with("quorate: FILE:1: "), "{said}");
    assert!(said.len() < 300, "{said}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    for command in ["serve", "dev"] {
        let folder = folder();
        let path = folder.path().join("none.toml");
        let mut command_line = quorate();
        let data = folder.path().join("data");
        command_line.arg(command).arg("--data").arg(data);
        let said = refused(command_line.arg("--config").arg(&path));
        let missing = "cannot be read: No such file or directory (os error 2)";
        assert_eq!(said, format!("quorate: {}: {missing}\n", path.display()));
    }
    let folder = folder();
    let path = folder.path().display();
    let said = refused(quorate().args(["serve", "--config"]).arg(folder.path()));
    assert!(
        said.starts_with(&format!("quorate: {path}: cannot be read: ")),
        "{said}"
    );
    let said = refused_file(b"[cluster]\nsecret_file = \"/nowhere/secret\"\n");
    assert!(
        said.starts_with("quorate: FILE:2: cluster.secret_file: /nowhere/secret cannot be read: "),
        "{said}"
    );
}

#[test]
fn dev_refuses_what_serve_refuses() {
    let folder = folder();
    let path = folder.path().join("quorate.toml");
    fs::write(&path, "[limits]\nmaxclient = 5\n").unwrap();
    let said = |command: &str, data: &Path| {
        let mut line = quorate();
        line.arg(command).arg("--data").arg(data);
        refused(line.arg("--config").arg(&path))
    };
    let data = folder.path().join("data");
    assert_eq!(said("serve", &data), said("dev", &data));
}

#[test]
fn a_wrong_variable_is_named() {
    for (name, value, problem) in [
        (
            "QUORATE_LIMITS__MAXCLIENT",
            "5",
            "there is no such setting; did you mean QUORATE_LIMITS__MAXCLIENTS?",
        ),
        (
            "QUORATE_NODE__PORT",
            "many",
            "node.port: must be a whole number, not \"many\"",
        ),
        (
            "QUORATE_LIMITS__MAXCLIENTS",
            "0",
            "limits.maxclients: must be from 1 to 1000000, not 0",
        ),
        (
            "QUORATE_STORE__MAIN",
            "sqlite://x",
            "store.main: must be a table, not \"sqlite://x\"",
        ),
    ] {
        let said = refused(quorate().arg("serve").env(name, value));
        assert_eq!(
            said,
            format!("quorate: environment variable {name}: {problem}\n")
        );
    }
}

#[test]
fn a_wrong_flag_is_named() {
    for (flag, value, problem) in [
        (
            "--port",
            "70000",
            "node.port: must be a whole number from 0 to 65535, not 70000",
        ),
        (
            "--maxmemory",
            "5 tons",
            "memory.maxmemory: a size is written like \"512\", \"64KiB\" or \"8MiB\", \
             not \"5 tons\"",
        ),
    ] {
        let said = refused(quorate().args(["serve", flag, value]));
        assert_eq!(said, format!("quorate: flag {flag}: {problem}\n"));
    }
    let said = refused(quorate().args(["serve", "--prot", "1"]));
    assert!(
        said.contains("'--prot'") && said.contains("'--port'"),
        "{said}"
    );
    refused(quorate().arg("serv"));
    refused(quorate().args(["dev", "--nodes", "0"]));
    refused(&mut quorate());
}
