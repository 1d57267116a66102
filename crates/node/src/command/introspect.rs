//! `COMMAND`: what the table says, in the form that clients expect.

use crate::command::table::{Command, CommandId, Keys, access, acl, flag, table};
use crate::command::{Answer, Args, Session, glob};
use crate::error::CommandError;
use crate::resp::{Reply, RequestBuf};

type Answered<'a> = Result<Answer<'a>, CommandError>;

/// Commands that one request may ask about.
const NAMES_MAX: usize = 1024;

/// Every command that is not a subcommand.
fn commands() -> impl Iterator<Item = CommandId> {
    table().ids().filter(|id| !table().row(*id).is_subcommand())
}

fn subcommands(parent: CommandId) -> impl Iterator<Item = CommandId> {
    let parent = table().row(parent).name;
    table().ids().filter(move |id| {
        let rest = table().row(*id).name.strip_prefix(parent);
        rest.is_some_and(|rest| rest.starts_with('|'))
    })
}

pub(crate) fn all<'a>(_: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    Ok(Reply::Array(commands().map(info_of).collect()).into())
}

pub(crate) fn count<'a>(_: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    Ok(Reply::Int(commands().count() as i64).into())
}

pub(crate) fn info<'a>(session: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    if args.is_empty() {
        return all(session, args);
    }
    few_enough(args)?;
    let one = |name| table().find_full(name).map_or(Reply::Null, info_of);
    Ok(Reply::Array(args.map(one).collect()).into())
}

/// What is said of a command is far longer than its name.
fn few_enough(args: &Args<'_>) -> Result<(), CommandError> {
    if args.remaining() <= NAMES_MAX {
        return Ok(());
    }
    Err(format!("ERR no more than {NAMES_MAX} commands are described at once").into())
}

pub(crate) fn docs<'a>(_: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    few_enough(args)?;
    let docs = |id| (Reply::text(table().row(id).name), docs_of(id));
    let found: Vec<_> = if args.is_empty() {
        commands().map(docs).collect()
    } else {
        args.filter_map(|name| table().find_full(name))
            .map(docs)
            .collect()
    };
    Ok(Reply::Map(found).into())
}

pub(crate) fn list<'a>(_: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    let names = |wanted: &dyn Fn(&Command) -> bool| {
        let rows = table()
            .ids()
            .map(|id| table().row(id))
            .filter(|row| wanted(row));
        Answer::from(Reply::Array(
            rows.map(|row| Reply::text(row.name)).collect(),
        ))
    };
    if args.is_empty() {
        return Ok(names(&|row| !row.is_subcommand()));
    }
    if !args.option("filterby") || args.remaining() != 2 {
        return Err(CommandError::Syntax);
    }
    if args.option("module") {
        return Ok(Reply::Array(Vec::new()).into());
    }
    if args.option("aclcat") {
        let name = format!("@{}", String::from_utf8_lossy(args.bytes()?).to_lowercase());
        let bit = acl::NAMES
            .iter()
            .find(|(_, known)| *known == name)
            .map_or(0, |(bit, _)| *bit);
        return Ok(names(&|row| row.categories() & bit != 0));
    }
    if args.option("pattern") {
        let pattern = args.bytes()?.to_ascii_lowercase();
        return Ok(names(&|row| glob::matches(&pattern, row.name.as_bytes())));
    }
    Err(CommandError::Syntax)
}

pub(crate) fn get_keys<'a>(_: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    let (keys, _) = keys_of(args)?;
    Ok(Reply::Array(keys.into_iter().map(Reply::bulk).collect()).into())
}

pub(crate) fn get_keys_and_flags<'a>(_: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    let (keys, command) = keys_of(args)?;
    let pair = |(index, key)| {
        let flags = names(command.access_of(index), &access::NAMES);
        Reply::Array(vec![Reply::bulk(key), Reply::Set(flags)])
    };
    let keys = keys.into_iter().enumerate();
    Ok(Reply::Array(keys.map(pair).collect()).into())
}

pub(crate) fn help<'a>(_: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    Ok(super::help::of(args.command()).into())
}

