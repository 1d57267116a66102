//! `quorate cluster`: look at a cluster and operate it, from any of its nodes.

mod client;
mod movement;
mod progress;
mod status;
mod table;

use clap::{Args, Subcommand};

use super::Failure;
use client::Account;

/// Look at a cluster and operate it
#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Status(status::Arguments),
    Balance(movement::Balance),
    Drain(movement::Drain),
    Transfer(movement::Transfer),
    Forget(movement::Forget),
}

/// How to reach a node.
#[derive(Args)]
struct Target {
    /// Any node of the cluster, by its cluster port
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:6379")]
    node: String,
    /// The user to log in as
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The password; the variable REDISCLI_AUTH hides it from those who list processes
    #[arg(long, value_name = "PASSWORD")]
    password: Option<String>,
}

impl Target {
    fn account(&self) -> Account {
        let password = self
            .password
            .clone()
            .or_else(|| std::env::var("REDISCLI_AUTH").ok());
        Account {
            user: self.user.clone(),
            password,
        }
    }
}

/// Does what the command line asks for.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::Status(arguments) => status::run(arguments),
        Command::Balance(arguments) => movement::balance(arguments),
        Command::Drain(arguments) => movement::drain(arguments),
        Command::Transfer(arguments) => movement::transfer(arguments),
        Command::Forget(arguments) => movement::forget(arguments),
    }
}
