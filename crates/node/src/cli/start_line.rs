//! The line by which a node says that it can be reached, and where.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// Printed to stdout once all ports are open, with the ports that the system picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StartLine {
    pub(super) cluster_port: SocketAddr,
    pub(super) any_port: SocketAddr,
    pub(super) peer_port: Option<SocketAddr>,
    pub(super) admin_port: Option<SocketAddr>,
    pub(super) process: u32,
}

impl fmt::Display for StartLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "quorate serves: cluster port {}, any port {}",
            self.cluster_port, self.any_port
        )?;
        for (name, address) in [
            ("peer port", self.peer_port),
            ("admin port", self.admin_port),
        ] {
            if let Some(address) = address {
                write!(f, ", {name} {address}")?;
            }
        }
        write!(f, ", process {}", self.process)
    }
}

impl FromStr for StartLine {
    type Err = ();

    fn from_str(line: &str) -> Result<StartLine, ()> {
        let rest = line.trim_end().strip_prefix("quorate serves: ").ok_or(())?;
        let of = |name: &str| {
            rest.split(", ")
                .find_map(|part| part.strip_prefix(name)?.strip_prefix(' '))
        };
        let address = |name| of(name).and_then(|text| text.parse().ok());
        Ok(StartLine {
            cluster_port: address("cluster port").ok_or(())?,
            any_port: address("any port").ok_or(())?,
            peer_port: address("peer port"),
            admin_port: address("admin port"),
            process: of("process").and_then(|text| text.parse().ok()).ok_or(())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_what_it_prints() {
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let line = StartLine {
            cluster_port: address(1),
            any_port: address(2),
            peer_port: Some(address(3)),
            admin_port: None,
            process: 5,
        };
        assert_eq!(line.to_string().parse(), Ok(line));
        assert_eq!(
            "quorate serves: cluster port 1".parse::<StartLine>(),
            Err(())
        );
    }
}
