//! Commands about the connection itself, but for `CLIENT`.

use std::sync::atomic::Ordering::Relaxed;

use crate::client_state::Port;
use crate::command::args::integer;
use crate::command::{Answer, Args, Session, client};
use crate::error::CommandError;
use crate::resp::{Reply, RespVersion};

/// The version of Redis whose commands and replies clients may expect.
pub const REDIS_VERSION: &str = "7.0.15";

type Answered<'a> = Result<Answer<'a>, CommandError>;

const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";
const NO_PASSWORD: &str = "ERR AUTH <password> called without any password configured for the \
                           default user. Are you sure your configuration is correct?";
const HELLO_BEFORE_AUTH: &str = "NOAUTH HELLO must be called with the client already \
    authenticated, otherwise the HELLO AUTH <user> <pass> option can be used to \
    authenticate the client and select the RESP protocol version at the same time";
const NO_CLUSTER: &str = "ERR This instance has cluster support disabled";

pub(crate) fn auth<'a>(session: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    let first = args.bytes()?;
    let (user, password) = match args.next() {
        Some(password) => (first, password),
        None if session.node.parameters.requirepass.load().is_none() => {
            return Err(NO_PASSWORD.into());
        }
        None => (b"default".as_slice(), first),
    };
    args.finish()?;
    authenticate(session, user, password)?;
    Ok(Reply::Ok.into())
}

/// There is one user, who needs no password where none is set.
fn authenticate(
    session: &mut Session<'_>,
    user: &[u8],
    password: &[u8],
) -> Result<(), CommandError> {
    let expected = session.node.parameters.requirepass.load();
    let right = expected
        .as_ref()
        .is_none_or(|expected| equal(expected.as_bytes(), password));
    if user != b"default" || !right {
        return Err(WRONG_PASSWORD.into());
    }
    session.client.authenticated = true;
    Ok(())
}

/// Takes as long for a wrong password as for one that is nearly right.
fn equal(expected: &[u8], given: &[u8]) -> bool {
    let differences = expected
        .iter()
        .zip(given)
        .fold(0, |found, (a, b)| found | (a ^ b));
    expected.len() == given.len() && std::hint::black_box(differences) == 0
}

pub(crate) fn hello<'a>(session: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    let version = match args.next() {
        None => session.client.version,
        Some(version) => match integer(version) {
            Some(2) => RespVersion::Resp2,
            Some(3) => RespVersion::Resp3,
            Some(_) => return Err("NOPROTO unsupported protocol version".into()),
            None => return Err("ERR Protocol version is not an integer or out of range".into()),
        },
    };
    let (mut credentials, mut name) = (None, None);
    while let Some(option) = args.peek() {
        if args.remaining() >= 3 && args.option("auth") {
            credentials = Some((args.bytes()?, args.bytes()?));
        } else if args.remaining() >= 2 && args.option("setname") {
            name = Some(client::valid_name(args.bytes()?)?);
        } else {
            let option = String::from_utf8_lossy(option);
            return Err(format!("ERR Syntax error in HELLO option '{option}'").into());
        }
    }
    if let Some((user, password)) = credentials {
        authenticate(session, user, password)?;
    }
    if !session.client.authenticated {
        return Err(HELLO_BEFORE_AUTH.into());
    }
    if let Some(name) = name {
        session.client.card.names.lock().name = name;
    }
    session.client.set_version(version);
    let mode = match session.client.port {
        Port::Cluster => "cluster",
        Port::Any => "standalone",
    };
    let id = i64::try_from(session.client.card.id).unwrap_or(i64::MAX);
    let pairs = [
        ("server", Reply::text("redis")),
        ("version", Reply::text(REDIS_VERSION)),
        ("proto", Reply::Int(version.number())),
        ("id", Reply::Int(id)),
        ("mode", Reply::text(mode)),
        ("role", Reply::text("master")),
        ("modules", Reply::Array(Vec::new())),
    ];
    Ok(Reply::Map(pairs.map(|(key, value)| (Reply::text(key), value)).into()).into())
}

pub(crate) fn ping<'a>(_: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    let message = args.next();
    args.finish().map_err(|_| args.wrong_arity())?;
    Ok(message.map_or(Reply::Simple("PONG"), Reply::Slice).into())
}

pub(crate) fn echo<'a>(_: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    Ok(Reply::Slice(args.bytes()?).into())
}

pub(crate) fn select<'a>(session: &mut Session<'_>, args: &mut Args<'a>) -> Answered<'a> {
    let index = args.int()?;
    if i32::try_from(index).is_err() {
        let (least, most) = (i32::MIN, i32::MAX);
        return Err(
            format!("ERR value is out of range, value must between {least} and {most}").into(),
        );
    }
    if index != 0 && session.client.port == Port::Cluster {
        return Err("ERR SELECT is not allowed in cluster mode".into());
    }
    if index != 0 {
        return Err("ERR DB index is out of range".into());
    }
    Ok(Reply::Ok.into())
}

pub(crate) fn reset<'a>(session: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    let open = session.node.parameters.requirepass.load().is_none();
    session.client.reset(open);
    Ok(Reply::Simple("RESET").into())
}

pub(crate) fn quit<'a>(session: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    session.client.closing = true;
    Ok(Reply::Ok.into())
}

pub(crate) fn readonly<'a>(session: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    set_readonly(session, true)
}

pub(crate) fn readwrite<'a>(session: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    set_readonly(session, false)
}

fn set_readonly<'a>(session: &mut Session<'_>, readonly: bool) -> Answered<'a> {
    on_cluster_port(session)?;
    session.client.readonly = readonly;
    session.client.card.readonly.store(readonly, Relaxed);
    Ok(Reply::Ok.into())
}

/// A slot changes hands whole, so there is no time in which this makes a difference.
pub(crate) fn asking<'a>(session: &mut Session<'_>, _: &mut Args<'a>) -> Answered<'a> {
    on_cluster_port(session)?;
    Ok(Reply::Ok.into())
}

/// Plain clients see a standalone server.
fn on_cluster_port(session: &Session<'_>) -> Result<(), CommandError> {
    match session.client.port {
        Port::Cluster => Ok(()),
        Port::Any => Err(NO_CLUSTER.into()),
    }
}
