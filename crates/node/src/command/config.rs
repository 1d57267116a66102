//! `CONFIG`: the parameters of [`crate::parameters`].

use std::borrow::Cow;

use crate::command::{Answer, Args, Session, glob};
use crate::error::CommandError;
use crate::parameters::{PARAMETERS, Parameter};
use crate::resp::Reply;

type Answered<'a> = Result<Answer<'a>, CommandError>;

pub(crate) fn get<'a>(session: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    let patterns: Vec<&[u8]> = args.collect();
    let shown = PARAMETERS.iter().filter_map(|parameter| {
        let name = parameter.name.as_bytes();
        let is_it = |pattern: &&&[u8]| glob::matches(&pattern.to_ascii_lowercase(), name);
        let pattern = patterns.iter().find(is_it)?;
        // A name is shown as it was asked for.
        let exact = pattern.eq_ignore_ascii_case(name);
        let name = if exact {
            Reply::Slice(pattern)
        } else {
            Reply::text(parameter.name)
        };
        let value = (parameter.get)(session.node);
        Some((name, Reply::Bulk(value.into())))
    });
    Ok(Reply::Map(shown.collect()).into())
}

/// Changes all that is named, or nothing.
pub(crate) fn set<'a>(session: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    if args.remaining() % 2 == 1 {
        return Err(CommandError::Syntax);
    }
    let mut changes: Vec<(&Parameter, Cow<'_, str>)> = Vec::new();
    while let (Some(name), Some(value)) = (args.next(), args.next()) {
        let found = PARAMETERS
            .iter()
            .find(|row| name.eq_ignore_ascii_case(row.name.as_bytes()));
        let Some(parameter) = found else {
            let name = String::from_utf8_lossy(name);
            let why = "ERR Unknown option or number of arguments for CONFIG SET";
            return Err(format!("{why} - '{name}'").into());
        };
        if parameter.set.is_none() {
            return Err(failed(parameter, "can't set immutable config"));
        }
        if changes
            .iter()
            .any(|(other, _)| other.name == parameter.name)
        {
            return Err(failed(parameter, "duplicate parameter"));
        }
        changes.push((parameter, String::from_utf8_lossy(value)));
    }
    let mut undo: Vec<(&Parameter, String)> = Vec::new();
    for (parameter, value) in changes {
        let before = (parameter.get)(session.node);
        if let Err(why) = change(session, parameter, &value) {
            for (parameter, before) in undo {
                change(session, parameter, &before).expect("it was the value a moment ago");
            }
            return Err(failed(parameter, &why));
        }
        undo.push((parameter, before));
    }
    Ok(Reply::Ok.into())
}

fn change(session: &Session<'_>, parameter: &Parameter, value: &str) -> Result<(), String> {
    let set = parameter.set.expect("a fixed parameter was refused before");
    set(session.node, value)
}

fn failed(parameter: &Parameter, why: &str) -> CommandError {
    let name = parameter.name;
    format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}").into()
}

pub(crate) fn reset_stat<'a>(session: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    session.node.stats.reset();
    Ok(Reply::Ok.into())
}

/// The configuration file is the operator's: a node does not write it.
pub(crate) fn rewrite<'a>(_: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    Err("ERR The server is running without a config file".into())
}

pub(crate) fn help<'a>(_: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    Ok(super::help::of(args.command()).into())
}
