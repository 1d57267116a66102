//! What a command answers when it does not do what it was asked.

use std::borrow::Cow;

use thiserror::Error;

use crate::store::WrongType;

/// An error reply. Its text begins with the code that clients and metrics tell errors apart by.
///
/// The texts are Redis's own, because clients compare them. What only one command says is
/// [`CommandError::Other`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CommandError {
    /// The arguments make no sense in this order.
    #[error("ERR syntax error")]
    Syntax,
    /// The number of arguments is not one that the command takes. Holds its full name.
    #[error("ERR wrong number of arguments for '{0}' command")]
    WrongArity(&'static str),
    /// An argument or a value should be a 64-bit integer.
    #[error("ERR value is not an integer or out of range")]
    NotInteger,
    /// An argument or a value should be a number.
    #[error("ERR value is not a valid float")]
    NotFloat,
    /// The key holds another data type.
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    /// The command needs a key that exists.
    #[error("ERR no such key")]
    NoSuchKey,
    /// Memory is full, and the command would take more of it. Nothing was applied.
    #[error("OOM command not allowed when used memory > 'maxmemory'.")]
    OutOfMemory,
    /// Whatever a single place says. Begins with its code.
    #[error("{0}")]
    Other(Cow<'static, str>),
}

impl CommandError {
    /// The first word of the reply.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            CommandError::WrongType => "WRONGTYPE",
            CommandError::OutOfMemory => "OOM",
            CommandError::Other(text) => text.split(' ').next().unwrap_or(text),
            _ => "ERR",
        }
    }
}

impl From<WrongType> for CommandError {
    fn from(_: WrongType) -> CommandError {
        CommandError::WrongType
    }
}

impl From<&'static str> for CommandError {
    fn from(text: &'static str) -> CommandError {
        CommandError::Other(Cow::Borrowed(text))
    }
}

impl From<String> for CommandError {
    fn from(text: String) -> CommandError {
        CommandError::Other(Cow::Owned(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_the_first_word() {
        let errors: [CommandError; 5] = [
            CommandError::Syntax,
            CommandError::WrongType,
            CommandError::OutOfMemory,
            "NOAUTH Authentication required.".into(),
            String::from("BUSY").into(),
        ];
        for error in errors {
            let text = error.to_string();
            assert_eq!(text.split(' ').next(), Some(error.code()), "{text}");
        }
    }
}
