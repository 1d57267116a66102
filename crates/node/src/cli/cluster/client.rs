//! A client of a node's cluster port, by the same rights as any other client.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame;

/// How long a node may take for each thing that it is asked.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest reply that is read: many times the state of the largest cluster.
const REPLY_BYTES_MAX: usize = 64 << 20;

/// Whose rights the client has.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
}

/// A connection to one node.
pub(super) struct Client {
    stream: TcpStream,
    until: Instant,
}

impl Client {
    /// Connects, and logs in if there is a password. The error says what went wrong where.
    pub(super) fn connect(address: &str, account: &Account) -> Result<Client, String> {
        let failed = |error| format!("nothing answers at {address}: {error}");
        let mut last = None;
        for resolved in address.to_socket_addrs().map_err(failed)? {
            match TcpStream::connect_timeout(&resolved, PATIENCE) {
                Ok(stream) => {
                    let until = until();
                    let mut client = Client { stream, until };
                    client
                        .log_in(account)
                        .map_err(|error| format!("{address}: {error}"))?;
                    return Ok(client);
                }
                Err(error) => last = Some(failed(error)),
            }
        }
        Err(last.unwrap_or_else(|| format!("{address} is the name of no address")))
    }

    fn log_in(&mut self, account: &Account) -> Result<(), String> {
        let Some(password) = &account.password else {
            return Ok(());
        };
        let mut words = vec!["AUTH"];
        words.extend(account.user.as_deref());
        words.push(password);
        self.ask(&words).map(drop)
    }

    /// Sends a request and returns its reply, if that is a text.
    pub(super) fn ask(&mut self, words: &[&str]) -> Result<Vec<u8>, String> {
        self.until = until();
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.stream
            .write_all(request.as_bytes())
            .map_err(|error| error.to_string())?;
        match self.receive()? {
            OwnedFrame::BulkString(text) | OwnedFrame::SimpleString(text) => Ok(text),
            OwnedFrame::Error(error) => Err(error),
            other => Err(format!("an unexpected reply, {other:?}")),
        }
    }

    fn receive(&mut self) -> Result<OwnedFrame, String> {
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            #[expect(
                clippy::disallowed_methods,
                reason = "a command line has a clock of its own"
            )]
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("no reply within {PATIENCE:?}"));
            }
            self.stream
                .set_read_timeout(Some(left))
                .map_err(|error| error.to_string())?;
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err("the connection was closed".to_owned()),
                Ok(count) => bytes.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.to_string()),
            }
            if bytes.len() > REPLY_BYTES_MAX {
                return Err(format!("a reply of more than {REPLY_BYTES_MAX} bytes"));
            }
            // A reply that has not arrived whole would be read again with every part of it; the
            // line break at its end tells most of them.
            if !bytes.ends_with(b"\r\n") {
                continue;
            }
            if let Some((frame, _)) = decode(&bytes).map_err(|error| error.to_string())? {
                return Ok(frame);
            }
        }
    }
}

/// Until when a node may take from now on.
#[expect(
    clippy::disallowed_methods,
    reason = "a command line has a clock of its own"
)]
fn until() -> Instant {
    Instant::now() + PATIENCE
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A node that answers each request with the next of these replies.
    fn node(replies: &'static [&'static str]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 1024];
            for reply in replies {
                let _ = stream.read(&mut buffer);
                // In two parts, as a network may deliver it.
                let (first, second) = reply.split_at(reply.len() / 2);
                stream.write_all(first.as_bytes()).unwrap();
                stream.write_all(second.as_bytes()).unwrap();
            }
        });
        address
    }

    #[test]
    fn a_text_is_returned_and_an_error_is_one() {
        let address = node(&["$5\r\nhello\r\n", "-ERR no\r\n", ":1\r\n"]);
        let mut client = Client::connect(&address, &Account::default()).unwrap();
        assert_eq!(client.ask(&["A"]), Ok(b"hello".to_vec()));
        assert_eq!(client.ask(&["B"]), Err("ERR no".to_owned()));
        assert!(client.ask(&["C"]).unwrap_err().contains("unexpected"));
        assert_eq!(client.ask(&["D"]).unwrap_err(), "the connection was closed");
    }

    #[test]
    fn a_password_is_given_first() {
        let account = Account {
            user: None,
            password: Some("wrong".to_owned()),
        };
        let address = node(&["-WRONGPASS invalid\r\n"]);
        let error = Client::connect(&address, &account).map(drop).unwrap_err();
        assert_eq!(error, format!("{address}: WRONGPASS invalid"));
    }

    #[test]
    fn nobody_at_the_address_is_said() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let error = Client::connect(&address, &Account::default())
            .map(drop)
            .unwrap_err();
        assert!(
            error.starts_with(&format!("nothing answers at {address}: ")),
            "{error}"
        );
    }
}
