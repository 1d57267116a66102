//! The command line. What it says to people goes to stdout and stderr from here alone; everything
//! else that the process has to say is a log event.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is where it prints"
)]

mod cluster;
mod dev;
mod ports;
mod serve;
mod signals;
mod start_line;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A Redis-protocol cache cluster that loses no acknowledged write
#[derive(Parser)]
#[command(name = "quorate", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(Box<serve::Arguments>),
    Dev(dev::Arguments),
    Cluster(cluster::Arguments),
}

/// Why a command ends before it has done what it was asked.
enum Failure {
    /// Arguments or configuration: nothing was started.
    Usage(String),
    /// Everything else.
    Run(String),
}

impl From<node::config::ConfigError> for Failure {
    fn from(error: node::config::ConfigError) -> Failure {
        Failure::Usage(error.to_string())
    }
}

/// Runs the command that the process was started with.
pub(crate) fn run() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Dev(arguments) => dev::run(&arguments),
        Command::Cluster(arguments) => cluster::run(&arguments),
    };
    let (code, message) = match result {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => (2, message),
        Err(Failure::Run(message)) => (1, message),
    };
    eprintln!("quorate: {message}");
    ExitCode::from(code)
}

/// The variables of the environment. A name that is not text is none of ours.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| {
        Some((
            name.into_string().ok()?,
            value.to_string_lossy().into_owned(),
        ))
    })
}
