use crate::command::trial::Trial;

const NOW_S: u64 = 1_700_000_000;

#[test]
fn set_and_its_options() {
    Trial::new().script(
        "get k => $-1
         set k v => +OK
         get k => $1|v
         set k w nx => $-1
         set k w NX GET => $1|v
         set missing w xx => $-1
         set missing w xx get => $-1
         exists missing => :0
         set k w xx ex 10 => +OK
         ttl k => :10
         set k x keepttl => +OK
         ttl k => :10
         set k x => +OK
         ttl k => :-1
         set k x px 1500 get => $1|x
         pttl k => :1500
         set k x ex 5 ex 7 => +OK
         ttl k => :7
         set k x ex 5 px 7 => -ERR syntax error
         set k x keepttl ex 5 => -ERR syntax error
         set k x ex 5 keepttl => -ERR syntax error
         set k x nx xx => -ERR syntax error
         set k x ex => -ERR syntax error
         set k x persist => -ERR syntax error
         set k x ex zz => -ERR value is not an integer or out of range
         set k x ex 0 => -ERR invalid expire time in 'set' command
         set k x ex 9223372036854776 => -ERR invalid expire time in 'set' command
         set k x px 9223372036854775807 => -ERR invalid expire time in 'set' command
         set k => -ERR wrong number of arguments for 'set' command
         set k x exat 1 => +OK
         exists k => :0
         setnx n 1 => :1
         setnx n 2 => :0
         setex n 0 x => -ERR invalid expire time in 'setex' command
         setex n 10 x => +OK
         psetex n -1 x => -ERR invalid expire time in 'psetex' command
         psetex n 2000 x => +OK
         ttl n => :2
         getset n y => $1|x
         ttl n => :-1
         getset none y => $-1
         getdel n => $1|y
         getdel n => $-1",
    );
}

#[test]
fn getex_changes_the_expiry_alone() {
    let mut trial = Trial::new();
    trial.script(&format!(
        "getex k => $-1
         getex k ex zz => $-1
         set k v => +OK
         getex k ex 10 => $1|v
         ttl k => :10
         getex k => $1|v
         ttl k => :10
         getex k persist => $1|v
         ttl k => :-1
         getex k exat {} => $1|v
         ttl k => :5
         getex k ex zz => -ERR value is not an integer or out of range
         getex k px 0 => -ERR invalid expire time in 'getex' command
         getex k ex 1 persist => -ERR syntax error
         getex k keepttl => -ERR syntax error
         getex k pxat 1 => $1|v
         exists k => :0",
        NOW_S + 5
    ));
}

#[test]
fn several_keys_at_once() {
    Trial::new().script(
        "mset a 1 b 2 a 3 => +OK
         mget a x b a => *4|$1|3|$-1|$1|2|$1|3
         mset a 1 b => -ERR wrong number of arguments for 'mset' command
         msetnx c 1 b 2 => :0
         exists c => :0
         msetnx c 1 d 2 => :1
         msetnx c => -ERR wrong number of arguments for 'msetnx' command
         mget d => *1|$1|2",
    );
}

#[test]
fn parts_of_strings() {
    Trial::new().script(
        "append s Hello => :5
         append s \"\" => :5
         append empty \"\" => :0
         exists empty => :1
         strlen s => :5
         strlen none => :0
         setrange s 6 World => :11
         getrange s 0 -1 => $11|Hello\0World
         getrange s -5 -1 => $5|World
         getrange s -3 -4 => $0|
         getrange s 5 2 => $0|
         getrange s -100 1 => $2|He
         getrange s 9 100 => $2|ld
         substr s 1 2 => $2|el
         getrange none 0 -1 => $0|
         getrange s a 1 => -ERR value is not an integer or out of range
         setrange none 5 \"\" => :0
         exists none => :0
         setrange s -1 x => -ERR offset is out of range
         setrange s 536870912 x => -ERR string exceeds maximum allowed size (proto-max-bulk-len)
         setrange s 536870912 \"\" => :11",
    );
}

#[test]
fn numbers() {
    Trial::new().script(
        "incr n => :1
         incrby n 41 => :42
         decr n => :41
         decrby n 40 => :1
         expire n 100 => :1
         incr n => :2
         ttl n => :100
         incrby n 1.5 => -ERR value is not an integer or out of range
         decrby n -9223372036854775808 => -ERR decrement would overflow
         set n 9223372036854775807 => +OK
         incr n => -ERR increment or decrement would overflow
         set n 01 => +OK
         incr n => -ERR value is not an integer or out of range
         incrbyfloat n 0.5 => $3|1.5
         incrbyfloat n -1.5e0 => $1|0
         incrbyfloat n x => -ERR value is not a valid float
         incrbyfloat n inf => -ERR increment would produce NaN or Infinity
         incrbyfloat f 3.14 => $4|3.14
         set f abc => +OK
         incrbyfloat f 1 => -ERR value is not a valid float",
    );
}

#[test]
fn the_longest_common_subsequence() {
    Trial::new().script(
        "mset {k}1 ohmytext {k}2 mynewtext => +OK
         lcs {k}1 {k}2 => $6|mytext
         lcs {k}1 {k}2 len => :6
         lcs {k}1 {k}2 idx => *4|$7|matches|*2|*2|*2|:4|:7|*2|:5|:8|*2|*2|:2|:3|*2|:0|:1|$3|len|:6
         lcs {k}1 {k}2 idx minmatchlen 4 withmatchlen => \
            *4|$7|matches|*1|*3|*2|:4|:7|*2|:5|:8|:4|$3|len|:6
         lcs {k}1 {k}3 => $0|
         lcs {k}1 {k}3 idx => *4|$7|matches|*0|$3|len|:0
         lcs {k}1 {k}2 idx len => \
            -ERR If you want both the length and indexes, please just use IDX.
         lcs {k}1 {k}2 minmatchlen => -ERR syntax error
         lcs {k}1 {k}2 minmatchlen x => -ERR value is not an integer or out of range
         setrange {k}1 20000 x => :20001
         setrange {k}2 20000 x => :20001
         lcs {k}1 {k}2 => \
            -ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
    );
}