/// The keys of the request that the arguments are.
fn keys_of(args: &mut Args<'_>) -> Result<(Vec<Vec<u8>>, &'static Command), CommandError> {
    let words: Vec<&[u8]> = args.collect();
    let request = RequestBuf::of(&words);
    let found = words
        .first()
        .and_then(|name| table().find(name))
        .and_then(|id| {
            let sub = words.get(1).filter(|_| table().has_subcommands(id));
            sub.map_or(Some(id), |word| table().find_sub(table().row(id), word))
        });
    let command = table().row(found.ok_or("ERR Invalid command specified")?);
    if command.keys == Keys::Keyless {
        return Err("ERR The command has no key arguments".into());
    }
    if !command.arity.allows(words.len()) {
        return Err("ERR Invalid number of arguments specified for command".into());
    }
    let keys = command.keys.of(request.buffer(), request.spans());
    let keys: Vec<Vec<u8>> = keys.map(<[u8]>::to_vec).collect();
    if keys.is_empty() {
        return Err("ERR Invalid arguments specified for command".into());
    }
    Ok((keys, command))
}

/// The names of the bits that are set.
fn names(bits: u32, all: &[(u32, &'static str)]) -> Vec<Reply<'static>> {
    all.iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, name)| Reply::Simple(name))
        .collect()
}

fn info_of(id: CommandId) -> Reply<'static> {
    let row = table().row(id);
    let (first, last, step) = row.keys.range();
    let tips = row.tips.iter().map(|tip| Reply::text(tip)).collect();
    Reply::Array(vec![
        Reply::text(row.name),
        Reply::Int(row.arity.number()),
        Reply::Set(names(row.flags, &flag::NAMES)),
        Reply::Int(first),
        Reply::Int(last),
        Reply::Int(step),
        Reply::Set(names(row.categories(), &acl::NAMES)),
        Reply::Set(tips),
        Reply::Set(key_specifications(row)),
        Reply::Set(subcommands(id).map(info_of).collect()),
    ])
}

fn docs_of(id: CommandId) -> Reply<'static> {
    let row = table().row(id);
    let mut docs = vec![
        (Reply::text("summary"), Reply::text(row.summary)),
        (Reply::text("since"), Reply::text(row.since)),
        (Reply::text("group"), Reply::text(table().group(id))),
        (Reply::text("complexity"), Reply::text(row.complexity)),
    ];
    let subcommands: Vec<_> = subcommands(id)
        .map(|id| (Reply::text(table().row(id).name), docs_of(id)))
        .collect();
    if !subcommands.is_empty() {
        docs.push((Reply::text("subcommands"), Reply::Map(subcommands)));
    }
    Reply::Map(docs)
}

/// Where the keys are and what happens to them, as clients that look for keys themselves read it.
fn key_specifications(row: &Command) -> Vec<Reply<'static>> {
    match (row.keys, row.target) {
        (Keys::Range { first, last }, Some(target)) => {
            let one = |at, access| key_specification(Keys::One { at }, access);
            [one(first, row.access), one(last, target)]
                .into_iter()
                .flatten()
                .collect()
        }
        (keys, _) => key_specification(keys, row.access).into_iter().collect(),
    }
}

fn key_specification(keys: Keys, access: u32) -> Option<Reply<'static>> {
    let spec = |pairs: Vec<(&'static str, Reply<'static>)>| {
        Reply::Map(
            pairs
                .into_iter()
                .map(|(name, value)| (Reply::text(name), value))
                .collect(),
        )
    };
    let step = |kind: &'static str, fields| {
        spec(vec![("type", Reply::text(kind)), ("spec", spec(fields))])
    };
    let index = |at: i64| step("index", vec![("index", Reply::Int(at))]);
    let range = |last, step_by, limit| {
        let fields = [("lastkey", last), ("keystep", step_by), ("limit", limit)];
        step(
            "range",
            fields.map(|(name, value)| (name, Reply::Int(value))).into(),
        )
    };
    let (begin, find) = match keys {
        Keys::Keyless => return None,
        Keys::One { at } => (index(at.into()), range(0, 1, 0)),
        Keys::Range { first, last } => (index(first.into()), range((last - first).into(), 1, 0)),
        Keys::Every { first, step: by } => (index(first.into()), range(-1, by.into(), 0)),
        Keys::Counted { count_at } => {
            let fields = [("keynumidx", 0), ("firstkey", 1), ("keystep", 1)];
            let fields = fields.map(|(name, value)| (name, Reply::Int(value)));
            (index(count_at.into()), step("keynum", fields.into()))
        }
        Keys::After { word, from } => {
            let fields = vec![
                ("keyword", Reply::Bulk(word.to_uppercase().into())),
                ("startfrom", Reply::Int(from.into())),
            ];
            (step("keyword", fields), range(-1, 1, 2))
        }
    };
    let flags = Reply::Set(names(access, &self::access::NAMES));
    Some(spec(vec![
        ("flags", flags),
        ("begin_search", begin),
        ("find_keys", find),
    ]))
}
