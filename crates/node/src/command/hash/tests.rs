use proptest::prelude::*;

use crate::command::trial::Trial;

#[test]
fn fields_are_set_read_and_removed() {
    Trial::new().script(
        "hset h a 1 b 2 a 3 => :2
         hget h a => $1|3
         hget h x => $-1
         hgetall h => *4|$1|a|$1|3|$1|b|$1|2
         hset h b 4 c \"\" => :1
         hlen h => :3
         hkeys h => *3|$1|a|$1|b|$1|c
         hvals h => *3|$1|3|$1|4|$0|
         hmget h a x c => *3|$1|3|$-1|$0|
         hexists h c => :1
         hstrlen h c => :0
         hdel h a a x => :1
         hdel h b c => :2
         exists h => :0
         type h => +none
         hset h a => -ERR wrong number of arguments for 'hset' command
         hset h a 1 b => -ERR wrong number of arguments for 'hset' command
         hmset h a 1 => +OK
         type h => +hash
         hsetnx h a 2 => :0
         hsetnx h b 2 => :1
         hincrby h b 40 => :42
         hincrbyfloat h b 0.5 => $4|42.5
         hincrby h b 1 => -ERR hash value is not an integer",
    );
}

#[test]
fn what_holds_another_type_is_refused_and_left_alone() {
    let mut trial = Trial::new();
    trial.script("set s v => +OK\nhset h f v => :1");
    let wrong = " => -WRONGTYPE Operation against a key holding the wrong kind of value";
    for command in [
        "hset s f v",
        "hsetnx s f v",
        "hmset s f v",
        "hget s f",
        "hmget s f",
        "hgetall s",
        "hkeys s",
        "hvals s",
        "hlen s",
        "hstrlen s f",
        "hexists s f",
        "hdel s f",
        "hincrby s f 1",
        "hincrbyfloat s f 1",
        "hrandfield s",
        "hrandfield s 2",
        "hscan s 0",
        "get h",
        "append h x",
        "strlen h",
        "getrange h 0 1",
        "setrange h 0 x",
        "incr h",
        "incrbyfloat h 1",
        "getset h x",
        "getdel h",
        "getex h",
        "set h x get",
    ] {
        trial.script(&format!("{command}{wrong}"));
    }
    trial.script(
        "mget s h => *2|$1|v|$-1
         lcs s h => -ERR The specified keys must contain string values
         hgetall h => *2|$1|f|$1|v
         get s => $1|v
         setnx h x => :0
         set h x => +OK
         get h => $1|x",
    );
}

#[test]
fn a_random_field_is_one_of_the_hash_and_any_of_them() {
    for (fields, value) in [(3, &[b'v'; 2][..]), (3, &[b'v'; 100]), (2_000, b"v")] {
        let mut trial = Trial::new();
        for field in 0..fields {
            trial.run(&[b"hset", b"h", format!("f{field}").as_bytes(), value]);
        }
        trial.script("hrandfield h 0 => *0\nhrandfield x 5 => *0\nhrandfield x => $-1");
        let names = |reply: &[u8]| -> Vec<String> {
            let text = String::from_utf8(reply.to_vec()).unwrap();
            text.split("\r\n")
                .filter(|part| part.starts_with('f'))
                .map(str::to_owned)
                .collect()
        };
        let number = |name: &String| name[1..].parse::<u32>().is_ok_and(|number| number < fields);
        let all = names(&trial.run(&[b"hrandfield", b"h", b"100000"]));
        assert_eq!(all.len(), fields as usize);
        let two = names(&trial.run(&[b"hrandfield", b"h", b"2", b"withvalues"]));
        assert!(
            two.len() == 2 && two[0] != two[1] && two.iter().all(number),
            "{two:?}"
        );
        let many = names(&trial.run(&[b"hrandfield", b"h", b"-100000"]));
        assert!(many.len() == 100_000 && many.iter().all(number));
        let mut drawn = vec![0_u32; fields as usize];
        for name in &many {
            drawn[name[1..].parse::<usize>().unwrap()] += 1;
        }
        let expected = 100_000 / fields;
        let fair = expected / 4..expected * 2 + 20;
        assert!(drawn.iter().all(|times| fair.contains(times)), "{drawn:?}");
        let most = names(&trial.run(&[b"hrandfield", b"h", (fields - 1).to_string().as_bytes()]));
        let distinct: std::collections::BTreeSet<_> = most.iter().collect();
        assert_eq!(distinct.len(), fields as usize - 1);
    }
}

