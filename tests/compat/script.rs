//! How a script is written.
//!
//! A line is a request, its words parted by spaces; `"…"` holds spaces and the escapes `\n`, `\r`,
//! `\t`, `\"`, `\\` and `\xHH`. A line that begins with `#` is a comment. A line that begins with
//! `@` is about the next request, unless it says otherwise:
//!
//! - `@cluster`, as the first line: the script is for the cluster port.
//! - `@client NAME`: from here on this client speaks, on its own connection; first it is `one`.
//! - `@raw REPLIES "BYTES"`: sends these bytes as they are and reads so many replies.
//! - `@resp 2`, `@resp 3`: the request is sent in that protocol alone.
//! - `@closes`: after the reply the server closes the connection.
//! - `@about N`: integers may differ by N.
//! - `@unordered`: the elements of an array or a map may come in any order.
//! - `@shape`: only what kind of thing the reply is, not which one.
//! - `@fields NAME…`: the reply is a text of `NAME:VALUE` or `NAME=VALUE`, or holds texts, with at
//!   least these, and it and its elements are of the same kinds.
//! - `@differs REPLY -- REASON`: Quorate answers otherwise on purpose.

/// A script, ready to be run.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) cluster: bool,
    pub(super) steps: Vec<Step>,
}

/// A request and what is expected of its reply, or another client's turn.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) line: usize,
    /// The request as it stands in the script.
    pub(super) text: String,
    pub(super) what: What,
    pub(super) expect: Expect,
    pub(super) protocol: Option<u8>,
    pub(super) closes: bool,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Client(String),
    Send { bytes: Vec<u8>, replies: usize },
}

/// How the replies are compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Expect {
    #[default]
    Same,
    About(i64),
    Unordered,
    Shape,
    Fields(Vec<String>),
    Differs(String),
}

impl Script {
    /// Reads a script; an error begins with its line.
    pub(super) fn parse(text: &str) -> Result<Script, String> {
        let mut script = Script::default();
        let mut notes = Notes::default();
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let wrong = |error: String| format!("{number}: {error}");
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let what = match line.strip_prefix('@').map(|note| note.split_once(' ')) {
                None => {
                    let words = words(line).map_err(wrong)?;
                    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
                    What::Send {
                        bytes: tests::wire::request(&words),
                        replies: 1,
                    }
                }
                Some(Some(("client", name))) => What::Client(name.to_owned()),
                Some(Some(("raw", rest))) => {
                    let raw = words(rest).map_err(wrong)?;
                    let [replies, bytes] = raw.as_slice() else {
                        return Err(wrong("@raw takes a number and bytes".to_owned()));
                    };
                    let replies = number_of(&String::from_utf8_lossy(replies)).map_err(wrong)?;
                    What::Send {
                        bytes: bytes.clone(),
                        replies,
                    }
                }
                Some(None) if line == "@cluster" => {
                    script.cluster = true;
                    continue;
                }
                Some(_) => {
                    notes.take(&line[1..]).map_err(wrong)?;
                    continue;
                }
            };
            let Notes {
                expect,
                protocol,
                closes,
            } = std::mem::take(&mut notes);
            let text = line.to_owned();
            script.steps.push(Step {
                line: number,
                text,
                what,
                expect,
                protocol,
                closes,
            });
        }
        if notes == Notes::default() {
            Ok(script)
        } else {
            Err("the last note has no request".into())
        }
    }
}

/// What has been said of the next request.
#[derive(Debug, Default, PartialEq)]
struct Notes {
    expect: Expect,
    protocol: Option<u8>,
    closes: bool,
}

impl Notes {
    fn take(&mut self, note: &str) -> Result<(), String> {
        let (name, rest) = note.split_once(' ').unwrap_or((note, ""));
        match name {
            "resp" => self.protocol = Some(number_of(rest)?),
            "closes" => self.closes = true,
            "about" => self.expect = Expect::About(number_of(rest)?),
            "unordered" => self.expect = Expect::Unordered,
            "shape" => self.expect = Expect::Shape,
            "fields" => {
                self.expect = Expect::Fields(rest.split(' ').map(str::to_owned).collect());
            }
            "differs" => {
                let (reply, reason) = rest
                    .split_once(" -- ")
                    .ok_or("@differs takes a reply, --, a reason")?;
                if reason.trim().is_empty() {
                    return Err("a difference has a reason".to_owned());
                }
                self.expect = Expect::Differs(reply.trim().to_owned());
            }
            _ => return Err(format!("there is no @{name}")),
        }
        Ok(())
    }
}

fn number_of<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

/// The words of a line.
fn words(line: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_word(quoted)?,
            None => {
                let end = rest.find(' ').unwrap_or(rest.len());
                (rest.as_bytes()[..end].to_vec(), &rest[end..])
            }
        };
        words.push(word);
        rest = after.trim_start();
    }
    Ok(words)
}

/// The word up to the closing quote, and what follows it.
fn quoted_word(text: &str) -> Result<(Vec<u8>, &str), String> {
    let mut word = Vec::new();
    let mut at = 0;
    let bytes = text.as_bytes();
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => return Ok((word, &text[at..])),
            b'\\' => {
                let escape = bytes.get(at).copied();
                at += 1;
                word.push(match escape {
                    Some(b'n') => b'\n',
                    Some(b'r') => b'\r',
                    Some(b't') => b'\t',
                    Some(same @ (b'"' | b'\\')) => same,
                    Some(b'x') => {
                        at += 2;
                        let digits = text.get(at - 2..at).ok_or("\\x takes two digits")?;
                        u8::from_str_radix(digits, 16).map_err(|error| error.to_string())?
                    }
                    _ => return Err("there is no such escape".to_owned()),
                });
            }
            _ => word.push(byte),
        }
    }
    Err("a quote is not closed".to_owned())
}

#[test]
fn a_script_is_read() {
    let text = "# a comment\n@cluster\nGET \"a b\\x00\\n\" c\n@about 3\n@resp 3\nTTL k\n\
                @client two\n\
                @closes\n@raw 2 \"PING\\r\\n\"\n@differs +OK -- a reason\nPING\n";
    let script = Script::parse(text).unwrap();
    assert!(script.cluster);
    let [get, ttl, client, raw, ping] = script.steps.as_slice() else {
        panic!("{script:?}")
    };
    let What::Send { bytes, replies: 1 } = &get.what else {
        panic!("{get:?}")
    };
    assert_eq!(bytes, b"*3\r\n$3\r\nGET\r\n$5\r\na b\0\n\r\n$1\r\nc\r\n");
    assert_eq!(
        (ttl.line, &ttl.expect, ttl.protocol),
        (6, &Expect::About(3), Some(3))
    );
    assert!(matches!(&client.what, What::Client(name) if name == "two"));
    assert!(
        raw.closes && matches!(&raw.what, What::Send { bytes, replies: 2 } if bytes == b"PING\r\n")
    );
    assert_eq!(ping.expect, Expect::Differs("+OK".to_owned()));
    for wrong in [
        "@differs +OK\nPING",
        "@loud\nPING",
        "GET \"a",
        "PING\n@closes",
        "@about x\nTTL k",
    ] {
        assert!(Script::parse(wrong).is_err(), "{wrong}");
    }
}
