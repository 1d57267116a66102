//! The log of the process: events to stderr, for people or for programs.

use std::io;

use crate::config::{Log, LogFormat};

/// Begins to log. Called once, before anything has something to say.
pub fn start(settings: &Log) {
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(settings.filter.to_env_filter())
        .with_writer(io::stderr);
    match settings.format {
        LogFormat::Text => {
            let colours = io::IsTerminal::is_terminal(&io::stderr());
            subscriber.with_ansi(colours).init();
        }
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
    }
}