#[test]
fn a_reply_of_random_fields_has_a_bound() {
    let mut trial = Trial::new();
    trial.run(&[b"hset", b"h", b"f", &vec![b'v'; 2 << 20]]);
    let error = "-ERR the values are too long for one reply, ask for fewer";
    let most = i64::MAX;
    let least = format!("-ERR value is out of range, value must between -{most} and {most}");
    trial.script(&format!(
        "hrandfield h -9223372036854775807 => {error}
         hrandfield h -600 withvalues => {error}
         hrandfield h -9223372036854775808 => {least}
         hrandfield h -4611686018427387904 withvalues => -ERR value is out of range
         hrandfield h 4611686018427387904 withvalues => -ERR value is out of range
         hrandfield h 9223372036854775807 => *1|$1|f
         hrandfield h 1 values => -ERR syntax error"
    ));
}

#[test]
fn a_scan_shows_what_stays_while_the_hash_grows_and_shrinks() {
    let mut trial = Trial::new();
    let name = |kind: &str, number: u32| format!("{kind}{number}").into_bytes();
    for number in 0..1_500 {
        trial.run(&[
            b"hset",
            b"h",
            &name("stays", number),
            b"v",
            &name("goes", number),
            b"v",
        ]);
    }
    let (mut cursor, mut step) = (b"0".to_vec(), 0);
    let mut seen = std::collections::BTreeSet::new();
    loop {
        let reply = trial.run(&[b"hscan", b"h", &cursor, b"count", b"30"]);
        let reply = String::from_utf8(reply).unwrap();
        let lines: Vec<&str> = reply.split("\r\n").collect();
        seen.extend(
            lines
                .iter()
                .filter(|line| line.starts_with("stays"))
                .map(|l| (*l).to_owned()),
        );
        cursor = lines[2].as_bytes().to_vec();
        if cursor == b"0" {
            break;
        }
        // It shrinks first and grows then.
        for number in step * 30..step * 30 + 30 {
            if number < 1_500 {
                trial.run(&[b"hdel", b"h", &name("goes", number)]);
            } else {
                trial.run(&[b"hset", b"h", &name("comes", number), b"v"]);
            }
        }
        step += 1;
    }
    assert!(
        seen.len() == 1_500 && step > 60,
        "{} in {step} steps",
        seen.len()
    );
}

#[test]
fn a_small_hash_is_scanned_in_one_call() {
    Trial::new().script(
        "hset h a 1 ab 2 b 3 => :3
         hscan h 0 count 1 => *2|$1|0|*6|$1|a|$1|1|$2|ab|$1|2|$1|b|$1|3
         hscan h 7 match a* => *2|$1|0|*4|$1|a|$1|1|$2|ab|$1|2
         hscan h x => -ERR invalid cursor
         hscan h 0 count 0 => -ERR syntax error
         hscan h 0 count x => -ERR value is not an integer or out of range
         hscan h 0 type string => -ERR syntax error
         hscan h 0 match => -ERR syntax error
         hscan x 0 nonsense => *2|$1|0|*0",
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// `Trial` compares the copy that only saw the effects after each command.
    #[test]
    fn a_hash_is_a_map(steps in proptest::collection::vec(
            (0_u8..5, proptest::collection::vec((0_u16..300, 0_usize..90), 1..40)), 1..30)) {
        let mut trial = Trial::new();
        let mut model = std::collections::BTreeMap::new();
        for (what, fields) in steps {
            let names: Vec<Vec<u8>> =
                fields.iter().map(|(number, _)| format!("f{number}").into_bytes()).collect();
            let values: Vec<Vec<u8>> =
                fields.iter().map(|(_, length)| vec![b'v'; *length]).collect();
            if what == 0 {
                let there: std::collections::BTreeSet<_> =
                    names.iter().filter(|name| model.remove(*name).is_some()).collect();
                let words = [&b"hdel"[..], b"h"].into_iter().chain(names.iter().map(|n| &n[..]));
                let reply = trial.run(&words.collect::<Vec<_>>());
                prop_assert_eq!(reply, format!(":{}\r\n", there.len()).into_bytes());
            } else {
                let before = model.len();
                let mut words = vec![&b"hset"[..], b"h"];
                for (name, value) in names.iter().zip(&values) {
                    words.extend([&name[..], &value[..]]);
                    model.insert(name.clone(), value.clone());
                }
                let reply = trial.run(&words);
                prop_assert_eq!(reply, format!(":{}\r\n", model.len() - before).into_bytes());
            }
            let length = trial.run(&[b"hlen", b"h"]);
            prop_assert_eq!(length, format!(":{}\r\n", model.len()).into_bytes());
            for (name, value) in &model {
                let length = format!("${}\r\n", value.len());
                let expected = [length.as_bytes(), value, b"\r\n"].concat();
                prop_assert_eq!(trial.run(&[b"hget", b"h", name]), expected);
            }
        }
    }
}
