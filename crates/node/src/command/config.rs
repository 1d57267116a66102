//! `CONFIG`: the parameters of [`crate::parameters`].
//!
//! What is the whole cluster's is decided by the metadata group, so that reply is on its way.

use std::sync::Arc;

use cluster::metadata::{Applied, Entry, ProposeError};

use crate::command::session::LaterResult;
use crate::command::{Answer, Args, Later, Session, glob};
use crate::error::CommandError;
use crate::node::Node;
use crate::parameters::{Change, PARAMETERS, Parameter};
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
    let mut changes: Vec<(&'static Parameter, &str)> = Vec::new();
    while let (Some(name), Some(value)) = (args.next(), args.next()) {
        let found = PARAMETERS
            .iter()
            .find(|row| name.eq_ignore_ascii_case(row.name.as_bytes()));
        let Some(parameter) = found else {
            let name = String::from_utf8_lossy(name);
            let why = "ERR Unknown option or number of arguments for CONFIG SET";
            return Err(format!("{why} - '{name}'").into());
        };
        if matches!(parameter.change, Change::Never) {
            return Err(failed(parameter, "can't set immutable config"));
        }
        if changes
            .iter()
            .any(|(other, _)| other.name == parameter.name)
        {
            return Err(failed(parameter, "duplicate parameter"));
        }
        let Ok(value) = std::str::from_utf8(value) else {
            return Err(failed(parameter, "argument must be UTF-8"));
        };
        changes.push((parameter, value));
    }
    if let Some((parameter, entry)) = for_the_group(&changes)? {
        let decided = decided(Arc::clone(session.node), parameter, entry);
        return Ok(Later::holding_back(decided).into());
    }
    let mut undo: Vec<(&Parameter, String)> = Vec::new();
    for (parameter, value) in changes {
        let before = (parameter.get)(session.node);
        if let Err(why) = change(session, parameter, value) {
            for (parameter, before) in undo {
                change(session, parameter, &before).expect("it was the value a moment ago");
            }
            return Err(failed(parameter, &why));
        }
        undo.push((parameter, before));
    }
    Ok(Reply::Ok.into())
}

/// What the metadata group is to decide, if anything. It cannot be undone together with what is
/// this node's, so it comes by itself.
fn for_the_group(
    changes: &[(&'static Parameter, &str)],
) -> Result<Option<(&'static Parameter, Entry)>, CommandError> {
    for (parameter, value) in changes {
        let Change::Everywhere(decision) = parameter.change else {
            continue;
        };
        if changes.len() > 1 {
            return Err(failed(parameter, "must be set by itself"));
        }
        let entry = decision(value).map_err(|why| failed(parameter, &why))?;
        return Ok(Some((parameter, entry)));
    }
    Ok(None)
}

/// Has the metadata group decide.
async fn decided(node: Arc<Node>, parameter: &Parameter, entry: Entry) -> LaterResult {
    let decided = match node.group.get() {
        Some(group) => group.decide(entry).await,
        None => Err(ProposeError::NotProposed),
    };
    match decided {
        Ok(Applied {
            refused: Some(why), ..
        }) => Err(failed(parameter, &format!("not applied: {why}"))),
        Ok(_) => Ok(Reply::Ok),
        Err(why @ ProposeError::NotProposed) => {
            Err(failed(parameter, &format!("not applied: {why}")))
        }
        Err(why @ ProposeError::Unknown) => {
            let name = parameter.name;
            Err(format!("UNCERTAIN {why}; CONFIG GET {name} shows what is in force").into())
        }
    }
}

fn change(session: &Session<'_>, parameter: &Parameter, value: &str) -> Result<(), String> {
    match parameter.change {
        Change::Here(set) => set(session.node, value),
        Change::Never | Change::Everywhere(_) => unreachable!("was sorted out before"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn set(words: &[(&str, &'static str)]) -> Result<Option<Entry>, String> {
        let find = |name: &str| PARAMETERS.iter().find(|row| row.name == name).unwrap();
        let changes: Vec<_> = words
            .iter()
            .map(|(name, value)| (find(name), *value))
            .collect();
        let found = for_the_group(&changes).map_err(|error| error.to_string())?;
        Ok(found.map(|(_, entry)| entry))
    }

    #[test]
    fn what_is_the_whole_clusters_goes_to_the_group_by_itself() {
        assert_eq!(set(&[("timeout", "5")]), Ok(None));
        let waits = Entry::OnLoss(cluster::metadata::OnLoss::Wait);
        assert_eq!(set(&[("on-loss", "WAIT")]), Ok(Some(waits)));
        let wrong = set(&[("on-loss", "yes")]).unwrap_err();
        assert!(
            wrong.ends_with("must be one of the following: accept, wait"),
            "{wrong}"
        );
        let along = set(&[("timeout", "5"), ("on-loss", "wait")]).unwrap_err();
        assert!(along.ends_with("must be set by itself"), "{along}");
    }

    #[tokio::test]
    async fn without_a_group_nothing_is_applied() {
        let node = Node::alone(Settings::default());
        let on_loss = PARAMETERS.iter().find(|row| row.name == "on-loss").unwrap();
        let entry = Entry::OnLoss(cluster::metadata::OnLoss::Wait);
        let refused = decided(node, on_loss, entry)
            .await
            .err()
            .unwrap()
            .to_string();
        assert!(
            refused.starts_with("ERR CONFIG SET failed") && refused.contains("not applied"),
            "{refused}"
        );
    }
}
